"""What a chosen λ is really worth: by the recorded networks' scores on thousands of images that no search sees.

Beside NAME.csv.gz, which searches replay, a recording made by `record_judged.py` has NAME.judge.csv (`lambda, fold,
judge_loss, judge_error, judge_images`) and NAME.judge-images.csv (`metric, lambda, other, covariance`: of two λ's mean
scores, by the luck of the judge's images).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray

from l2tune.analysis.gain import proof
from l2tune.tradeoff import Tradeoff

Array = NDArray[np.float64]

KNOWN = 3.0
"""A fall of so many standard errors is one; below it the curve is flat, as far as the judge can tell."""


@dataclass(frozen=True, eq=False)
class Judge:
    """A metric over λ.

    Attributes:
        strengths: (S,) rising, 0 first.
        scores: (S, folds) means over the judge's images.
        covariance: (S, S) of the means over folds, by the luck of the images.
    """

    strengths: Array
    scores: Array
    covariance: Array

    @classmethod
    def read(cls, folder: Path, name: str, metric: str) -> Judge | None:
        """The judge of a recording; None if it has none."""
        file = folder / f"{name}.judge.csv"
        if not file.exists():
            return None
        scores = pd.read_csv(file).pivot(index="lambda", columns="fold", values=f"judge_{metric}")
        images = pd.read_csv(folder / f"{name}.judge-images.csv")
        covariance = images[images["metric"] == metric].pivot(index="lambda", columns="other", values="covariance")
        return cls(scores.index.to_numpy(float), scores.to_numpy(float), covariance.to_numpy(float))

    def score(self, strength: float) -> float:
        """Mean over folds; between recorded λ linear in log λ, beyond them as at the last."""
        return float(self._weights(strength) @ self.scores.mean(axis=1))

    def standard_error(self, first: float, second: float) -> float:
        """Of the difference of two λ, paired by fold and by image.

        The luck of the folds' trainings and that of the images are added; what is luck of both counts twice.
        """
        weights = self._weights(first) - self._weights(second)
        by_fold = weights @ self.scores  # (folds,)
        return float(np.sqrt(by_fold.var(ddof=1) / len(by_fold) + max(0.0, weights @ self.covariance @ weights)))

    @cached_property
    def best(self) -> float:
        """The recorded λ of the lowest score."""
        return float(self.strengths[self.scores.mean(axis=1).argmin()])

    @property
    def fall(self) -> float:
        """From λ = 0 to the best."""
        return self.score(0.0) - self.score(self.best)

    @property
    def is_flat(self) -> bool:
        """Whether λ = 0 cannot be told from the best."""
        return self.best == 0 or self.fall < KNOWN * self.standard_error(0.0, self.best)

    def gain(self, strength: float) -> float:
        """Share of the fall; NaN where it is flat."""
        return np.nan if self.is_flat else (self.score(0.0) - self.score(strength)) / self.fall

    def covers(self, low: float, high: float) -> bool:
        """Whether an interval holds a λ that the judge cannot tell from the best."""
        inside = [s for s in self.strengths if low <= s <= high] + list(
            np.geomspace(max(low, 1e-9), max(high, 1e-9), 9)
        )
        lowest = self.score(self.best)
        return any(self.score(s) - lowest <= self.standard_error(s, self.best) for s in inside)

    def _weights(self, strength: float) -> Array:
        """(S,) of the recorded λ in a score."""
        weights = np.zeros(len(self.strengths))
        if strength == 0:
            weights[0] = 1
            return weights
        known = np.log(self.strengths[1:])
        place = 1 + float(np.interp(np.log(strength), known, np.arange(len(known))))
        left = int(place)
        weights[left] = 1 - (place - left)
        if place > left:
            weights[left + 1] = place - left
        return weights


@dataclass(frozen=True, eq=False)
class Judged:
    """What `Outcome.judge` asks of a recording, answered by the judge.

    Regret stays in standard errors of the cross-validation, at the judge's best: what a search could have known.
    """

    recording: Any
    judge: Judge

    def gain(self, strength: float) -> float:
        return self.judge.gain(strength)

    def test_gain(self, strength: float) -> float:
        return float(self.recording.test_gain(strength))

    def regret(self, strength: float) -> float:
        return (self.judge.score(strength) - self.judge.score(self.judge.best)) / self.standard_error

    def covers(self, low: float, high: float) -> bool:
        return self.judge.covers(low, high)

    @cached_property
    def standard_error(self) -> float:
        """Of the cross-validation at the judge's best."""
        return float(self.recording.final(self.judge.best).std(ddof=1) / np.sqrt(self.recording.folds))


def judged(source: Path | str, recording: Any) -> Any:
    """What judges the choices on a recording: its judge, or the recording itself where it has none."""
    judge = Judge.read(source.parent, recording.name, recording.metric) if isinstance(source, Path) else None
    return recording if judge is None else Judged(recording, judge)


def claims_gain(study: optuna.Study | None) -> bool | None:
    """Whether l2tune's verdict on a study is that its λ is measurably better than none; None without a study."""
    if study is None:
        return None
    found = Tradeoff.from_study(study)
    return found.best_lambda > 0 and proof(found) == "better"
