"""What `tune` tells while it searches: each trial as it ends, and what is going on, in a terminal or in a notebook."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Protocol

import optuna
from optuna.trial import FrozenTrial

from l2tune.display import Display
from l2tune.members import EpochScores, Member
from l2tune.notebook import NotebookLines, in_notebook
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.objectives.open_trial import OpenTrial
from l2tune.penalty.strength import format_lambda
from l2tune.records.fold_record import fold_records
from l2tune.records.observations import strength_of
from l2tune.search.failing import failures_line
from l2tune.search.fit_processes import FitProcesses
from l2tune.search.outlook import fits_left
from l2tune.search.runner import run_as_asked
from l2tune.search.state import Plan
from l2tune.search.telling import Telling, duration
from l2tune.trackers.tracker import Tracker

log = logging.getLogger("l2tune")

_DRAW_SECONDS = 0.2
"""At most so often epochs are drawn."""
_MOST_LINES = 8
"""Fits at a time that get a line each."""


def search_told(
    study: optuna.Study,
    objective: CrossValidationObjective,
    progress: bool | None,
    processes: FitProcesses | None,
    trackers: Sequence[Tracker] = (),
) -> None:
    """Search until it is settled, telling each trial's end.

    Args:
        progress: Show it; None where there is a terminal or a notebook.
        processes: That the fits run in; None where they run here.
        trackers: Get each trial as it ends, and the study at the end, however it comes.

    Raises:
        SearchAborted: Too many fits failed in a row.
        KeyboardInterrupt: What was told is kept.
    """
    told = _Told(study, objective, _place(progress))

    def on_trial(trial: FrozenTrial) -> None:
        told.trial(trial)
        for tracker in trackers:
            tracker(study, trial)

    def work(first: bool) -> str:
        return run_as_asked(study, objective, on_trial=on_trial, say=told.say, wait=first)

    objective.on_failure, objective.on_begin, objective.on_epoch = told.failure, told.begin, told.epoch
    try:
        with told:
            try:
                why = work(True) if processes is None else processes.in_threads(work)
            except KeyboardInterrupt:
                told.say(f"interrupted; what was told is kept in study {study.study_name!r}")
                raise
            told.say(why)
    finally:
        for tracker in trackers:
            tracker.finish(study)
    failed = failures_line(study)
    if failed:
        log.warning("%s", failed)


class Place(Protocol):
    """Where progress is seen."""

    live: bool
    """Whether what is going on can be drawn anew; else lines that stay are all."""

    def say(self, line: str) -> None:
        """Show a line that stays."""

    def show(self, lines: Sequence[str], share: float) -> None:
        """Draw what is going on, and how much of it is done, anew."""

    def shown(self) -> AbstractContextManager[object]:
        """What goes on is shown inside, and away afterwards."""


class _Told:
    """A search of `tune`'s as it is told; threads that search side by side take turns.

    Args:
        place: Where it is seen; None where it is only logged.
    """

    def __init__(self, study: optuna.Study, objective: CrossValidationObjective, place: Place | None) -> None:
        self._study, self._objective, self._place = study, objective, place
        self._lock = threading.RLock()
        self._fits: dict[int, str] = {}  # thread → what it trains
        self._drawn = -1.0
        self._telling: Telling | None = None
        self._shown: AbstractContextManager[object] = nullcontext()
        if place is not None and place.live:
            self._shown = place.shown()
            self._began = time.monotonic()
            plan = replace(Plan.of(objective.settings), epochs=None)  # of which only the function knows
            deadline = None if plan.timeout is None else self._began + plan.timeout
            self._telling = Telling(study, plan, deadline=deadline, idle="choosing the next λ")
            self._fits_before = self._telling.read().fits

    def __enter__(self) -> None:
        self._shown.__enter__()

    def __exit__(self, *error: object) -> None:
        self._shown.__exit__(None, None, None)

    def say(self, line: str) -> None:
        """Log a line, and show it."""
        if not line:
            return
        with self._lock:
            log.info("%s", line)
            if self._place is not None:
                self._place.say(line)

    def begin(self, members: Sequence[Member]) -> None:
        """Tell what is about to be trained."""
        self._train(members, "", always=True)

    def epoch(self, scores: Sequence[EpochScores]) -> None:
        """Tell how far it is."""
        epoch = max(s.epoch for s in scores)
        self._train([s.member for s in scores], f", epoch {epoch}" if epoch > 1 else "")

    def trial(self, trial: FrozenTrial) -> None:
        """Tell of a trial that has ended."""
        self._fits.pop(threading.get_ident(), None)
        done, folds = len(fold_records(trial)), self._objective.trainer.folds
        if trial.state.name == "COMPLETE":
            scored = f"validation {self._objective.metric} {trial.value:.4g}"
        else:  # a mean over some of the folds is not comparable with one over all
            scored = f"{done} of {folds} folds"
        strength = strength_of(trial, self._objective.parameter) or 0.0
        self.say(f"trial {trial.number + 1}: {self._named(strength)}: {scored}")

    def failure(self, trial: OpenTrial) -> None:
        """Tell why a trial could not be trained."""
        self._fits.pop(threading.get_ident(), None)
        assert trial.failure is not None
        self.say(f"trial {trial.trial.number + 1}: {self._named(trial.strength)}: failed: {trial.failure.line}")

    def _named(self, strength: float) -> str:
        own = self._objective.parameter
        text = f"λ {format_lambda(strength)}"
        if own.scale.name != "lambda":
            text = f"{own.name} {format_lambda(own.scale.from_lambda(strength))} ({text})"
        return text

    def _train(self, members: Sequence[Member], how_far: str, *, always: bool = False) -> None:
        telling = self._telling
        if telling is None or self._place is None or not members:
            return
        with self._lock:
            now = time.monotonic()
            folds = sorted({member.fold + 1 for member in members})
            which = f"fold {folds[0]}" if len(folds) == 1 else f"{len(folds)} folds"
            what = f"{self._named(members[0].strength)}, {which} of {self._objective.trainer.folds}{how_far}"
            self._fits[threading.get_ident()] = what
            if not always and now - self._drawn < _DRAW_SECONDS:
                return
            state = telling.read()
            fits = state.fits - self._fits_before
            spent = f"{fits} fit{'' if fits == 1 else 's'} in {duration(now - self._began)}"
            left = fits_left(state)
            share = 0.0 if left is None else state.fits / max(1.0, state.fits + left)
            self._place.show([*list(self._fits.values())[:_MOST_LINES], *telling.status(spent)], share)
            self._drawn = time.monotonic()


def _place(progress: bool | None) -> Place | None:
    """Below the cell of a notebook, or on standard error."""
    notebook = in_notebook()
    if not (sys.stderr.isatty() or notebook if progress is None else progress):
        return None
    return NotebookLines() if notebook else _Terminal()


class _Terminal:
    """Standard error: with a bar and live lines in a terminal, lines alone elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console

        console = Console(stderr=True, highlight=False)
        # what a fit prints to the same terminal goes above the live lines
        self._display = Display(console, redirect_stdout=sys.stdout.isatty())
        self.live = self._display.live

    def say(self, line: str) -> None:
        self._display.say(line, "l2tune")

    def show(self, lines: Sequence[str], share: float) -> None:
        first, *others = lines
        self._display.show([self._display.bar(first, share), *others])

    def shown(self) -> AbstractContextManager[object]:
        return self._display
