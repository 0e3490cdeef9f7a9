"""A recorded table as a trainer. `test_conformance.py` has the protocol."""

import gzip
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from l2tune.errors import UserError
from l2tune.members import Member
from l2tune.training.replay import ReplayTrainer

STRENGTHS = (0.0, 1e-4, 1e-2, 1.0)


def loss(strength, fold, epoch):
    return (1 + fold) * (1 + 10 * strength) / epoch


@pytest.fixture
def table():
    rows = [
        {
            "lambda": strength,
            "fold": fold,
            "epoch": epoch,
            "train_loss": loss(strength, fold, epoch) / 2,
            "train_error": 0.1 * epoch,
            "val_loss": loss(strength, fold, epoch),
            "val_error": 0.2 + 0.1 * strength,
        }
        for strength in STRENGTHS
        for fold in range(2)
        for epoch in (1, 2, 3)
    ]
    return pd.DataFrame(rows)


def replay(table, strength, fold=0):
    """A member's scores, epoch by epoch."""
    return [found[0] for found in ReplayTrainer(table).start([Member(strength, fold, 0)])]


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("fold", [0, 1])
def test_recorded_scores_come_back(table, strength, fold):
    found = replay(table.sample(frac=1, random_state=0), strength, fold)
    assert [s.epoch for s in found] == [1, 2, 3]
    assert [s.val_loss for s in found] == pytest.approx([loss(strength, fold, epoch) for epoch in (1, 2, 3)])
    assert [s.train_loss for s in found] == pytest.approx([loss(strength, fold, epoch) / 2 for epoch in (1, 2, 3)])
    assert [s.train_error for s in found] == pytest.approx([0.1, 0.2, 0.3])
    assert [s.val_error for s in found] == pytest.approx([0.2 + 0.1 * strength] * 3)


def test_between_recorded_strengths_losses_are_interpolated_as_logarithms_and_errors_plainly(table):
    last = replay(table, 1e-3)[-1]
    assert last.val_loss == pytest.approx(math.sqrt(loss(1e-4, 0, 3) * loss(1e-2, 0, 3)))
    assert last.train_error == pytest.approx(0.3)


def test_between_recorded_strengths_validation_errors_are_whole_images(table):
    table["val_error"] = table["lambda"].map({0.0: 0.5, 1e-4: 0.4, 1e-2: 0.2, 1.0: 0.3})
    assert replay(table, 0.09)[-1].val_error == pytest.approx(0.2, abs=1e-9), "0.248 of ten images"
    assert replay(table, 0.11)[-1].val_error == pytest.approx(0.3, abs=1e-9), "0.252"
    table["val_error"] += math.pi / 1000 * table["lambda"]
    assert replay(table, 0.1)[-1].val_error == pytest.approx((0.2 + 0.3 + math.pi * 1.01e-3) / 2), (
        "of no number of images"
    )


@pytest.mark.parametrize(("asked", "recorded"), [(1e-9, 1e-4), (50.0, 1.0)])
def test_beyond_the_recorded_strengths_the_ends_are_repeated(table, asked, recorded):
    found, end = replay(table, asked), replay(table, recorded)
    assert [s.val_loss for s in found] == pytest.approx([s.val_loss for s in end])


def test_folds_and_epochs_are_counted(table):
    trainer = ReplayTrainer(table)
    assert (trainer.folds, trainer.epochs, trainer.test_labels) == (2, 3, None)


def test_the_first_estimate_is_the_baselines(table):
    table["first_estimate"] = np.where(table["lambda"] == 0, 1e-3 * (table["epoch"] + 10 * table["fold"]), np.nan)
    assert [s.first_estimates["l2"] for s in replay(table, 0.0, fold=1)] == pytest.approx([0.011, 0.012, 0.013])
    assert [s.first_estimates for s in replay(table, 1e-2)] == [{}] * 3


def test_recorded_divergence_is_replayed(table):
    table.loc[(table["lambda"] == 1.0) & (table["epoch"] >= 2), ["train_loss", "val_loss"]] = np.nan
    assert [s.diverged for s in replay(table, 1.0)] == [False, True]


def test_a_recorded_strength_is_itself_beside_one_that_diverged(table):
    table.loc[table["lambda"] == 1e-2, ["train_loss", "val_loss"]] = np.nan
    for strength in (1e-4, 1.0):
        assert [s.val_loss for s in replay(table, strength)] == pytest.approx([loss(strength, 0, e) for e in (1, 2, 3)])


def test_one_strength_without_a_baseline_is_all_there_is(table):
    one = table[table["lambda"] == 1e-2].assign(first_estimate=1.0)
    for asked in (0.0, 1e-4, 1e-2, 1.0):
        found = replay(one, asked)
        assert [s.val_loss for s in found] == pytest.approx([loss(1e-2, 0, epoch) for epoch in (1, 2, 3)])
        assert [s.first_estimates for s in found] == [{}] * 3


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_a_file_is_read(table, tmp_path, name):
    text = table.to_csv(index=False).encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    found, expected = replay(str(tmp_path / name), 1e-3), replay(table, 1e-3)
    assert [s.val_loss for s in found] == pytest.approx([s.val_loss for s in expected])


def test_a_missing_column_is_named(table):
    with pytest.raises(UserError, match="recording: has no column fold, val_loss"):
        ReplayTrainer(table.drop(columns=["val_loss", "fold"]))


def test_a_missing_row_is_refused(table):
    with pytest.raises(UserError, match="is not complete; record every λ × fold × epoch"):
        ReplayTrainer(table.drop(index=5))


def test_recordings_of_real_runs_replay():
    """Ours, and those in $L2TUNE_RECORDINGS where it is set: more regularization raises the training loss."""
    folders = [Path(__file__).parents[2] / "studies/benchmarks/recordings", *_given("L2TUNE_RECORDINGS")]
    files = [file for folder in folders for file in sorted(folder.glob("*.csv.gz"))]
    assert files
    for file in files:
        trainer = ReplayTrainer(file)
        members = [Member(strength, fold, 0) for strength in (0.0, 1e-1) for fold in range(trainer.folds)]
        epochs = list(trainer.start(members))
        assert len(epochs) == trainer.epochs
        free, penalized = (
            np.mean([s.train_loss for s in epochs[-1] if s.member.strength == strength]) for strength in (0.0, 1e-1)
        )
        assert free < penalized, file


def _given(variable):
    return [Path(os.environ[variable])] if os.environ.get(variable) else []
