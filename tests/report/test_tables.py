"""`results.json` and `trials.csv`: what is known, in the study's own terms."""

import io
import json
import math
from collections.abc import Callable
from typing import Any

import optuna
import pandas as pd
import pytest

from l2tune.metrics import BUILT_IN, Metric
from l2tune.report.tables import results, results_json, trials_csv
from l2tune.tradeoff import Tradeoff

MakeStudy = Callable[..., optuna.Study]
SCALES = ("lambda", "weight_decay", "alpha", "C")


def parsed(t: Tradeoff) -> dict[str, Any]:
    """`results.json`; it must hold no number that JSON has not."""

    def refuse(word: str) -> float:
        raise AssertionError(word)

    found: dict[str, Any] = json.loads(results_json(t), parse_constant=refuse)
    return found


def table(t: Tradeoff) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(trials_csv(t)))


@pytest.mark.parametrize("name", ["loss", "error", "accuracy", "mse", "r2", "auc", "nll", "f1", "psnr", "regret"])
def test_every_metric_keeps_name_unit_and_direction(name: str, make_own: MakeStudy, metrics: dict[str, Metric]) -> None:
    metric = metrics[name]
    t = Tradeoff.from_study(make_own(metric))
    found = parsed(t)
    unit = {"loss": "nats", "nll": "nats", "psnr": "dB", "regret": "€"}.get(name)
    assert (found["metric"], found["unit"], found["kind"]) == (name, unit, metric.kind)
    assert found["direction"] == ("maximize" if metric.maximize else "minimize")
    scores = table(t).groupby("lambda")[f"val_{name}"].mean()
    assert found["baseline_value"] == pytest.approx(scores[0.0])
    assert found["best_value"] == pytest.approx(scores.max() if metric.maximize else scores.min())
    assert found["gain"]["mean"] > 0, "a difference of costs"


@pytest.mark.parametrize("parameter", SCALES)
def test_numbers_stand_on_the_study_s_own_scale_too(parameter: str, make_own: MakeStudy) -> None:
    t = Tradeoff.from_study(make_own("r2", parameter=parameter, strengths=(0.0, 1e-6, 1e-4, 1e-3, 1e-2, 1.0)))
    found, rows = parsed(t), table(t)
    own, scale = found["parameter"], t.record.parameter.scale
    assert (own["name"], own["scale"]) == (parameter, parameter)
    assert own["best"] == pytest.approx(scale.from_lambda(found["best_lambda"]))
    assert own["one_se"] == pytest.approx(scale.from_lambda(found["one_se_lambda"]))
    assert own["interval"][0] <= own["interval"][1]
    assert own["interval"] == pytest.approx(list(scale.range_from_lambda(*found["interval"])))
    assert found["weight_decay"] == 2 * found["best_lambda"]
    if parameter == "lambda":
        assert list(rows.columns)[:3] == ["trial", "lambda", "fold"]
    else:
        expected = [scale.from_lambda(strength) for strength in rows["lambda"]]
        assert rows[parameter].tolist() == pytest.approx(expected)
        assert rows[parameter].iloc[0] == (math.inf if parameter == "C" else 0)


def test_an_infinite_number_is_null(make_own: MakeStudy) -> None:
    def best_without(strength: float) -> dict[str, float]:
        return {"val_mse": 1 + 100 * strength}

    t = Tradeoff.from_study(make_own("mse", parameter="C", extra=best_without))
    found = parsed(t)
    assert found["best_lambda"] == 0
    assert found["parameter"]["best"] is None
    assert found["parameter"]["interval"][1] is None
    assert found["parameter"]["interval"][0] > 0


