"""A search as a command runs it: with progress, a dashboard that keeps up, and Ctrl-C that cannot be lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from l2tune.errors import SearchAborted

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from l2tune.commands.progress import Progress
    from l2tune.members import EpochScores
    from l2tune.objectives.cross_validation import CrossValidationObjective
    from l2tune.report.dashboard import DashboardPublisher


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
        The exit status: 0, 1 where the search had to give up, 130 after Ctrl-C. What was told is kept.
    """
    from l2tune.search.runner import run_as_asked

    def on_epoch(scores: Sequence[EpochScores]) -> None:
        raise_if_interrupted()
        progress.epoch(scores)

    def on_trial(trial: FrozenTrial) -> None:
        progress.trial(trial)
        publisher.trial()

    status = 0
    with progress.begun(study):
        objective.on_epoch = on_epoch
        try:
            why = run_as_asked(study, objective, on_trial=on_trial)
        except KeyboardInterrupt:
            why, status = "interrupted", 130
        except SearchAborted as error:
            why, status = str(error), 1
    progress.say(f"{why}; {progress.summary()}", always=status == 1)
    return status
