"""Studies of a user's own: any direction, sign and scale of the score, any name, other parameters, λs that raise."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from l2tune.errors import UserError
from l2tune.metrics import Metric
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.search.pruner import FoldRacingPruner
from l2tune.search.sampler import FoldCurveSampler
from l2tune.search.stopping import StopWhenSettled
from l2tune.tradeoff import Tradeoff

BEST, FOLDS = 1e-2, 5


def loss(strength: float, fold: int) -> float:
    """A valley at λ = 1e-2 between 0.3 and 1, folds of different luck, a little noise."""
    depth = math.log10((strength + 3e-5) / BEST)
    noise = 0.01 * math.sin(1e3 * math.log(strength + 1e-9) + 7 * fold)
    return (0.3 + 0.1 * min(depth**2, 7.0)) * math.exp(0.1 * fold + noise)


def by_fold(
    score: Callable[[float, int], float], name: str = "lambda", to_lambda: Callable[[float], float] = lambda x: x
) -> Callable[[optuna.Trial], float]:
    """An objective that reports one value per fold, as the documentation describes it."""

    def objective(trial: optuna.Trial) -> float:
        strength = to_lambda(trial.suggest_float(name, 1e-6, 1e2, log=True))
        scores = []
        for fold in range(FOLDS):
            scores.append(score(strength, fold))
            trial.report(scores[-1], step=fold)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(np.mean(scores))

    return objective


def search(objective: Callable[[optuna.Trial], float], trials: int = 40, direction: str = "minimize") -> optuna.Study:
    study = optuna.create_study(sampler=FoldCurveSampler(seed=0), pruner=FoldRacingPruner(), direction=direction)
    study.optimize(objective, n_trials=trials, callbacks=[StopWhenSettled()])
    return study


SCORES: dict[str, tuple[str, float, float]] = {
    "as it is": ("minimize", 0.0, 1.0),
    "turned round": ("maximize", 0.0, -1.0),
    "below zero": ("minimize", -1.0, 1.0),
    "far below zero, turned round": ("maximize", -40.0, -3.0),
    "large": ("minimize", 1e4, 1e3),
    "tiny": ("maximize", 0.0, -1e-6),
}


@pytest.mark.parametrize("how", SCORES)
def test_direction_sign_and_scale_of_the_score_change_nothing(how: str) -> None:
    """The old code answered λ = 0 for a maximized score, and 825 for losses less 1."""
    direction, shift, factor = SCORES[how]
    study = search(by_fold(lambda s, f: shift + factor * loss(s, f)), direction=direction)
    plain = search(by_fold(loss))
    strengths = [[t.params["lambda"] for t in s.trials] for s in (study, plain)]
    assert strengths[0] == pytest.approx(strengths[1], rel=1e-3), "the same λs, pruned and stopped alike"
    assert [t.state for t in study.trials] == [t.state for t in plain.trials]
    first, second = Tradeoff.from_study(study), Tradeoff.from_study(plain)
    assert BEST / 3 < first.best_lambda < BEST * 3
    assert first.best_lambda == pytest.approx(second.best_lambda, rel=1e-3)
    assert first.interval == pytest.approx(second.interval, rel=1e-3)
    assert first.one_se_lambda == pytest.approx(second.one_se_lambda, rel=1e-3)
    assert first.best_value == pytest.approx(shift + factor * second.best_value, rel=1e-6)


def test_a_maximized_proportion_is_its_complement_minimized() -> None:
    def error(strength: float, fold: int, seed: int = 0) -> float:
        return round(160 * loss(strength, fold) / 10) / 160

    by_error = optuna.create_study(sampler=FoldCurveSampler(seed=0), pruner=FoldRacingPruner())
    by_accuracy = optuna.create_study(sampler=FoldCurveSampler(seed=0), pruner=FoldRacingPruner(), direction="maximize")
    one = CrossValidationObjective(fit=error, folds=FOLDS, metric="error")
    other = CrossValidationObjective(fit=lambda *m: 1 - error(*m), folds=FOLDS, metric="accuracy")
    for study, objective in ((by_error, one), (by_accuracy, other)):
        study.optimize(objective, n_trials=12)
    assert [t.params for t in by_error.trials] == [t.params for t in by_accuracy.trials]
    first, second = Tradeoff.from_study(by_error), Tradeoff.from_study(by_accuracy)
    assert first.best_lambda == second.best_lambda
    assert first.best_value == pytest.approx(1 - second.best_value)
    assert first.gain is not None
    assert second.gain is not None
    assert first.gain.mean == pytest.approx(second.gain.mean), "a gain is a gain, whichever way it is counted"


def test_direction_and_metric_must_agree() -> None:
    objective = CrossValidationObjective(fit=lambda *_: 0.5, folds=2, metric="r2")
    with pytest.raises(UserError, match="it minimizes, but of the metric 'r2' more is better; create it with direct"):
        optuna.create_study().optimize(objective, n_trials=1)


def test_a_name_that_does_not_tell_which_way_is_better_is_asked_about() -> None:
    with pytest.raises(UserError, match="whether more or less of 'zap' is better is not known; give Metric"):
        CrossValidationObjective(fit=lambda *_: 0.5, folds=2, metric="zap")
    study = optuna.create_study(direction="maximize")
    objective = CrossValidationObjective(fit=lambda *_: {"f1": 0.5, "zap": 2}, folds=2, metric="f1")
    study.optimize(objective, n_trials=1)
    assert Tradeoff.from_study(study).strengths["val_zap"].tolist() == [2.0]
    assert Tradeoff.from_study(study).metric == Metric("f1", maximize=True)


@pytest.mark.parametrize(
    ("metric", "value", "line"),
    [
        ("error", 12.5, "error 12.5 is outside 0..1; give a share"),
        ("accuracy", 97.0, "accuracy 97 is outside 0..1; give a share"),
        ("loss", -0.3, "loss -0.3 is below 0; it is never negative"),
    ],
)
def test_a_score_that_its_metric_cannot_have_is_refused(metric: str, value: float, line: str) -> None:
    study = optuna.create_study(direction="maximize" if metric == "accuracy" else "minimize")
    with pytest.raises(UserError, match=line):
        study.optimize(CrossValidationObjective(fit=lambda *_: value, folds=2, metric=metric), n_trials=1)


@pytest.mark.parametrize(
    ("name", "to_lambda"),
    [("weight_decay", lambda x: x / 2), ("C", lambda x: 1 / x), ("alpha", lambda x: x), ("reg", lambda x: x)],
)
def test_another_name_and_scale_are_found(name: str, to_lambda: Callable[[float], float]) -> None:
    """The old parts did nothing, without a word, and the verdict saw only λ = 0."""
    study = search(by_fold(loss, name, to_lambda))
    assert len(study.trials) < 40, "it was settled"
    assert any(t.state == TrialState.PRUNED for t in study.trials)
    tradeoff = Tradeoff.from_study(study)
    assert tradeoff.record.parameter.name == name
    assert BEST / 3 < tradeoff.best_lambda < BEST * 3
    assert to_lambda(tradeoff.parameter_value) == pytest.approx(tradeoff.best_lambda)
    assert tradeoff.parameter_value in {t.params[name] for t in study.trials}
    again = optuna.load_study(storage=study._storage, study_name=study.study_name)
    assert Tradeoff.from_study(again).best_lambda == tradeoff.best_lambda, "kept in the study"


def test_a_name_that_is_given_twice_and_differs_is_refused() -> None:
    study = search(by_fold(loss, "weight_decay", lambda x: x / 2), trials=3)
    with pytest.raises(UserError, match="its strength is 'weight_decay' on the scale 'weight_decay', not 'C' on 'C'"):
        Tradeoff.from_study(study, parameter="C")


def with_learning_rate(trial: optuna.Trial) -> float:
    lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
    strength = trial.suggest_float("wd", 1e-6, 1.0, log=True)
    for fold in range(3):
        trial.report(loss(strength, fold) + abs(math.log10(lr) + 2), step=fold)
    return float(np.mean([loss(strength, fold) + abs(math.log10(lr) + 2) for fold in range(3)]))


def test_parts_that_can_do_nothing_say_so_once() -> None:
    study = optuna.create_study(sampler=FoldCurveSampler(seed=0), pruner=FoldRacingPruner())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        study.optimize(with_learning_rate, n_trials=4, callbacks=[StopWhenSettled()])
    lines = [str(w.message) for w in told if w.category is UserWarning]
    assert sorted(line.split(" does nothing")[0] for line in lines) == ["FoldCurveSampler", "StopWhenSettled"]
    assert all("several parameters are log-scaled ('lr', 'wd'); name the strength with" in line for line in lines)
    with pytest.raises(UserError, match="which parameter is the strength is not known: several parameters are log-sc"):
        Tradeoff.from_study(study)
    assert len(Tradeoff.from_study(study, parameter="wd").strengths) == 1, "one λ at the best learning rate"


def test_a_part_told_the_name_works_among_other_parameters() -> None:
    study = optuna.create_study(sampler=FoldCurveSampler(seed=0, parameter="wd"), pruner=FoldRacingPruner())

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_categorical("lr", [1e-3, 1e-2, 1e-1])
        strength = trial.suggest_float("wd", 1e-6, 1.0, log=True) / 2
        scores = []
        for fold in range(FOLDS):
            scores.append(loss(strength, fold) + abs(math.log10(rate) + 2))
            trial.report(scores[-1], step=fold)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(np.mean(scores))

    study.optimize(objective, n_trials=40)
    tradeoff = Tradeoff.from_study(study)
    assert tradeoff.record.others == {"lr": 1e-2}
    assert BEST / 4 < tradeoff.best_lambda < BEST * 4
    assert set(tradeoff.record.fits["trial"]) == {t.number for t in study.trials if t.params["lr"] == 1e-2}


def test_folds_are_taken_over_only_where_every_parameter_agrees() -> None:
    """λ = 1e-2 queued with three learning rates got one learning rate's scores, from 6 fits instead of 12."""
    calls = []

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("lr", 1e-5, 1.0, log=True)

        def fit(strength: float, fold: int, seed: int) -> float:
            calls.append((strength, rate, fold))
            return loss(strength, fold) + abs(math.log10(rate) + 2)

        return CrossValidationObjective(fit=fit, folds=3)(trial)

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), pruner=optuna.pruners.NopPruner())
    for rate in (1e-4, 1e-4, 1e-2, 1e-1, 1e-2):
        study.enqueue_trial({"lambda": 1e-2, "lr": rate})
    study.optimize(objective, n_trials=5)
    assert len(calls) == len(set(calls)) == 9, "three learning rates on three folds, none twice"
    values = [trial.value for trial in study.trials]
    assert values[0] == values[1]
    assert values[2] == values[4]
    assert len(set(values)) == 3
    tradeoff = Tradeoff.from_study(study)
    assert tradeoff.record.others == {"lr": 1e-2}
    assert tradeoff.strengths["validation"].tolist() == pytest.approx([values[2]])


