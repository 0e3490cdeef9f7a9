"""What a search in this process shows: lines that stay and, in a terminal, a bar by epochs and where it stands."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from l2tune.commands.following import Follower
from l2tune.display import Display
from l2tune.members import EpochScores, Member, Trainer
from l2tune.metrics import as_metric
from l2tune.penalty.strength import format_lambda
from l2tune.records.comparison import is_shared
from l2tune.records.observations import known_parameter, strength_of
from l2tune.search.state import Plan
from l2tune.search.telling import Telling, duration
from l2tune.settings import Settings


class Progress:
    """Progress of a search on standard error.

    Args:
        quiet: Show nothing.
        part: Which part of the whole this search is, to begin each line with; empty where it is all there is.
    """

    def __init__(self, settings: Settings, trainer: Trainer, *, quiet: bool, part: str = "") -> None:
        self._part = part
        self._settings, self._folds, self._epochs = settings, trainer.folds, trainer.epochs
        self._display = Display(Console(stderr=True, quiet=quiet, highlight=False), quiet=quiet)
        self._began = time.monotonic()
        self._member_epochs = 0
        self._members: frozenset[Member] = frozenset()
        self._best: tuple[float, float] | None = None
        self._telling: Telling | None = None
        self._follower: Follower | None = None
        self._fits_before = 0

    @contextmanager
    def begun(self, study: optuna.Study) -> Iterator[None]:
        """Show progress while the search runs."""
        done = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished() and t.state != TrialState.FAIL]
        self._began = time.monotonic()
        timeout = self._settings.search.timeout
        deadline = None if timeout is None else self._began + timeout
        self._telling = Telling(study, Plan.of(self._settings), deadline=deadline, idle="choosing the next λ")
        self._telling.widening()
        self._fits_before = self._telling.read().fits
        for trial in done:
            self._note_best(trial)
        own = sum(not is_shared(trial) for trial in done)
        if own:
            self.say(f"going on with study {study.study_name!r}: {own} trials are done")
        with self._display:
            yield

    def say(self, line: str, *, always: bool = False) -> None:
        """Print a line that stays; one that is said always, say why a search had to give up, is shown if quiet, too."""
        self._display.say(line, self._part, always=always)

    def look(self) -> list[FrozenTrial]:
        """Show what other processes train, as `l2tune watch` does: where this one trains nothing itself.

        Returns:
            The trials that have ended since the last look.
        """
        if self._telling is None:
            return []
        if self._follower is None:
            self._follower = Follower(self._telling, self._display, part=self._part)
        ended = self._follower.poll()
        for trial in ended:
            self._note_best(trial)
        return ended

    def epoch(self, scores: Sequence[EpochScores]) -> None:
        """Note one epoch of the members in training."""
        self._member_epochs += len(scores)
        if not self._display.live or self._telling is None:
            return
        members = frozenset(s.member for s in scores)
        if not members <= self._members:  # others are trained than before, so the storage has news
            self._telling.read()
        self._members = members
        epoch = max(s.epoch for s in scores)
        strengths = sorted({s.member.strength for s in scores})
        shown = ", ".join(format_lambda(s) for s in strengths[:3]) + ("…" if len(strengths) > 3 else "")
        folds = sorted({s.member.fold + 1 for s in scores})
        where = f"fold {folds[0]}" if len(folds) == 1 else f"{len(folds)} folds"
        what = f"{self._part + ': ' if self._part else ''}λ {shown}, {where} of {self._folds}, epoch {epoch}"
        self._display.show([self._display.bar(what, epoch / self._epochs), *self._telling.status(self._spent())])

    def trial(self, trial: FrozenTrial) -> None:
        """Note a finished trial."""
        self._note_best(trial)
        if self._telling is not None:
            state = self._telling.read()
            self.say(self._telling.ended(trial, live=self._display.live))
            self.say(self._telling.widening())
            why, *rest = self._telling.status(self._spent())
            waits = state.training and (state.spent or (state.settled and not state.missing))
            self._display.show([f"waiting for others: {why}" if waits else why, *rest])

    def summary(self) -> str:
        """Fits done in this call and the λ of the best mean over all folds, which need not be the curve's λ_best."""
        best = f", best mean over all folds at λ {format_lambda(self._best[1])}" if self._best else ""
        return f"{self._spent()}{best}"

    def _spent(self) -> str:
        fits = self._member_epochs // self._epochs
        if self._follower is not None and self._telling is not None and self._telling.state is not None:
            fits = self._telling.state.fits - self._fits_before
        return f"{fits} fit{'' if fits == 1 else 's'} in {duration(time.monotonic() - self._began)}"

    def _note_best(self, trial: FrozenTrial) -> None:
        if self._telling is not None and trial.state == TrialState.COMPLETE and trial.value is not None:
            strength = strength_of(trial, known_parameter(self._telling.study)) or 0.0
            found = (as_metric(self._settings.search.metric).cost(trial.value), strength)
            self._best = found if self._best is None else min(self._best, found)
