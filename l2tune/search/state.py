"""Where a search stands: what its trials, its curve and its stopping rule tell, read once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from l2tune.curve.choice import SETTLED, expected_gain, folds_done
from l2tune.curve.observations import Observations, fit_curve
from l2tune.curve.regularization_curve import RegularizationCurve
from l2tune.records.claims import begun, is_audit, is_wanted_whole, part_of_folds
from l2tune.records.comparison import is_shared
from l2tune.records.fold_record import fold_records
from l2tune.records.observations import known_parameter, observations, strength_of
from l2tune.records.study import is_described, stored_settings
from l2tune.records.workers import Worker, worker_of
from l2tune.search.stopping import lacking, may_complete
from l2tune.search.widening import wider_range
from l2tune.settings import Settings

_RECENT_FITS = 10
"""So many of the newest fits tell how long a fit takes: other programs may have come and gone since the first ones."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a search was asked for, as far as it is known.

    Attributes:
        trials: λs to try at most, the baseline included; None in a study of the user's own.
        settles: Whether the stopping rule ends it.
        audit: Pruned λs to finish in the end.
        epochs: Of a full fit; None where not known.
        timeout: Seconds after which no λ is begun.
    """

    trials: int | None = None
    settles: bool = False
    audit: int = 0
    epochs: int | None = None
    timeout: float | None = None

    @classmethod
    def of(cls, settings: Settings) -> Plan:
        """What these settings ask for."""
        search = settings.search
        return cls(search.trials, search.sampler == "curve", search.audit, settings.training.epochs, search.timeout)

    @classmethod
    def stored(cls, study: optuna.Study) -> Plan:
        """What the study was begun with; of a study of the user's own, nothing is known."""
        if not is_described(study):
            return cls()
        told = stored_settings(study)
        trials, epochs, timeout = (told.get(name) for name in ("trials", "epochs", "timeout"))
        return cls(
            None if trials is None else int(trials),
            told.get("sampler") == "curve",
            int(told.get("audit", 0)),
            None if epochs is None else int(epochs),
            None if timeout is None else float(timeout),
        )


@dataclass(frozen=True, slots=True)
class InTraining:
    """A running trial.

    Attributes:
        trial: Its number.
        strength: Its λ; None while it has none.
        done: How many folds of its λ are finished, whichever trial trained them.
        whole: All its folds are wanted: the baseline, and what completes the answer.
        audit: It finishes a λ that was pruned.
        part: The only fold that it trains, if workers share its folds.
        worker: Who trains it; None in a loop of the user's own.
    """

    trial: int
    strength: float | None
    done: int
    whole: bool = False
    audit: bool = False
    part: int | None = None
    worker: Worker | None = None


@dataclass(frozen=True, eq=False)
class SearchState:
    """Where a search stands.

    Attributes:
        plan: What it was asked for.
        seen: Finished folds.
        curve: Through them; None while there is none.
        training: The running trials, oldest first.
        waiting: How many trials are queued.
        begun: λs that count towards `Plan.trials`.
        audited: Pruned λs that were finished, or are queued or running to be.
        gain: Expected gain of one more fit over the one below which the answer is settled; infinite in the beginning.
        widens: The best λ may lie beyond the range, which is to be widened.
        completes: Whether folds that λ_best and λ_1se lack are still asked for.
        best: λ_best, and how many folds it lacks; None while there is none.
        one_se: The same of λ_1se.
        seconds_per_fit: Median of the newest fits; None while none is done.
        share: Of their folds' epochs, what trials that are over have trained on average; the baseline left aside.
    """

    plan: Plan
    seen: Observations
    curve: RegularizationCurve | None
    training: tuple[InTraining, ...]
    waiting: int
    begun: int
    audited: int
    gain: float
    widens: bool
    completes: bool
    best: tuple[float, int] | None
    one_se: tuple[float, int] | None
    seconds_per_fit: float | None
    share: float

    @property
    def fits(self) -> int:
        """How many folds are finished."""
        return len(self.seen.cost)

    @property
    def settled(self) -> bool:
        """Whether more λs would change little."""
        return self.gain < 1 and not self.widens

    @property
    def missing(self) -> int:
        """Folds that λ_best and λ_1se lack, and may still get."""
        if not self.completes or self.best is None or self.one_se is None:
            return 0
        same = self.best[0] == self.one_se[0]
        return self.best[1] + (0 if same else self.one_se[1])

    @property
    def spent(self) -> bool:
        """Whether no further λ may be begun."""
        return self.plan.trials is not None and self.begun >= self.plan.trials

    @property
    def over(self) -> bool:
        """Whether nothing is to be trained any more, as far as a storage tells."""
        if self.plan.trials is None or self.training or self.waiting:
            return False
        settled = self.plan.settles and self.settled and not self.missing
        return (settled or self.spent) and self.audits_left == 0

    @property
    def audits_left(self) -> int:
        """Pruned λs that are still to be queued to be finished."""
        costs = self.seen.by_strength()
        pruned = sum(0 < folds_done(costs[strength]) < self.seen.folds for strength in costs if strength > 0)
        return min(max(0, self.plan.audit - self.audited), pruned)