def test_epochs_and_running_means_are_no_folds() -> None:
    def objective(trial: optuna.Trial) -> float:
        strength = trial.suggest_float("lambda", 1e-6, 1.0, log=True)
        for epoch in range(4):
            trial.report(loss(strength, 0) + 1 / (1 + epoch), step=epoch)
        return loss(strength, 0) + 1 / 4

    study = optuna.create_study(pruner=optuna.pruners.NopPruner())
    study.optimize(objective, n_trials=3)
    with pytest.raises(UserError, match="what its trials report are epochs or running means, not folds"):
        Tradeoff.from_study(study)


def test_steps_may_begin_at_any_number() -> None:
    study = optuna.create_study(pruner=optuna.pruners.NopPruner())

    def objective(trial: optuna.Trial) -> float:
        strength = trial.suggest_float("lambda", 1e-6, 1.0, log=True)
        for fold in range(FOLDS):
            trial.report(loss(strength, fold), step=fold + 1)
        return float(np.mean([loss(strength, fold) for fold in range(FOLDS)]))

    study.optimize(objective, n_trials=3)
    assert Tradeoff.from_study(study).record.folds == FOLDS


def test_a_strength_that_raises_is_not_proposed_again() -> None:
    """Optuna's `catch=` goes on after it; the old sampler proposed it 6 times of 6."""
    study = optuna.create_study(sampler=FoldCurveSampler(seed=0), pruner=FoldRacingPruner())

    def objective(trial: optuna.Trial) -> float:
        strength = trial.suggest_float("lambda", 1e-6, 1e2, log=True)
        if strength > 2e-3:
            raise RuntimeError("singular")
        return by_fold(loss)(trial)

    study.optimize(objective, n_trials=30, catch=RuntimeError)
    failed = sorted(t.params["lambda"] for t in study.trials if t.state == TrialState.FAIL)
    assert np.diff(np.log10(failed)).min() > 0.1
    assert len(failed) <= 10


