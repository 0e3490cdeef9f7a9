"""The shape of the curve: what happens at weaker and at stronger penalties than the balanced ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.finding import Finding
from l2tune.analysis.naming import Naming, who_trains
from l2tune.analysis.side_by_side import SideBySide, side_by_side
from l2tune.analysis.wording import SAME, amounts, unit_of_value

Side = Literal["weaker", "stronger"]


def shape(t: Estimates, names: Naming) -> Iterator[Finding]:
    """What happens left and right of the balanced band."""
    curve = t.curve
    assert curve is not None
    low, high = t.band
    if not low <= t.best_lambda <= high:
        yield Finding(
            "two-valleys",
            "shape",
            f"The curve has two valleys about equally deep, one at {names.equal(t.best_lambda)} and one at "
            f"{names.span(low, high)}.",
        )
        return
    left, right = is_worse_below(t), is_worse_above(t)
    if not left and not right:
        yield _flat(t, names)
        return
    sides = [_beyond(t, "weaker", low)] if left else []
    sides += [_beyond(t, "stronger", high)] if right else []
    scores = [score for side in sides if side.pair for score in (*side.pair.validation, *(side.pair.train or ()))]
    texts = dict(zip(scores, amounts(scores, t.metric), strict=True))
    sentence = "; ".join(_clause(t, names, side, texts) for side in sides)
    kind = "bracketed" if left and right else "worse-below" if left else "worse-above"
    yield Finding(kind, "shape", sentence[0].upper() + sentence[1:] + ".")


def is_worse_below(t: Estimates) -> bool:
    """Whether the curve leaves the band on the left, down to the weakest penalty that it knows."""
    return t.curve is not None and t.band[0] > t.curve.grid[0]


def is_worse_above(t: Estimates) -> bool:
    """Whether the curve leaves the band on the right."""
    return t.curve is not None and t.band[1] < t.curve.grid[-1]


def _flat(t: Estimates, names: Naming) -> Finding:
    curve = t.curve
    assert curve is not None
    span = names.span(float(curve.grid[0]), float(curve.grid[-1]))
    where = f"The curve is flat: from {span}"
    if (t.strengths["diverged"] > 0).any():
        where = "The curve is flat where training does not diverge: there"
    measured = "" if not t.gain or not t.gain.is_measurable else ", as long as folds are not compared in pairs"
    text = f"{where} the expected validation {t.metric} stays within one standard error of the best{measured}."
    return Finding("flat", "shape", text)


@dataclass(frozen=True, slots=True)
class _Beyond:
    """What was run beyond an end of the band.

    Attributes:
        ran: Whether anything was.
        diverged: Whether every fold of that diverged.
        example: The outermost λ that is worse than `reference` on the folds of both.
        reference: λ_best or, where that was not run, the λ that the gain is of.
        pair: Both side by side; None where there is no such λ.
    """

    side: Side
    end: float
    ran: bool
    diverged: bool
    example: float = math.nan
    reference: float = math.nan
    pair: SideBySide | None = None


def _beyond(t: Estimates, side: Side, end: float) -> _Beyond:
    strengths = t.strengths["lambda"]
    rows = t.strengths[strengths < end * (1 - SAME) if side == "weaker" else strengths > end * (1 + SAME)]
    found = _Beyond(side, end, len(rows) > 0, bool((rows["diverged"] == rows["folds"]).all()))
    reference = t.best_lambda if t.row(t.best_lambda) is not None else t.gain_lambda
    if reference is None:
        return found
    fine = rows["lambda"][rows["diverged"] == 0].tolist()
    for strength in sorted(fine, reverse=side == "stronger"):
        pair = side_by_side(t, strength, reference) if strength != reference else None
        if pair is not None and _is_less(t.metric.cost(pair.validation[1]), t.metric.cost(pair.validation[0])):
            return replace(found, example=strength, reference=reference, pair=pair)
    return found


def _clause(t: Estimates, names: Naming, beyond: _Beyond, texts: Mapping[float, str]) -> str:
    """What happens beyond an end of the band, without a capital."""
    weaker, pair = beyond.side == "weaker", beyond.pair
    where = f"{'below' if weaker else 'above'} λ {'≈' if beyond.end else '='} {names.number(beyond.end)}"
    worse = f"{where} validation {t.metric} is worse"
    if not beyond.ran:
        return f"{worse} by the curve, though nothing was run there"
    if beyond.diverged:
        return f"{where} training diverges"
    if pair is None:
        return f"{worse} by the curve"
    value, best_value = (texts[score] for score in pair.validation)
    example = f"{names.equal(beyond.example)} against {names.number(beyond.reference)}"
    scores = f"validation {value} against {best_value}{unit_of_value(t.metric)}{_on(t, pair)}"
    if pair.train is None:
        return f"{worse} ({example}: {scores})"
    fit, best_fit = map(t.metric.cost, pair.train)
    both = f"{example}: training {t.metric} {texts[pair.train[0]]} against {texts[pair.train[1]]}, {scores}"
    if weaker and _is_less(fit, best_fit):
        return f"{where} the {who_trains(t)} overfits ({both})"
    if weaker:
        return f"{worse} ({both}), which is not overfitting, for training {t.metric} is no better there"
    if _is_less(best_fit, fit):
        return f"{where} it underfits ({both})"
    return f"{worse} ({both}), which is not underfitting, for training {t.metric} is no worse there"


def _is_less(first: float, second: float) -> bool:
    """Whether one number is less than another by more than rounding."""
    return first < second and not math.isclose(first, second, rel_tol=SAME)


def _on(t: Estimates, pair: SideBySide) -> str:
    return "" if pair.folds == t.record.folds else f", on {pair.folds} of {t.record.folds} folds"
