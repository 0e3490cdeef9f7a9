"""The pruner judges by folds: never before it has reason to, never the best so far."""

import math

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from l2tune.records.keys import COMPLETE, STRENGTH, fold_key
from l2tune.search.pruner import FoldRacingPruner
from l2tune.search.sampler import FoldCurveSampler

BEST = 3e-3
RANGE = FloatDistribution(1e-6, 1.0, log=True)


def loss(strength: float, fold: int) -> float:
    """The same for every study: a valley, folds with different luck, some noise."""
    depth = math.log10((strength + 1e-5) / BEST)
    noise = 0.02 * math.sin(1e3 * math.log(strength + 1e-9) + 7 * fold)
    return math.exp(-2 + 0.15 * depth**2 * (1 if depth < 0 else 3) + 0.3 * fold + noise)


def study_of(folds: dict[float, int], luck: float = 1.0) -> optuna.Study:
    """λ → finished folds; those with fewer than five were pruned."""
    study = optuna.create_study(pruner=FoldRacingPruner(), sampler=FoldCurveSampler(seed=0))
    for strength, count in folds.items():
        values = {fold: luck * loss(strength, fold) for fold in range(count)}
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if count == 5 else TrialState.PRUNED,
                value=float(np.mean(list(values.values()))),
                params={"lambda": strength} if strength else {},
                distributions={"lambda": RANGE} if strength else {},
                intermediate_values=values,
                user_attrs={} if strength else {STRENGTH: 0.0, **fold_attrs(values)},
            )
        )
    return study


def fold_attrs(values: dict[int, float]) -> dict[str, object]:
    return {fold_key(fold): {"epochs": 1, "val_loss": value} for fold, value in values.items()}


def running(study: optuna.Study, strength: float, values: dict[int, float], *, complete: bool = False) -> FrozenTrial:
    study.enqueue_trial({"lambda": strength}, user_attrs={COMPLETE: True} if complete else None)
    trial = study.ask()
    trial.suggest_float("lambda", 1e-6, 1.0, log=True)
    for fold, value in values.items():
        trial.report(value, step=fold)
    return study.get_trials(deepcopy=False)[trial.number]


KNOWN = {0.0: 5, 1e-5: 1, 1e-4: 2, 1e-3: 3, 3e-3: 5, 1e-2: 3, 1e-1: 1}


@pytest.mark.parametrize("strength", [0.3, 1.0, 0.05])
def test_a_clearly_bad_strength_is_pruned_after_one_fold(strength: float) -> None:
    study = study_of(KNOWN)
    assert study.pruner.prune(study, running(study, strength, {0: loss(strength, 0)}))


def test_an_even_better_strength_goes_on() -> None:
    study = study_of(KNOWN)
    assert not study.pruner.prune(study, running(study, 4e-3, {0: 0.7 * loss(3e-3, 0)}))


def test_an_unlucky_fold_is_no_reason() -> None:
    """Fold 4 is bad at every λ: the new λ is three times worse on it than the best was on fold 0, yet promising."""
    study = study_of(KNOWN)
    assert loss(3.3e-3, 4) > 3 * loss(3e-3, 0)
    assert not study.pruner.prune(study, running(study, 3.3e-3, {4: 0.97 * loss(3e-3, 4)}))


@pytest.mark.parametrize("folds", [{}, {0.0: 5}], ids=["first trial", "after the baseline"])
def test_nothing_is_pruned_before_there_is_something_to_compare_with(folds: dict[float, int]) -> None:
    study = study_of(folds)
    assert not study.pruner.prune(study, running(study, 1.0, {0: 2.3}))


def test_no_report_no_pruning() -> None:
    study = study_of(KNOWN)
    assert not study.pruner.prune(study, running(study, 1.0, {}))


def test_the_best_so_far_is_never_pruned() -> None:
    """However improbable the curve holds it to be within a tolerance of nothing."""
    strict = FoldRacingPruner(probability=0.999, tolerance=0.0)
    for best in (1e-4, 3e-3, 3e-2):
        study = study_of({0.0: 5, 1e-6: 1, 1.0: 1})
        values = {fold: 0.5 * loss(best, fold) for fold in range(3)}
        assert not strict.prune(study, running(study, best, values))
    study = study_of(KNOWN)
    assert strict.prune(study, running(study, 1e-2, {0: loss(1e-2, 0)})), "only the best is safe from it"


def test_the_baseline_and_the_strengths_that_are_wanted_in_full_are_never_pruned() -> None:
    study = study_of(KNOWN)
    wanted = running(study, 1.0, {0: 2.3}, complete=True)
    assert not study.pruner.prune(study, wanted)
    assert not study.pruner.prune(study, study.trials[0])


def test_a_diverged_fold_is_pruned() -> None:
    study = study_of(KNOWN)
    assert study.pruner.prune(study, running(study, 0.5, {0: math.inf}))
    none = optuna.create_study(pruner=FoldRacingPruner())
    assert not none.pruner.prune(none, running(none, 0.5, {0: math.inf})), "all diverged: nothing to compare with"


@pytest.mark.parametrize("sampler", [optuna.samplers.RandomSampler(seed=0), FoldCurveSampler(seed=0)])
def test_any_objective_with_one_value_per_fold_is_raced(sampler: optuna.samplers.BaseSampler) -> None:
    study = optuna.create_study(sampler=sampler, pruner=FoldRacingPruner())

    def objective(trial: optuna.Trial) -> float:
        strength = trial.suggest_float("lambda", 1e-6, 1.0, log=True)
        for fold in range(5):
            trial.report(loss(strength, fold), step=fold)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(np.mean([loss(strength, fold) for fold in range(5)]))

    study.optimize(objective, n_trials=15)
    pruned = [t for t in study.trials if t.state == TrialState.PRUNED]
    assert pruned
    nearest = min(study.trials, key=lambda t: abs(math.log(t.params["lambda"] / BEST)))
    assert nearest.state == TrialState.COMPLETE, "the λ nearest to the minimum has all folds"


def test_a_parameter_of_another_name() -> None:
    study = optuna.create_study(pruner=FoldRacingPruner(parameter="wd"))
    for strength in (1e-4, 3e-3, 1.0):
        study.add_trial(
            create_trial(
                value=1.0,
                params={"wd": strength},
                distributions={"wd": RANGE},
                intermediate_values={fold: loss(strength, fold) for fold in range(5)},
            )
        )
    study.enqueue_trial({"wd": 0.5})
    trial = study.ask({"wd": RANGE})
    trial.report(2.3, step=0)
    assert trial.should_prune()


@pytest.mark.parametrize(("probability", "tolerance"), [(0.0, 0.2), (1.0, 0.2), (0.3, -0.1)])
def test_bad_arguments_are_refused(probability: float, tolerance: float) -> None:
    with pytest.raises(ValueError, match="need 0 < probability < 1 and tolerance ≥ 0"):
        FoldRacingPruner(probability, tolerance)
