"""Recorded cross-validations that count what a search pays, and know what its choice is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from l2tune.members import EpochScores, Member
from l2tune.metrics import Metric
from l2tune.training.replay import ReplayRun, ReplayTrainer

FOLDS = 5
Array = NDArray[np.float64]

DISGUISES: dict[str, tuple[Metric, float, float]] = {
    "turned": (Metric("turned", maximize=True), 0.0, -1.0),
    "shifted": (Metric("shifted"), -1.0, 1.0),
    "scaled": (Metric("scaled"), 0.0, 1e3),
}
"""Name → the metric as l2tune is told of it, and a and b of a + b · the recorded one."""


class Recording(ReplayTrainer):
    """A recording that counts the epochs it is asked for, and knows its own best."""

    def __init__(self, path: Path, metric: str, seed: int | None = None) -> None:
        super().__init__(path)
        if seed is not None:
            order = np.random.default_rng(seed).permutation(self.folds)
            self.scores = {name: values[:, order] for name, values in self.scores.items()}
            self.estimates = None if self.estimates is None else self.estimates[:, order]
        self.name = path.name.removesuffix(".csv.gz")
        self.metric = metric
        self.disguise: str | None = None
        self.spent = 0
        tests = path.with_name(f"{self.name}.test.csv")
        table = pd.read_csv(tests) if tests.exists() else None
        self.test_scores = None if table is None else table.groupby("lambda")[f"test_{metric}"].mean()

    def start(self, members: Sequence[Member]) -> CountedRun:
        return CountedRun(self, members)

    @property
    def cost(self) -> float:
        """Fits spent."""
        return self.spent / self.epochs

    def final(self, strength: float) -> Array:
        """(folds,) validation metric after the last epoch."""
        return self.after(strength, self.epochs)

    def after(self, strength: float, epochs: int) -> Array:
        """(folds,) validation metric after so many epochs."""
        return np.array([self.curve(f"val_{self.metric}", strength, fold)[epochs - 1] for fold in range(self.folds)])

    def test(self, strength: float) -> float:
        """Test metric, interpolated linearly in log λ."""
        assert self.test_scores is not None
        if strength == 0:
            return float(self.test_scores.loc[0.0])
        known = self.test_scores[self.test_scores.index > 0]
        return float(np.interp(np.log(strength), np.log(known.index.to_numpy(float)), known.to_numpy(float)))

    @cached_property
    def best(self) -> float:
        """The recorded λ of the lowest mean."""
        return float(min(self.strengths, key=lambda strength: self.final(strength).mean()))

    def gain(self, strength: float) -> float:
        """Share of the attainable fall; NaN where nothing is attainable."""
        nothing, lowest = self.final(0.0).mean(), self.final(self.best).mean()
        return float((nothing - self.final(strength).mean()) / (nothing - lowest)) if nothing > lowest else np.nan

    def test_gain(self, strength: float) -> float:
        """The same on the test images, of the fall to their own lowest score."""
        if self.test_scores is None:
            return np.nan
        attainable = self.test(0.0) - float(self.test_scores.min())
        return (self.test(0.0) - self.test(strength)) / attainable if attainable > 0 else np.nan

    def regret(self, strength: float) -> float:
        """In standard errors of the cross-validation at the best."""
        return float((self.final(strength).mean() - self.final(self.best).mean()) / self.standard_error)

    @cached_property
    def standard_error(self) -> float:
        """Of the cross-validation at the best."""
        return float(self.final(self.best).std(ddof=1) / np.sqrt(self.folds))

    def covers(self, low: float, high: float) -> bool:
        """Whether an interval holds a λ that the recording cannot tell from its best."""
        inside = [s for s in self.strengths if low <= s <= high]
        inside += [s for s in np.geomspace(max(low, 1e-9), max(high, 1e-9), 9) if self.strengths[1] <= s]
        for strength in inside:
            difference = self.final(strength) - self.final(self.best)
            if difference.mean() <= difference.std(ddof=1) / np.sqrt(self.folds):
                return True
        return False


class CountedRun(ReplayRun):
    def __init__(self, recording: Recording, members: Sequence[Member]) -> None:
        super().__init__(recording, members)
        self._recording = recording

    def __next__(self) -> Sequence[EpochScores]:
        scores = super().__next__()
        self._recording.spent += len(scores)
        if self._recording.disguise is None:
            return scores
        told, shift, factor = DISGUISES[self._recording.disguise]
        return [
            replace(
                s,
                others={
                    f"{part}_{told}": shift + factor * s.score(f"{part}_{self._recording.metric}")
                    for part in ("train", "val")
                },
            )
            for s in scores
        ]


def rank_correlations(recording: Recording) -> dict[str, float]:
    """Spearman's, across λ, between the mean metric after a part of the epochs and after the last.

    Only λ whose final metric is below twice the lowest count: that the others are bad shows early, and hides that the
    order of the good ones does not.
    """
    means = recording.scores[f"val_{recording.metric}"].mean(axis=1)  # (strengths, epochs)
    good = means[:, -1] <= 2 * means[:, -1].min()
    at = {share: max(0, round(share * recording.epochs) - 1) for share in (0.1, 0.25, 0.5, 0.75)}
    return {f"{share:.0%}": float(spearmanr(means[good, epoch], means[good, -1])[0]) for share, epoch in at.items()}
