"""What a fold counts as whose training diverged."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import optuna

from l2tune.curve.transform import worst_cost
from l2tune.members import EpochScores
from l2tune.metrics import Metric
from l2tune.records.observations import finished_folds
from l2tune.records.parameter import StrengthParameter


def worst_score(
    study: optuna.Study,
    history: Sequence[EpochScores],
    metric: Metric,
    parameter: StrengthParameter,
    classes: int | None,
) -> float:
    """A score that is worse than all that was seen, and than guessing; infinitely bad where nothing was seen yet.

    Args:
        history: The epochs of the fold that diverged.
        classes: How many classes guessing has to choose from.
    """
    own = [metric.cost(s.score(f"val_{metric}")) for s in history]
    seen = [f.cost for f in finished_folds(study, parameter, metric)]
    costs = np.array([cost for cost in (*own, *seen) if math.isfinite(cost)])
    guess = metric.guessing(classes)
    if not len(costs):
        return metric.score(math.inf if guess is None else metric.cost(guess))
    worst = worst_cost(costs, metric)
    return metric.score(worst if guess is None else max(metric.cost(guess), float(costs.max())))
