"""A search that goes on for long keeps what it stores, and of each fit no more than that."""

import gc
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pytest

from l2tune.curve.observations import Observations, fit_curve
from l2tune.members import EpochScores, Member, NetworkState
from l2tune.metrics import BUILT_IN
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.objectives.kept_predictions import KeptPredictions
from l2tune.objectives.pareto import TradeoffObjective
from l2tune.records.keys import BIAS_VARIANCE
from l2tune.search.runner import Budget, run_search

FOLDS, IMAGES, CLASSES = 3, 50, 4


class PredictingTrainer:
    """Trains nothing; remembers, without keeping them alive, the predictions that it gave."""

    folds, epochs, test_labels = FOLDS, 1, np.zeros(IMAGES, np.int64)

    def __init__(self) -> None:
        self.given: list[weakref.ref[Any]] = []

    @property
    def alive(self) -> int:
        gc.collect()
        return sum(one() is not None for one in self.given)

    def start(self, members: Sequence[Member]) -> "PredictingRun":
        return PredictingRun(self, members)

    def describe(self) -> Mapping[str, object]:
        return {"engine": "predicting"}

    def scores(self, member: Member) -> EpochScores:
        predictions = np.full((IMAGES, CLASSES), np.log(1 / CLASSES), np.float32)
        self.given.append(weakref.ref(predictions))
        network = NetworkState({}, 0.0, 0.0, test_log_probabilities=predictions)
        loss = 0.5 + abs(np.log10(member.strength or 1e-6) + 3) + 0.01 * member.fold
        return EpochScores(member, 1, loss, 0.1, loss, 0.1, network=network)


class PredictingRun(Iterator[Sequence[EpochScores]]):
    def __init__(self, trainer: PredictingTrainer, members: Sequence[Member]) -> None:
        self.trainer, self.left = trainer, list(members)

    def __next__(self) -> Sequence[EpochScores]:
        if not self.left:
            raise StopIteration
        members, self.left = self.left, []
        return [self.trainer.scores(member) for member in members]

    def drop(self, members: Sequence[Member]) -> None:
        raise AssertionError("nothing prunes")


@pytest.mark.parametrize("drive", ["run_search", "optimize", "pareto"])
def test_predictions_are_forgotten_once_their_strength_is_whole(drive: str) -> None:
    trainer = PredictingTrainer()
    objective = CrossValidationObjective(trainer=trainer, folds=FOLDS)
    sampler, pruner = optuna.samplers.RandomSampler(seed=0), optuna.pruners.NopPruner()
    if drive == "pareto":
        study = optuna.create_study(sampler=sampler, directions=["minimize"] * 2)
        both = TradeoffObjective(trainer=trainer, folds=FOLDS)  # alive until the end, as in a search
        study.optimize(both, n_trials=12)
    else:
        study = optuna.create_study(sampler=sampler, pruner=pruner)
        if drive == "optimize":
            study.optimize(objective, n_trials=12)
        else:
            run_search(study, objective, Budget(12))
    assert len(trainer.given) == 12 * FOLDS
    assert trainer.alive <= FOLDS, "of the last trial"
    assert all(trial.user_attrs[BIAS_VARIANCE]["folds"] == FOLDS for trial in study.trials)


def test_of_a_strength_that_is_completed_later_all_predictions_are_at_hand() -> None:
    class Early(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            return trial.number == 1

    objective = CrossValidationObjective(trainer=PredictingTrainer(), folds=FOLDS)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), pruner=Early())
    study.optimize(objective, n_trials=4)
    pruned = study.trials[1]
    assert BIAS_VARIANCE not in pruned.user_attrs
    study.enqueue_trial(pruned.params)
    study.optimize(objective, n_trials=1)
    assert study.trials[4].user_attrs[BIAS_VARIANCE]["folds"] == FOLDS


def test_of_strengths_that_were_given_up_the_oldest_are_forgotten() -> None:
    one = np.zeros((10, 10), np.float32)
    kept = KeptPredictions(limit=5 * one.nbytes)
    for strength in range(20):
        kept.keep(float(strength), 0, one.copy())
    assert [len(kept.of(float(strength), range(3))) for strength in range(20)] == [0] * 15 + [1] * 5
    kept.keep(15.0, 0, one.copy())  # again, and so the newest
    kept.keep(20.0, 0, one.copy())
    assert [len(kept.of(strength, [0])) for strength in (15.0, 16.0)] == [1, 0]


def test_few_curves_stay_alive() -> None:
    strengths = np.geomspace(1e-4, 1e-1, 24)
    fitted: list[weakref.ref[Any]] = []
    for count in range(4, 24):
        seen = strengths[:count]
        folds = np.arange(count) % 2
        observed = Observations(seen, folds, 0.5 + seen, np.arange(count), metric=BUILT_IN["loss"], folds=2)
        curve = fit_curve(observed)
        assert curve is fit_curve(observed)
        fitted.append(weakref.ref(curve))
    gc.collect()
    assert sum(one() is not None for one in fitted) <= 8
