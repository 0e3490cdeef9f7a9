"""Ends the search when the answer is settled, with full cross-validation scores of what it reports."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from l2tune.curve.regularization_curve import RegularizationCurve
from l2tune.records import tables as records
from l2tune.search.completion import queue_completion
from l2tune.search.sampler import FIRST_PLACES, FoldCurveSampler, fit_curve, least_seen

INDISTINGUISHABLE = 0.1
"""Share of a standard error by which the expected metrics of two strengths differ at most, to count as one."""

_COMPLETIONS = 6
"""Trials that complete folds, at most: completing moves the curve, so λ_best can move on a few times."""


class StopWhenSettled:
    """Callback for `study.optimize`: completes λ_best and λ_1se once the answer is settled, then stops.

    Settled means that no further fit, of whatever λ, is expected to lower the metric by more than a share of the
    standard error of λ_best's cross-validation. (The expected loss from choosing λ_best now is no such rule: where the
    curve is flat and the metric coarse, as error rates are, it stays high however many fits are spent. Replayed, it
    took up to 75 fits for the error and found nothing better.) λ_best and λ_1se are then queued until all their folds
    are done, so that the reported numbers are full cross-validation scores, never extrapolations.

    Args:
        share: Of the standard error.
        parameter: Name of λ.
    """

    def __init__(self, share: float = 0.01, *, parameter: str = records.PARAMETER) -> None:
        if not share > 0:
            raise ValueError(f"share must be above 0, not {share}")
        self._share, self._parameter = share, parameter

    def __call__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if self.is_settled(study) and not self.queue_missing(study):
            study.stop()

    def is_settled(self, study: optuna.Study) -> bool:
        """Whether more strengths would change little."""
        seen = records.observations(study, parameter=self._parameter)
        if len(np.unique(seen.strength[seen.strength > 0])) < len(FIRST_PLACES):
            return False
        if isinstance(study.sampler, FoldCurveSampler) and study.sampler.wider_range(study) is not None:
            return False
        curve = self._curve(study)
        if curve is None:
            return False
        gain = curve.knowledge_gradient(least_seen(seen)).max()
        return bool(gain < self._share * curve.best_standard_error)

    def missing(self, study: optuna.Study) -> list[float]:
        """λ_best, or once that is complete λ_1se, as far as it lacks folds; a list of one or none."""
        curve = self._curve(study)
        if curve is None:
            return []
        scores = records.observations(study, parameter=self._parameter).by_strength()
        for choose in (choose_best, choose_one_se):
            strength = choose(curve, scores)
            if strength > 0 and len(scores.get(strength, ())) < curve.folds:
                return [strength]
        return []

    def queue_missing(self, study: optuna.Study) -> int:
        """Queue the trials that complete λ_best and λ_1se, unless they are under way.

        Returns:
            How many are queued or running.
        """
        trials = study.get_trials(deepcopy=False)
        marked = [t for t in trials if t.user_attrs.get(records.COMPLETE) and not t.user_attrs.get(records.AUDIT)]
        waiting = sum(not t.state.is_finished() for t in marked)
        if waiting or sum(t.state == TrialState.COMPLETE for t in marked) >= _COMPLETIONS:
            return waiting
        missing = self.missing(study)
        for strength in missing:
            queue_completion(study, strength, parameter=self._parameter)
        return len(missing)

    def _curve(self, study: optuna.Study) -> RegularizationCurve | None:
        spread = [
            (d.low, d.high)  # type: ignore[attr-defined]
            for t in study.get_trials(deepcopy=False)
            if (d := t.distributions.get(self._parameter)) is not None
        ]
        if not spread:
            return None
        low, high = min(a for a, _ in spread), max(b for _, b in spread)
        return fit_curve(study, low if low > 0 else high * 1e-9, high, parameter=self._parameter)


def choose_best(curve: RegularizationCurve, scores: Mapping[float, NDArray[np.float64]]) -> float:
    """λ_best: of the strengths tried that the curve cannot tell from its minimizer, the one of the lowest full score.

    Where none of them has all folds, the one with most; where none was tried, the curve's own.

    Args:
        scores: λ → scores of its folds, NaN where a fold is not done.
    """
    tried = np.array(list(scores))
    near = tried[curve.mean(tried) <= curve.best_value + INDISTINGUISHABLE * curve.best_standard_error]
    whole = [float(s) for s in near if _folds_done(scores[s]) >= curve.folds]
    if whole:
        return min(whole, key=lambda s: float(scores[s].mean()))
    some = [float(s) for s in near if s > 0]
    if curve.best_lambda == 0 or not some:
        return curve.best_lambda
    return max(some, key=lambda s: (_folds_done(scores[s]), -curve.mean(s)[0]))


def choose_one_se(curve: RegularizationCurve, scores: Mapping[float, NDArray[np.float64]]) -> float:
    """λ_1se: of the strengths tried close to the curve's, the one with most folds done."""
    low, high = curve.one_se_lambda / 10**0.2, curve.one_se_lambda * 10**0.05
    near = [strength for strength in scores if low <= strength <= high and strength >= curve.best_lambda]
    return max(near, key=lambda s: (_folds_done(scores[s]), s)) if near else curve.one_se_lambda


def _folds_done(scores: NDArray[np.float64]) -> int:
    return int((~np.isnan(scores)).sum())
