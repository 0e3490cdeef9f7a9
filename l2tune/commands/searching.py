"""A search as a command runs it: with progress, a dashboard that keeps up, and Ctrl-C that cannot be lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from l2tune.commands.interrupts import status_of, told_signal
from l2tune.errors import SearchAborted

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from l2tune.commands.progress import Progress
    from l2tune.members import EpochScores
    from l2tune.objectives.cross_validation import CrossValidationObjective
    from l2tune.objectives.open_trial import OpenTrial
    from l2tune.records.workers import Worker
    from l2tune.report.publisher import DashboardPublisher
    from l2tune.search.ray_crew import RayCrew


FAILED_STATUS = 3
"""Exit status of a search that ended well but for some trials that could not be trained."""


def search_shown(
    study: optuna.Study,
    objective: CrossValidationObjective,
    progress: Progress,
    publisher: DashboardPublisher | None,
    raise_if_interrupted: Callable[[], None],
    *,
    on_ended: Callable[[FrozenTrial], None] = lambda trial: None,
    worker: Worker | None = None,
    wait: bool = True,
) -> int:
    """Search as the objective's settings ask, and say why it ended.

    Args:
        publisher: Keeps the dashboard up to date; None where another process does.
        raise_if_interrupted: As `lasting_interrupts` yields it.
        on_ended: Called with each trial that this process has ended.
        worker: Who searches.
        wait: Wait for a sign of life of workers that have trials under way, before the first trial.

    Returns:
        The exit status: 0, 1 where the search had to give up or no trial could be trained, 3 where some trials failed,
        130 after Ctrl-C, 143 and 129 after SIGTERM and SIGHUP. What was told is kept.
    """
    from l2tune.penalty.strength import format_lambda
    from l2tune.process import end_loading
    from l2tune.search.failing import end_stuck
    from l2tune.search.runner import run_as_asked

    def on_epoch(scores: Sequence[EpochScores]) -> None:
        raise_if_interrupted()
        progress.epoch(scores)

    def on_trial(trial: FrozenTrial) -> None:
        progress.trial(trial)
        if publisher is not None:
            publisher.trial()
        on_ended(trial)

    def on_failure(open_trial: OpenTrial) -> None:
        assert open_trial.failure is not None
        name = f"trial {open_trial.trial.number + 1}: λ {format_lambda(open_trial.strength)}"
        progress.say(f"{name}: failed: {open_trial.failure.line}")

    status = 0
    with progress.begun(study):
        objective.on_epoch, objective.on_failure, objective.on_stuck = on_epoch, on_failure, end_stuck
        end_loading()
        try:
            why = run_as_asked(study, objective, on_trial=on_trial, say=progress.say, worker=worker, wait=wait)
        except KeyboardInterrupt as error:
            why, status = told_signal(error), status_of(error)
        except SearchAborted as error:
            why, status = str(error), 1
    return _tell_end(study, progress, why, status)


def coordinate_shown(
    study: optuna.Study,
    objective: CrossValidationObjective,
    workers: int | None,
    progress: Progress,
    publisher: DashboardPublisher,
    raise_if_interrupted: Callable[[], None],
    on_ray: Callable[..., RayCrew] | None = None,
    *,
    on_ended: Callable[[FrozenTrial], None] = lambda trial: None,
) -> int:
    """The same with worker processes on this machine, or with none but those that join from elsewhere.

    Args:
        workers: How many; None for as many as the machine has room for, 0 for none.
        on_ray: Makes workers on a Ray cluster instead, of the study, the objective, and whom they tell.
        on_ended: Called with each trial that ends, whoever trained it.

    Returns:
        The exit status, as of `search_shown`.
    """
    from l2tune.commands.coordinated import TOKEN
    from l2tune.process import end_loading
    from l2tune.search.coordinator import coordinate
    from l2tune.search.placement import places
    from l2tune.search.pool import Pool, worker_command_line
    from l2tune.search.workers import take_over_from

    end_loading()
    settings = objective.settings
    crew: RayCrew | Pool | None = None
    if on_ray is not None:
        crew = on_ray(study, objective, progress.say)
    elif workers != 0:
        room = places(workers, settings.device, settings.threads)
        storage = {"L2TUNE_STORAGE": settings.storage}
        flags = {
            "device": settings.device,
            "threads": settings.threads,
            "data-root": settings.data.root,
            "storage-patience": settings.search.storage_patience,
        }
        crew = Pool(
            worker_command_line(settings.study, flags),
            [storage | dict(place) for place in room],
            TOKEN,
            on_lost=partial(take_over_from, study),
            say=progress.say,
        )
        progress.say(f"{len(room)} workers" + (", one thread each" if room[0].get("OMP_NUM_THREADS") == "1" else ""))
    else:
        progress.say(f"waiting for workers: l2tune worker {settings.study} --storage …")

    def on_look() -> None:
        raise_if_interrupted()
        ended = progress.look()
        if ended:
            publisher.trial()
        for trial in ended:
            on_ended(trial)

    status = 0
    with progress.begun(study):
        try:
            why = coordinate(study, objective, crew, on_look=on_look, say=progress.say)
        except KeyboardInterrupt as error:
            why, status = told_signal(error), status_of(error)
        except SearchAborted as error:
            why, status = str(error), 1
    return _tell_end(study, progress, why, status)


def _tell_end(study: optuna.Study, progress: Progress, why: str, status: int) -> int:
    """Say why a search ended, and which trials failed; returns the exit status with those in it."""
    from l2tune.records.failures import has_usable
    from l2tune.search.failing import failures_line
    from l2tune.search.storage import STORAGE_ERRORS

    progress.say(f"{why}; {progress.summary()}", always=status == 1)
    if status == 1:  # why was said
        return status
    with suppress(*STORAGE_ERRORS):  # whoever writes the report tells
        failed = failures_line(study)
        progress.say(failed)
        if failed and status == 0:
            return FAILED_STATUS if has_usable(study.get_trials(deepcopy=False)) else 1
    return status
