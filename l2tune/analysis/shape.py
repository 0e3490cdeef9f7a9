"""The shape of the curve: what happens at weaker and at stronger penalties than the balanced ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.finding import Finding
from l2tune.analysis.naming import Naming, who_trains
from l2tune.analysis.side_by_side import SideBySide, side_by_side
from l2tune.analysis.wording import against, unit_of_value

Side = Literal["weaker", "stronger"]

_SAME = 1e-9
"""Strengths that differ by less than this share are one: ends of the band are points of a computed grid."""


def shape(t: Estimates, names: Naming) -> Iterator[Finding]:
    """What happens left and right of the balanced band."""
    curve = t.curve
    assert curve is not None
    low, high = balanced(t)
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
    clauses = []
    if left:
        clauses.append(_side(t, names, "weaker", low))
    if right:
        clauses.append(_side(t, names, "stronger", high))
    kind = "bracketed" if left and right else "worse-below" if left else "worse-above"
    sentence = "; ".join(clauses)
    yield Finding(kind, "shape", sentence[0].upper() + sentence[1:] + ".")


def balanced(t: Estimates) -> tuple[float, float]:
    """The balanced band, up to λ_best where that lies between its end and the curve's next point."""
    assert t.curve is not None
    (low, high), best, grid = t.band, t.best_lambda, t.curve.grid
    if best > high and best <= grid[min(int(np.searchsorted(grid, high, side="right")), len(grid) - 1)]:
        high = best
    if best < low and best >= grid[max(int(np.searchsorted(grid, low, side="left")) - 1, 0)]:
        low = best
    return low, high


def is_worse_below(t: Estimates) -> bool:
    """Whether the curve leaves the band on the left, down to the weakest penalty that it knows."""
    return t.curve is not None and balanced(t)[0] > t.curve.grid[0]


def is_worse_above(t: Estimates) -> bool:
    """Whether the curve leaves the band on the right."""
    return t.curve is not None and balanced(t)[1] < t.curve.grid[-1]


def _flat(t: Estimates, names: Naming) -> Finding:
    curve = t.curve
    assert curve is not None
    span = names.span(float(curve.grid[0]), float(curve.grid[-1]))
    broken = "; where training diverged it is not" if (t.strengths["diverged"] > 0).any() else ""
    measured = "" if not t.gain or not t.gain.is_measurable else ", as long as folds are not compared in pairs"
    return Finding(
        "flat",
        "shape",
        f"The curve is flat: from {span} the expected validation {t.metric} stays within one standard error of the "
        f"best{measured}{broken}.",
    )


def _side(t: Estimates, names: Naming, side: Side, end: float) -> str:
    """What happens beyond an end of the band, without a capital."""
    where = f"{'below' if side == 'weaker' else 'above'} λ {'≈' if end else '='} {names.number(end)}"
    worse = f"{where} validation {t.metric} is worse"
    strengths = t.strengths["lambda"]
    rows = t.strengths[strengths < end * (1 - _SAME) if side == "weaker" else strengths > end * (1 + _SAME)]
    if not len(rows):
        return f"{worse} by the curve, though nothing was run there"
    if bool((rows["diverged"] == rows["folds"]).all()):
        return f"{where} training diverges"
    found = _example(t, side, rows["lambda"][rows["diverged"] == 0].tolist())
    if found is None:
        return f"{worse} by the curve"
    strength, reference, pair = found
    example = f"{names.equal(strength)} against {names.number(reference)}"
    scores = f"validation {against(*pair.validation, t.metric)}{unit_of_value(t.metric)}{_on(t, pair)}"
    if pair.train is None:
        return f"{worse} ({example}: {scores})"
    train, at_best = map(t.metric.cost, pair.train)
    both = f"{example}: training {t.metric} {against(*pair.train, t.metric)}, {scores}"
    if side == "weaker" and train < at_best:
        return f"{where} the {who_trains(t)} overfits ({both})"
    if side == "weaker":
        return f"{worse} ({both}), which is not overfitting, for training {t.metric} is no better there"
    if train > at_best:
        return f"{where} it underfits ({both})"
    return f"{worse} ({both}), which is not underfitting, for training {t.metric} is no worse there"


def _example(t: Estimates, side: Side, strengths: list[float]) -> tuple[float, float, SideBySide] | None:
    """The outermost of these strengths that shares scored folds with λ_best and is worse on them: (λ, λ_best, both).

    Where λ_best was not run, with the λ that the gain is of.
    """
    reference = t.best_lambda if t.row(t.best_lambda) is not None else t.gain_lambda
    if reference is None:
        return None
    for strength in sorted(strengths, reverse=side == "stronger"):
        pair = side_by_side(t, strength, reference) if strength != reference else None
        if pair is None:
            continue
        first, second = map(t.metric.cost, pair.validation)
        if first > second and not math.isclose(first, second, rel_tol=_SAME):
            return strength, reference, pair
    return None


def _on(t: Estimates, pair: SideBySide) -> str:
    return "" if pair.folds == t.record.folds else f", on {pair.folds} of {t.record.folds} folds"
