"""A trainer that gains by training members together is given many at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

from l2tune.members import Member, together
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.records.fold_record import fold_records
from l2tune.search.optuna_samplers import make_pruner, make_sampler
from l2tune.search.runner import Budget, run_search
from l2tune.search.stopping import StopWhenSettled
from l2tune.settings import build
from l2tune.training.replay import ReplayRun, ReplayTrainer

FOLDS = 5


def valley() -> pd.DataFrame:
    """Lowest at λ = 3e-3, with fold effects and noise."""
    rng = np.random.default_rng(0)
    rows = []
    for strength in [0.0, *np.geomspace(1e-6, 1, 25)]:
        for fold in range(FOLDS):
            depth = math.log10((strength + 1e-5) / 3e-3)
            loss = math.exp(-2 + 0.2 * depth**2 + 0.3 * fold + 0.02 * rng.normal())
            rows.append((strength, fold, 1, loss / 2, 0.1, loss, 0.2))
    return pd.DataFrame(rows, columns=["lambda", "fold", "epoch", "train_loss", "train_error", "val_loss", "val_error"])


class Together(ReplayTrainer):
    """Notes which members it is given at a time."""

    def __init__(self, table: pd.DataFrame, strengths: int) -> None:
        super().__init__(table)
        self.together, self.at_once = strengths, 0
        self.rounds: list[list[Member]] = []

    def start(self, members: Sequence[Member]) -> ReplayRun:
        self.rounds.append(list(members))
        return super().start(members)


def search(trainer: Together, **given: Any) -> optuna.Study:
    settings = build({"epochs": 1} | given)
    study = optuna.create_study(sampler=make_sampler(settings), pruner=make_pruner(settings))
    objective = CrossValidationObjective.from_settings(settings, trainer, {"class_names": list("0123456789")})
    settle = StopWhenSettled() if settings.search.sampler == "curve" else None
    run_search(study, objective, Budget(settings.search.trials, batch=together(trainer)), settle=settle)
    return study


def test_the_fold_aware_search_settles_in_fewer_rounds_of_more_members() -> None:
    alone, side_by_side = Together(valley(), 1), Together(valley(), 8)
    studies = [search(trainer) for trainer in (alone, side_by_side)]
    assert all(len(members) == 1 for members in alone.rounds)
    assert len(side_by_side.rounds) < len(alone.rounds) / 2
    first = side_by_side.rounds[0]
    assert {m.fold for m in first if m.strength == 0} == set(range(FOLDS)), "the baseline needs all folds in any case"
    assert len({m.strength for m in first}) == 8
    for study in studies:
        assert 3e-3 / 4 < study.best_params["lambda"] < 3e-3 * 4
    for trainer in (alone, side_by_side):
        pairs = [(m.strength, m.fold) for members in trainer.rounds for m in members]
        assert len(pairs) == len(set(pairs)), "no fit is trained twice"


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_without_a_pruner_all_folds_of_a_batch_train_at_once(sampler: str) -> None:
    trainer = Together(valley(), 4)
    study = search(trainer, sampler=sampler, pruner="none", trials=9)
    assert [len(members) for members in trainer.rounds] == [4 * FOLDS, 4 * FOLDS, FOLDS]
    assert all(len(fold_records(trial)) == FOLDS for trial in study.trials)


@pytest.mark.parametrize("pruner", ["none", "wilcoxon"])
def test_a_trainer_that_trains_a_few_at_once_has_no_more_in_memory(pruner: str) -> None:
    whole, parts = Together(valley(), 2), Together(valley(), 2)
    parts.at_once = 2
    studies = [search(trainer, sampler="random", pruner=pruner, trials=6) for trainer in (whole, parts)]
    assert max(map(len, whole.rounds)) > FOLDS
    assert max(map(len, parts.rounds)) == 2
    order = [[member for members in trainer.rounds for member in members] for trainer in (whole, parts)]
    assert order[0] == order[1], "the same fits in the same order"
    found = [[(t.params, t.value, t.state, list(fold_records(t))) for t in study.trials] for study in studies]
    assert found[0] == found[1]


def test_folds_in_lockstep_stay_in_one_run() -> None:
    trainer = Together(valley(), 2)
    trainer.at_once = 1
    objective = CrossValidationObjective.from_settings(build({"epochs": 1}), trainer, {"class_names": list("01")})
    members = [Member(0.0, fold, 0, 0) for fold in range(FOLDS)]
    objective.train(members, in_lockstep=True)
    assert trainer.rounds == [members]


def test_a_pruner_of_folds_is_asked_after_each_fold() -> None:
    trainer = Together(valley(), 4)
    search(trainer, sampler="random", pruner="wilcoxon", trials=6)
    assert len(trainer.rounds[0]) == FOLDS + 3, "all folds of the baseline, the first of the others"
