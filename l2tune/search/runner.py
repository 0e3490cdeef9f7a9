"""The search: asks the study for strengths, scores them, tells the results, stops when the answer is settled."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from l2tune.curve.observations import fit_curve
from l2tune.errors import SearchAborted, TrialFailed
from l2tune.members import together
from l2tune.objectives.cross_validation import CrossValidationObjective, OpenTrial
from l2tune.optuna_internals import Heartbeat, heartbeat_of
from l2tune.records.claims import is_audit
from l2tune.records.observations import observations
from l2tune.records.tables import write_summary
from l2tune.search.audit import audits_waiting, queue_audit
from l2tune.search.failing import Failures, end_failed
from l2tune.search.stopping import StopWhenSettled
from l2tune.search.storage import STORAGE_ERRORS, reason
from l2tune.search.workers import ask_trial, requeue, requeue_lost_trials


@dataclass(frozen=True)
class Budget:
    """How long to search.

    Attributes:
        trials: Trials that the study may hold in all, the baseline included.
        seconds: From now on; no new trial is begun afterwards.
        batch: Trials trained together.
        audit: Pruned strengths to finish in the end, beyond `trials`.
    """

    trials: int
    seconds: float | None = None
    batch: int = 1
    audit: int = 0


def run_search(
    study: optuna.Study,
    objective: CrossValidationObjective,
    budget: Budget,
    *,
    settle: StopWhenSettled | None = None,
    on_trial: Callable[[FrozenTrial], None] = lambda trial: None,
) -> str:
    """Search until the answer is settled or the budget is spent.

    Args:
        settle: The stopping rule; without one, only the budget stops the search.
        on_trial: Called with each finished trial.

    Returns:
        Why it stopped, in words.

    Raises:
        SearchAborted: Several trials in a row could not be trained, or the storage failed.
        KeyboardInterrupt: The trials in training are queued again; all that was told is kept.
    """
    began = time.monotonic()
    requeue_lost_trials(study)
    active: list[_Running] = []
    failures = Failures()
    try:
        while True:
            why = ""
            while len(active) < budget.batch and not why:
                why = _why_stop(study, budget, settle, time.monotonic() - began, objective.settings.search.seed)
                if not why:
                    _begin(study, objective, budget, active)
            if not active:
                if requeue_lost_trials(study):  # of another worker that has died meanwhile
                    continue
                return why
            try:
                objective.advance([running.open for running in active if not running.open.done])
                failures.trained()
            except TrialFailed as error:
                failures.count(study, error, _end_failed(study, active))
            for running in [running for running in active if running.open.done]:
                told = _tell(study, objective, running)
                failures.finished()
                active.remove(running)  # not before: what an interrupt finds here is given up in good order
                on_trial(told)
    except STORAGE_ERRORS as error:
        _give_up(study, active)
        raise SearchAborted(
            f"the storage failed ({reason(error)}); what it holds is kept: mend it, then run the same search again"
        ) from error
    except BaseException:
        _give_up(study, active)
        raise


def run_as_asked(
    study: optuna.Study,
    objective: CrossValidationObjective,
    *,
    on_trial: Callable[[FrozenTrial], None] = lambda trial: None,
) -> str:
    """`run_search` with the budget and the stopping rule that the objective's settings ask for."""
    search = objective.settings.search
    return run_search(
        study,
        objective,
        Budget(search.trials, search.timeout, together(objective.trainer), search.audit),
        settle=StopWhenSettled() if search.sampler == "curve" else None,
        on_trial=on_trial,
    )


@dataclass(eq=False)
class _Running:
    """A trial in training, with the thread that tells other workers that it is alive."""

    open: OpenTrial
    heartbeat: Heartbeat


def _begin(study: optuna.Study, objective: CrossValidationObjective, budget: Budget, active: list[_Running]) -> None:
    """Ask for a trial and add it to those in training, unless other workers have begun all trials in this instant."""
    trial = ask_trial(study)
    heartbeat = heartbeat_of(study, trial)
    try:
        earlier = study.get_trials(deepcopy=False)[: trial.number]
        if _begun(earlier) >= budget.trials and not is_audit(trial):
            study.tell(trial, state=TrialState.FAIL)
            return
        heartbeat.start()
        active.append(_Running(objective.open(trial), heartbeat))
    except BaseException:
        _stop(heartbeat)
        _requeue(study, trial)
        raise


def _tell(study: optuna.Study, objective: CrossValidationObjective, running: _Running) -> FrozenTrial:
    trial = running.open
    seen = observations(study, objective.parameter, others=objective.parameter.others(trial.trial.params))
    curve = fit_curve(seen)
    write_summary(trial.trial, objective.metric, None if curve is None else curve.regime(trial.strength))
    _stop(running.heartbeat)
    if trial.pruned:
        return study.tell(trial.trial, state=TrialState.PRUNED, skip_if_finished=True)
    return study.tell(trial.trial, trial.value, skip_if_finished=True)


def _give_up(study: optuna.Study, active: list[_Running]) -> None:
    """Queue trials in training again."""
    while active:
        running = active.pop()
        _stop(running.heartbeat)
        _requeue(study, running.open.trial)


def _end_failed(study: optuna.Study, active: list[_Running]) -> int:
    """End the trials that could not be trained, all where none is named; those whose strength is not to blame wait.

    Returns:
        How many failed for good.
    """
    blamed = 0
    for running in [running for running in active if running.open.failure is not None] or active[:]:
        _stop(running.heartbeat)
        failure = running.open.failure
        if failure is not None and running.open.blamed:
            end_failed(study, running.open.trial, failure)
            blamed += 1
        else:
            _requeue(study, running.open.trial)
        active.remove(running)
    return blamed


def _stop(heartbeat: Heartbeat) -> None:
    with suppress(AssertionError, RuntimeError):  # an interrupt came before it had quite started
        heartbeat.join()


def _requeue(study: optuna.Study, trial: optuna.Trial) -> None:
    with suppress(*STORAGE_ERRORS):  # the next search takes up the trials of a process that is gone
        requeue(study, _frozen(study, trial))


def _why_stop(study: optuna.Study, budget: Budget, settle: StopWhenSettled | None, seconds: float, seed: int) -> str:
    """Why no further trial should begin; empty if one should. May queue trials that complete or audit the answer."""
    if budget.seconds is not None and seconds >= budget.seconds:
        return f"the {budget.seconds:g} s are over"
    why = _why_settled(study, budget, settle)
    audits = bool(why) and budget.audit > 0 and (audits_waiting(study) or queue_audit(study, budget.audit, seed) > 0)
    return "" if audits else why


def _why_settled(study: optuna.Study, budget: Budget, settle: StopWhenSettled | None) -> str:
    """Why the search proper is over; empty if it is not. May queue the trials that complete the answer."""
    trials = study.get_trials(deepcopy=False)
    begun = _begun(trials)
    if begun >= budget.trials:
        return f"all {budget.trials} trials are done"
    if settle is None or any(t.state == TrialState.WAITING and not is_audit(t) for t in trials):
        return ""
    if settle.is_settled(study):
        return "" if settle.queue_missing(study) else "the answer is settled"
    if budget.trials - begun <= 2:  # the last trials complete λ_best and λ_1se
        settle.queue_missing(study)
    return ""


def _begun(trials: Sequence[FrozenTrial]) -> int:
    """How many of these count towards the budget: audits go beyond it."""
    counted = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    return sum(t.state in counted and not is_audit(t) for t in trials)


def _frozen(study: optuna.Study, trial: optuna.Trial) -> FrozenTrial:
    return study.get_trials(deepcopy=False)[trial.number]
