"""λ_best and λ_1se: strengths that were tried, chosen by the curve, so their values are cross-validation scores."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from l2tune.curve.regularization_curve import RegularizationCurve

INDISTINGUISHABLE = 0.1
"""Share of a standard error by which the expected costs of two strengths differ at most, to count as one."""

Costs = Mapping[float, NDArray[np.float64]]
"""λ → (folds,) costs of its folds, NaN where a fold is not done."""


def choose_best(curve: RegularizationCurve, costs: Costs) -> float:
    """λ_best: of the strengths tried that the curve cannot tell from its minimizer, the one of the lowest full mean.

    Where none of them has all folds, the one with most; where none was tried, the curve's own minimizer.
    """
    tried = np.array(list(costs))
    near = tried[curve.mean(tried) <= curve.best_value + INDISTINGUISHABLE * curve.best_standard_error]
    whole = [float(s) for s in near if folds_done(costs[s]) >= curve.folds]
    if whole:
        return min(whole, key=lambda s: float(costs[s].mean()))
    some = [float(s) for s in near if s > 0]
    if curve.best_lambda == 0 or not some:
        return curve.best_lambda
    return max(some, key=lambda s: (folds_done(costs[s]), -curve.mean(s)[0]))


def choose_one_se(curve: RegularizationCurve, costs: Costs) -> float:
    """λ_1se: of the strengths tried close to the curve's, the one with most folds done."""
    low, high = curve.one_se_lambda / 10**0.2, curve.one_se_lambda * 10**0.05
    near = [strength for strength in costs if low <= strength <= high and strength >= curve.best_lambda]
    return max(near, key=lambda s: (folds_done(costs[s]), s)) if near else curve.one_se_lambda


def folds_done(costs: NDArray[np.float64]) -> int:
    """How many folds have a cost, diverged ones included."""
    return int((~np.isnan(costs)).sum())
