"""Differences between two strengths on the same folds, with the correction for folds that share training data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Mean difference of paired fold scores, `second − first`: above 0 where the first is better (lower).

    Attributes:
        folds: Pairs.
        mean: Of the differences.
        naive_standard_error: As if the folds were independent, s / √k.
        standard_error: Corrected, s · √(1/k + validation size / training size).
        interval: 95 % confidence interval by the corrected standard error, k − 1 degrees of freedom.
        p_value: Two-sided, of no difference, by the corrected resampled t-test.
    """

    folds: int
    mean: float
    naive_standard_error: float
    standard_error: float
    interval: tuple[float, float]
    p_value: float

    @property
    def is_measurable(self) -> bool:
        """Whether the corrected test rejects 'no difference' at 5 %."""
        return self.p_value < 0.05


def compare(first: ArrayLike, second: ArrayLike, size_ratio: float) -> PairedDifference | None:
    """Compare costs of the same folds; None with fewer than two pairs of finite ones.

    >>> found = compare([0.30, 0.32, 0.31], [0.40, 0.44, 0.41], size_ratio=0.5)
    >>> round(found.mean, 3), found.is_measurable
    (0.107, True)

    Source: Nadeau and Bengio, 'Inference for the generalization error' (Machine Learning, 2003).

    Args:
        first: (k,) scores.
        second: (k,) scores of the same folds.
        size_ratio: Validation images per training image of a fold, 1/(k − 1) in k-fold cross-validation.
    """
    with np.errstate(invalid="ignore"):  # a fold that diverged at both has no difference
        difference = np.asarray(second, float) - np.asarray(first, float)
    difference = difference[np.isfinite(difference)]
    k = len(difference)
    if k < 2:
        return None
    mean = float(difference.mean())
    naive, corrected = standard_errors(difference, size_ratio)
    if corrected == 0:  # every fold differs by the same amount
        return PairedDifference(k, mean, 0.0, 0.0, (mean, mean), 1.0 if mean == 0 else 0.0)
    half = float(stdtrit(k - 1, 0.975)) * corrected
    p_value = float(2 * stdtr(k - 1, -abs(mean) / corrected))
    return PairedDifference(k, mean, naive, corrected, (mean - half, mean + half), p_value)


def standard_errors(scores: ArrayLike, size_ratio: float) -> tuple[float, float]:
    """Naive and corrected standard error of the mean of k fold scores; NaN for fewer than two.

    At k = 5 the corrected one is 1.5 times the naive one.
    """
    values = np.asarray(scores, float)
    if len(values) < 2:
        return float("nan"), float("nan")
    spread = float(values.std(ddof=1))
    return spread * float(np.sqrt(1 / len(values))), spread * float(np.sqrt(1 / len(values) + size_ratio))


def rowwise_standard_error(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """(rows,) naive standard errors of (rows, k) fold scores, NaN left out; NaN where fewer than two."""
    count = np.isfinite(scores).sum(axis=1)
    filled = np.where(np.isfinite(scores), scores, 0.0)
    mean = filled.sum(axis=1) / np.maximum(count, 1)
    squares = np.where(np.isfinite(scores), (scores - mean[:, None]) ** 2, 0.0).sum(axis=1)
    error = np.sqrt(squares / np.maximum(count - 1, 1) / np.maximum(count, 1))
    return np.where(count >= 2, error, np.nan)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """(tests,) p-values corrected for being many, so that the chance of any false rejection stays at the level.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]

    Source: Holm, 'A simple sequentially rejective multiple test procedure' (Scandinavian Journal of Statistics, 1979).

    Args:
        p_values: (tests,); a NaN is a test that was planned and cannot be made yet: it counts as one, and stays NaN.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p)  # NaN last
    steps = p[order] * np.arange(len(p), 0, -1)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(np.nan_to_num(steps, nan=0.0)), 1.0)
    return np.where(np.isnan(p), np.nan, corrected)
