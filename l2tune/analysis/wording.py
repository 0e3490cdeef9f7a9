"""How numbers are written for people: enough digits that two different ones never look the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from l2tune.metrics import Metric
from l2tune.penalty.strength import format_lambda, weight_decay
from l2tune.records.tables import StudyRecord
from l2tune.settings import DEFAULT_L1_RATIO

_FEWEST_DIGITS, _MOST_DIGITS = 3, 12
_LEAST = 1e-9
"""What is above it is written, however large the number beside it: that may be a loss that is about to diverge."""

SAME = 1e-9
"""Numbers that differ by less than this share are one number, computed in two ways."""


def amounts(values: Sequence[float], metric: Metric, *, unit: bool = False) -> list[str]:
    """Values of the metric, each with as many digits (three or more) as it takes to tell it from the others."""
    factor = 100.0 if metric.unit == "%" else 1.0
    least = min(1e-13 * max((abs(value) for value in values if math.isfinite(value)), default=0.0), _LEAST)
    numbers = [factor * value if not abs(value) <= least else 0.0 for value in values]  # no 1e-17 for 0
    texts = _told_apart(numbers, plain)
    return [text + unit_of_value(metric) if unit else text for text in texts]


def amount(value: float, metric: Metric, unit: bool = True) -> str:
    """A value of the metric: `0.1234 nats` or `4.56 %`."""
    return amounts([value], metric, unit=unit)[0]


def change(before: float, after: float, metric: Metric) -> str:
    """`0.107 → 0.0683 nats`."""
    first, second = amounts([before, after], metric)
    return f"{first} → {second}{unit_of_value(metric)}"


def unit_of_value(metric: Metric) -> str:
    """What a value is counted in, with a blank before it; empty for a metric without a unit."""
    return f" {metric.unit}" if metric.unit else ""


def unit_of_difference(metric: Metric) -> str:
    """What a difference of two values is counted in, with a blank before it; empty for a metric without a unit."""
    return " percentage points" if metric.unit == "%" else unit_of_value(metric)


def lambdas(strengths: Iterable[float]) -> dict[float, str]:
    """λ → how it is written: three digits, more where another one of these would look the same."""
    values = list(strengths)
    return dict(zip(values, _told_apart(values, _exponential), strict=True))


def own_numbers(strengths: Iterable[float], record: StudyRecord) -> dict[float, str]:
    """λ → the number of the study's own parameter, e.g. of C: `3.16`, written as `lambdas` are."""
    values = list(strengths)
    own = [record.parameter.scale.from_lambda(value) for value in values]
    return dict(zip(values, _told_apart(own, _short), strict=True))


def paste(record: StudyRecord, strength: float) -> str:
    """The strength as it is written in the user's code, e.g. `weight_decay=6.32e-3 in torch.optim.SGD`.

    Where l2tune's own trainer trained, the optimizer is named whose weight decay acts as the study's form did, and
    whether all parameters take it; a study on another scale has its own number. L1 and the elastic net have none.
    """
    if has_own_number(record) and record.parameter.scale.name != "weight_decay":
        return f"{record.parameter.name}={own_numbers([strength], record)[strength]}"
    if not record.decays:
        return f"{absolute_term(record)} by a proximal step after each step{_optimizer(record).replace(' in ', ' of ')}"
    where = _optimizer(record) if record.trained_by == "l2tune" else ""
    if where and not acts_on_all(record):
        where = f" {where_it_acts(record)},{where}"
    return f"weight_decay={format_lambda(weight_decay(strength))}{where}"


def acts_on_all(record: StudyRecord) -> bool:
    """Whether λ acts on every parameter alike, so that a plain weight decay is the same; False if that is not known."""
    return bool(dict(record.trainer.get("regularization") or {}).get("everything"))


def where_it_acts(record: StudyRecord) -> str:
    """Which parameters take a weight decay, where not all do."""
    times = ", times their multipliers" if record.settings.get("scale") else ""
    return f"on the penalized weights{times}, 0 on the rest"


