"""Workers that share a study: begin a trial, take over those of workers that have died, wait for those alive."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Container
from contextlib import suppress

import optuna
from optuna.trial import FrozenTrial, TrialState

from l2tune.optuna_internals import mark_trial, take_waiting, trial_handle
from l2tune.records.claims import is_about_to_draw, seconds_seen, successors, to_queue_again
from l2tune.records.keys import CONTINUES, GIVEN_UP, WORKER
from l2tune.records.one_reading import forget_readings, one_reading
from l2tune.records.parameter import StrengthParameter
from l2tune.records.workers import Worker, signs_of_life, worker_of, write_worker
from l2tune.search.heartbeat import Watch, can_be_lost

PATIENCE_SECONDS = 2.0
"""So long another worker's trial is waited for to draw its λ: a proposal takes a tenth of that."""

LOOK_SECONDS = 0.5
"""Between two looks at what other workers do."""

Say = Callable[[str], None]


def ask_trial(study: optuna.Study, worker: Worker, *, queued: bool = False) -> optuna.Trial | None:
    """Begin a trial, and write down which worker runs it, so that others can tell when it is dead.

    Args:
        queued: Only one of those that are queued; None if other workers have taken them all.
    """
    while True:
        with one_reading():
            trial = _take_queued(study) if queued else study.ask()
        if trial is None:
            return None
        try:
            write_worker(study, trial, worker)
        except optuna.exceptions.UpdateFinishedTrialError:  # it came so slowly that another gave it up
            continue
        except KeyboardInterrupt:
            requeue(study, study.get_trials(deepcopy=False)[trial.number])
            raise
        return trial


def take_over_lost(study: optuna.Study, watch: Watch, worker: Worker) -> int:
    """Fail the trials whose workers have died, and queue them again with the folds they had finished.

    Returns:
        How many were queued again.
    """
    running, orphans = _undecided(study, watch, worker)
    lost = sum(requeue(study, trial) for trial in running if watch.is_dead(_key(study, trial)))
    for trial in orphans:
        if watch.is_dead(_key(study, trial)):
            _queue_in_place_of(study, trial)
            lost += 1
    return lost


def take_over_from(study: optuna.Study, worker: Worker) -> int:
    """The same for the trials of a worker that is known to have ended."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    left = [t for t in running if (owner := worker_of(t)) is not None and owner.token == worker.token]
    return sum(requeue(study, trial) for trial in left)


def wait_for_signs_of_life(study: optuna.Study, watch: Watch, worker: Worker, say: Say = lambda line: None) -> None:
    """Before the first trial: wait until another worker is seen alive, or all that others left are taken over.

    So a search that was killed goes on where it was, and takes nobody's trial away.
    """
    told = False
    while True:
        forget_readings()
        take_over_lost(study, watch, worker)
        running, orphans = _undecided(study, watch, worker)
        if any(watch.is_alive(_key(study, trial)) for trial in running) or not (running or orphans):
            return
        if not told:
            owners = sorted({str(owner) for trial in running if (owner := worker_of(trial)) is not None})
            whose = f" of {' and '.join(owners)}" if owners else ""
            count = len(running) + len(orphans)
            number = "1 trial" if count == 1 else f"{count} trials"
            say(f"{number}{whose} {'was' if count == 1 else 'were'} under way: waiting for a sign of life")
            told = True
        time.sleep(LOOK_SECONDS)


def others_at_work(study: optuna.Study, watch: Watch, worker: Worker) -> list[FrozenTrial]:
    """Trials that other workers have in training, or left behind, as far as they are not known to be dead."""
    running, orphans = _undecided(study, watch, worker)
    return [*(trial for trial in running if not watch.is_dead(_key(study, trial))), *orphans]


def requeue(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Give up an unfinished trial and queue its parameters again; its finished folds are taken over, not trained again.

    Returns:
        False if another process was first.
    """
    try:
        mark_trial(study, trial, GIVEN_UP, True)
        study.tell(trial.number, state=TrialState.FAIL)
    except (ValueError, RuntimeError, optuna.exceptions.UpdateFinishedTrialError):
        return False
    _queue_in_place_of(study, trial)
    return True


def withdraw(study: optuna.Study, trial: optuna.Trial | FrozenTrial) -> None:
    """Give up a trial that is not needed, for good."""
    mark_trial(study, trial, GIVEN_UP, "copy")
    study.tell(trial.number, state=TrialState.FAIL)


def release(error: BaseException) -> None:
    """Let go of what the code that was interrupted holds: half a reading of a SQLite file locks it for all writers.

    It would as long as the error is handled, for whose traceback the frames and all that is in them are kept.
    """
    traceback.clear_frames(error.__traceback__)


def let_earlier_draw(
    study: optuna.Study, trial: FrozenTrial, parameter: StrengthParameter, proposed: Container[int]
) -> None:
    """Wait until the trials asked for just before this one have their λ, so that it need not be guessed.

    Args:
        proposed: Numbers of trials whose λ is known although they have not drawn it yet.
    """
    forget_readings()
    while any(
        other.number < trial.number
        and is_about_to_draw(other, parameter)
        and other.number not in proposed
        and seconds_seen(study, other) < PATIENCE_SECONDS
        for other in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    ):
        time.sleep(0.02)
        forget_readings()


def _undecided(study: optuna.Study, watch: Watch, worker: Worker) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
    """Running trials of other workers, and trials given up by one which died before it queued them again."""
    trials = study.get_trials(deepcopy=False)
    running = [trial for trial in trials if trial.state == TrialState.RUNNING and can_be_lost(trial)]
    running = [t for t in running if (owner := worker_of(t)) is None or owner.token != worker.token]
    continued = successors(trials)
    orphans = [
        trial
        for trial in trials
        if trial.state == TrialState.FAIL
        and trial.user_attrs.get(GIVEN_UP) is True
        and WORKER in trial.user_attrs
        and trial.number not in continued
        and any(to_queue_again(trial))
    ]
    for trial in running:
        watch.look(_key(study, trial), signs_of_life(trial))
    for trial in orphans:
        watch.look(_key(study, trial), None)
    return running, orphans


def _key(study: optuna.Study, trial: FrozenTrial) -> tuple[str, int, str]:
    return study.study_name, trial.number, trial.state.name


def _queue_in_place_of(study: optuna.Study, trial: FrozenTrial) -> None:
    params, attrs = to_queue_again(trial)
    if params or attrs:
        study.enqueue_trial(params, user_attrs=attrs | {CONTINUES: trial.number})


def _take_queued(study: optuna.Study) -> optuna.Trial | None:
    for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            if take_waiting(study, trial):
                return trial_handle(study, trial)
    return None
