"""What the curve's Gaussian process sees: costs made comparable (outcome transform), λ made even (input warp)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l2tune.metrics import Metric

Array = NDArray[np.float64]
Folds = NDArray[np.int64]

_COMPRESSION = 1.0
"""Scale of y's logarithmic compression above its better quarter: there only 'bad' matters, not how bad."""

_UNIT = 2.0
"""Unit of costs, as a multiple of the distance from the lowest one to the upper quartile.

Replayed on ten recordings of losses, 40 seeds each, the searches are as good as with the loss's logarithm, which would
be the choice for a loss alone: regret 0.055 standard errors against 0.056, 24.9 fits against 25.4 (median)."""

_NOISE = 0.05
"""Noise of a fold, in such units, expected before there are data."""

_NOISE_OF_STEPS = 2.0
"""The same of a metric that counts (an error rate in percent, say), in its steps: a binomial's is one to four."""

_NOISE_OF_PROPORTION = 0.25
"""Noise of a fold's error rate, in standard deviations of a binomial: what no neighbouring λ shares."""

_NARROWEST = 0.01
"""Half the width, in decades, of the narrowest range."""


@dataclass(frozen=True)
class OutcomeTransform:
    """Cost ↔ standardized y.

    How it is chosen, by the metric's kind:

    - `proportion` (an error rate, or 1 − accuracy): y = arcsin √cost, which steadies the variance of a proportion;
    - anything else: y = log(1 + (cost − lowest) / unit), lowest and unit taken from the costs themselves. So every
      affine change of the metric, and turning it round, gives the same y, and with it the same curve and search. For
      a loss it is much like the logarithm, for the lowest loss and what regularization gains are of one size.

    Above its better quarter y is compressed logarithmically, then it is standardized.

    Attributes:
        images: Per fold, as far as proportions tell; infinite for other kinds, of which there is no such number.
        step: Of which the differences of other costs are multiples; 0 if they are of none.
        start: y (before standardizing) from which it is compressed.
        lowest: Of the costs.
        unit: Of the costs.
    """

    images: float
    step: float
    start: float
    lowest: float
    unit: float
    center: float
    spread: float

    @classmethod
    def of(cls, metric: Metric, cost: Array, fold: Folds) -> OutcomeTransform:
        """The transform for these costs, all finite."""
        lowest = float(cost.min())
        unit = _UNIT * (float(np.quantile(cost, 0.75)) - lowest) or float(cost.mean()) - lowest or 1.0
        images = _images(cost, fold) if metric.kind == "proportion" else np.inf
        step = _step(cost, fold) if metric.kind != "proportion" else 0.0
        bare = cls(images, step, np.inf, lowest, unit, 0.0, 1.0)
        bare = replace(bare, start=float(np.quantile(bare._outer(cost), 0.25)))
        y = bare._y(cost)
        spread = float(y.std())
        return replace(bare, center=float(y.mean()), spread=spread if spread > 1e-6 else 1.0)

    @property
    def is_of_proportions(self) -> bool:
        """Whether costs are shares of so many images."""
        return bool(np.isfinite(self.images))

    def standardize(self, cost: Array) -> Array:
        """Costs of any shape → standardized y."""
        return np.asarray((self._y(cost) - self.center) / self.spread)

    def cost(self, z: Array) -> Array:
        """The cost of standardized y."""
        y = self.center + self.spread * z
        above = np.maximum(y - self.start, 0.0)
        y = np.where(above > 0, self.start + self._scale * np.expm1(np.minimum(above / self._scale, 3.0)), y)
        if self.is_of_proportions:
            return np.asarray(np.sin(np.clip(y, 0.0, np.pi / 2)) ** 2)
        return np.asarray(self.lowest + self.unit * np.expm1(y))

    @property
    def expected_noise(self) -> float:
        """Prior median of the noise, standardized."""
        if self.is_of_proportions:
            return _NOISE_OF_PROPORTION * self.binomial_deviation
        return float(max(_NOISE, _NOISE_OF_STEPS * self.step / self.unit) / self.spread)

    @property
    def binomial_deviation(self) -> float:
        """Standard deviation of a fold's error rate by the luck of its images, standardized; 0 for other kinds."""
        return float(1 / (2 * np.sqrt(self.images)) / self.spread)

    @property
    def _scale(self) -> float:
        return _COMPRESSION / 4 if self.is_of_proportions else _COMPRESSION

    def _outer(self, cost: Array) -> Array:
        if self.is_of_proportions:
            return np.asarray(np.arcsin(np.sqrt(np.clip(cost, 0.0, 1.0))))
        return np.asarray(np.log1p((cost - self.lowest) / self.unit))

    def _y(self, cost: Array) -> Array:
        y = self._outer(cost)
        above = np.maximum(y - self.start, 0.0)
        return np.asarray(np.where(above > 0, self.start + self._scale * np.log1p(above / self._scale), y))


