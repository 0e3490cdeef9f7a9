"""What `l2tune search` shows while it runs: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from l2tune.members import EpochScores, Trainer
from l2tune.metrics import as_metric
from l2tune.penalty.strength import NO_WEIGHT_DECAY, format_lambda, weight_decay
from l2tune.records.comparison import is_shared
from l2tune.records.fold_record import fold_records
from l2tune.records.observations import known_parameter, strength_of
from l2tune.records.study import search_range
from l2tune.settings import Settings
from l2tune.terminal_text import one_line, readable


class Progress:
    """Progress of a search on standard error.

    Args:
        quiet: Show nothing.
        part: Which part of the whole this search is, to begin each line with; empty where it is all there is.
    """

    def __init__(self, settings: Settings, trainer: Trainer, *, quiet: bool, part: str = "") -> None:
        self._part = part
        self._settings, self._folds, self._epochs = settings, trainer.folds, trainer.epochs
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._live = self._console.is_terminal and not quiet
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}", markup=False),
            console=self._console,
            disable=not self._live,
            transient=True,
        )
        self._task = self._bar.add_task(part or "searching", total=None, text="")
        self._began = time.monotonic()
        self._member_epochs = 0
        self._trials = 0
        self._best: tuple[float, float] | None = None
        self._study: optuna.Study | None = None
        self._range = settings.penalty.lambda_range

    @contextmanager
    def begun(self, study: optuna.Study) -> Iterator[None]:
        """Show progress while the search runs."""
        self._study = study
        self._range = search_range(study, known_parameter(study))
        done = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished() and t.state != TrialState.FAIL]
        for trial in done:
            self._note_best(trial)
        self._trials = len(done)
        own = sum(not is_shared(trial) for trial in done)
        if own:
            self.say(f"going on with study {study.study_name!r}: {own} trials are done")
        self._began = time.monotonic()
        with self._bar:
            yield

    def say(self, line: str, *, always: bool = False) -> None:
        """Print a line that stays; one that is said always, say why a search had to give up, is shown if quiet, too."""
        if line:
            line = f"{self._part}: {line}" if self._part else line
            console = Console(stderr=True, highlight=False) if always and self._console.quiet else self._console
            console.print(self._shown(line), markup=False, emoji=False, soft_wrap=True)

    def epoch(self, scores: Sequence[EpochScores]) -> None:
        """Note one epoch of the members in training."""
        self._member_epochs += len(scores)
        epoch = max(s.epoch for s in scores)
        strengths = sorted({s.member.strength for s in scores})
        shown = ", ".join(format_lambda(s) for s in strengths[:3]) + ("…" if len(strengths) > 3 else "")
        folds = sorted({s.member.fold + 1 for s in scores})
        where = f"fold {folds[0]}" if len(folds) == 1 else f"{len(folds)} folds"
        self._bar.update(
            self._task,
            total=self._epochs,
            completed=epoch,
            text=self._shown(f"λ {shown}, {where} of {self._folds} · {self.summary()} · {self._left()}"),
        )

    def trial(self, trial: FrozenTrial) -> None:
        """Note a finished trial."""
        self._trials += 1
        self._note_best(trial)
        strength = self._strength(trial)
        found = fold_records(trial)
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            outcome = f"{self._settings.search.metric} {trial.value:.4g} over {len(found)} folds"
        else:
            outcome = f"given up after {len(found)} of {self._folds} folds"
        diverged = sum(record.diverged for record in found.values())
        decays = self._settings.penalty.form not in NO_WEIGHT_DECAY
        decay = f" (weight decay {format_lambda(weight_decay(strength))})" if decays else ""
        name = "λ 0 (baseline)" if strength == 0 else f"λ {format_lambda(strength)}{decay}"
        if diverged:
            outcome += f", {diverged} diverged"
        self.say(f"trial {trial.number + 1}: {name}: {outcome} · {self._left()}")
        self._tell_widening()

    def summary(self) -> str:
        """Fits done in this call and the λ of the best mean over all folds, which need not be the curve's λ_best."""
        fits = self._member_epochs / self._epochs
        best = f", best mean over all folds at λ {format_lambda(self._best[1])}" if self._best else ""
        return f"{fits:.0f} fits in {_duration(time.monotonic() - self._began)}{best}"

    def _shown(self, line: str) -> str:
        return readable(one_line(line), self._console.encoding)

    def _note_best(self, trial: FrozenTrial) -> None:
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            cost = as_metric(self._settings.search.metric).cost(trial.value)
            found = (cost, self._strength(trial))
            self._best = found if self._best is None else min(self._best, found)

    def _tell_widening(self) -> None:
        """Say so where the best λ may lie beyond the range that was asked for, so that it is searched beyond."""
        if self._study is None:
            return
        now = search_range(self._study, known_parameter(self._study))
        if now != self._range:
            before, after = ("–".join(map(format_lambda, ends)) for ends in (self._range, now))
            self.say(f"the best λ may lie beyond the range {before}: it is widened to {after} (--no-extend-range)")
            self._range = now

    def _strength(self, trial: FrozenTrial) -> float:
        assert self._study is not None
        return strength_of(trial, known_parameter(self._study)) or 0.0

    def _left(self) -> str:
        """An upper bound of the time left: every trial still allowed trains every fold."""
        if not self._member_epochs:
            return ""
        per_fit = (time.monotonic() - self._began) / self._member_epochs * self._epochs
        seconds = per_fit * self._folds * max(0, self._settings.search.trials - self._trials)
        if self._settings.search.timeout is not None:
            seconds = min(seconds, max(0.0, self._settings.search.timeout - (time.monotonic() - self._began)))
        return f"at most {_duration(seconds)} left"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
