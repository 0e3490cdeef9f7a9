"""What is told of a search while it runs, whoever watches it: trials as they end, the best λ so far, the time left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from l2tune.analysis.wording import amount
from l2tune.curve.choice import choose_best
from l2tune.penalty.strength import NO_WEIGHT_DECAY, format_lambda, weight_decay
from l2tune.records.claims import part_of_folds, was_given_up
from l2tune.records.failures import failure_of
from l2tune.records.fold_record import fold_records
from l2tune.records.keys import GIVEN_UP
from l2tune.records.observations import known_parameter, strength_of
from l2tune.records.study import fold_count, metric_of, penalty_of, search_range
from l2tune.search.activity import activity
from l2tune.search.outlook import seconds_left
from l2tune.search.sampler import FIRST_PLACES
from l2tune.search.state import Plan, SearchState, read_state


class Telling:
    """Puts a search into words; reads its storage, and never writes to it.

    Args:
        plan: What the search was asked for; by default what the study was begun with.
        deadline: Reading of `now` after which no λ is begun.
        idle: Said where nothing is in training.
        now: Seconds on a clock of this process.

    Attributes:
        idle: As given.
        state: Where the search stood when it was last read; None before.
    """

    def __init__(
        self,
        study: optuna.Study,
        plan: Plan | None = None,
        *,
        deadline: float | None = None,
        idle: str = "nothing is in training",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.study = study
        self.state: SearchState | None = None
        self._plan = Plan.stored(study) if plan is None else plan
        self._deadline, self._now, self.idle = deadline, now, idle
        self._range: tuple[float, float] | None = None
        self._seconds: float | None = None
        self._read_at = now()
        self._known: object = None

    def read(self, trials: Sequence[FrozenTrial] | None = None, *, workers: int | None = None) -> SearchState:
        """Look where the search stands, if any trial has gone on since the last time.

        Args:
            trials: As they were read before; by default as they are now.
            workers: How many train at once; by default all that have a trial.
        """
        trials = self.study.get_trials(deepcopy=False) if trials is None else trials
        known = workers, [(t.state, len(t.user_attrs), len(t.intermediate_values), len(t.params)) for t in trials]
        if self.state is None or known != self._known:
            fits = None if self.state is None else self.state.fits
            self.state, self._known = read_state(self.study, self._plan, trials), known
            at_work = {t.trial if t.worker is None else t.worker.token for t in self.state.training}
            self._seconds = seconds_left(self.state, len(at_work) if workers is None else workers)
            if self.state.fits != fits:
                self._read_at = self._now()
        return self.state

    def left(self) -> str:
        """`about 2 min left`; empty where nothing tells."""
        if self.state is None or not self._seconds or self.state.seconds_per_fit is None:
            return ""
        gone = min(self._now() - self._read_at, self.state.seconds_per_fit)
        seconds = max(0.0, self._seconds - gone)
        if self._deadline is not None:
            seconds = min(seconds, max(0.0, self._deadline - self._now()))
        elif self._plan.timeout is not None:
            seconds = min(seconds, self._plan.timeout)
        return f"{about(seconds)} left"

    def why(self) -> str:
        """What the search is doing and why."""
        return "" if self.state is None else activity(self.state, self.idle)

    def status(self, fits: str) -> list[str]:
        """Two lines: what the search is doing and why; the time left, the fits done, and the best λ so far."""
        return [line for line in (self.why(), " · ".join(filter(None, (self.left(), fits, self.best())))) if line]

    def best(self) -> str:
        """λ_best as the curve has it now, with its interval."""
        state = self.state
        if state is None or state.curve is None or len(state.seen.tried) < len(FIRST_PLACES):
            return ""
        costs = state.seen.by_strength()
        best = choose_best(state.curve, costs)
        if best not in costs:
            return ""  # what was not run is no answer
        low, high = state.curve.interval
        return f"best λ so far {format_lambda(best)} (95 %: {format_lambda(low)} to {format_lambda(high)})"

    def ended(self, trial: FrozenTrial, *, live: bool) -> str:
        """How a trial ended; empty for one that was not needed.

        Args:
            live: The time left is shown elsewhere.
        """
        line = self._ended(trial)
        return line if live or not line else " · ".join(filter(None, (line, self.left())))

    def widening(self) -> str:
        """Says so where the range has been widened since the last time."""
        now = search_range(self.study, known_parameter(self.study))
        before, self._range = self._range or now, now
        if now == before:
            return ""
        first, second = ("–".join(map(format_lambda, ends)) for ends in (before, now))
        return f"the best λ may lie beyond the range {first}: it is widened to {second} (--no-extend-range)"

    def named(self, strength: float | None) -> str:
        """λ, with the weight decay that goes with it."""
        if strength is None:
            return "no λ yet"
        if strength == 0:
            return "λ 0 (baseline)"
        decays = penalty_of(self.study) not in NO_WEIGHT_DECAY
        return f"λ {format_lambda(strength)}" + (
            f" (weight decay {format_lambda(weight_decay(strength))})" if decays else ""
        )

    def _ended(self, trial: FrozenTrial) -> str:
        parameter = known_parameter(self.study)
        strength, found = strength_of(trial, parameter), fold_records(trial)
        metric, folds = metric_of(self.study), fold_count(self.study)
        done, of = len(found) or len(trial.intermediate_values), f" of {folds}" if folds else ""
        part = part_of_folds(trial)
        if trial.state == TrialState.FAIL:
            if was_given_up(trial):
                if trial.user_attrs[GIVEN_UP] is not True:
                    return ""
                outcome = f"its worker ended after {_folds(done, of)}, which are kept"
            else:
                failure = failure_of(trial)
                outcome = f"failed after {_folds(done, of)}" + (f": {failure.line}" if failure is not None else "")
        elif part is not None and trial.state == TrialState.PRUNED:
            outcome = f"fold {part + 1}{of} is done"
        elif trial.state == TrialState.COMPLETE and trial.values is not None and len(trial.values) == 1:
            outcome = f"{metric} {amount(trial.values[0], metric)} over {done} folds"
        else:
            outcome = f"given up after {_folds(done, of)}"
        diverged = sum(record.diverged for record in found.values())
        if diverged:
            outcome += f", {diverged} diverged"
        return f"trial {trial.number + 1}: {self.named(strength)}: {outcome}"


def about(seconds: float) -> str:
    """A time that is not known exactly: `about 1 min 20 s`, `about 4 min`.

    >>> about(3), about(47), about(83), about(161), about(800), about(4000)
    ('a few seconds', 'about 50 s', 'about 1 min 20 s', 'about 2 min 30 s', 'about 13 min', 'about 1 h 5 min')
    """
    if seconds < 7.5:
        return "a few seconds"
    step = next(
        step for most, step in ((115, 10), (285, 30), (3570, 60), (36_000, 300), (math.inf, 3600)) if seconds < most
    )
    return f"about {duration(step * round(seconds / step))}"


def duration(seconds: float) -> str:
    """A time: `1 h 5 min`, `2 min 30 s`, `2 min`.

    >>> duration(59), duration(120), duration(150), duration(3900)
    ('59 s', '2 min', '2 min 30 s', '1 h 5 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (0 if hours else rest, "s")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 s"


def _folds(done: int, of: str) -> str:
    return f"{done}{of} folds"
