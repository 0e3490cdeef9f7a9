"""Cross-validations that are stopped after some folds, judged by the best strength so far.

Bergman, Purucker and Hutter, 'Don't Waste Your Time: Early Stopping Cross-Validation' (AutoML 2024, PMLR 256:9). One
strength after the other is trained fold by fold; what has all its folds and the lowest mean is the incumbent. A
strength is stopped once the mean of its folds so far is no better than

- the incumbent's mean ('aggressive'), or
- the incumbent's worst fold ('forgiving').

The paper's text says worse; its authors' program stops at a tie, too, and so does this. λ = 0 is the first incumbent.
The paper draws strengths at random: here they are those of the grid, in a random order. Its second study has Bayesian
optimization told the mean of the folds so far of what was stopped: here Optuna's GPSampler is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from outcome import STRENGTHS, Outcome, Strategy
from recording import Array, Recording

from l2tune.penalty.strength import log_grid

Rule = Literal["aggressive", "forgiving"]


def limit(rule: Rule, incumbent: Array) -> float:
    """What a strength's mean must stay below, from the incumbent's (folds,) scores."""
    return float(incumbent.mean() if rule == "aggressive" else incumbent.max())


def folds_trained(scores: Array, below: float) -> int:
    """How many of a strength's (folds,) scores are paid for: all, or those after which their mean reaches the limit."""
    means = np.cumsum(scores) / np.arange(1, len(scores) + 1)
    reached = np.flatnonzero(~(means < below))  # not a number is no better either
    return int(reached[0]) + 1 if len(reached) else len(scores)


class Proposals(Protocol):
    """Strengths, each asked for once the one before it was told."""

    def ask(self) -> float: ...

    def tell(self, mean: float) -> None: ...


class ShuffledGrid:
    """The strengths of the grid in a random order."""

    def __init__(self, low: float, high: float, seed: int) -> None:
        self._left = np.random.default_rng(seed).permutation(log_grid(low, high, STRENGTHS)).tolist()

    def ask(self) -> float:
        return float(self._left.pop())

    def tell(self, mean: float) -> None:
        """A grid does not listen."""


class GaussianProcess:
    """Optuna's, told the mean over the folds trained."""

    def __init__(self, low: float, high: float, seed: int) -> None:
        self._study = optuna.create_study(sampler=optuna.samplers.GPSampler(seed=seed))
        self._space: dict[str, BaseDistribution] = {"lambda": FloatDistribution(low, high, log=True)}

    def ask(self) -> float:
        self._trial = self._study.ask(self._space)
        return float(self._trial.params["lambda"])

    def tell(self, mean: float) -> None:
        self._study.tell(self._trial, mean)


def early_stopping(rule: Rule, proposals: Callable[[float, float, int], Proposals]) -> Strategy:
    """A search under one of the rules; `proposals` is made from the ends of the range and the seed."""

    def run(recording: Recording, seed: int, outcome: Outcome) -> None:
        proposed = proposals(*outcome.range, seed)
        choice, incumbent, cost = 0.0, recording.final(0.0), recording.folds
        outcome.note(cost, choice)
        trained: dict[float, int] = {}
        for _ in range(STRENGTHS):
            strength = proposed.ask()
            scores = recording.final(strength)
            folds = folds_trained(scores, limit(rule, incumbent))
            proposed.tell(float(scores[:folds].mean()))
            trained[strength] = folds
            cost += folds
            if folds == recording.folds and scores.mean() < incumbent.mean():
                choice, incumbent = strength, scores
            outcome.note(cost, choice)
        outcome.note_given_up(recording, trained)

    return run
