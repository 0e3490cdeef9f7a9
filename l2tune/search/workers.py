"""Workers that share a study: whose trials are lost, and how a trial waits for those asked for just before it."""

from __future__ import annotations

import os
import socket
import time
import warnings
from collections.abc import Container
from contextlib import suppress

import optuna
from optuna.trial import FrozenTrial, TrialState

from l2tune.optuna_internals import fail_stale_trials, mark_trial, queued_params
from l2tune.records.claims import age_seconds, is_about_to_draw, worker_of, write_worker
from l2tune.records.keys import AUDIT, COMPLETE, GIVEN_UP, STRENGTH
from l2tune.records.parameter import StrengthParameter

BIRTH_SECONDS = 5
"""A trial asked for longer ago, of which nothing at all is known, is nobody's."""

PATIENCE_SECONDS = 2.0
"""So long after its birth another worker's trial is waited for to draw its λ: a proposal takes a tenth of that."""


def ask_trial(study: optuna.Study) -> optuna.Trial:
    """Begin a trial and write down which process runs it, so that another on this machine can tell when it is dead."""
    with warnings.catch_warnings():
        # the runner keeps the heartbeat that Study.optimize would
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used with Study.optimize")
        while True:
            trial = study.ask()
            with suppress(optuna.exceptions.UpdateFinishedTrialError):  # it came so slowly that another gave it up
                write_worker(trial)
                return trial


def requeue_lost_trials(study: optuna.Study) -> int:
    """Fail the running trials whose process is gone, and queue them again with the folds they had finished.

    Processes on this machine are looked up at once; those on others count as gone when their heartbeat stops.

    Returns:
        How many were queued again.
    """
    lost = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_lost(trial):
            lost += requeue(study, trial)
    fail_stale_trials(study)
    return lost


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
    attrs = {k: v for k, v in trial.user_attrs.items() if k in (STRENGTH, COMPLETE, AUDIT)}
    params = queued_params(trial) | trial.params
    if params:  # a baseline without any is claimed by the next trial
        study.enqueue_trial(params, user_attrs=attrs)
    return True


def let_earlier_draw(
    study: optuna.Study, trial: FrozenTrial, parameter: StrengthParameter, proposed: Container[int]
) -> None:
    """Wait until the trials asked for just before this one have their λ, so that it need not be guessed.

    Args:
        proposed: Numbers of trials whose λ is known although they have not drawn it yet.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and any(
        other.number < trial.number
        and is_about_to_draw(other, parameter)
        and other.number not in proposed
        and age_seconds(other) < PATIENCE_SECONDS
        for other in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    ):
        time.sleep(0.02)


def others_at_work(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that other processes on this machine have in training."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in running if is_at_work_elsewhere(worker_of(trial))]


def is_at_work_elsewhere(worker: tuple[str, int] | None) -> bool:
    """Whether (host, process) is another living process of this machine."""
    return (
        worker is not None and worker[0] == socket.gethostname() and worker[1] != os.getpid() and _is_alive(worker[1])
    )


def _is_lost(trial: FrozenTrial) -> bool:
    worker = worker_of(trial)
    if worker is not None:
        host, process = worker
        return host == socket.gethostname() and not _is_alive(process)
    if trial.params or STRENGTH in trial.user_attrs or trial.datetime_start is None:
        return False  # of a user's own loop
    # killed between asking for the trial and writing down who did
    return age_seconds(trial) > BIRTH_SECONDS


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
