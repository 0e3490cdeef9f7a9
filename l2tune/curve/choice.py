"""What a curve decides: λ_best and λ_1se, whether a λ may still win, and whether the answer is settled.

λ_best and λ_1se are strengths that were tried, so their values are cross-validation scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from l2tune.curve.observations import Observations
from l2tune.curve.regularization_curve import RegularizationCurve

INDISTINGUISHABLE = 0.1
"""Share of a standard error by which the expected costs of two strengths differ at most, to count as one."""

ONE_SE_REACH = 10**0.05 * (1 + 1e-9)
"""So far above the curve's λ_1se a strength that was tried may lie to be taken for it."""

AS_GOOD = 0.2
"""A λ is as good as the best where its expected cost is at most so many standard errors of the best's above it."""

MAY_WIN = 0.3
"""A λ that is less probable than this to be as good as the best is given up."""

FEWEST_TRIED = 3
"""Strengths above 0 of which nothing is settled unless as many were tried."""

SETTLED = 0.01
"""The answer is settled where a further fit is expected to gain less than this share of a standard error."""

Costs = Mapping[float, NDArray[np.float64]]
"""λ → (folds,) costs of its folds, NaN where a fold is not done."""


def choose_best(curve: RegularizationCurve, costs: Costs) -> float:
    """λ_best: of the strengths tried that the curve cannot tell from its minimizer, the one of the lowest full mean.

    Where none of them has all folds, the one with most; where none was tried, the curve's own minimizer. Never one of
    which a fold diverged, as long as there is another.
    """
    tried = np.array(list(costs))
    near = tried[curve.mean(tried) <= curve.best_value + INDISTINGUISHABLE * curve.best_standard_error]
    whole = [float(s) for s in near if folds_done(costs[s]) >= curve.folds]
    if whole:
        return min(whole, key=lambda s: _whole_cost(costs[s]))
    sound = [float(s) for s in tried if not has_diverged(costs[s])]
    some = [float(s) for s in near if s > 0 and float(s) in sound]
    if curve.best_lambda in costs and curve.best_lambda not in sound and sound:
        return min(sound, key=lambda s: float(curve.mean(s)[0]))
    if curve.best_lambda == 0 or not some:
        return curve.best_lambda
    return max(some, key=lambda s: (folds_done(costs[s]), -curve.mean(s)[0]))


def choose_one_se(curve: RegularizationCurve, costs: Costs) -> float:
    """λ_1se: of the strengths tried close to the curve's, the one with most folds done, none diverged."""
    low, high = curve.one_se_lambda / 10**0.2, curve.one_se_lambda * ONE_SE_REACH
    near = [s for s in costs if low <= s <= high and s >= curve.best_lambda and not has_diverged(costs[s])]
    return max(near, key=lambda s: (folds_done(costs[s]), s)) if near else curve.one_se_lambda


def balanced_band(curve: RegularizationCurve, best: float, one_se: float) -> tuple[float, float]:
    """The curve's band, up to λ_best and λ_1se where those lie between its end and the curve's next point.

    They are strengths that were tried, and the band's ends are points of the curve's grid.
    """
    (low, high), grid = curve.band, curve.grid
    above = max(float(grid[min(int(np.searchsorted(grid, high, side="right")), len(grid) - 1)]), high * ONE_SE_REACH)
    below = float(grid[max(int(np.searchsorted(grid, low, side="left")) - 1, 0)])
    inside = [strength for strength in (best, one_se) if below <= strength <= above]
    return min([low, *inside]), max([high, *inside])


def probability_as_good(curve: RegularizationCurve, strength: float, tolerance: float = AS_GOOD) -> float:
    """Probability that λ's expected cost is within a tolerance of the lowest.

    Args:
        tolerance: In standard errors of λ_best's cost.
    """
    return float(curve.probability_within(strength, tolerance * curve.best_standard_error)[0])


def expected_gain(
    curve: RegularizationCurve | None, seen: Observations, pending: Sequence[tuple[float, int]] = ()
) -> float:
    """What one more fit, of the most promising λ, is expected to lower the cost by, in standard errors of λ_best's.

    Infinite while so few λ are tried that nothing can be settled.

    Args:
        pending: (λ, fold) of fits under way, which will have told by then.
    """
    if curve is None or len(seen.tried) < FEWEST_TRIED:
        return math.inf
    under_way = [strength for strength, _ in pending], [fold for _, fold in pending]
    gain, error = float(curve.knowledge_gradient(seen.least_seen(), under_way).max()), curve.best_standard_error
    return gain / error if error > 0 else math.inf


def _whole_cost(costs: NDArray[np.float64]) -> tuple[int, float]:
    """What complete strengths are ranked by: how many folds diverged, then the mean of the others."""
    finite = costs[np.isfinite(costs)]
    return len(costs) - len(finite), float(finite.mean()) if len(finite) else math.inf


def has_diverged(costs: NDArray[np.float64]) -> bool:
    """Whether a fold diverged."""
    return bool(np.isinf(costs).any())


def folds_done(costs: NDArray[np.float64]) -> int:
    """How many folds have a cost, diverged ones included."""
    return int((~np.isnan(costs)).sum())
