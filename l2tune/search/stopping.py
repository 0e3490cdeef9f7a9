"""Stops a search when the answer is settled, with full cross-validation scores of what it reports."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from l2tune.curve.choice import FEWEST_TRIED, SETTLED, choose_best, choose_one_se, expected_gain, folds_done
from l2tune.curve.observations import Observations, fit_curve
from l2tune.curve.regularization_curve import RegularizationCurve
from l2tune.penalty.strength import ScaleName
from l2tune.records.claims import is_audit, is_wanted_whole, was_given_up
from l2tune.records.observations import observations
from l2tune.search.completion import is_running, queue_completion, queue_parts
from l2tune.search.parameter import GivenParameter
from l2tune.search.pending import pending_fits
from l2tune.search.sampler import FoldCurveSampler

_WAIT_SHARE = 0.25
"""Beside others a fit is begun only where it promises at least this share of what the best one promises that does not
count those under way. When it was chosen, on 36 replayed searches by four workers, 0, 0.25 and 0.5 cost 1.18, 1.13 and
1.07 times the fits of one (median of ratios) and were 2.82, 2.83 and 2.73 times as fast."""

_MOST_AT_FIRST = 10
"""λ that are under way at most while nothing is known yet: half a decade apart or so. Sixty-four workers would begin
all the trials of a search at once."""

_COMPLETIONS = 6
"""Trials that complete folds, at most: completing moves the curve, so λ_best can move on a few times."""


class StopWhenSettled:
    """Callback for `study.optimize`: completes λ_best and λ_1se once the answer is settled, then stops.

    Settled means that no further fit, of whatever λ, is expected to lower the metric's cost by more than a share of
    the standard error of λ_best's cross-validation. (The expected loss from choosing λ_best now is no such rule: where
    the curve is flat and the metric coarse, as error rates are, it stays high however many fits are spent. Replayed, it
    took up to 75 fits for the error and found nothing better.) λ_best and λ_1se are then queued until all their folds
    are done, so that the reported numbers are full cross-validation scores, never extrapolations.

    Where a study draws other parameters too, this is about λ at their best values so far.

    Args:
        share: Of the standard error.
        parameter: Name of the strength; by default found in the study (its one log-scaled float).
        scale: Of its numbers; by default what the name tells.
    """

    def __init__(self, share: float = SETTLED, *, parameter: str | None = None, scale: ScaleName | None = None) -> None:
        if not share > 0:
            raise ValueError(f"share must be above 0, not {share}")
        self._share = share
        self._given = GivenParameter(type(self).__name__, parameter, scale)

    def __call__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if self.is_settled(study) and not self.queue_missing(study):
            study.stop()

    def is_settled(self, study: optuna.Study) -> bool:
        """Whether more strengths would change little."""
        seen = self._observations(study)
        if seen is None or self._widens(study):
            return False
        return expected_gain(fit_curve(seen), seen) < self._share

    def is_worth_waiting(self, study: optuna.Study, running: Sequence[FrozenTrial]) -> bool:
        """Whether the fits under way will tell so much that a further one, begun before they end, is probably wasted.

        Args:
            running: Trials of other workers, whose fits are waited for.
        """
        seen, parameter = self._observations(study), self._given.of(study)
        if seen is None or parameter is None:
            return False
        pending = pending_fits(running, parameter, seen)
        if len(seen.tried) < FEWEST_TRIED:
            return len({strength for strength, _ in pending}) >= _MOST_AT_FIRST
        if not pending or self._widens(study):
            return False
        curve = fit_curve(seen)
        threshold = max(self._share, _WAIT_SHARE * expected_gain(curve, seen))
        return expected_gain(curve, seen, pending) < threshold

    def missing(self, study: optuna.Study) -> list[float]:
        """λ_best, or once that is complete λ_1se, as far as it lacks folds; a list of one or none."""
        seen = self._observations(study)
        curve = None if seen is None or not len(seen.tried) else fit_curve(seen)
        if seen is None or curve is None:
            return []
        return [strength for strength, folds in lacking(curve, seen) if folds][:1]

    def queue_missing(self, study: optuna.Study, *, in_parts: bool = False) -> int:
        """Queue the trials that complete λ_best and λ_1se, unless they are under way.

        Args:
            in_parts: Fold by fold, for several workers to share.

        Returns:
            How many are queued or running.
        """
        trials = study.get_trials(deepcopy=False)
        waiting = sum(is_wanted_whole(t) and not is_audit(t) and not t.state.is_finished() for t in trials)
        if waiting or not may_complete(trials):
            return waiting
        missing = self.missing(study)
        for strength in missing:
            seen = self._observations(study)
            others = tuple(seen.others.items()) if seen else ()
            if in_parts and seen is not None and not is_running(study, strength, others):
                done = seen.fold[seen.strength == strength]
                queue_parts(study, strength, sorted(set(range(seen.folds)) - set(done.tolist())), others, complete=True)
            else:
                queue_completion(study, strength, others)
        return len(missing)

    def _widens(self, study: optuna.Study) -> bool:
        """Whether the range is to be widened first."""
        return isinstance(study.sampler, FoldCurveSampler) and study.sampler.wider_range(study) is not None

    def _observations(self, study: optuna.Study) -> Observations | None:
        parameter = self._given.of(study)
        return None if parameter is None else observations(study, parameter)


def may_complete(trials: Sequence[FrozenTrial]) -> bool:
    """Whether more folds of λ_best and λ_1se may be asked for: not for ever."""
    marked = [t for t in trials if is_wanted_whole(t) and not is_audit(t)]
    done = [t.state == TrialState.COMPLETE or (t.state == TrialState.FAIL and not was_given_up(t)) for t in marked]
    return sum(done) < _COMPLETIONS


def lacking(curve: RegularizationCurve, seen: Observations) -> tuple[tuple[float, int], tuple[float, int]]:
    """(λ_best, folds that it lacks) and (λ_1se, folds that it lacks); λ = 0 lacks none, it is always run."""
    costs = seen.by_strength()
    best, one_se = (
        (strength, seen.folds - folds_done(costs[strength]) if strength in costs else seen.folds)
        for strength in (choose_best(curve, costs), choose_one_se(curve, costs))
    )
    return (best[0], best[1] if best[0] > 0 else 0), (one_se[0], one_se[1] if one_se[0] > 0 else 0)
