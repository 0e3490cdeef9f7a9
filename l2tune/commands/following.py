"""Follows a search that goes on elsewhere, from its storage alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice

from optuna.trial import FrozenTrial, TrialState
from rich.console import RenderableType
from rich.text import Text

from l2tune.display import Display
from l2tune.penalty.strength import format_lambda
from l2tune.records.workers import signs_of_life, worker_of
from l2tune.report.colors import BEST
from l2tune.report.terminal_chart import LEAST_WIDTH, Chart
from l2tune.search.heartbeat import GRACE_SECONDS, AwakeClock, Watch, can_be_lost
from l2tune.search.outlook import fits_left
from l2tune.search.state import InTraining, SearchState
from l2tune.search.telling import Telling, duration

_SHOWN = 8
"""Running trials shown in a terminal at most, a line each."""

_CHART_ROWS = (4, 8)
"""Of a live chart, at least and at most; where there is no room for the least it is left out."""


class Follower:
    """Shows a study that others train: the curve, running trials, finished ones as they come, the time left.

    Each `poll` reads the storage once; the curve is fitted only where a fold has been finished since.

    Args:
        telling: Puts the study into words.
        display: Where to show it.
        part: Which part of the whole the study is; empty where it is all there is.
        before: So many trials that had ended before the first look are told, the latest ones.
        now: Seconds on a clock of this process.
    """

    def __init__(
        self,
        telling: Telling,
        display: Display,
        *,
        part: str = "",
        before: int = 0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._telling, self._display, self._part, self._before, self._now = telling, display, part, before, now
        self._watch = Watch(AwakeClock(longest=math.inf, now=now))  # people are told the time that has passed
        self._told: set[int] | None = None
        self._state: SearchState | None = None
        self._active: float | None = None

    def poll(self) -> list[FrozenTrial]:
        """Read the storage once: print what is new, draw the live lines anew.

        Returns:
            The trials that have ended since the last poll.

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
            for line in self._latest(trials):
                self._display.say(line, self._part)
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
        self._display.show(self.area(), self._part)
        return ended

    def area(self) -> list[RenderableType]:
        """What is going on, as it was last read: the curve, the trials in training, what the search is at, the best λ,
        how much is done and the time left.

        The curve is left out where there is no room for it, and of a part where nothing is in training.
        """
        state = self._state
        if state is None:
            return []
        training, below = self._training(state), self._below(state)
        width, height = self._display.size
        chart = Chart.so_far(state) if width >= LEAST_WIDTH and (not self._part or state.training) else None
        if chart is None:
            return [*training, *below]
        fixed = len(chart.draw(width, rows=1)) + 1  # one row of the curve, and an empty line below
        rows = min(_CHART_ROWS[1], height - fixed - len(training) - len(below) - 1)
        if rows < _CHART_ROWS[0]:
            return [*training, *below]
        drawn = chart.draw(width, rows=rows, ascii_only=self._display.ascii_only)
        return [*drawn, Text(), *training, *below]

    def _latest(self, trials: Sequence[FrozenTrial]) -> list[str]:
        """How the last trials ended, the newest last."""
        ended = sorted((t for t in trials if t.state.is_finished()), key=lambda t: t.datetime_complete or datetime.min)
        told = (self._telling.ended(trial, live=True) for trial in reversed(ended))
        return [*islice((line for line in told if line), self._before)][::-1]

    def _training(self, state: SearchState) -> list[str]:
        """Who trains what."""
        training = [self._line(trial, state.seen.folds) for trial in state.training[:_SHOWN]]
        if len(state.training) > _SHOWN:
            training.append(f"and {len(state.training) - _SHOWN} trials more")
        return training

    def _below(self, state: SearchState) -> list[RenderableType]:
        """What the search is at, the best λ, and a bar: how much is done, and the time left."""
        first = f"{self._part}: " if self._part else ""
        left, best = fits_left(state), self._telling.best()
        lines: list[RenderableType] = [first + self._telling.why()]
        if best:
            text = self._display.cut(best)
            text.stylize(BEST)
            lines.append(text)
        of = f" of about {round(state.fits + left)}" if left is not None else ""
        told = " · ".join(filter(None, (_fits(state.fits, of), self._telling.left())))
        if left is None:
            return [*lines, told]
        return [*lines, self._display.bar(told, state.fits / max(1.0, state.fits + left))]

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
        strength = "no λ yet" if trial.strength is None else f"λ {format_lambda(trial.strength)}"
        strength += " (baseline)" if trial.strength == 0 else ""
        return f"trial {trial.trial + 1}: {strength}, fold {fold + 1} of {folds}{heard}{who}"


def _fits(number: int, of: str = "") -> str:
    return f"{number}{of} fit{'' if number == 1 and not of else 's'}"