def test_divergence_is_never_as_good_as_the_baseline() -> None:
    """It ended with 'as good up to λ = 1.00e2, the curve is flat'."""
    study = optuna.create_study(sampler=FoldCurveSampler(seed=0), pruner=FoldRacingPruner())
    objective = CrossValidationObjective(fit=lambda s, *_: math.inf if s > 0 else 0.5, folds=3)
    study.optimize(objective, n_trials=12, callbacks=[StopWhenSettled()])
    tradeoff = Tradeoff.from_study(study)
    assert (tradeoff.best_lambda, tradeoff.one_se_lambda) == (0.0, 0.0)
    assert tradeoff.curve is not None
    assert tradeoff.curve.mean([1e-1])[0] > 0.6
    assert all(t.value is None or t.value > 0.5 or t.number == 0 for t in study.trials)
    assert study.best_trial.number == 0


def test_a_range_that_must_not_be_widened_is_not() -> None:
    """1e-2 went to 89."""
    objective = CrossValidationObjective(
        fit=lambda s, *_: 1 / (1 + s), folds=3, lambda_range=(1e-4, 1e-2), extend_range=False
    )
    study = optuna.create_study(sampler=FoldCurveSampler(seed=0), pruner=FoldRacingPruner())
    study.optimize(objective, n_trials=12)
    assert max(t.params.get("lambda", 0.0) for t in study.trials) <= 1e-2
    assert not Tradeoff.from_study(study).record.widened
    other = CrossValidationObjective(fit=lambda s, *_: 1 / (1 + s), folds=3, lambda_range=(1e-4, 1e-2))
    study = optuna.create_study(sampler=FoldCurveSampler(seed=0), pruner=FoldRacingPruner())
    study.optimize(other, n_trials=12)
    record = Tradeoff.from_study(study).record
    assert record.widened
    assert record.asked_range == (1e-4, 1e-2)
    assert record.range[1] > 1e-2