def read_state(
    study: optuna.Study, plan: Plan | None = None, trials: Sequence[FrozenTrial] | None = None
) -> SearchState:
    """Where the search stands. Fits the curve, unless the same folds were seen before.

    Args:
        plan: What it was asked for; by default what the study was begun with.
        trials: As they were read before; by default as they are now.

    Raises:
        UserError: Which parameter is the strength is not known, or a value cannot be one of the metric.
    """
    trials = study.get_trials(deepcopy=False) if trials is None else trials
    plan = Plan.stored(study) if plan is None else plan
    parameter = known_parameter(study)
    seen = observations(study, parameter, trials=trials)
    curve = fit_curve(seen)
    best, one_se = (None, None) if curve is None or not len(seen.tried) else lacking(curve, seen)
    costs = seen.by_strength()

    def done(trial: FrozenTrial) -> int:
        strength = strength_of(trial, parameter)
        return folds_done(costs[strength]) if strength in costs else 0

    audits = {strength_of(t, parameter) for t in trials if is_audit(t) and t.state != TrialState.FAIL}
    return SearchState(
        plan=plan,
        seen=seen,
        curve=curve,
        training=tuple(
            InTraining(
                trial.number,
                strength_of(trial, parameter),
                done(trial),
                whole=is_wanted_whole(trial) or strength_of(trial, parameter) == 0,
                audit=is_audit(trial),
                part=part_of_folds(trial),
                worker=worker_of(trial),
            )
            for trial in trials
            if trial.state == TrialState.RUNNING
        ),
        waiting=sum(trial.state == TrialState.WAITING for trial in trials),
        begun=begun(trials),
        audited=len(audits),
        gain=expected_gain(curve, seen) / SETTLED if plan.settles else math.inf,
        widens=plan.settles and wider_range(study, parameter) is not None,
        completes=may_complete(trials),
        best=best,
        one_se=one_se,
        seconds_per_fit=_seconds_per_fit(trials, plan.epochs),
        share=_share(trials, seen.folds, plan.epochs),
    )


def _seconds_per_fit(trials: Sequence[FrozenTrial], epochs: int | None) -> float | None:
    """Median of the newest fits that were trained for their full schedule."""
    found: list[float] = []
    for trial in reversed(trials):
        for record in fold_records(trial).values():
            full = epochs is None or record.epochs >= epochs or not record.truncated
            if full and not record.diverged and record.reused_from is None and record.seconds > 0:
                found.append(record.seconds)
        if len(found) >= _RECENT_FITS:
            break
    return sorted(found)[len(found) // 2] if found else None


def _share(trials: Sequence[FrozenTrial], folds: int, epochs: int | None) -> float:
    """Mean share of all folds' epochs that a λ's trial has trained; 1 while nothing tells."""
    shares = []
    for trial in trials:
        if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED) or is_shared(trial) or is_wanted_whole(trial):
            continue
        records = [record for record in fold_records(trial).values() if record.reused_from is None]
        if trial.params and records:
            shares.append(sum(r.epochs / epochs if epochs and r.truncated else 1.0 for r in records) / folds)
    return min(1.0, sum(shares) / len(shares)) if shares else 1.0
