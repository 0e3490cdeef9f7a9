"""`l2tune list`: every study by its own direction and metric."""

import json
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from l2tune.commands.list import list_command
from l2tune.metrics import Metric
from l2tune.objectives.cross_validation import CrossValidationObjective

Listed = Callable[[], dict[str, list[str]]]


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/l2tune.db"


@pytest.fixture
def listed(storage: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Listed:
    """Study → its cells after the counts of trials."""
    monkeypatch.setenv("COLUMNS", "200")

    def rows() -> dict[str, list[str]]:
        capsys.readouterr()
        list_command(storage=storage)
        lines = capsys.readouterr().out.splitlines()
        return {line.split("  ")[0]: [cell for cell in line.split("  ")[1:] if cell] for line in lines}

    return rows


def add(study: optuna.Study, value: float, **params: float) -> None:
    distributions = {name: optuna.distributions.FloatDistribution(1e-9, 1e9, log=True) for name in params}
    study.add_trial(optuna.create_trial(value=value, params=params, distributions=distributions))


def test_the_best_is_best_by_the_study_s_direction(storage: str, listed: Listed) -> None:
    for direction, name in (("minimize", "down"), ("maximize", "up")):
        study = optuna.create_study(storage=storage, study_name=name, direction=direction)
        add(study, 0.25, **{"lambda": 1e-3})
        add(study, 0.75, **{"lambda": 1e-2})
    found = listed()
    assert [cell.strip() for cell in found["down"][2:6]] == ["1.00e-3", "0.25", "–", "lower"]
    assert [cell.strip() for cell in found["up"][2:6]] == ["1.00e-2", "0.75", "–", "higher"]


def test_a_function_s_metric_and_number_are_its_own(storage: str, listed: Listed) -> None:
    study = optuna.create_study(storage=storage, study_name="mine", direction="maximize")
    metric = Metric("dice", maximize=True, kind="proportion", unit="%")
    study.optimize(
        CrossValidationObjective(fit=lambda c, fold, seed: 0.5 + 0.1 / (1 + c), folds=2, metric=metric, parameter="C"),
        n_trials=2,
    )
    own = study.trials[1].params["C"]
    cells = [cell.strip() for cell in listed()["mine"][2:6]]
    assert cells[0].startswith("0 (C ∞)" if study.trials[0].value >= study.trials[1].value else f"{1 / own:.2e}"[:4])
    assert cells[1].endswith(" %")
    assert cells[2:] == ["dice", "higher"]


def test_a_name_that_the_study_s_maker_gave_is_shown(storage: str, listed: Listed) -> None:
    study = optuna.create_study(storage=storage, study_name="named", direction="maximize")
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        study.set_metric_names(["sharpe"])
    add(study, 1.0, **{"lambda": 1e-2})
    assert listed()["named"][4].strip() == "sharpe"


def test_what_is_not_known_is_a_dash(storage: str, listed: Listed) -> None:
    unclear = optuna.create_study(storage=storage, study_name="unclear")
    add(unclear, 0.5, lr=1e-3, decay=1e-4)
    optuna.create_study(storage=storage, study_name="two", directions=["minimize", "maximize"])
    later = optuna.create_study(storage=storage, study_name="later")
    later.set_user_attr("l2tune:schema", 99)
    found = listed()
    assert found["unclear"][2].strip() == "–"
    assert found["two"][5].strip() == "two objectives"
    assert found["later"][4].strip() == "written by another version"


def test_names_are_no_markup_and_do_not_steer(storage: str, listed: Listed) -> None:
    optuna.create_study(storage=storage, study_name="[bold]x[/bold]\x1b[31m")
    assert "[bold]x[/bold]\\x1b[31m" in listed()


def test_scripts_get_json(storage: str, capsys: pytest.CaptureFixture[str]) -> None:
    study = optuna.create_study(storage=storage, study_name="mine", direction="maximize")
    add(study, 0.25, C=100.0)
    add(study, 0.75, C=10.0)
    optuna.create_study(storage=storage, study_name="two", directions=["minimize", "minimize"])
    list_command(storage=storage, as_json=True)
    mine, two = json.loads(capsys.readouterr().out)
    assert mine["best_lambda"] == pytest.approx(0.1)
    assert (mine["study"], mine["trials"], mine["value"], mine["better"]) == ("mine", 2, 0.75, "higher")
    assert (two["better"], two["value"], two["comparison"]) == ("two objectives", None, None)


def test_json_of_an_empty_storage_is_an_empty_list(storage: str, capsys: pytest.CaptureFixture[str]) -> None:
    study = optuna.create_study(storage=storage, study_name="gone")
    optuna.delete_study(study_name=study.study_name, storage=storage)
    list_command(storage=storage, as_json=True)
    assert json.loads(capsys.readouterr().out) == []
