"""Coordinates a search that others train: begins it, watches over it, and tells when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import optuna

from l2tune.errors import SearchAborted
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.records.workers import Worker
from l2tune.search.completion import queue_baseline_parts
from l2tune.search.heartbeat import Watch
from l2tune.search.patience import hurry
from l2tune.search.runner import Step, WorkerSearch, budget_of, settle_of
from l2tune.search.storage_faults import STORAGE_ERRORS, storage_failed
from l2tune.search.workers import (
    LOOK_SECONDS,
    others_at_work,
    release,
    take_over_lost,
    wait_for_signs_of_life,
)


class Crew(Protocol):
    """Workers that were started, wherever they are."""

    @property
    def at_work(self) -> int:
        """How many are at work."""

    def look(self, fits: int) -> None:
        """Replace those that have died.

        Args:
            fits: How many fits the study has.

        Raises:
            SearchAborted: The workers cannot work.
        """


def coordinate(
    study: optuna.Study,
    objective: CrossValidationObjective,
    crew: AbstractContextManager[Crew] | None = None,
    *,
    on_look: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda line: None,
) -> str:
    """Let workers search until the answer is settled or the budget is spent; nothing is trained in this process.

    Workers of other machines may join and leave at any time; whose heartbeat stops, its trial is queued again.

    Args:
        crew: The workers of one's own; without any, those that join are waited for.
        on_look: Called about twice a second.
        say: Called with what is worth a line.

    Returns:
        Why it stopped, in words.

    Raises:
        SearchAborted: The workers cannot work, or the storage failed.
        KeyboardInterrupt: The workers have put down what they were at; all that was told is kept.
    """
    hurry(study, False)
    me, watch = Worker(), Watch()
    search = WorkerSearch(study, objective, budget_of(objective), me, settle=settle_of(objective))
    try:
        wait_for_signs_of_life(study, watch, me, say)
        if objective.steps_of(study) == "fold":
            queue_baseline_parts(study, objective.trainer.folds)
        with crew or nullcontext() as working, _putting_down(study):
            while True:
                on_look()
                take_over_lost(study, watch, me)
                if working is not None:
                    working.look(_fits(study))
                if working is None or not working.at_work:
                    step, _ = search.next()
                    others = others_at_work(study, watch, me)
                    if step is Step.STOP or (step is Step.DONE and not others):
                        return search.why
                    if working is not None and step is Step.BEGUN and not others:
                        raise SearchAborted("the workers have left before the answer was settled")
                time.sleep(LOOK_SECONDS)
    except STORAGE_ERRORS as error:
        raise storage_failed(error) from error


@contextmanager
def _putting_down(study: optuna.Study) -> Iterator[None]:
    """Whatever is raised inside is released, and nothing that follows it waits for the storage for long."""
    try:
        yield
    except BaseException as error:
        release(error)
        hurry(study, True)
        raise


def _fits(study: optuna.Study) -> int:
    """How many folds were told, and epochs where folds train in lockstep: whether anything goes on."""
    return sum(len(trial.intermediate_values) for trial in study.get_trials(deepcopy=False))
