"""A study goes on in the precision that it was begun in, whatever is faster on the machine that goes on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from l2tune.assemble import assemble_again
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.records.tables import read_study
from l2tune.search.joining import join_study
from l2tune.search.storage import load_study, open_storage
from l2tune.training import cpu

NAME = "digits-linear"
SEARCH = ("search", "--subset", "200", "--folds", "2", "--epochs", "1", "--storage", "s.db", "--model", "linear")


@pytest.fixture
def times(monkeypatch: Any) -> Any:
    """`times(share)`: a step in bfloat16 takes this share of float32's time from now on."""

    def set_to(share: float) -> None:
        monkeypatch.setattr(cpu, "_plans", {})
        monkeypatch.setattr(cpu._Trial, "seconds_beside", lambda self, other: share)

    return set_to


def precision_of(storage: str, study: str) -> str:
    return str(read_study(load_study(open_storage(storage), study)).trainer["precision"])


@pytest.mark.parametrize(("first", "second", "precision"), [(0.5, 2.0, "bfloat16"), (2.0, 0.5, "float32")])
def test_whoever_goes_on_keeps_it(
    l2tune: Any, times: Any, capsys: Any, first: float, second: float, precision: str
) -> None:
    times(first)
    assert l2tune(*SEARCH, "--trials", "2") == 0
    assert precision_of("s.db", NAME) == precision
    times(second)
    capsys.readouterr()
    assert l2tune(*SEARCH, "--trials", "3") == 0
    assert f"training on cpu, one network at a time in {precision}\n" in capsys.readouterr().err
    assert precision_of("s.db", NAME) == precision
    _, objective, assembled = join_study(open_storage("s.db"), NAME)
    assert objective.trainer.describe()["precision"] == assembled.problem.training.precision == precision
    _, assembled = assemble_again(read_study(load_study(open_storage("s.db"), NAME)))
    assert assembled.problem.training.precision == precision


def test_an_objective_goes_on_with_it_too(times: Any, tmp_path: Path) -> None:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/s.db")
    given = {"model": "linear", "subset": 200, "folds": 2, "epochs": 1}
    times(0.5)
    study.optimize(CrossValidationObjective(**given), n_trials=1)
    times(2.0)
    objective = CrossValidationObjective(**given)
    assert objective.trainer.describe()["precision"] == "float32"
    study.optimize(objective, n_trials=1)
    assert objective.trainer.describe()["precision"] == "bfloat16"


def test_a_precision_that_is_asked_for_is_that_of_the_study(l2tune: Any, times: Any, capsys: Any) -> None:
    times(0.5)
    assert l2tune(*SEARCH, "--trials", "2", "--precision", "float32") == 0
    assert precision_of("s.db", NAME) == "float32"
    assert l2tune(*SEARCH, "--trials", "2") == 2
    assert "precision was float32, now auto" in capsys.readouterr().err


def test_all_forms_of_a_comparison_are_trained_in_one(l2tune: Any, times: Any) -> None:
    compare = ("compare", *SEARCH[1:], "--trials", "2", "--study", "both")
    times(0.5)
    assert l2tune(*compare, "--penalties", "l2,l2-loss") == 0
    times(2.0)
    assert l2tune(*compare, "--penalties", "l2,l2-loss,l1") == 0
    names = [study.study_name for study in optuna.get_all_study_summaries("sqlite:///s.db")]
    assert [precision_of("s.db", name) for name in names] == ["bfloat16"] * 3
