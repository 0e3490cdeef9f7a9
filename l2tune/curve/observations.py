"""What a curve is fitted to: the final costs of folds, and all that follows from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2tune.curve.regularization_curve import GRID_POINTS, RegularizationCurve
from l2tune.metrics import Metric

DEFAULT_RANGE = (1e-6, 1.0)
"""Where λ is searched, and a curve is drawn while nothing tells where."""


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """Final costs of a study, one per (λ, fold), all at the same values of the other parameters.

    Sampler, pruner, stopping rule and analysis ask this one object, so none of them has an idea of its own of what
    the metric, the range or the number of folds is.

    >>> from l2tune.metrics import BUILT_IN
    >>> seen = Observations(
    ...     strength=np.array([0.0, 0.0, 1e-2]),
    ...     fold=np.array([0, 1, 1]),
    ...     cost=np.array([0.5, 0.7, 0.4]),
    ...     trial=np.array([0, 0, 1]),
    ...     metric=BUILT_IN["loss"],
    ...     folds=2,
    ... )
    >>> seen.by_strength()[1e-2].tolist(), seen.fold_order()
    ([nan, 0.4], [0, 1])

    Attributes:
        strength: (n,) λ, 0 for the baseline; in the order of the trials.
        fold: (n,) fold index.
        cost: (n,) `Metric.cost` of the fold's score, infinite where the fold diverged.
        trial: (n,) number of the trial that trained it.
        metric: Whose costs.
        folds: How many folds the cross-validation has.
        range: Lowest and highest λ to search now, widening included.
        others: Name → value of the parameters other than λ.
        first_estimate: Geometric mean over the baseline's folds of their first estimate of λ, if any. None unless the
            metric is the loss: the estimate balances gradients of the loss, and replayed, searches by error did worse
            with it.
        guide: The losses of the same fits, where they are recorded and λ is chosen by error or accuracy: they tell
            more of the curve's shape than counts of images do.
    """

    strength: NDArray[np.float64]
    fold: NDArray[np.int64]
    cost: NDArray[np.float64]
    trial: NDArray[np.int64]
    metric: Metric
    folds: int
    range: tuple[float, float] = DEFAULT_RANGE
    others: Mapping[str, Any] = field(default_factory=dict)
    first_estimate: float | None = None
    guide: Observations | None = None

    @property
    def tried(self) -> NDArray[np.float64]:
        """The λ above 0, each once, rising."""
        found = np.unique(self.strength)
        return np.asarray(found[found > 0])

    def by_strength(self) -> dict[float, NDArray[np.float64]]:
        """λ → (folds,) costs, NaN where a fold is not done."""
        found: dict[float, NDArray[np.float64]] = {}
        for strength, fold, cost in zip(self.strength.tolist(), self.fold.tolist(), self.cost, strict=True):
            found.setdefault(strength, np.full(self.folds, np.nan))[fold] = cost
        return dict(sorted(found.items()))

    def fold_order(self) -> list[int]:
        """Folds in the order in which a new λ should run them: the least seen first, so that all effects get known."""
        seen = np.bincount(self.fold, minlength=self.folds)
        return [int(fold) for fold in np.argsort(seen, kind="stable")]

    def least_seen(self, among: Collection[int] = ()) -> int:
        """The fold with fewest scores, of all or of these."""
        return next(fold for fold in self.fold_order() if not among or fold in among)


def fit_curve(seen: Observations, points: int = GRID_POINTS) -> RegularizationCurve | None:
    """The curve through all observations; None while there is no finite cost. The same ones are fitted once.

    It spans the range and, beyond it, what was tried: a λ that was queued may be the best.

    Args:
        points: Of its grid, at most.
    """
    if not np.isfinite(seen.cost).any():
        return None
    table = tuple(zip(seen.strength.tolist(), seen.fold.tolist(), seen.cost.tolist(), strict=True))
    (low, high), tried = seen.range, seen.tried
    low, high = (min(low, float(tried[0])), max(high, float(tried[-1]))) if len(tried) else (low, high)
    guide = None if seen.guide is None else fit_curve(seen.guide)
    return _fit(table, low, high, seen.folds, seen.metric, seen.first_estimate, guide, points)


@lru_cache(maxsize=8)  # a curve of n folds holds n² numbers: of validation and training, for the forms of a comparison
def _fit(
    table: tuple[tuple[float, int, float], ...],
    low: float,
    high: float,
    folds: int,
    metric: Metric,
    first_estimate: float | None,
    guide: RegularizationCurve | None,
    points: int,
) -> RegularizationCurve:
    strength, fold, cost = zip(*table, strict=True)
    return RegularizationCurve.fit(
        strength,
        fold,
        cost,
        low=low,
        high=high,
        folds=folds,
        metric=metric,
        first_estimate=first_estimate,
        guide=None if guide is None else guide.as_guide(),
        points=points,
    )
