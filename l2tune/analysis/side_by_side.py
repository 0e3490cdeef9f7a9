"""Two strengths compared on the folds that both have, so that a fold's luck is in neither number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l2tune.analysis.by_strength import final_fits
from l2tune.analysis.estimates import Estimates


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Means of scores over the folds of both strengths; `(first, second)` each.

    Attributes:
        folds: How many.
        validation: In the metric.
        train: In the metric; None where a fold does not tell.
    """

    folds: int
    validation: tuple[float, float]
    train: tuple[float, float] | None


def side_by_side(t: Estimates, first: float, second: float) -> SideBySide | None:
    """Two strengths side by side; None where they share no fold that was scored."""
    fits, metric = final_fits(t.record), t.metric
    costs = {}
    for strength in (first, second):
        rows = fits[fits["lambda"] == strength]
        train = metric.cost(rows[f"train_{metric}"].to_numpy(float))
        validation = rows["cost"].to_numpy(float)
        costs[strength] = {
            fold: (value, fit)
            for fold, value, fit in zip(rows["fold"], validation, train, strict=True)
            if np.isfinite(value)
        }
    shared = sorted(costs[first].keys() & costs[second].keys())
    if not shared:
        return None
    means = [np.mean([costs[strength][fold] for fold in shared], axis=0) for strength in (first, second)]
    (value, fit), (other_value, other_fit) = ([metric.score(float(part)) for part in mean] for mean in means)
    known = np.isfinite(fit) and np.isfinite(other_fit)
    return SideBySide(len(shared), (value, other_value), (fit, other_fit) if known else None)
