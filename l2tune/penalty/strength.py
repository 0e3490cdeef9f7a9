"""The strength λ: its relation to weight decay, alpha and C, and how it is written. Standard library only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from l2tune.errors import UserError


def weight_decay(strength: float) -> float:
    """What `torch.optim` calls `weight_decay` for the objective `data loss + λ Σ w²`: its gradient is `2λw`."""
    return 2.0 * strength


def from_weight_decay(decay: float) -> float:
    """λ of the objective `data loss + λ Σ w²` for a `torch.optim` `weight_decay`."""
    return decay / 2.0


NO_WEIGHT_DECAY = frozenset({"l1", "elastic"})
"""Forms of the penalty that no weight decay does."""


L1_NAMES = frozenset({"l1", "lambda_l1", "l1_lambda", "l1_strength", "l1_reg"})
"""Names of a strength that tell, in small letters, that the penalty is λ Σ|w|."""

ScaleName = Literal["lambda", "weight_decay", "alpha", "C"]


@dataclass(frozen=True, slots=True)
class StrengthScale:
    """How the numbers of a study's parameter relate to λ.

    | name | λ | whose |
    |---|---|---|
    | `lambda` | the number | the coefficient of Σ w² in the objective |
    | `weight_decay` | half of it | torch.optim's: 2λ |
    | `alpha` | the number | scikit-learn's, up to the ½ or 1/n of the estimator |
    | `C` | its inverse | scikit-learn's inverse strength, up to the same factors |

    >>> StrengthScale("weight_decay").to_lambda(0.02), StrengthScale("C").to_lambda(4.0)
    (0.01, 0.25)
    >>> StrengthScale("C").range_from_lambda(0.25, 2.0)
    (0.5, 4.0)

    Attributes:
        name: One of these.

    Raises:
        UserError: It is none of these.
    """

    name: ScaleName = "lambda"

    def __post_init__(self) -> None:
        if self.name not in get_args(ScaleName):
            raise UserError(f"{self.name!r} is no scale", "scale", f"give one of {', '.join(get_args(ScaleName))}")

    def to_lambda(self, value: float) -> float:
        """λ of a number on this scale; an infinite C is λ = 0."""
        match self.name:
            case "weight_decay":
                return from_weight_decay(value)
            case "C":
                return 0.0 if math.isinf(value) else 1.0 / value if value else math.inf
        return value

    def from_lambda(self, strength: float) -> float:
        """The number on this scale that stands for λ; C is infinite at λ = 0."""
        match self.name:
            case "weight_decay":
                return weight_decay(strength)
            case "C":
                return 1.0 / strength if strength else math.inf
        return strength

    def range_to_lambda(self, low: float, high: float) -> tuple[float, float]:
        """Lowest and highest λ of a range on this scale."""
        first, second = self.to_lambda(low), self.to_lambda(high)
        return min(first, second), max(first, second)

    def range_from_lambda(self, low: float, high: float) -> tuple[float, float]:
        """Lower and upper end on this scale of a range of λ."""
        first, second = self.from_lambda(low), self.from_lambda(high)
        return min(first, second), max(first, second)


def scale_of(parameter: str) -> StrengthScale:
    """The scale that a parameter's name tells; `lambda` where it does not."""
    names: dict[str, ScaleName] = {"weight_decay": "weight_decay", "wd": "weight_decay", "decay": "weight_decay"}
    names |= {"alpha": "alpha", "c": "C"}
    return StrengthScale(names.get(parameter.lower(), "lambda"))


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
    """`count` strengths evenly spaced in log λ, both ends included (the geometric mean for one).

    >>> [round(strength, 6) for strength in log_grid(1e-4, 1e-2, 3)]
    [0.0001, 0.001, 0.01]
    """
    low, high = check_range(low, high)
    if count == 1:
        return [math.sqrt(low * high)]
    step = math.log(high / low) / (count - 1)
    return [low * math.exp(step * i) for i in range(count - 1)] + [high]


def format_lambda(strength: float) -> str:
    """λ as people write it: three significant digits, `0` for the baseline.

    >>> format_lambda(0.00316228), format_lambda(0)
    ('3.16e-3', '0')
    """
    if strength == 0:
        return "0"
    if not math.isfinite(strength):
        return "∞" if strength > 0 else str(strength)
    mantissa, exponent = f"{strength:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"
