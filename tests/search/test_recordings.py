"""The default search on recorded cross-validations of real networks: it keeps the right λ, and says the right thing."""

from pathlib import Path

import numpy as np
import optuna
import pytest

from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.records.fold_record import fold_records
from l2tune.search.optuna_samplers import make_pruner, make_sampler
from l2tune.search.runner import Budget, run_search
from l2tune.search.stopping import StopWhenSettled
from l2tune.settings import build
from l2tune.tradeoff import Tradeoff
from l2tune.training.replay import ReplayTrainer

FOLDER = Path(__file__).parents[2] / "studies/benchmarks/recordings"
RECORDINGS = sorted(path.name.removesuffix(".csv.gz") for path in FOLDER.glob("*.csv.gz"))


def search(name: str, metric: str = "loss") -> tuple[ReplayTrainer, optuna.Study, str]:
    trainer = ReplayTrainer(FOLDER / f"{name}.csv.gz")
    ends = float(trainer.strengths[1]), float(trainer.strengths[-1])
    settings = build({"metric": metric, "epochs": trainer.epochs, "folds": trainer.folds, "lambda_range": ends})
    study = optuna.create_study(sampler=make_sampler(settings), pruner=make_pruner(settings))
    objective = CrossValidationObjective.from_settings(settings, trainer, {"class_names": list("0123456789")})
    return trainer, study, run_search(study, objective, Budget(settings.search.trials), settle=StopWhenSettled())


def test_there_are_recordings_to_search() -> None:
    assert len(RECORDINGS) >= 5


MISSED = ("mnist-1000-adam-l1", "error")
"""Known to be missed, by 1.4 standard errors (mean of 10 seeds): from λ = 0 to 5e-5 the error differs by a few images,
and the recording's lowest mean, 0.108 at 1e-7, is luck: on the test images it is 0.118 there and 0.120 at λ = 0."""


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        pytest.param(name, metric, marks=pytest.mark.xfail((name, metric) == MISSED, reason="missed", strict=True))
        for name in RECORDINGS
        for metric in ("loss", "error")
    ],
)
def test_the_chosen_strength_is_within_a_standard_error_of_the_best(name: str, metric: str) -> None:
    trainer, study, why = search(name, metric)
    assert why == "the answer is settled"
    final = {
        s: np.array([trainer.curve(f"val_{metric}", s, fold)[-1] for fold in range(trainer.folds)])
        for s in (*trainer.strengths.tolist(), Tradeoff.from_study(study).best_lambda)
    }
    chosen = final.pop(Tradeoff.from_study(study).best_lambda)
    best = min(final.values(), key=np.mean)
    assert chosen.mean() - best.mean() <= best.std(ddof=1) / np.sqrt(trainer.folds)
    fits = sum(len(fold_records(t)) for t in study.trials)
    assert fits <= 60, "15 strengths, baseline and five folds would be 80"


def test_a_network_that_overfits_is_told_so() -> None:
    verdict = Tradeoff.from_study(search("cifar10-1000-resnet")[1]).verdict
    assert "the network overfits" in verdict
    assert "it underfits" in verdict
    assert "It lowers validation loss by 3" in verdict, "by a third and more"


def test_a_network_that_no_strength_helps_is_told_so() -> None:
    verdict = Tradeoff.from_study(search("mnist-1000-adam")[1]).verdict
    assert "No λ of the range beats λ = 0" in verdict
    assert "Regularization makes no measurable difference here" in verdict
