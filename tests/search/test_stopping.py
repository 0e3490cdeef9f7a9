"""The stopping rule: when the answer is settled, and which strengths get all their folds before the end."""

import math

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from l2tune.records.keys import COMPLETE
from l2tune.search.pruner import FoldRacingPruner
from l2tune.search.sampler import FoldCurveSampler
from l2tune.search.stopping import StopWhenSettled

BEST = 3e-3
RANGE = FloatDistribution(1e-6, 1.0, log=True)
FEW = {1e-6: 1, 1.0: 1}
MANY = {1e-6: 5, 1e-5: 5, 1e-4: 5, 1e-3: 5, 2e-3: 5, 3e-3: 5, 5e-3: 5, 1e-2: 5, 1e-1: 5, 1.0: 5}


def loss(strength: float, fold: int, noise: float = 0.02) -> float:
    depth = math.log10((strength + 1e-5) / BEST)
    luck = noise * math.sin(1e3 * math.log(strength + 1e-9) + 7 * fold)
    return math.exp(-2 + 0.15 * depth**2 * (1 if depth < 0 else 3) + 0.3 * fold + luck)


def study_of(folds: dict[float, int], noise: float = 0.02) -> optuna.Study:
    study = optuna.create_study(sampler=FoldCurveSampler(seed=0), pruner=FoldRacingPruner())
    for strength, count in folds.items():
        values = {fold: loss(strength, fold, noise) for fold in range(count)}
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if count == 5 else TrialState.PRUNED,
                value=float(np.mean(list(values.values()))),
                params={"lambda": strength},
                distributions={"lambda": RANGE},
                intermediate_values=values,
            )
        )
    return study


def by_fold(trial: optuna.Trial) -> float:
    strength = trial.suggest_float("lambda", 1e-6, 1.0, log=True)
    for fold in range(5):
        trial.report(loss(strength, fold), step=fold)
        if trial.should_prune():
            raise optuna.TrialPruned
    return float(np.mean([loss(strength, fold) for fold in range(5)]))


def test_settled_when_more_would_change_little() -> None:
    stop = StopWhenSettled()
    assert stop.is_settled(study_of(MANY))
    assert not stop.is_settled(study_of(FEW)), "two strengths settle nothing"
    assert not stop.is_settled(study_of({1e-6: 1, 1e-3: 1, 1e-1: 1, 1.0: 1}, noise=0.3))


def test_a_smaller_share_is_settled_later() -> None:
    study = study_of({s: 2 if f == 5 else f for s, f in MANY.items()}, noise=0.2)
    shares = [1e-4, 0.001, 0.01, 0.1, 1.0]
    settled = [StopWhenSettled(share).is_settled(study) for share in shares]
    assert settled == sorted(settled)
    assert settled[-1]
    assert not settled[0]


def test_it_ends_a_users_own_study_with_all_folds_of_what_it_reports() -> None:
    study = optuna.create_study(sampler=FoldCurveSampler(seed=0), pruner=FoldRacingPruner())
    study.optimize(by_fold, n_trials=60, callbacks=[StopWhenSettled()])
    assert len(study.trials) < 60
    assert BEST / 3 < study.best_params["lambda"] < BEST * 3
    assert len(study.best_trial.intermediate_values) == 5
    assert StopWhenSettled().missing(study) == []
    marked = [t for t in study.trials if t.user_attrs.get(COMPLETE)]
    assert all(t.state == TrialState.COMPLETE for t in marked), "what is wanted in full is not pruned"


def test_a_strength_wanted_in_full_is_queued_once() -> None:
    study = study_of({**MANY, 3e-3: 2, 2e-3: 2, 5e-3: 2})
    stop = StopWhenSettled()
    assert stop.queue_missing(study) == 1
    assert stop.queue_missing(study) == 1, "it waits"
    waiting = [t for t in study.trials if t.state == TrialState.WAITING]
    assert len(waiting) == 1
    assert waiting[0].user_attrs[COMPLETE]
    assert BEST / 3 < waiting[0].system_attrs["fixed_params"]["lambda"] < BEST * 3


def test_nothing_is_missing_where_all_folds_are_done() -> None:
    study = study_of(MANY)
    assert StopWhenSettled().missing(study) == []
    assert StopWhenSettled().queue_missing(study) == 0
    assert StopWhenSettled().missing(optuna.create_study()) == []


def test_a_share_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="share must be above 0"):
        StopWhenSettled(0.0)
