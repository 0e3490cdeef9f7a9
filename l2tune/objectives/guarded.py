"""Training as an objective asks for it: what a network or a user's function raises, and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from l2tune.errors import (
    FitFailed,
    TookTooLong,
    TrialFailed,
    UserError,
    innermost,
    is_out_of_memory,
    out_of_memory_line,
)
from l2tune.members import EpochScores, Member, Run, Trainer
from l2tune.training.time_limit import time_limit

History = Mapping[Member, Sequence[EpochScores]]


class Training:
    """Members in training, step by step.

    Args:
        fit_timeout: Seconds that one member may take; several trained together may take as much each. None for any.
        told: Raise whatever training raises as `TrialFailed`; else it comes out as it is.
        on_stuck: As of `time_limit`.
    """

    def __init__(
        self,
        members: Sequence[Member],
        fit_timeout: float | None,
        *,
        told: bool,
        on_stuck: Callable[[str], None] | None,
    ) -> None:
        self._members, self._told, self._on_stuck = members, told, on_stuck
        self._left = None if fit_timeout is None else fit_timeout * max(1, len(members))
        fits = "a fit" if len(members) == 1 else f"{len(members)} fits together"
        self._too_long = "" if fit_timeout is None else f"{fits} took longer than {self._left:g} s"

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Train inside; the time spent outside does not count.

        Raises:
            TookTooLong: The members' time is over.
            TrialFailed: Where that is asked for, and memory ran out; `FitFailed` where training raised anything else.
        """
        began = time.monotonic()
        try:
            with time_limit(self._left, f"{self._too_long}{_where(self._members)}", self._on_stuck):
                yield
        except TookTooLong as error:
            error.line = self._too_long
            raise
        except (KeyboardInterrupt, UserError, TrialFailed):
            raise
        except BaseException as error:  # `sys.exit()` in a user's function is no reason to end without a word
            if not self._told:
                raise
            if is_out_of_memory(error):
                raise TrialFailed(out_of_memory_line(error)) from error
            raise FitFailed(f"{innermost(error)}{_where(self._members)}") from error
        finally:
            if self._left is not None:
                self._left = max(1e-3, self._left - (time.monotonic() - began))

    def train(
        self,
        trainer: Trainer,
        on_epoch: Callable[[Sequence[EpochScores]], None] | None = None,
        after_epoch: Callable[[Run, History], None] | None = None,
    ) -> History:
        """Train the members in one run.

        Args:
            on_epoch: Called with each epoch's scores.
            after_epoch: Called with the run, whose members it may drop, and with all scores so far.

        Returns:
            Member → its epochs.

        Raises:
            TrialFailed: The trainer gave no scores for a member; and as of `guarded`.
        """
        history: dict[Member, list[EpochScores]] = {member: [] for member in self._members}
        with self.guarded():
            run = trainer.start(self._members)
            epochs = iter(run)
        while True:
            with self.guarded():
                epoch_scores = next(epochs, None)
            if epoch_scores is None:
                break
            for scores in epoch_scores:
                history[scores.member].append(scores)
            if on_epoch is not None:
                on_epoch(epoch_scores)
            if after_epoch is not None:
                after_epoch(run, history)
        for member, scored in history.items():
            if not scored:
                raise TrialFailed(f"the trainer gave no scores for fold {member.fold} at λ = {member.strength:g}")
        return history


def _where(members: Sequence[Member]) -> str:
    """At which λ, where there is one."""
    strengths, folds = {m.strength for m in members}, {m.fold for m in members}
    if len(strengths) != 1:
        return ""
    fold = f", fold {folds.pop() + 1}" if len(folds) == 1 else ""
    return f" at λ = {strengths.pop():g}{fold}"
