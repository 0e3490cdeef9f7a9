"""Was pruning right? Some pruned strengths are finished after all and compared with the best of those that were not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import TrialState

from l2tune.curve.choice import folds_done
from l2tune.optuna_internals import queued_params
from l2tune.penalty.strength import format_lambda
from l2tune.records.claims import is_audit
from l2tune.records.keys import AUDIT
from l2tune.records.observations import known_parameter, observations, strength_of
from l2tune.search.completion import queue_completion


@dataclass(frozen=True)
class Audit:
    """Pruned strengths that were finished, against the best that was not pruned.

    Attributes:
        strengths: (n,) λ finished, rising.
        differences: (n,) mean over folds of its cost minus the best's; infinite where a fold diverged.
        standard_errors: (n,) paired by fold.
        best: λ of the lowest mean cost over all folds among those not pruned, the baseline included.
    """

    strengths: tuple[float, ...]
    differences: tuple[float, ...]
    standard_errors: tuple[float, ...]
    best: float

    @property
    def wrong(self) -> int:
        """How many of them are better than the best that was not pruned."""
        return sum(difference < 0 for difference in self.differences)

    def __str__(self) -> str:
        at = int(np.argmin(self.differences))
        gap = abs(self.differences[at])
        closest = f"{gap:.3g} ± {self.standard_errors[at]:.2g} {'better' if self.differences[at] < 0 else 'worse'}"
        return (
            f"audit: pruning was wrong for {self.wrong} of {len(self.strengths)} pruned λ that were finished "
            f"(against λ {format_lambda(self.best)}, λ {format_lambda(self.strengths[at])} is {closest})"
        )


def queue_audit(study: optuna.Study, count: int, seed: int) -> int:
    """Queue randomly drawn pruned strengths to be finished, until so many are queued, running or done.

    Returns:
        How many were queued now.
    """
    parameter, seen = known_parameter(study), observations(study)
    others = tuple(seen.others.items())
    finished, pruned, audited = set(), set(), set()
    for trial in study.get_trials(deepcopy=False):
        params = queued_params(trial) | trial.params
        strength = parameter.strength(params)
        if trial.state == TrialState.FAIL or strength is None or parameter.others(params) != others:
            continue
        if is_audit(trial):
            audited.add(strength)
        if trial.state == TrialState.COMPLETE:
            finished.add(strength)
        elif trial.state == TrialState.PRUNED:
            pruned.add(strength)
    free = sorted(pruned - finished - audited)
    chosen = np.random.default_rng(seed).permutation(len(free))[: max(0, count - len(audited))]
    for index in chosen:
        queue_completion(study, free[index], others, marks={AUDIT: True})
    return len(chosen)


def audits_waiting(study: optuna.Study) -> bool:
    """Whether a queued trial is an audit."""
    return any(is_audit(trial) for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def read_audit(study: optuna.Study) -> Audit | None:
    """The audit of a study; None where no pruned strength was finished, or nothing else has all folds."""
    parameter, seen = known_parameter(study), observations(study)
    whole = {strength: costs for strength, costs in seen.by_strength().items() if folds_done(costs) == seen.folds}
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    audited = sorted({s for t in trials if is_audit(t) and (s := strength_of(t, parameter)) is not None} & set(whole))
    others = {strength: costs for strength, costs in whole.items() if strength not in audited}
    if not audited or not others:
        return None
    best = min(others, key=lambda strength: others[strength].mean())
    differences, errors = [], []
    for strength in audited:
        difference = whole[strength] - others[best]
        mean = float(difference.mean())
        differences.append(mean if math.isfinite(mean) else math.inf)
        spread = float(difference.std(ddof=1)) if seen.folds > 1 and math.isfinite(mean) else math.nan
        errors.append(spread / math.sqrt(seen.folds))
    return Audit(tuple(audited), tuple(differences), tuple(errors), best)


def audit_line(study: optuna.Study) -> str:
    """What the audit found, in one line."""
    return str(read_audit(study) or "audit: no pruned λ was finished")