def test_a_study_is_not_resumed_with_another_function() -> None:
    def first(strength: float, fold: int, seed: int) -> float:
        return loss(strength, fold)

    def second(strength: float, fold: int, seed: int) -> float:
        return loss(strength, fold) + 1

    study = optuna.create_study()
    study.optimize(CrossValidationObjective(fit=first, folds=2), n_trials=1)
    study.optimize(CrossValidationObjective(fit=first, folds=2), n_trials=1)
    with pytest.raises(UserError, match=r"otherwise: the function .*first trained, now the function .*second does"):
        study.optimize(CrossValidationObjective(fit=second, folds=2), n_trials=1)
    changed = first

    def first(strength: float, fold: int, seed: int) -> float:  # type: ignore[no-redef]
        return loss(strength, fold) - 1

    assert changed.__qualname__ == first.__qualname__
    with pytest.raises(UserError, match=r"the source of the function .*first has changed"):
        study.optimize(CrossValidationObjective(fit=first, folds=2), n_trials=1)
    with pytest.raises(UserError, match=r"the function .*first trained, now l2tune's own trainer does"):
        study.optimize(CrossValidationObjective(subset=100, folds=2), n_trials=1)


def test_settings_that_a_function_does_not_know_are_refused() -> None:
    with pytest.raises(UserError, match="'optimizer' has no effect, for fit trains; leave it out"):
        CrossValidationObjective(fit=lambda *_: 0.5, folds=2, optimizer="adam")


