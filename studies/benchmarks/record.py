"""Record complete cross-validations: every λ × every fold × every epoch of the full schedule.

    python studies/benchmarks/record.py digits-sgd                 # one of the recordings below
    python studies/benchmarks/record.py --all

Writes `recordings/NAME.csv.gz` (`lambda, fold, epoch, train_loss, train_error, val_loss, val_error, first_estimate`)
and `recordings/NAME.test.csv` (`lambda, fold, test_loss, test_error, zero_fraction`). A search strategy can be replayed
over them in seconds instead of being trained for hours. MNIST and CIFAR-10 are read from $L2TUNE_DATA; CIFAR-10 as an
image folder (`cifar10/train/CLASS/*`, `cifar10/test/CLASS/*`).
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import time
from pathlib import Path
from typing import Any

import pandas as pd

from l2tune.assemble import assemble
from l2tune.members import EpochScores, make_member
from l2tune.penalty.strength import log_grid
from l2tune.settings import build

FOLDER = Path(__file__).parent / "recordings"
CIFAR = os.environ.get("L2TUNE_CIFAR10", f"{os.environ.get('L2TUNE_DATA', '.')}/cifar10")

RECORDINGS: dict[str, tuple[dict[str, Any], list[float]]] = {
    "digits-sgd": ({"data": "digits", "epochs": 30}, log_grid(1e-6, 1.0, 19)),
    "digits-sgd-l1": ({"data": "digits", "penalty": "l1", "epochs": 30}, log_grid(1e-7, 1e-1, 19)),
    "digits-500-adam": (
        {"data": "digits", "subset": 500, "optimizer": "adam", "lr": 3e-3, "epochs": 20},
        log_grid(1e-6, 1.0, 19),
    ),
    "digits-250-sgd": ({"data": "digits", "subset": 250, "epochs": 40, "batch_size": 64}, log_grid(1e-6, 1.0, 19)),
    "digits-600-linear": (
        {"data": "digits", "subset": 600, "model": "linear", "optimizer": "adam", "lr": 1e-2, "epochs": 30},
        log_grid(1e-6, 1.0, 19),
    ),
    "mnist-1000-adam": (
        {"data": "mnist", "subset": 1000, "optimizer": "adam", "lr": 1e-3, "epochs": 6},
        log_grid(1e-6, 1e-1, 16),
    ),
    "mnist-1000-adam-l1": (
        {"data": "mnist", "subset": 1000, "penalty": "l1", "optimizer": "adam", "lr": 1e-3, "epochs": 6},
        log_grid(1e-7, 1e-1, 19),
    ),
    "cifar10-1000-sgd": (
        {"data": CIFAR, "subset": 1000, "optimizer": "sgd", "lr": 0.03, "epochs": 10},
        log_grid(1e-5, 1.0, 16),
    ),
    "cifar10-1000-resnet": (
        {
            "data": CIFAR,
            "subset": 1000,
            "image_size": 16,
            "model": "small_resnet",
            "lr": 0.2,
            "epochs": 20,
            "batch_size": 64,
        },
        log_grid(1e-5, 3e-1, 19),
    ),
}


def record(name: str, settings: dict[str, Any], strengths: list[float], folder: Path = FOLDER) -> None:
    """Train λ = 0 and each strength on every fold and write both tables."""
    began = time.perf_counter()
    built = build(settings)
    trainer, form = assemble(built).trainer, built.penalty.form
    epochs: list[dict[str, Any]] = []
    tests: list[dict[str, Any]] = []
    for strength in [0.0, *strengths]:
        for fold in range(trainer.folds):
            for scores in trainer.start([make_member(0, strength, fold)]):
                epochs.append(score_row(scores[0], form))
                if scores[0].network is not None:
                    network = scores[0].network
                    head = {"lambda": strength, "fold": fold}
                    scored = {name: getattr(network, name) for name in ("test_loss", "test_error", "zero_fraction")}
                    tests.append(head | scored)
        print(f"{name}: λ = {strength:.3g} done after {time.perf_counter() - began:.0f} s", flush=True)
    folder.mkdir(exist_ok=True)
    write_epochs(folder / f"{name}.csv.gz", epochs)
    pd.DataFrame(tests).to_csv(folder / f"{name}.test.csv", index=False, float_format="%.7g")


def score_row(scores: EpochScores, form: str) -> dict[str, Any]:
    """A row of the table that searches replay."""
    names = ("epoch", "train_loss", "train_error", "val_loss", "val_error")
    head = {"lambda": scores.member.strength, "fold": scores.member.fold}
    return head | {n: getattr(scores, n) for n in names} | {"first_estimate": scores.first_estimates.get(form)}


def write_epochs(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write that table, the same bytes for the same rows."""
    text = io.StringIO()
    pd.DataFrame(rows).to_csv(text, index=False, float_format="%.7g")
    file.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", nargs="*", choices=[*RECORDINGS, []], help="which recordings")
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    for name in RECORDINGS if arguments.all else arguments.name:
        record(name, *RECORDINGS[name])
