import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest

from l2tune import FoldCurveSampler, UserError
from l2tune.tradeoff import Tradeoff

MakeStudy = Callable[..., optuna.Study]


def valley(strength: float) -> float:
    x = math.log10(max(strength, 1e-7)) + 2.5
    return 0.12 + 0.08 / (1 + math.exp(2 * (x + 1.2))) + 0.05 * math.exp(1.3 * (x - 0.7))


def rising(strength: float) -> float:
    return 0.001 + 3 * min(strength, 0.7)


@pytest.fixture
def study(make_study: MakeStudy) -> optuna.Study:
    return make_study(valley, rising)


def test_one_se_lambda_is_never_the_weaker_penalty(make_study: MakeStudy) -> None:
    for seed in range(6):
        t = Tradeoff.from_study(make_study(valley, rising, seed=seed))
        assert t.one_se_lambda >= t.best_lambda
        assert t.curve is not None
        assert t.curve.mean([t.one_se_lambda])[0] <= t.curve.best_value + 1.3 * t.curve.best_standard_error


def test_the_table_of_strengths_holds_means_and_errors_over_folds(study: optuna.Study) -> None:
    t = Tradeoff.from_study(study)
    fits = t.record.fits
    for _, row in t.strengths.iterrows():
        folds = fits[fits["lambda"] == row["lambda"]]
        gap = folds["val_loss"] - folds["train_loss"]
        assert row["validation"] == pytest.approx(folds["val_loss"].mean())
        assert row["train_se"] == pytest.approx(folds["train_loss"].std() / math.sqrt(5))
        assert (row["gap"], row["gap_se"]) == pytest.approx((gap.mean(), gap.std() / math.sqrt(5)))
        assert row["corrected_se"] == pytest.approx(1.5 * row["validation_se"])
    assert t.strengths["excess"].min() == 0
    assert t.strengths["excess"].idxmin() == t.strengths["train"].idxmin()


def test_regimes_lie_in_order(study: optuna.Study) -> None:
    t = Tradeoff.from_study(study)
    order = {"overfit": 0, "balanced": 1, "underfit": 2}
    regimes = [order[regime] for regime in t.strengths["regime"]]
    assert regimes == sorted(regimes)
    assert set(regimes) == {0, 1, 2}
    assert list(t.regimes) == [trial.number for trial in study.trials]


def test_gain_is_over_the_baseline_of_the_same_folds(make_study: MakeStudy) -> None:
    t = Tradeoff.from_study(make_study(valley, rising, strengths=(0.0, 1e-5, 1e-3, 1.5e-3, 2e-3, 3e-3, 1e-1)))
    fits = t.record.fits.set_index(["lambda", "fold"])["val_loss"]
    falls = fits[0.0] - fits[t.best_lambda]
    assert t.complete
    assert t.gain is not None
    assert t.gain.mean == pytest.approx(falls.mean())
    assert t.gain.standard_error == pytest.approx(1.5 * falls.std() / math.sqrt(5))
    assert t.relative_gain == pytest.approx(falls.mean() / fits[0.0].mean())
    assert t.best_value == pytest.approx(fits[t.best_lambda].mean())
    assert t.best_lambda in t.indistinguishable
    assert 0.0 not in t.indistinguishable
    assert t.weight_decay == 2 * t.best_lambda


def test_a_diverged_fold_spoils_the_mean_of_its_strength_alone(make_study: MakeStudy) -> None:
    t = Tradeoff.from_study(make_study(valley, rising, diverged=lambda s: s > 0.5))
    broken = t.row(1.0)
    assert broken is not None
    assert broken["regime"] == "diverged"
    assert math.isnan(broken["validation"])
    assert np.isfinite(t.strengths["validation"].iloc[:-1]).all()


def test_a_study_of_the_users_own(make_study: MakeStudy) -> None:
    study = optuna.create_study(sampler=FoldCurveSampler(seed=0))

    def objective(trial: optuna.Trial) -> float:
        strength = trial.suggest_float("lambda", 1e-6, 1.0, log=True)
        for fold in range(3):
            trial.report(valley(strength) * (1 + 0.1 * fold), step=fold)
        return valley(strength) * 1.1

    study.optimize(objective, n_trials=8)
    t = Tradeoff.from_study(study)
    assert 1e-4 < t.best_lambda < 1e-2
    assert t.gain is None
    assert "λ = 0 was not run" in t.verdict


def test_a_study_without_scores_is_refused(make_study: MakeStudy) -> None:
    with pytest.raises(UserError, match="no fold has been scored yet"):
        Tradeoff.from_study(optuna.create_study())
    with pytest.raises(UserError, match="no fold has been scored yet"):
        Tradeoff.from_study(make_study(valley, rising, strengths=()))


@pytest.mark.parametrize(
    ("trainer", "given", "line"),
    [
        ("model", {}, "refit: 'model' cannot be called"),
        (lambda strength, seed: 0, {"strength": "0.1"}, "refit: '0.1' is no λ to train with"),
        (lambda strength, seed: 0, {"strength": 0.1, "one_se": True}, "refit: strength and one_se were both given"),
        (lambda strength, seed: ("model", {"test_loss": None}), {}, "refit: it gave the scores {'test_loss': None}"),
        (lambda strength, seed: ("model", "other"), {}, "refit: it gave the scores 'other'"),
    ],
)
def test_a_refit_that_cannot_be_is_refused_in_one_line(
    study: optuna.Study, trainer: Any, given: dict[str, Any], line: str
) -> None:
    with pytest.raises(UserError, match="^" + line):
        Tradeoff.from_study(study).refit(trainer, **given)
