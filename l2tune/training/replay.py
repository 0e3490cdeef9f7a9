"""A recorded table as an engine: whole searches in seconds, for developing and comparing strategies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l2tune.errors import UserError
from l2tune.members import EpochScores, Member

_SCORES = ("train_loss", "train_error", "val_loss", "val_error")


class ReplayTrainer:
    """Yields recorded scores; `Trainer` of `l2tune.members`. Any λ may be asked for.

    Between recorded λs, a fold's scores are interpolated linearly in log λ: losses as logarithms, validation errors
    rounded to whole images, for searches tell by their steps how many there are. Below the lowest recorded λ and above
    the highest, those are repeated; λ = 0 is replayed as recorded.

    Args:
        table: Columns `lambda, fold, epoch, train_loss, train_error, val_loss, val_error` and, if recorded,
            `first_estimate` (replayed as that of `l2`, whatever form was recorded); every λ × fold × epoch. Or the path
            of such a CSV file.

    Raises:
        UserError: The table is not complete.
    """

    test_labels: NDArray[np.int64] | None = None

    def __init__(self, table: pd.DataFrame | str | Path) -> None:
        where = "recording" if isinstance(table, pd.DataFrame) else str(table)
        rows = table if isinstance(table, pd.DataFrame) else pd.read_csv(table)
        missing = {"lambda", "fold", "epoch", *_SCORES} - set(rows.columns)
        if missing:
            raise UserError(f"has no column {', '.join(sorted(missing))}", where)
        strengths, folds, epochs = (np.sort(rows[name].unique()) for name in ("lambda", "fold", "epoch"))
        if len(rows) != len(strengths) * len(folds) * len(epochs):
            raise UserError("is not complete", where, "record every λ × fold × epoch")
        rows = rows.sort_values(["lambda", "fold", "epoch"])
        shape = (len(strengths), len(folds), len(epochs))
        self.strengths, self.folds, self.epochs = strengths, len(folds), len(epochs)
        self.scores = {name: rows[name].to_numpy(float).reshape(shape) for name in _SCORES}
        self._steps = [_step(self.scores["val_error"][:, fold]) for fold in range(len(folds))]
        self.estimates = rows["first_estimate"].to_numpy(float).reshape(shape) if "first_estimate" in rows else None

    def start(self, members: Sequence[Member]) -> ReplayRun:
        return ReplayRun(self, members)

    def describe(self) -> Mapping[str, Any]:
        return {"engine": "replay"}

    def curve(self, name: str, strength: float, fold: int) -> NDArray[np.float64]:
        """(epochs,) of a score."""
        values = self.scores[name][:, fold]  # (strengths, epochs)
        if strength == 0 and self.strengths[0] == 0:
            return np.asarray(values[0])
        positive = self.strengths > 0
        x, y = np.log(self.strengths[positive]), values[positive]
        y = np.log(np.maximum(y, 1e-12)) if name.endswith("loss") else y
        place = float(np.interp(math.log(strength) if strength else -math.inf, x, np.arange(len(x))))
        left, share = int(place), place % 1
        # at a recorded λ, a neighbour that diverged must not be multiplied in
        found = y[left] if not share else (1 - share) * y[left] + share * y[left + 1]
        if name == "val_error" and self._steps[fold]:
            found = np.rint(found / self._steps[fold]) * self._steps[fold]
        return np.asarray(np.exp(found) if name.endswith("loss") else found)


def _step(errors: NDArray[np.float64]) -> float:
    """One over the images that errors are shares of; 0 if they are of none."""
    gaps = np.diff(np.unique(np.append(errors[np.isfinite(errors)], 0.0)))
    gaps = gaps[gaps > 1e-6]
    if not len(gaps):
        return 0.0
    images = np.rint(1 / gaps.min())
    counts = errors[np.isfinite(errors)] * images
    return float(1 / images) if np.abs(counts - np.rint(counts)).max() < 0.02 else 0.0


class ReplayRun:
    """Recorded members, in lockstep by epoch."""

    def __init__(self, trainer: ReplayTrainer, members: Sequence[Member]) -> None:
        self._trainer, self._epoch = trainer, 0
        self._active = {
            member: {name: trainer.curve(name, member.strength, member.fold) for name in _SCORES} for member in members
        }

    def __iter__(self) -> ReplayRun:
        return self

    def __next__(self) -> Sequence[EpochScores]:
        if self._epoch == self._trainer.epochs or not self._active:
            raise StopIteration
        self._epoch += 1
        found = []
        for member, curves in list(self._active.items()):
            train_loss, train_error, val_loss, val_error = (float(curves[name][self._epoch - 1]) for name in _SCORES)
            diverged = not (np.isfinite(train_loss) and np.isfinite(val_loss))
            recorded, estimates = self._trainer.estimates, {}
            if recorded is not None and member.strength == self._trainer.strengths[0] == 0 and not diverged:
                estimate = float(recorded[0, member.fold, self._epoch - 1])
                estimates = {"l2": estimate} if math.isfinite(estimate) else {}
            found.append(
                EpochScores(
                    member,
                    self._epoch,
                    train_loss,
                    train_error,
                    val_loss,
                    val_error,
                    diverged=diverged,
                    first_estimates=estimates,
                )
            )
            if diverged:
                del self._active[member]
        return found

    def drop(self, members: Sequence[Member]) -> None:
        for member in members:
            self._active.pop(member, None)
