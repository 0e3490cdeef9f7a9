"""Stops a λ when the curve says that it cannot win: folds are saved, never epochs."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from l2tune.records import tables as records
from l2tune.search.sampler import fit_curve


class FoldRacingPruner(BasePruner):
    """Prunes a trial after a fold when its λ is improbable to be within a tolerance of the best.

    The trial must report one value per fold (step = fold), in any order. Never pruned: the baseline, a trial marked
    `l2tune:complete`, the λ with the lowest expected metric so far, and the first λ.

    Args:
        probability: Prune below this probability.
        tolerance: In standard errors of the best λ's metric.
        parameter: Name of λ.
    """

    def __init__(self, probability: float = 0.3, tolerance: float = 0.2, *, parameter: str = records.PARAMETER) -> None:
        if not 0 < probability < 1 or not tolerance >= 0:
            raise ValueError(f"need 0 < probability < 1 and tolerance ≥ 0, not {probability} and {tolerance}")
        self._probability, self._tolerance, self._parameter = probability, tolerance, parameter

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        strength = records.strength_of(trial, self._parameter)
        if not trial.intermediate_values or strength == 0 or trial.user_attrs.get(records.COMPLETE):
            return False
        seen = records.observations(study, parameter=self._parameter)
        tried = np.unique(seen.strength[seen.strength > 0])
        if len(tried) < 2:
            return False
        distribution = trial.distributions.get(self._parameter)
        low, high = tried.min(), tried.max()
        if isinstance(distribution, FloatDistribution) and distribution.low > 0:
            low, high = distribution.low, distribution.high
        curve = fit_curve(study, float(low), float(high), parameter=self._parameter, seen=seen)
        if curve is None:
            return False
        if strength == tried[curve.mean(tried).argmin()]:
            return False
        tolerance = self._tolerance * curve.best_standard_error
        return bool(curve.probability_within(strength, tolerance)[0] < self._probability)