class Points(NamedTuple):
    """Where a curve is looked at.

    Attributes:
        x: (n,) decades.
        terms: (n, p) of the mean: 1, u, u² and, where there is one, the guide.
    """

    x: Array
    terms: Array

    def repeated(self, times: int) -> Points:
        """(times · n) points, one after the other."""
        return Points(np.tile(self.x, times), np.tile(self.terms, (times, 1)))


@dataclass(frozen=True, eq=False)
class Guide:
    """Another curve of the same fits, that this one is expected to be like.

    Attributes:
        strengths: (m,) rising λ > 0.
        values: (m,) of the other curve, standardized.
        at_zero: Of it at λ = 0.
    """

    strengths: Array
    values: Array
    at_zero: float

    def __call__(self, strength: Array) -> Array:
        """(n,) λ → (n,), between the strengths linear in log λ."""
        known = np.interp(np.log(np.maximum(strength, 1e-300)), np.log(self.strengths), self.values)
        return np.asarray(np.where(strength > 0, known, self.at_zero))


@dataclass(frozen=True)
class InputWarp:
    """λ → x = log₁₀(λ + λ₀), and the terms of the mean.

    Attributes:
        low: Lowest λ of the range.
        high: Highest.
        bottom: λ at which the quadratic mean is expected to be lowest.
        guide: Another curve whose multiple the mean has as a term.
    """

    low: float
    high: float
    bottom: float
    guide: Guide | None = None

    @classmethod
    def of(cls, low: float, high: float, first_estimate: float | None, guide: Guide | None = None) -> InputWarp:
        """The warp of a range; its middle is the bottom where there is no estimate."""
        bottom = float(np.clip(first_estimate, low, high)) if first_estimate else float(np.sqrt(low) * np.sqrt(high))
        return cls(low, high, bottom, guide)

    def offset(self, log_floor: float) -> float:
        """λ₀, the strength below which λ changes nothing, of its logarithm over `low`."""
        return float(self.low * np.exp(log_floor))

    def points(self, strength: Array, log_floor: float) -> Points:
        """(n,) λ → x in decades, and the terms; u is −1 and 1 half the range's width off the bottom."""
        x = np.log10(strength + self.offset(log_floor))
        u = (x - np.log10(self.bottom)) / self.half_width
        terms = [np.ones_like(u), u, u * u]
        return Points(x, np.stack(terms if self.guide is None else [*terms, self.guide(strength)], axis=1))

    @property
    def half_width(self) -> float:
        """Half the width of the range in decades; of a narrower one the quadratic would be too steep to compute."""
        return max(0.5 * float(np.log10(self.high) - np.log10(self.low)), _NARROWEST)


def worst_cost(cost: Array, metric: Metric) -> float:
    """What a diverged fit counts as: worse than all that were seen, by thrice the distance from the best to the worst.

    So a λ at which training breaks never counts as good as one that merely scores badly.
    """
    low, high = float(cost.min()), float(cost.max())
    if metric.kind == "proportion":
        return min(1.0, 4 * high - 3 * low) if high > low else 0.5 * (1.0 + high)
    return 4 * high - 3 * low if high > low else high + (abs(high) or 1.0)


def _step(cost: Array, fold: Folds) -> float:
    """The largest number of which all differences within a fold are multiples; 0 if they are of none, or too few."""
    gaps = np.concatenate([np.diff(np.unique(cost[fold == k])) for k in np.unique(fold)])
    gaps = gaps[gaps > 1e-9 * max(float(np.ptp(cost)), 1e-300)]
    if len(gaps) < 4:
        return 0.0
    multiples = gaps / gaps.min()
    counts = np.abs(multiples - np.rint(multiples)).max() < 0.01 and multiples.max() > 1.5
    return float(gaps.min()) if counts else 0.0


def _images(cost: Array, fold: Folds) -> float:
    """Images per fold: error rates are multiples of one over it. Too few where no fold shows a single step."""
    steps = np.concatenate([np.diff(np.unique(np.append(cost[fold == k], 0.0))) for k in np.unique(fold)])
    steps = steps[steps > 1e-6]
    return float(np.clip(1 / steps.min(), 10, 1e6)) if len(steps) else 100.0
