"""Searches of a grid that all strengths start together and the worse leave."""

from __future__ import annotations

import numpy as np
from outcome import STRENGTHS, Outcome
from recording import Recording
from scipy.stats import t as student

from l2tune.penalty.strength import log_grid


def anova_race(recording: Recording, seed: int, outcome: Outcome) -> None:
    """R's finetune::tune_race_anova: after three folds, drop what is significantly worse (repeated measures, α = 0.05).

    Source: Kuhn, 'Futility Analysis in the Cross-Validation of Machine Learning Models' (2014).
    """
    strengths = np.array([0.0, *log_grid(*outcome.range, STRENGTHS)])
    scores = np.stack([recording.final(s) for s in strengths])  # (strengths, folds)
    alive, folds, cost = np.arange(len(strengths)), np.arange(recording.folds), 0
    for done in range(1, recording.folds + 1):
        cost += len(alive)
        seen = scores[np.ix_(alive, folds[:done])]
        means = seen.mean(axis=1)
        outcome.note(cost, float(strengths[alive[means.argmin()]]))
        if done >= 3 and len(alive) > 1:
            rest = seen - means[:, None] - seen.mean(axis=0) + seen.mean()
            freedom = (len(alive) - 1) * (done - 1)
            error = np.sqrt(2 * (rest**2).sum() / freedom / done)
            alive = alive[means - means.min() <= student.ppf(0.95, freedom) * error]
    outcome.settled = cost
    outcome.pruned_best = int(np.abs(strengths - recording.best).argmin()) not in set(alive.tolist())


def halving_grid(recording: Recording, seed: int, outcome: Outcome) -> None:
    """scikit-learn's HalvingGridSearchCV with epochs as the resource: every round anew, on all folds, a third survives.

    A short round is read off the early epochs of the full schedule, for a recording knows no other.
    """
    factor, strengths = 3, np.array([0.0, *log_grid(*outcome.range, STRENGTHS)])
    rounds = 1 + int(np.log(len(strengths)) / np.log(factor))
    first = max(1, recording.epochs // factor ** (rounds - 1))
    order, kept, cost = np.arange(len(strengths)), len(strengths), 0.0
    for epochs in (first * factor**n for n in range(rounds) if first * factor**n <= recording.epochs):
        alive = order[:kept]
        cost += len(alive) * recording.folds * epochs / recording.epochs
        scores = [recording.after(float(strengths[i]), epochs).mean() for i in alive]
        order, kept = alive[np.argsort(scores, kind="stable")], -(-len(alive) // factor)
        outcome.note(cost, float(strengths[order[0]]))
    outcome.settled = cost
    outcome.pruned_best = int(np.abs(strengths - recording.best).argmin()) not in set(order.tolist())
