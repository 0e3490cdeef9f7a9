"""The strength λ: its scale, its relation to weight decay, and how it is written. Standard library only."""

from __future__ import annotations

import math

from l2tune.errors import UserError


def weight_decay(strength: float) -> float:
    """What `torch.optim` calls `weight_decay` for the objective `data loss + λ Σ w²`: its gradient is `2λw`."""
    return 2.0 * strength


def from_weight_decay(decay: float) -> float:
    """λ of the objective `data loss + λ Σ w²` for a `torch.optim` `weight_decay`."""
    return decay / 2.0


def check_range(low: float, high: float, where: str = "lambda_range") -> tuple[float, float]:
    """A range that can be searched on a log scale.

    Raises:
        UserError: Unless 0 < low < high < ∞.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(f"{low}, {high} is not a finite range", where, "give two numbers, e.g. 1e-6 1")
    if low <= 0:
        raise UserError(
            f"{low:g} cannot start a log range", where, "give a low end above 0 (λ = 0 is always run as the baseline)"
        )
    if low >= high:
        raise UserError(f"{low:g} is not below {high:g}", where, "give the low end first, e.g. 1e-6 1")
    return float(low), float(high)


def log_grid(low: float, high: float, count: int) -> list[float]:
    """`count` strengths evenly spaced in log λ, both ends included (the geometric mean for one)."""
    low, high = check_range(low, high)
    if count == 1:
        return [math.sqrt(low * high)]
    step = math.log(high / low) / (count - 1)
    return [low * math.exp(step * i) for i in range(count - 1)] + [high]


def format_lambda(strength: float) -> str:
    """λ as people write it: three significant digits, `0` for the baseline, e.g. `3.16e-3`."""
    if strength == 0:
        return "0"
    mantissa, exponent = f"{strength:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"
