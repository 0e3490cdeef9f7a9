"""Was pruning right? Some pruned strengths are finished after all and compared with the best of those that were not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import TrialState

from l2tune.penalty.strength import format_lambda
from l2tune.records import tables as records
from l2tune.search.completion import queue_completion


@dataclass(frozen=True)
class Audit:
    """Pruned strengths that were finished, against the best that was not pruned.

    Attributes:
        strengths: (n,) λ finished, rising.
        differences: (n,) mean over folds of its metric minus the best's; infinite where a fold diverged.
        standard_errors: (n,) paired by fold.
        best: λ of the lowest mean metric over all folds among those not pruned, the baseline included.
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
    trials = study.get_trials(deepcopy=False)
    alive = [t for t in trials if t.state != TrialState.FAIL and records.PARAMETER in t.params]
    audited = {t.params[records.PARAMETER] for t in alive if t.user_attrs.get(records.AUDIT)}
    audited |= {
        t.system_attrs["fixed_params"][records.PARAMETER]
        for t in trials
        if t.state == TrialState.WAITING and t.user_attrs.get(records.AUDIT)
    }
    finished = {t.params[records.PARAMETER] for t in alive if t.state == TrialState.COMPLETE}
    pruned = {t.params[records.PARAMETER] for t in alive if t.state == TrialState.PRUNED}
    free = sorted(pruned - finished - audited)
    chosen = np.random.default_rng(seed).permutation(len(free))[: max(0, count - len(audited))]
    for index in chosen:
        queue_completion(study, free[index], marks={records.AUDIT: True})
    return len(chosen)


def read_audit(study: optuna.Study) -> Audit | None:
    """The audit of a study; None where no pruned strength was finished, or nothing else has all folds."""
    seen = records.observations(study)
    scores = {
        float(strength): seen.score[seen.strength == strength][np.argsort(seen.fold[seen.strength == strength])]
        for strength in np.unique(seen.strength)
    }
    folds = max((len(values) for values in scores.values()), default=0)
    whole = {strength: values for strength, values in scores.items() if len(values) == folds}
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    audited = sorted({records.strength_of(t) for t in trials if t.user_attrs.get(records.AUDIT)} & set(whole))
    others = {strength: values for strength, values in whole.items() if strength not in audited}
    if not audited or not others:
        return None
    best = min(others, key=lambda strength: others[strength].mean())
    differences, errors = [], []
    for strength in audited:
        difference = whole[strength] - others[best]
        mean = float(difference.mean())
        differences.append(mean if math.isfinite(mean) else math.inf)
        spread = float(difference.std(ddof=1)) if folds > 1 and math.isfinite(mean) else math.nan
        errors.append(spread / math.sqrt(folds))
    return Audit(tuple(audited), tuple(differences), tuple(errors), best)


def audit_line(study: optuna.Study) -> str:
    """What the audit found, in one line."""
    return str(read_audit(study) or "audit: no pruned λ was finished")
