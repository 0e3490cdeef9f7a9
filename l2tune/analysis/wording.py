"""How numbers are written for people: enough digits that two different values never look the same."""

from __future__ import annotations

from collections.abc import Sequence

from l2tune.metrics import Metric
from l2tune.penalty.strength import format_lambda, weight_decay
from l2tune.records.tables import StudyRecord

OPTIMIZERS = {"sgd": "torch.optim.SGD", "adam": "torch.optim.Adam", "adamw": "torch.optim.AdamW"}

_MOST_DIGITS = 12


def amounts(values: Sequence[float], metric: Metric, *, unit: bool = False) -> list[str]:
    """Values of the metric, all with as many digits (three or more) as it takes to tell different ones apart."""
    for digits in range(3, _MOST_DIGITS):
        written = [_amount(value, metric, digits) for value in values]
        if len(set(written)) == len(set(values)):
            break
    return [text + _unit(metric) if unit else text for text in written]


def amount(value: float, metric: Metric, unit: bool = True) -> str:
    """A value of the metric: `0.1234 nats` or `4.56 %`."""
    return _amount(value, metric, 3) + (_unit(metric) if unit else "")


def change(before: float, after: float, metric: Metric) -> str:
    """`0.107 → 0.0683 nats`."""
    first, second = amounts([before, after], metric)
    return f"{first} → {second}{_unit(metric)}"


def unit_of_difference(metric: Metric) -> str:
    """What a difference of two values is counted in, with a blank before it; empty for a metric without a unit."""
    return " percentage points" if metric.unit == "%" else _unit(metric)


def paste(record: StudyRecord, strength: float) -> str:
    """The strength as it is written in the user's code, e.g. `weight_decay=6.32e-3 in torch.optim.SGD`.

    The optimizer is named where l2tune's own trainer trained with it; a study on another scale has its own number.
    """
    scale = record.parameter.scale
    if scale.name not in ("lambda", "weight_decay"):
        return f"{record.parameter.name}={format_lambda(scale.from_lambda(strength))}"
    optimizer = OPTIMIZERS.get(str(record.settings.get("optimizer"))) if record.trained_by == "l2tune" else None
    return f"weight_decay={format_lambda(weight_decay(strength))}" + (f" in {optimizer}" if optimizer else "")


def count(number: int, noun: str) -> str:
    """`1 fold`, `2 folds`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(strengths: Sequence[float]) -> str:
    """`λ = 1e-3, 2e-3, …`: six at most."""
    shown = [format_lambda(s) for s in strengths[:6]] + (["…"] if len(strengths) > 6 else [])
    return "λ = " + ", ".join(shown)


def p_value(value: float) -> str:
    """`p = 0.019`, or `p < 0.001`."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def _amount(value: float, metric: Metric, digits: int) -> str:
    return f"{100 * value:.{digits}g}" if metric.unit == "%" else f"{value:.{digits}g}"


def _unit(metric: Metric) -> str:
    return f" {metric.unit}" if metric.unit else ""
