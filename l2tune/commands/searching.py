"""A search as a command runs it: with progress, a dashboard that keeps up, and Ctrl-C that cannot be lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from l2tune.commands.interrupts import status_of, told_signal
from l2tune.errors import SearchAborted

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from l2tune.commands.progress import Progress
    from l2tune.members import EpochScores
    from l2tune.objectives.cross_validation import CrossValidationObjective, OpenTrial
    from l2tune.report.dashboard import DashboardPublisher


FAILED_STATUS = 3
"""Exit status of a search that ended well but for some trials that could not be trained."""


def search_shown(
    study: optuna.Study,
    objective: CrossValidationObjective,
    progress: Progress,
    publisher: DashboardPublisher,
    raise_if_interrupted: Callable[[], None],
) -> int:
    """Search as the objective's settings ask, and say why it ended.

    Args:
        raise_if_interrupted: As `lasting_interrupts` yields it.

    Returns:
        The exit status: 0, 1 where the search had to give up or no trial could be trained, 3 where some trials failed,
        130 after Ctrl-C, 143 and 129 after SIGTERM and SIGHUP. What was told is kept.
    """
    from l2tune.penalty.strength import format_lambda
    from l2tune.records.failures import has_usable
    from l2tune.search.failing import end_stuck, failures_line
    from l2tune.search.runner import run_as_asked
    from l2tune.search.storage import STORAGE_ERRORS

    def on_epoch(scores: Sequence[EpochScores]) -> None:
        raise_if_interrupted()
        progress.epoch(scores)

    def on_trial(trial: FrozenTrial) -> None:
        progress.trial(trial)
        publisher.trial()

    def on_failure(open_trial: OpenTrial) -> None:
        assert open_trial.failure is not None
        name = f"trial {open_trial.trial.number + 1}: λ {format_lambda(open_trial.strength)}"
        progress.say(f"{name}: failed: {open_trial.failure.line}")

    status = 0
    with progress.begun(study):
        objective.on_epoch, objective.on_failure, objective.on_stuck = on_epoch, on_failure, end_stuck
        try:
            why = run_as_asked(study, objective, on_trial=on_trial)
        except KeyboardInterrupt as error:
            why, status = told_signal(error), status_of(error)
        except SearchAborted as error:
            why, status = str(error), 1
    progress.say(f"{why}; {progress.summary()}")
    if status == 1:  # why was said
        return status
    with suppress(*STORAGE_ERRORS):  # whoever writes the report tells
        failed = failures_line(study)
        progress.say(failed)
        if failed and status == 0:
            status = FAILED_STATUS if has_usable(study.get_trials(deepcopy=False)) else 1
    return status
