"""A search in memory, in this process alone, until the answer is settled."""

from __future__ import annotations

import optuna

from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.records.workers import Worker
from l2tune.search.pruner import FoldRacingPruner
from l2tune.search.quiet import quiet_optuna
from l2tune.search.runner import Step, WorkerSearch, budget_of
from l2tune.search.sampler import FoldCurveSampler
from l2tune.search.stopping import StopWhenSettled
from l2tune.tradeoff import Tradeoff

SETTLED = 0.003
"""Share of a standard error that a further fit must promise: less than a network's must, for such a fit costs little.
With the loss of probabilities as a guide it takes as many fits as 0.01 does without, and misses fewer."""


def search_in_memory(objective: CrossValidationObjective, name: str) -> Tradeoff:
    """Search as `l2tune search` does, with the objective's own budget.

    Args:
        name: Of the study.

    Raises:
        UserError: Bad settings or data, or whatever else of this kind a trainer raises.
        SearchAborted: Several trials in a row could not be trained.
    """
    with quiet_optuna():
        study = optuna.create_study(
            study_name=name,
            direction="maximize" if objective.metric.maximize else "minimize",
            sampler=FoldCurveSampler(seed=0),
            pruner=FoldRacingPruner(),
        )
    search = WorkerSearch(study, objective, budget_of(objective), Worker(), settle=StopWhenSettled(SETTLED))
    while search.begin() is Step.BEGUN:
        search.advance()
    return Tradeoff.from_study(study)
