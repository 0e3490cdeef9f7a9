"""A trial whose cross-validation is under way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from l2tune.records.failures import Failure
from l2tune.records.fold_record import FoldRecord, write_fold


@dataclass(eq=False)
class OpenTrial:
    """A trial whose cross-validation is under way.

    Attributes:
        trial: Optuna's handle.
        strength: Its λ.
        todo: Folds still to train, in order.
        scores: Fold → final score of the metric so far.
        keep: Not to be pruned: the baseline, and a trial whose folds are all wanted.
        part: It trains one fold of its parameters, other trials the others.
        pruned: A pruner ended it.
        taken: Another worker has given it up, for this one gave no sign of life: nothing more can be told.
        reported: The last epoch that was reported.
        failure: Why it could not be trained; None as long as it can.
        blamed: Its own strength may be why: it is not to be tried again at once.
    """

    trial: optuna.Trial
    strength: float
    todo: list[int]
    scores: dict[int, float] = field(default_factory=dict)
    keep: bool = False
    part: bool = False
    pruned: bool = False
    taken: bool = False
    reported: int = 0
    failure: Failure | None = None
    blamed: bool = False

    @property
    def done(self) -> bool:
        """Whether nothing is left to train."""
        return self.pruned or self.taken or not self.todo

    def note_taken(self) -> None:
        """Note, from any thread, that another worker has given it up."""
        self.taken = True

    @property
    def value(self) -> float:
        """Mean of the folds' final scores."""
        return sum(self.scores.values()) / len(self.scores)

    def finish_fold(self, fold: int, record: FoldRecord, score: float, *, report: bool) -> None:
        """Store a fold's end.

        Args:
            report: The step is the fold, and it is reported.
        """
        self.scores[fold] = score
        write_fold(self.trial, fold, record)
        self.todo.remove(fold)
        if report:
            self.trial.report(score, step=fold)

    def report_epoch(self, epoch: int, score: float, *, last: bool) -> None:
        """Report the mean over folds of an epoch.

        Args:
            last: Nothing is left to save, so the pruner is not asked.
        """
        self.reported = epoch
        self.trial.report(score, step=epoch)
        if not last:
            self.ask_pruner()

    def ask_pruner(self) -> None:
        """End the trial where the pruner says so."""
        if not self.keep and self.trial.should_prune():
            self.pruned = True


@contextmanager
def noting_taken(open_trial: OpenTrial) -> Iterator[None]:
    """What is told of a trial that another worker has given up is dropped."""
    try:
        yield
    except UpdateFinishedTrialError:
        open_trial.note_taken()
