"""Record complete cross-validations whose truth is known: each network is scored on thousands of further images, too.

    python studies/benchmarks/record_judged.py mnist-1000-wrong15-adam        # one of the recordings below
    python studies/benchmarks/record_judged.py --all
    python studies/benchmarks/record_judged.py mnist-1000-wrong15-linear --draws 1 2 3 --out FOLDER   # other images

All seeds of a search see the same folds, so one recording is one case, however many seeds: whether intervals cover
takes further draws of the images, `NAME~1` and so on.

Writes `recordings/judged/NAME.csv.gz`, as `record.py` does, and for `judge.py` beside it `NAME.judge.csv` and
`NAME.judge-images.csv`. Images come from the training parts of MNIST and CIFAR-10, which are read as there. Searches
replay the first; the judge's images have the same classes, and its scores are expected over the same share of wrong
labels, so that they are what the validation folds' scores are an estimate of.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from judge import KNOWN, Judge
from judged_images import Draw, draw_images, expected_scores
from numpy.typing import NDArray
from record import CIFAR, FOLDER, score_row, write_epochs

from l2tune.assemble import make_problem
from l2tune.data.sources import load
from l2tune.members import NetworkState, make_member
from l2tune.penalty.strength import log_grid
from l2tune.settings import build
from l2tune.training.pixels import DeviceImages
from l2tune.training.problem import Problem
from l2tune.training.sequential import SequentialTrainer

JUDGED = FOLDER / "judged"

MNIST = {"data": "mnist", "device": "cpu", "precision": "float32"}
CIFAR10 = {"data": CIFAR, "image_size": 16, "device": "cpu", "precision": "float32"}

RECORDINGS: dict[str, tuple[dict[str, Any], Draw, list[float]]] = {
    "mnist-1000-wrong15-adam": (
        MNIST | {"optimizer": "adam", "lr": 3e-3, "epochs": 20},
        Draw(wrong=0.15, side=8),
        log_grid(3e-5, 1e-1, 12),
    ),
    "mnist-1000-wrong15-linear": (
        MNIST | {"model": "linear", "optimizer": "adam", "lr": 1e-2, "epochs": 30},
        Draw(wrong=0.15, side=14),
        log_grid(1e-4, 1.0, 27),
    ),
    "mnist-1000-tiny-sgd": (
        MNIST | {"optimizer": "sgd", "lr": 0.05, "epochs": 8},
        Draw(side=8),
        log_grid(1e-6, 3e-2, 12),
    ),
    "mnist-1000-wrong20-sgd": (
        MNIST | {"optimizer": "sgd", "lr": 0.1, "epochs": 16},
        Draw(wrong=0.2, side=8),
        log_grid(1e-4, 1e-1, 12),
    ),
    "mnist-1000-unbalanced-linear": (
        MNIST | {"model": "linear", "optimizer": "sgd", "lr": 0.1, "epochs": 30},
        Draw(wrong=0.1, decline=0.75, side=14),
        log_grid(1e-4, 1.0, 27),
    ),
    "mnist-1000-wrong15-adamw": (
        MNIST | {"optimizer": "adamw", "lr": 3e-3, "epochs": 16},
        Draw(wrong=0.15, side=8),
        log_grid(3e-2, 30.0, 12),
    ),
    "mnist-1000-clean-adam": (
        MNIST | {"optimizer": "adam", "lr": 1e-3, "epochs": 6},
        Draw(side=8),
        log_grid(1e-6, 1e-1, 13),
    ),
    "cifar10-1000-linear": (
        CIFAR10 | {"model": "linear", "augment": ("flip",), "optimizer": "adam", "lr": 3e-3, "epochs": 30},
        Draw(),
        log_grid(1e-4, 1.0, 27),
    ),
    "cifar10-1000-resnet": (
        CIFAR10
        | {
            "model": "small_resnet",
            "augment": ("flip", "shift"),
            "optimizer": "sgd",
            "lr": 0.2,
            "batch_size": 64,
            "epochs": 60,
        },
        Draw(),
        log_grid(1e-4, 1e-1, 13),
    ),
    "mnist-1000-wrong20-linear-l1": (
        MNIST | {"model": "linear", "penalty": "l1", "optimizer": "sgd", "lr": 0.2, "epochs": 60},
        Draw(wrong=0.2, side=14),
        log_grid(1e-5, 1e-1, 27),
    ),
}
"""Name → settings, images, and the λ > 0. Those of clean MNIST are flat but for the rise."""


class JudgedProblem(Problem):
    """A problem whose networks are scored on all images of the test part, which are the judge's."""

    @property
    def test_labels(self) -> NDArray[np.int64]:
        return self.data.test_labels.numpy()

    def test_images(self) -> DeviceImages:
        return DeviceImages.of(self.data.test_images, self.data.test_labels, self.device)


