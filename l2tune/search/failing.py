"""Trials that cannot be trained: how many are too many, and how one is ended."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import optuna
from optuna.trial import FrozenTrial, TrialState

from l2tune.errors import SearchAborted, TookTooLong, TrialFailed
from l2tune.penalty.strength import format_lambda
from l2tune.records.failures import Failure, failed_trials, failure_of, has_usable, write_failure
from l2tune.records.keys import FAILURE, STRENGTH
from l2tune.search.storage import STORAGE_ERRORS

if TYPE_CHECKING:
    from l2tune.objectives.open_trial import OpenTrial

AT_FIRST, LATER = 3, 10
"""So many failures in a row end a search: while no trial has come to its end yet, and afterwards, when a part of the
range may well be to blame."""


class Failures:
    """Failures in a row, of one call of a search."""

    def __init__(self) -> None:
        self._blamed = self._others = 0

    def trained(self) -> None:
        """A step was trained: what says nothing of a strength has passed."""
        self._others = 0

    def finished(self) -> None:
        """A trial came to its end."""
        self._blamed = 0

    def count(self, study: optuna.Study, error: TrialFailed, blamed: int) -> None:
        """Count trials that failed.

        Args:
            blamed: How many of them failed by an error that may be their strength's doing; 0 for another one.

        Raises:
            SearchAborted: There are too many in a row.
        """
        self._blamed, self._others = self._blamed + blamed, self._others + (not blamed)
        trials = study.get_trials(deepcopy=False)
        failed = failed_trials(trials)
        if self._others >= AT_FIRST:
            raise SearchAborted(f"{self._others} times in a row training failed: {error}") from error
        if self._blamed >= (LATER if has_usable(trials) else AT_FIRST):
            kept = f"; {where_kept(failed[-1])}" if failed else ""
            raise SearchAborted(f"{self._blamed} times in a row training failed: {error}{kept}") from error


def end_failed(study: optuna.Study, trial: optuna.Trial, failure: Failure) -> None:
    """Fail a trial for good, with its reason."""
    with suppress(ValueError, RuntimeError, optuna.exceptions.UpdateFinishedTrialError):  # another gave it up
        write_failure(trial, failure)
        study.tell(trial.number, state=TrialState.FAIL)


def failures_line(study: optuna.Study) -> str:
    """How many trials failed, where and why, in one line; empty where none did."""
    trials = study.get_trials(deepcopy=False)
    failed = failed_trials(trials)
    if not failed:
        return ""
    counted = [t for t in trials if t.state.is_finished() and (t.state != TrialState.FAIL or failure_of(t) is not None)]
    strengths = list(
        dict.fromkeys(format_lambda(float(t.user_attrs[STRENGTH])) for t in failed if STRENGTH in t.user_attrs)
    )
    shown = ", ".join(strengths[:4]) + ("…" if len(strengths) > 4 else "")
    newest = failure_of(failed[-1])
    assert newest is not None
    last = "the last with " if len(failed) > 1 else ""
    return (
        f"{len(failed)} of {len(counted)} trials failed: {last}{newest.line} at λ = {shown}; {where_kept(failed[-1])}"
    )


def where_kept(failed: FrozenTrial) -> str:
    """Where a traceback is."""
    return f"its traceback is kept in the study (study.trials[{failed.number}].user_attrs[{FAILURE!r}])"


def end_stuck(open_trials: Sequence[OpenTrial], line: str) -> None:
    """End this process, which must be a command of l2tune: training neither ends nor can be stopped.

    The trial is failed where it is the only one; of several, which one hangs is not known, so the next search tries all
    of them again.
    """
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    where = "".join(traceback.format_stack(frame)) if frame is not None else ""
    end = "the process ends"
    if len(open_trials) == 1:
        trial = open_trials[0].trial
        with suppress(*STORAGE_ERRORS):
            end_failed(trial.study, trial, Failure.of(TookTooLong(line), where))
            end = "its trial is failed and the process ends"
    with suppress(OSError, ValueError):
        if sys.stderr.isatty():
            sys.stderr.write("\x1b[?25h")  # the live line hides the cursor
        print(f"\nl2tune: {line} and cannot be stopped; {end}", file=sys.stderr, flush=True)
    os._exit(1)