def test_fit_gets_the_number_on_the_scale_of_the_parameter() -> None:
    calls: list[float] = []

    def fit(decay: float, fold: int, seed: int) -> float:
        calls.append(decay)
        return loss(decay / 2, fold)

    study = optuna.create_study(sampler=FoldCurveSampler(seed=0), pruner=FoldRacingPruner())
    objective = CrossValidationObjective(fit=fit, folds=3, parameter="weight_decay", lambda_range=(1e-6, 1.0))
    study.optimize(objective, n_trials=25, callbacks=[StopWhenSettled()])
    tradeoff = Tradeoff.from_study(study)
    assert {t.params["weight_decay"] for t in study.trials if t.params} == set(calls) - {0.0}
    assert BEST / 3 < tradeoff.best_lambda < BEST * 3
    assert tradeoff.parameter_value == 2 * tradeoff.best_lambda


def test_the_final_network_comes_from_the_users_refit() -> None:
    made: list[Any] = []

    def refit(decay: float, seed: int) -> tuple[str, float]:
        made.append((decay, seed))
        return "network", 0.25

    objective = CrossValidationObjective(
        fit=lambda d, fold, seed: loss(d / 2, fold), refit=refit, folds=3, parameter="weight_decay", seed=3
    )
    study = optuna.create_study(sampler=FoldCurveSampler(seed=0))
    study.optimize(objective, n_trials=6)
    tradeoff = Tradeoff.from_study(study)
    found = tradeoff.refit(objective)
    assert (found.model, found.scores, found.strength) == ("network", {"test_score": 0.25}, tradeoff.best_lambda)
    assert tradeoff.refit(refit, one_se=True).strength == tradeoff.one_se_lambda
    assert made == [(2 * tradeoff.best_lambda, 3), (2 * tradeoff.one_se_lambda, 3)]
    with pytest.raises(UserError, match=r"a function of yours trained it .*; give tradeoff\.refit\(function\)"):
        tradeoff.refit()


def test_a_range_too_narrow_for_a_curve_ends_in_no_error() -> None:
    study = optuna.create_study(sampler=FoldCurveSampler(seed=0), pruner=FoldRacingPruner())

    def objective(trial: optuna.Trial) -> float:
        strength = trial.suggest_float("lambda", 1e-2, 1.0000001e-2, log=True)
        for fold in range(FOLDS):
            trial.report(loss(strength, fold), fold)
        return 0.0

    study.optimize(objective, n_trials=6, callbacks=[StopWhenSettled()])
    assert Tradeoff.from_study(study).best_lambda == pytest.approx(1e-2, rel=1e-6)


def test_scores_too_large_to_compute_with_count_as_diverged() -> None:
    study = optuna.create_study(sampler=FoldCurveSampler(seed=0), pruner=FoldRacingPruner())
    objective = by_fold(lambda strength, fold: 1.7e308 if strength > 0.1 else loss(strength, fold))
    study.optimize(objective, n_trials=12, callbacks=[StopWhenSettled()])
    assert 3e-3 < Tradeoff.from_study(study).best_lambda < 3e-2


def test_a_fold_that_diverges_at_every_strength_does_not_decide() -> None:
    study = optuna.create_study(sampler=FoldCurveSampler(seed=0), pruner=FoldRacingPruner())
    fit = CrossValidationObjective(fit=lambda s, fold, seed: math.nan if fold == 1 else loss(s, fold), folds=3)
    study.optimize(fit, n_trials=12, callbacks=[StopWhenSettled()])
    assert 3e-3 < Tradeoff.from_study(study).best_lambda < 3e-2


@pytest.mark.filterwarnings("ignore:Fixed parameter")
def test_a_queued_strength_beyond_a_fixed_range_may_be_the_best() -> None:
    """The interval was (1e-4, 1e-4) around a best λ of 1e-2."""
    objective = CrossValidationObjective(
        fit=lambda s, f, seed: loss(s, f), folds=FOLDS, lambda_range=(1e-6, 1e-4), extend_range=False
    )
    study = optuna.create_study(sampler=FoldCurveSampler(seed=0), pruner=FoldRacingPruner())
    study.enqueue_trial({"lambda": BEST})
    study.optimize(objective, n_trials=10)
    tradeoff = Tradeoff.from_study(study)
    assert tradeoff.best_lambda == BEST
    assert tradeoff.interval[0] <= BEST <= tradeoff.interval[1]
    assert all(t.params.get("lambda", 0.0) in (0.0, BEST) or t.params["lambda"] <= 1e-4 for t in study.trials)
