"""Follows a search that goes on elsewhere, from its storage alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from optuna.trial import FrozenTrial, TrialState

from l2tune.display import Display
from l2tune.records.workers import signs_of_life, worker_of
from l2tune.search.heartbeat import GRACE_SECONDS, AwakeClock, Watch, can_be_lost
from l2tune.search.state import InTraining, SearchState
from l2tune.search.telling import Telling, duration

_SHOWN = 8
"""Running trials shown in a terminal at most, a line each."""


class Follower:
    """Shows a study that others train: running trials, finished ones as they come, the best λ so far, the time left.

    Each `poll` reads the storage once; the curve is fitted only where a fold has been finished since.

    Args:
        telling: Puts the study into words.
        display: Where to show it.
        part: Which part of the whole the study is; empty where it is all there is.
        now: Seconds on a clock of this process.
    """

    def __init__(
        self, telling: Telling, display: Display, *, part: str = "", now: Callable[[], float] = time.monotonic
    ) -> None:
        self._telling, self._display, self._part, self._now = telling, display, part, now
        self._watch = Watch(AwakeClock(longest=math.inf, now=now))  # people are told the time that has passed
        self._told: set[int] | None = None
        self._state: SearchState | None = None
        self._active: float | None = None

    def poll(self) -> list[FrozenTrial]:
        """Read the storage once: print what is new, draw the live lines anew.

        Returns:
            The trials that have ended since the last poll; those that had before the first one are not told.

        Raises:
            Exception: What the storage raises when it cannot be read; the next poll goes on where this one was.
        """
        trials = self._telling.study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                self._watch.look(trial.number, signs_of_life(trial))
        state = self._telling.read(trials, workers=self._workers(trials))
        if self._told is None:
            self._told = {trial.number for trial in trials if trial.state.is_finished()}
        ended = [trial for trial in trials if trial.state.is_finished() and trial.number not in self._told]
        for trial in ended:
            line = self._telling.ended(trial, live=self._display.live)
            self._told.add(trial.number)
            self._display.say(line, self._part)
        if state is not self._state:
            self._display.say(self._telling.widening(), self._part)
        if state.training:
            self._active = self._now()
        between = self._active is not None and self._now() - self._active < GRACE_SECONDS
        self._telling.idle = "choosing the next λ" if between else "nothing is in training"
        self._state = state
        self._display.show(self.lines(), self._part)
        return ended

    def lines(self) -> list[str]:
        """What is going on, as it was last read: the trials in training, what the search is at, the time left."""
        if self._state is None:
            return []
        training = [self._line(trial, self._state.seen.folds) for trial in self._state.training[:_SHOWN]]
        if len(self._state.training) > _SHOWN:
            training.append(f"and {len(self._state.training) - _SHOWN} trials more")
        first = f"{self._part}: " if self._part else ""
        fits = self._state.fits
        status = self._telling.status(f"{fits} fit{'' if fits == 1 else 's'}")
        return [*training, *(first + line if not i else line for i, line in enumerate(status))]

    @property
    def over(self) -> bool:
        """Whether nothing is to be trained any more; never of a study whose budget is not known."""
        return self._state is not None and self._state.over

    def _workers(self, trials: Sequence[FrozenTrial]) -> int:
        """How many workers have trials in training, those left aside that may be dead."""
        alive = [
            t
            for t in trials
            if t.state == TrialState.RUNNING and not (can_be_lost(t) and self._watch.is_dead(t.number))
        ]
        return len({worker.token if (worker := worker_of(t)) is not None else t.number for t in alive})

    def _line(self, trial: InTraining, folds: int) -> str:
        seconds, changed = self._watch.silence(trial.trial), self._watch.was_heard(trial.trial)
        heard = f", heard of {duration(seconds)} ago" if changed else f", not heard of for {duration(seconds)}"
        if not changed and seconds < 1:
            heard = ""  # this is the first look
        fold = min(trial.done, folds - 1) if trial.part is None else trial.part
        who = f", {trial.worker}" if trial.worker is not None else ""
        return f"trial {trial.trial + 1}: {self._telling.named(trial.strength)}, fold {fold + 1} of {folds}{heard}{who}"
