"""Cross-validations made up from curves whose minimizer is known."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from recording import FOLDS, Array, Recording


class Synthetic(Recording):
    """A cross-validation whose expected scores are known, drawn anew by each seed; one epoch per fit.

    A fold's log loss falls by `depth` around some λ, the more slowly the larger `width` (decades), and rises from some
    stronger λ on as a power, up to guessing among ten classes. Folds differ in level, and a little in where they fall
    and rise. Noise is white over λ and fold. An image of 160 per fold is wrong if its difficulty is below a rate that
    follows the loss at a λ up to half a decade off; at each λ, 30 % of the difficulties are drawn anew. Errors are
    judged by that rate, which is what further images would show.
    """

    IMAGES = 160
    REDRAWN = 0.3

    def __init__(self, shape: str, metric: str, seed: int | None = None) -> None:
        self.name, self.metric, self.spent, self.test_scores, self.estimates = shape, metric, 0, None, None
        self.disguise = None
        self.folds, self.epochs = FOLDS, 1
        self.strengths = np.array([0.0, *np.geomspace(1e-6, 1.0, 121)])
        kind = SHAPES[shape]
        rng = np.random.default_rng([0 if seed is None else seed, list(SHAPES).index(shape)])
        self._seed = 0 if seed is None else seed
        self._noise, self._width, self._power = kind["noise"], kind["width"], kind["power"]
        fall = rng.uniform(-4.5, -2.5)
        rise = fall + rng.uniform(0.5, 2.0) + kind["right"]
        self._level = rng.uniform(-3, -1) + rng.normal(0, 0.5, 5)
        self._depth = kind["depth"] * rng.uniform(0.5, 1.5) * np.exp(rng.normal(0, 0.3, 5))
        self._fall = fall + rng.normal(0, 0.2, 5)
        self._rise = rise + rng.normal(0, kind["jitter"], 5)
        self._drawn = round(self.REDRAWN * self.IMAGES)
        self._difficulty = rng.uniform(size=(5, self.IMAGES - self._drawn))
        self._aside = rng.uniform(-0.5, 0.5)

    def expected(self, strength: float, fold: int) -> float:
        """The metric without luck."""
        return self._loss(strength, fold) if self.metric == "loss" else self._rate(strength, fold)

    def curve(self, name: str, strength: float, fold: int) -> Array:
        rng = np.random.default_rng([self._seed, fold, int(np.float64(strength).view(np.uint64))])
        loss = self._loss(strength, fold) * np.exp(self._noise * rng.normal())
        if name.endswith("loss"):
            return np.array([loss])
        rate = self._rate(strength, fold)
        return np.array([(self._wrong(rate, fold) + rng.binomial(self._drawn, rate)) / self.IMAGES])

    def _loss(self, strength: float, fold: int, aside: float = 0.0) -> float:
        """Expected loss, at a λ so many decades off."""
        x = np.log10(strength + 1e-9) + aside
        low = self._level[fold] - self._depth[fold] / (1 + np.exp(-(x - self._fall[fold]) / self._width))
        bad = np.log1p(10 ** min(30.0, self._power * (x - self._rise[fold])))
        return float(np.exp(-np.logaddexp(-(low + bad), -np.log(2.303))))

    def _rate(self, strength: float, fold: int) -> float:
        """Expected share of wrong images."""
        return min(0.9, 0.15 * float(self._loss(strength, fold, self._aside) ** 0.8))

    def _wrong(self, rate: float, fold: int) -> int:
        """Images that are wrong at this rate, of those whose difficulty is the same at every λ."""
        return int((self._difficulty[fold] < rate).sum())

    def final(self, strength: float) -> Array:
        return np.array([self.expected(strength, fold) for fold in range(self.folds)])

    @cached_property
    def standard_error(self) -> float:
        at_best = self.final(self.best)
        noise = self._noise * at_best.mean()
        if self.metric == "error":
            noise = np.sqrt(at_best.mean() / self.IMAGES)
        return float(np.sqrt((at_best.var(ddof=1) + noise**2) / self.folds))

    def covers(self, low: float, high: float) -> bool:
        """Whether the interval holds a λ as good as the minimizer, to a thousandth of the loss or of all images."""
        inside = np.append(np.geomspace(max(low, 1e-8), max(high, 1e-8), 60), low)
        lowest = self.final(self.best).mean()
        margin = 1e-3 * lowest if self.metric == "loss" else 1e-3
        return bool(min(self.final(float(s)).mean() for s in inside) <= lowest + margin)


SHAPES: dict[str, dict[str, float]] = {
    "valley": {"depth": 0.5, "width": 0.4, "power": 1.5, "right": 0.0, "jitter": 0.1, "noise": 0.03},
    "noisy": {"depth": 0.5, "width": 0.4, "power": 1.5, "right": 0.0, "jitter": 0.1, "noise": 0.15},
    "cliff": {"depth": 0.5, "width": 0.4, "power": 6.0, "right": 0.0, "jitter": 0.2, "noise": 0.03},
    "slope": {"depth": 0.5, "width": 1.2, "power": 1.5, "right": 0.0, "jitter": 0.1, "noise": 0.03},
    "shallow": {"depth": 0.05, "width": 0.4, "power": 1.5, "right": 0.0, "jitter": 0.1, "noise": 0.03},
    "none is best": {"depth": 0.0, "width": 0.4, "power": 1.0, "right": 0.0, "jitter": 0.1, "noise": 0.03},
    "high end": {"depth": 0.5, "width": 0.4, "power": 1.5, "right": 2.0, "jitter": 0.1, "noise": 0.03},
}
