"""What one search paid after each trial, and what its choices were worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import optuna
from recording import Recording

STRENGTHS = 15
"""Tried by searches without l2tune's sampler."""


@dataclass
class Outcome:
    """One search.

    Attributes:
        range: Of λ.
        costs, choices, gains: After each trial, the fits spent, the λ that would be chosen then, and its gain.
        test_gain, regret: Of the last choice.
        study: Of a search by Optuna, until it is judged.
        claims_gain: Whether l2tune's verdict on it is that λ > 0 measurably helps; None without a study.
        pruned_best: Whether the tried λ nearest to the best was pruned.
        settled: Fits when the answer was settled; the rest completes folds.
        seconds: Of the strategy itself.
    """

    recording: str
    strategy: str
    seed: int
    range: tuple[float, float]
    costs: list[float] = field(default_factory=list)
    choices: list[float] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)
    test_gain: float = np.nan
    regret: float = np.nan
    interval: tuple[float, float] | None = None
    covered: bool | None = None
    study: optuna.Study | None = None
    claims_gain: bool | None = None
    pruned_best: bool = False
    settled: float | None = None
    seconds: float = 0.0

    def note(self, cost: float, choice: float) -> None:
        self.costs.append(cost)
        self.choices.append(choice)

    def note_given_up(self, recording: Recording, trained: Mapping[float, int]) -> None:
        """Note whether the strength tried nearest to the best lacks folds, of λ > 0 → folds trained."""
        target = max(recording.best, self.range[0])
        nearest = min(trained, key=lambda strength: abs(np.log(strength / target)))
        near = abs(np.log(nearest / target)) < np.log(3)
        self.pruned_best = bool(near and trained[nearest] < recording.folds)

    def judge(self, recording: Recording) -> None:
        """Fill in what the recording knows of the choices."""
        self.gains = [recording.gain(choice) for choice in self.choices]
        self.test_gain = recording.test_gain(self.choices[-1])
        self.regret = recording.regret(self.choices[-1])
        if self.interval is not None:
            self.covered = recording.covers(*self.interval)

    def gain_at(self, cost: float) -> float:
        """Gain of the λ in hand once so many fits are spent; 0 at first."""
        known = [gain for spent, gain in zip(self.costs, self.gains, strict=True) if spent <= cost + 1e-9]
        return known[-1] if known else 0.0


Strategy = Callable[[Recording, int, Outcome], None]
"""A search over a recording, by a seed, that fills in an outcome."""