def absolute_term(record: StudyRecord) -> str:
    """`λ Σ |w|`, or the elastic net's term."""
    if record.form == "l1":
        return "λ Σ |w|"
    ratio = float(record.settings.get("l1_ratio") or DEFAULT_L1_RATIO)
    return f"λ ({ratio:.6g} Σ |w| + {1 - ratio:.6g} Σ w²)"


def _optimizer(record: StudyRecord) -> str:
    """In which optimizer weight decay 2λ does what the study's form of the penalty did.

    SGD's and Adam's is coupled: it equals the term λ Σ w² in the loss. That of AdamW, which is Adam otherwise, is
    decoupled; SGD has no such.
    """
    form = record.settings.get("penalty", "l2")
    match record.settings.get("optimizer"), form:
        case "sgd", "l2-decoupled":
            return " in SGD with decoupled weight decay, which torch.optim.SGD has not"
        case "sgd", _:
            name = "SGD"
        case "adam" | "adamw", "l2-decoupled":
            name = "AdamW"
        case "adam" | "adamw", _:
            name = "Adam"
        case _:
            return ""
    return f" in torch.optim.{name}" + (", or λ Σ w² in the loss" if form == "l2-loss" else "")


def has_own_number(record: StudyRecord) -> bool:
    """Whether the user knows the strength by another name or number than λ."""
    return record.parameter.name != "lambda" or record.parameter.scale.name != "lambda"


def count(number: int, noun: str) -> str:
    """`1 fold`, `2 folds`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def reach(acts: int, parameters: int) -> str:
    """`λ acts on 59,850 of 60,074 parameters`."""
    return f"λ acts on {acts:,} of {parameters:,} parameter{'' if parameters == 1 else 's'}"


def listed(texts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(part for part in (", ".join(texts[:-1]), *texts[-1:]) if part)


def p_value(value: float) -> str:
    """`p = 0.019`, or `p < 0.001`; never on the other side of 0.05."""
    if value < 0.001:
        return "p < 0.001"
    digits = next((d for d in range(2, 16) if (float(f"{value:.{d}g}") < 0.05) == (value < 0.05)), 16)
    return f"p = {value:.{digits}g}"


def percentage(share: float) -> str:
    """`36 %`; not `100 %` for what is less, and not `0 %` for what is more."""
    percent = 100 * share
    digits = next((d for d in range(2, _MOST_DIGITS) if float(f"{percent:.{d}g}") < 100 or percent >= 100), 2)
    return f"{plain(percent, digits)} %"


def plain(value: float, digits: int) -> str:
    """A number with so many significant digits, without an exponent where people write none."""
    if not math.isfinite(value):
        return _infinite(value)
    whole = len(str(int(abs(value)))) if 1 <= abs(value) < 1e7 else 1
    zeros = "#" if digits > _FEWEST_DIGITS and value else ""  # 1.8200 beside 1.8201
    return f"{value + 0.0:{zeros}.{max(digits, whole)}g}".removesuffix(".")  # + 0.0: no negative zero


def _exponential(value: float, digits: int) -> str:
    """`3.16e-3`, as `format_lambda` writes it."""
    if value == 0 or not math.isfinite(value):
        return format_lambda(value)
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _short(value: float, digits: int) -> str:
    """`3.16` and `40.0`, but `6.32e-3`."""
    if not math.isfinite(value) or not 1e-2 <= value < 1e3:
        return _exponential(value, digits)
    return f"{value:#.{digits}g}".removesuffix(".")


def _told_apart(values: Sequence[float], written: Callable[[float, int], str]) -> list[str]:
    """Each value with the fewest digits that tell it from all the others."""
    kept: list[float] = []
    for value in values:
        kept.append(next((k for k in kept if k == value or math.isclose(k, value, rel_tol=SAME)), value))
    digits = dict.fromkeys(kept, _FEWEST_DIGITS)
    alike = list(digits)
    for more in range(_FEWEST_DIGITS, _MOST_DIGITS):
        texts = [written(value, more) for value in alike]
        alike = [value for value, text in zip(alike, texts, strict=True) if texts.count(text) > 1]
        if not alike:
            break
        digits |= dict.fromkeys(alike, more + 1)
    return [written(value, digits[value]) for value in kept]


def _infinite(value: float) -> str:
    return "not a number" if math.isnan(value) else "∞" if value > 0 else "−∞"