def judged_trainer(settings: dict[str, Any], draw: Draw) -> SequentialTrainer:
    """What trains on the images drawn and scores on the judge's."""
    built = build(settings)
    problem = make_problem(built, draw_images(load(built.data), draw))
    given = {f.name: getattr(problem, f.name) for f in fields(Problem) if f.init}
    return SequentialTrainer(JudgedProblem(**given))


def record(name: str, settings: dict[str, Any], draw: Draw, strengths: list[float], folder: Path) -> None:
    """Train λ = 0 and each strength on every fold and write the three tables.

    Raises:
        RuntimeError: A network diverged: it cannot be judged.
    """
    began = time.perf_counter()
    trainer = judged_trainer(settings, draw)
    labels, form = trainer.problem.test_labels, trainer.problem.penalty.form
    epochs: list[dict[str, Any]] = []
    judgements: list[dict[str, Any]] = []
    images: dict[str, dict[float, NDArray[np.float64]]] = {"loss": {}, "error": {}}  # λ → (N,), mean over folds
    for strength in [0.0, *strengths]:
        for fold in range(trainer.folds):
            network: NetworkState | None = None
            for scores in trainer.start([make_member(0, strength, fold)]):
                epochs.append(score_row(scores[0], form))
                network = scores[0].network
            if network is None or network.test_log_probabilities is None:
                raise RuntimeError(f"{name}: λ = {strength:.3g} diverged on fold {fold}: record a shorter range")
            loss, error = expected_scores(network.test_log_probabilities, labels, draw.wrong)
            head = {"lambda": strength, "fold": fold}
            judgements.append(
                head | {"judge_loss": loss.mean(), "judge_error": error.mean(), "judge_images": len(labels)}
            )
            for metric, each in (("loss", loss), ("error", error)):
                images[metric][strength] = images[metric].get(strength, 0.0) + each / trainer.folds
        last = judgements[-trainer.folds :]
        means = ", ".join(f"{key} {np.mean([row[key] for row in last]):.4f}" for key in ("judge_loss", "judge_error"))
        print(f"{name}: λ = {strength:.3g}: {means}, after {time.perf_counter() - began:.0f} s", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_epochs(folder / f"{name}.csv.gz", epochs)
    pd.DataFrame(judgements).to_csv(folder / f"{name}.judge.csv", index=False, float_format="%.7g")
    _covariances(images).to_csv(folder / f"{name}.judge-images.csv", index=False, float_format="%.7g")
    print(f"{name}: {known(folder, name)}")


def _covariances(images: dict[str, dict[float, NDArray[np.float64]]]) -> pd.DataFrame:
    """Of the mean scores of each two λ, by the luck of the images."""
    rows = []
    for metric, scores in images.items():
        strengths = list(scores)
        each = np.stack([scores[s] for s in strengths])  # (λ, N)
        for strength, row in zip(strengths, np.cov(each) / each.shape[1], strict=True):
            rows += [
                {"metric": metric, "lambda": strength, "other": other, "covariance": value}
                for other, value in zip(strengths, row, strict=True)
            ]
    return pd.DataFrame(rows)


def known(folder: Path, name: str) -> str:
    """How well the error is known: its fall to the best λ, and its rise from there to the last."""
    judge = Judge.read(folder, name, "error")
    assert judge is not None
    last = float(judge.strengths[-1])
    rise = judge.score(last) - judge.score(judge.best)
    fell, rose = (judge.standard_error(end, judge.best) for end in (0.0, last))
    kind = f"flat (by {KNOWN:g} standard errors)" if judge.is_flat else "not flat"
    return (
        f"best λ {judge.best:.3g}, error {judge.score(judge.best):.2%}; fall {judge.fall:.2%} ± {fell:.2%}, "
        f"rise {rise:.2%} ± {rose:.2%}: {kind}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", nargs="*", choices=[*RECORDINGS, []], help="which recordings")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--draws", type=int, nargs="*", default=[0], help="seeds of the images; 0 is the one kept")
    parser.add_argument("--out", type=Path, default=JUDGED)
    arguments = parser.parse_args()
    for seed in arguments.draws:
        for name in RECORDINGS if arguments.all else arguments.name:
            settings, draw, strengths = RECORDINGS[name]
            named = f"{name}~{seed}" if seed else name
            record(named, settings, replace(draw, seed=seed), strengths, arguments.out)