def test_a_function_of_the_user_s_own_claims_nothing_of_ours(make_own: MakeStudy) -> None:
    found = parsed(Tradeoff.from_study(make_own(name="mine")))
    assert found["trained_by"] == "function"
    assert set(found["settings"]) <= {"lambda_range", "extend_range", "repeats", "seed", "epochs"}
    assert found["unit"] is None
    assert found["fold_epochs"] is None, "a function that returns tells no epochs"
    assert "epochs" not in found["trainer"]
    assert found["data"] is None
    text = json.dumps({key: value for key, value in found.items() if key not in ("verdict", "versions")})
    for word in ("sgd", "digits", "simple_cnn", "nats", "lr", "curve", "l2tune.db"):
        assert word not in text, word


def test_an_objective_of_the_user_s_own_has_nothing_but_its_scores(make_objective: MakeStudy) -> None:
    t = Tradeoff.from_study(make_objective(direction="maximize", score=lambda s, f: -abs(math.log10(s) + 3) - f))
    found = parsed(t)
    assert found["trained_by"] == "objective"
    assert found["direction"] == "maximize"
    for name in ("settings", "versions", "trainer", "data", "seconds", "fold_epochs", "baseline_value", "asked_range"):
        assert found[name] is None, name
    assert list(table(t)) == [
        "trial", "lambda", "fold", "state", "final", "reused", "truncated", "diverged", "val_score"
    ]  # fmt: skip


def test_all_scores_that_a_function_gave_are_kept(make_own: MakeStudy) -> None:
    def extra(strength: float) -> dict[str, float]:
        return {"macro_f1": 0.5 + strength / 10, "train_macro_f1": 0.9, "test_mse": 3.0}

    rows = table(Tradeoff.from_study(make_own("mse", extra=extra, training=False)))
    scores = [name for name in rows if name.startswith(("val_", "train_", "test_"))]
    assert scores == ["val_mse", "val_macro_f1", "train_macro_f1", "test_mse"]
    assert rows["val_macro_f1"].tolist() == pytest.approx((0.5 + rows["lambda"] / 10).tolist())
    assert not [name for name in rows if rows[name].isna().all()]


def test_other_parameters_are_told(make_own: MakeStudy) -> None:
    t = Tradeoff.from_study(
        make_own("mse", others=lambda trial: (trial.suggest_categorical("lr", [0.1]), trial.suggest_int("fold", 3, 3)))
    )
    assert parsed(t)["others"] == {"lr": 0.1, "fold": 3}
    rows = table(t)
    assert set(rows["lr"]) == {0.1}
    assert set(rows["params_fold"]) == {3}
    assert set(rows["fold"]) == {0, 1, 2}


def test_a_widened_range_is_told(make_valley: MakeStudy) -> None:
    widened = parsed(Tradeoff.from_study(make_valley(drawn=(1e-6, 1e2))))
    assert (widened["range"], widened["asked_range"], widened["widened"]) == ([1e-6, 1e2], [1e-6, 1.0], True)
    assert parsed(Tradeoff.from_study(make_valley()))["widened"] is False


def test_no_strength_is_named_while_none_was_run(make_valley: MakeStudy) -> None:
    found = parsed(Tradeoff.from_study(make_valley(strengths=(0.0,))))
    for name in ("best_lambda", "weight_decay", "one_se_lambda", "band", "best_value", "best_folds"):
        assert found[name] is None, name
    assert found["interval"] == found["parameter"]["interval"] == [None, None]
    assert found["baseline_value"] > 0


def test_a_strength_that_only_the_curve_tells_of_has_no_folds(make_own: MakeStudy) -> None:
    t = Tradeoff.from_study(make_own("mse"))
    assert t.row(t.one_se_lambda) is None, "so that this tests something"
    assert parsed(t)["one_se_folds"] == 0
    assert parsed(t)["best_folds"] == 3


def test_the_trainer_of_ours_keeps_its_settings(make_valley: MakeStudy) -> None:
    found = results(Tradeoff.from_study(make_valley()))
    assert found["settings"]["optimizer"] == "sgd"
    assert found["fold_epochs"] == 4 * found["fits"]
    assert found["unit"] == BUILT_IN["loss"].unit
