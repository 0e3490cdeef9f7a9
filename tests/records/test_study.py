"""What a study is about: described once, refused where it differs, read in its first schema too."""

from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution

from l2tune.errors import UserError
from l2tune.metrics import BUILT_IN
from l2tune.records.observations import observations
from l2tune.records.parameter import DEFAULT, parameter_of
from l2tune.records.study import (
    describe_study,
    fold_count,
    is_described,
    metric_of,
    search_range,
    stored_settings,
    trained_by,
)
from l2tune.records.tables import read_study


def test_a_study_that_another_worker_describes_meanwhile_is_not_read_by_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: dict[str, Any] = {name: {} for name in ("settings", "identity", "versions", "trainer", "data")}
    study = optuna.create_study()
    describe_study(study, **parts)
    whole = study.user_attrs
    reads = iter([{}])
    monkeypatch.setattr(optuna.Study, "user_attrs", property(lambda self: next(reads, whole)))
    describe_study(study, **parts)
    assert is_described(study)


def test_a_study_refuses_other_settings_and_other_data() -> None:
    study = optuna.create_study(study_name="mine")
    parts = {"versions": {}, "trainer": {"folds": 5}}
    data = {"fingerprint": "a" * 64, "images": 10}
    describe_study(study, settings={"epochs": 3}, identity={"epochs": 3}, data=data, **parts)
    describe_study(study, settings={"epochs": 3}, identity={"epochs": 3}, data=data, **parts)
    with pytest.raises(UserError, match=r"^study 'mine' was begun otherwise: epochs was 3, now 4; use another --study"):
        describe_study(study, settings={"epochs": 4}, identity={"epochs": 4}, data=data, **parts)
    other = {"fingerprint": "b" * 64, "images": 12}
    with pytest.raises(UserError, match=r"the images are others \(fingerprint aaaaaaaa was of 10, bbbbbbbb is of 12\)"):
        describe_study(study, settings={"epochs": 3}, identity={"epochs": 3}, data=other, **parts)
    assert fold_count(study) == 5


def of_schema_one(trainer: dict[str, Any], settings: dict[str, Any]) -> optuna.Study:
    """A study as the first version of l2tune left it: no metric and no parameter of its own, passwords and all."""
    study = optuna.create_study(study_name="old")
    flat = {"study": "old", "metric": "error", "folds": 2, "lambda_range": [1e-6, 1.0], "optimizer": "sgd", "seed": 0}
    parts = {"settings": flat | settings, "versions": {"l2tune": "0.1.0"}, "trainer": trainer, "data": {"classes": 10}}
    for name, value in parts.items():
        study.set_user_attr(f"l2tune:{name}", value)
    study.set_user_attr("l2tune:schema", 1)
    for strength in (0.0, 1e-3, 1e-1):
        folds = {
            f"l2tune:fold:{fold}": {"epochs": 3, "val_loss": 0.5, "val_error": 0.1 + 0.01 * fold + strength}
            for fold in range(2)
        }
        study.add_trial(
            optuna.trial.create_trial(
                value=0.1,
                params={"lambda": strength} if strength else {},
                distributions={"lambda": FloatDistribution(1e-6, 1.0, log=True)} if strength else {},
                user_attrs={"l2tune:strength": strength, **folds},
            )
        )
    return study


def test_a_study_of_the_first_schema_is_read() -> None:
    study = of_schema_one({"engine": "sequential", "folds": 2}, {"storage": "postgresql://bob:hunter2@db/x"})
    assert metric_of(study) == BUILT_IN["error"]
    assert parameter_of(study) == DEFAULT
    assert trained_by(study) == "l2tune"
    assert search_range(study, DEFAULT) == (1e-6, 1.0)
    seen = observations(study)
    assert seen.cost.tolist() == pytest.approx([0.1, 0.11, 0.101, 0.111, 0.2, 0.21])
    assert stored_settings(study)["storage"] == "postgresql://bob@db/x"


def test_what_the_first_schema_claimed_of_a_users_function_is_not_repeated() -> None:
    study = of_schema_one({"engine": "function", "folds": 2, "function": "m:fit"}, {"epochs": 30})
    assert trained_by(study) == "function"
    assert "optimizer" not in stored_settings(study)
    assert stored_settings(study)["folds"] == 2


def test_a_study_of_a_later_schema_is_refused() -> None:
    study = of_schema_one({"engine": "sequential", "folds": 2}, {})
    study.set_user_attr("l2tune:schema", 3)
    for read in (observations, read_study):
        with pytest.raises(UserError, match=r"another version of l2tune \(schema 3, this one reads 1 and 2\); read"):
            read(study)
