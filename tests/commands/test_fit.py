"""`l2tune fit` on studies that it cannot train again, and networks with tied weights."""

import json
from pathlib import Path

import numpy as np
import optuna
import pytest
from processes import run
from safetensors.torch import load_file

from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.tradeoff import Tradeoff

TIED = """
from torch import nn


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(64, 64)
        self.again = self.inner
        self.outer = nn.Linear(64, 10)

    def forward(self, x):
        return self.outer(self.again(self.inner(x.flatten(1)).relu()).relu())


def build(shape, classes):
    return Tied()
"""


def study_in(folder: Path, objective: object) -> None:
    study = optuna.create_study(storage=f"sqlite:///{folder}/l2tune.db", study_name="mine")
    study.optimize(objective, n_trials=2)  # type: ignore[arg-type]


def fit_scores(strength: float, fold: int, seed: int) -> float:
    return 0.5 + strength


def own_objective(trial: optuna.Trial) -> float:
    trial.report(trial.suggest_float("lambda", 1e-6, 1.0, log=True), step=0)
    return 1.0


@pytest.mark.parametrize(
    ("objective", "line"),
    [
        (
            CrossValidationObjective(fit=fit_scores, folds=2),
            ":fit_scores, which l2tune cannot call from here; in",
        ),
        (own_objective, "study 'mine': was not made by l2tune; fit needs the settings that l2tune stores"),
    ],
    ids=["a user's function", "a user's objective"],
)
def test_a_study_that_l2tune_did_not_train_is_refused_in_a_line(tmp_path: Path, objective: object, line: str) -> None:
    study_in(tmp_path, objective)
    done = run(tmp_path, "fit", "mine")
    assert (done.returncode, done.stdout) == (2, "")
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["l2tune.db"]


def test_data_given_in_python_is_refit_by_the_objective(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = (rng.uniform(size=(60, 6, 6)) * 0.5 + 0.25 * labels[:, None, None]).astype(np.float32)
    objective = CrossValidationObjective((images, labels), "linear", folds=2, epochs=1)
    study_in(tmp_path, objective)
    done = run(tmp_path, "fit", "mine")
    assert done.returncode == 2
    assert "study 'mine': its data was given in Python; in Python: tradeoff.refit(objective)" in done.stderr
    study = optuna.load_study(storage=f"sqlite:///{tmp_path}/l2tune.db", study_name="mine")
    found = Tradeoff.from_study(study).refit(objective, strength=1e-3)
    assert found.strength == 1e-3
    assert set(found.scores) == {"train_loss", "train_error", "test_loss", "test_error"}
    assert len(found.normalization["mean"]) == 1
    weights = list(found.model.parameters())
    assert found.parameters == sum(weight.numel() for weight in weights)
    assert found.nonzero == sum(int((weight != 0).sum()) for weight in weights)
    assert found.network is not None
    assert found.network.test_loss == pytest.approx(found.scores["test_loss"], rel=1e-5)


def test_tied_weights_are_saved_and_load(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(TIED)
    few = ("--subset", "100", "--epochs", "1", "--folds", "2", "--trials", "2", "--quiet", "--study", "tied")
    done = run(tmp_path, "search", "--model", "nets.py:build", *few)
    assert done.returncode == 0, done.stderr
    done = run(tmp_path, "fit", "tied", "--lambda", "1e-3")
    assert done.returncode == 0, done.stderr
    assert set(load_file(tmp_path / "runs/tied/model.safetensors")) >= {"inner.weight", "again.weight", "outer.bias"}
    assert json.loads((tmp_path / "runs/tied/fit.json").read_text())["lambda"] == 1e-3
