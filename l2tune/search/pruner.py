"""Stops a λ when the curve says that it cannot win: folds are saved, never epochs."""

from __future__ import annotations

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from l2tune.curve.choice import AS_GOOD, MAY_WIN, probability_as_good
from l2tune.curve.observations import fit_curve
from l2tune.curve.regularization_curve import RegularizationCurve
from l2tune.penalty.strength import ScaleName
from l2tune.records.claims import is_wanted_whole
from l2tune.records.observations import observations, strength_of
from l2tune.records.one_reading import one_reading
from l2tune.search.parameter import GivenParameter


class FoldRacingPruner(BasePruner):
    """Prunes a trial after a fold when its λ is improbable to be within a tolerance of the best.

    The trial must report one value per fold (step = fold), in any order; it is compared with the trials that have the
    same other parameters. Never pruned: the baseline, a trial marked `l2tune:complete`, the λ with the lowest expected
    cost so far, and the first λ.

    Args:
        probability: Prune below this probability.
        tolerance: In standard errors of the best λ's metric.
        parameter: Name of the strength; by default found in the study (its one log-scaled float).
        scale: Of its numbers; by default what the name tells.
    """

    def __init__(
        self,
        probability: float = MAY_WIN,
        tolerance: float = AS_GOOD,
        *,
        parameter: str | None = None,
        scale: ScaleName | None = None,
    ) -> None:
        if not 0 < probability < 1 or not tolerance >= 0:
            raise ValueError(f"need 0 < probability < 1 and tolerance ≥ 0, not {probability} and {tolerance}")
        self._probability, self._tolerance = probability, tolerance
        self._given = GivenParameter(type(self).__name__, parameter, scale)

    @one_reading()
    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        parameter = self._given.of(study)
        if parameter is None:
            return False
        strength = strength_of(trial, parameter)
        if not strength or not trial.intermediate_values or is_wanted_whole(trial):
            return False
        seen = observations(study, parameter, others=parameter.others(trial.params))
        curve = fit_curve(seen)
        if curve is None or len(seen.tried) < 2 or strength not in seen.tried:
            return False  # of a λ without a finished fold nothing is known, whatever its epochs report
        if strength == seen.tried[curve.mean(seen.tried).argmin()]:
            return False
        return not self.may_win(curve, strength)

    def may_win(self, curve: RegularizationCurve, strength: float) -> bool:
        """Whether λ is probable enough to be as good as the best."""
        return probability_as_good(curve, strength, self._tolerance) >= self._probability
