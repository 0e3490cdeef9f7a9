"""The prior of the curve's Gaussian process, its covariance, and the hyperparameters of highest posterior density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l2tune.curve.transform import Array, Folds, InputWarp, OutcomeTransform, Points

NUGGET = 1e-6
_SQRT5 = np.sqrt(5.0)

_MOSTLY_NOISE = float(np.log(0.5))
"""A curve that explains so little may have missed that λ = 0 is far from the lowest λ of the range: it is fitted once
more, from a λ₀ below that one."""
_BESIDE_ZERO = -1.0

LUCK_LENGTH = 2.5
_LUCK = 0.7
_LUCK_WIDTH = 0.5
"""A fold's luck with its images: its length in decades, its size in standard deviations of a binomial, and how sure
that is. Two λ share a fold's images, so what differs is the luck of those that only one of them gets wrong: the more,
the further apart they are. Of recorded folds, their errors less those of the same networks on 6,000 further images
have a standard deviation of differences over √2 of 0.2 such units over 0.3 decades, 0.4 over one, 0.5 over two and 0.6
over four."""

_BESIDE_GUIDE = float(np.log(0.5))
"""Size of what a curve has beside its guide's multiple. Of 89 replayed searches, 0.3, 0.5 and 0.7 have a mean regret of
0.10, 0.12 and 0.12 standard errors, and their intervals cover in 98, 100 and 100 %."""

_MANY = 150
"""Observations beyond which the hyperparameters, whose fit takes n³ many times over, are fitted to some of them."""


class Hyperparameters(NamedTuple):
    """Natural logarithms of what the curve's shape follows from; sizes are standard deviations of standardized y.

    Attributes:
        length_scale: Of the Matérn 5/2 processes, decades.
        shared: Size of the process that all folds share.
        fold_effect: Size of a fold's shift.
        fold_deviation: Size of a fold's own process, or of the luck of its images.
        noise: Size of the noise.
        floor: λ₀ over the lowest λ of the range.
    """

    length_scale: float
    shared: float
    fold_effect: float
    fold_deviation: float
    noise: float
    floor: float


_PRIOR_CENTER = Hyperparameters(*np.log([1.2, 0.7, 0.5, 0.2, 1.0, 30.0]))
_PRIOR_WIDTH = Hyperparameters(0.4, 0.8, 1.0, 1.0, 0.7, 2.5)
_LOWEST = Hyperparameters(-1.2, -7.0, -7.0, -7.0, -5.0, -2.0)
_HIGHEST = Hyperparameters(1.6, 3.0, 3.0, 3.0, 1.5, 9.2)


@dataclass(frozen=True)
class Prior:
    """What is expected of a curve before there are data, in units of the standardized observations.

    Attributes:
        mean: (p,) of the coefficients of the terms 1, u, u² and, where there is one, the guide.
        variance: (p,) of the coefficients.
        center: Medians of the hyperparameters' log-normal priors.
        width: Their standard deviations.
        counted: Whether scores are counts of images; a fold's deviation is then the luck of its images, `image_luck`.
    """

    mean: Array
    variance: Array
    center: Hyperparameters
    width: Hyperparameters
    counted: bool

    @classmethod
    def of(cls, transform: OutcomeTransform, *, guided: bool) -> Prior:
        """The prior of costs that are transformed in this way."""
        center = _PRIOR_CENTER._replace(
            noise=float(np.clip(np.log(transform.expected_noise), _LOWEST.noise, _HIGHEST.noise))
        )
        mean, variance, width = [0.0, 0.0, 1.0], [10.0, 1.0, 1.0], _PRIOR_WIDTH
        counted = transform.is_of_proportions
        if counted:
            size = float(np.log(_LUCK * transform.binomial_deviation))
            center = center._replace(
                fold_deviation=float(np.clip(size, _LOWEST.fold_deviation, _HIGHEST.fold_deviation))
            )
            width = width._replace(fold_deviation=_LUCK_WIDTH)
        if guided:  # which tells the shape, so the quadratic is weaker
            mean, variance = [0.0, 0.0, 0.3, 0.8], [10.0, 0.3, 0.3, 0.16]
            center = center._replace(shared=_BESIDE_GUIDE)
        return cls(np.array(mean), np.array(variance), center, width, counted)


def matern(x1: Array, x2: Array, log_length: float) -> Array:
    """(n,) and (m,) places → (n, m) Matérn 5/2 correlation."""
    r = _SQRT5 * np.abs(x1[:, None] - x2[None, :]) / np.exp(log_length)
    return np.asarray((1 + r + r * r / 3) * np.exp(-r))


def image_luck(x1: Array, x2: Array) -> Array:
    """(n,) and (m,) places → (n, m) correlation of the luck of a fold's images (Matérn 1/2)."""
    return np.asarray(np.exp(-np.abs(x1[:, None] - x2[None, :]) / LUCK_LENGTH))


def root(correlation: Array) -> Array:
    """A matrix whose square is the correlation (n, n), close strengths allowed."""
    from scipy.linalg import cholesky  # SciPy only where there is something to fit: a search begins without

    correlation = correlation.copy()
    correlation[np.diag_indices_from(correlation)] += 1e-7
    return np.asarray(cholesky(correlation, lower=True))


def covariance(
    prior: Prior,
    first: Points,
    fold1: Folds,
    second: Points,
    fold2: Folds,
    theta: Hyperparameters,
    *,
    luck: bool = True,
) -> Array:
    """(n, m) prior covariance of noiseless fold values, the coefficients of the mean's terms included.

    Args:
        luck: With the folds' deviations; without, of what is expected of folds of the same level.
    """
    process = matern(first.x, second.x, theta.length_scale)
    by_terms = (first.terms * prior.variance) @ second.terms.T
    own = np.exp(2 * theta.fold_effect)
    if luck:
        deviation = image_luck(first.x, second.x) if prior.counted else process
        own = own + np.exp(2 * theta.fold_deviation) * deviation
    return np.asarray(by_terms + np.exp(2 * theta.shared) * process + (fold1[:, None] == fold2[None, :]) * own)


def most_probable(warp: InputWarp, strength: Array, fold: Folds, z: Array, prior: Prior) -> Hyperparameters:
    """Hyperparameters of highest posterior density, given standardized observations z (n,)."""
    from scipy.optimize import minimize

    some = _some(strength)
    data = warp, strength[some], fold[some], z[some]

    def search(start: Hyperparameters) -> tuple[float, Hyperparameters]:
        found = minimize(
            lambda theta: negative_log_posterior(theta, *data, prior),
            np.array(start),
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(_LOWEST, _HIGHEST, strict=True)),
            options={"maxiter": 40},
        )
        return float(found.fun), Hyperparameters(*found.x.tolist())

    value, best = search(prior.center)
    if best.noise > _MOSTLY_NOISE:
        other, beside_zero = search(prior.center._replace(floor=_BESIDE_ZERO))
        best = beside_zero if other < value else best
    return best


def negative_log_posterior(
    theta: Array, warp: InputWarp, strength: Array, fold: Folds, z: Array, prior: Prior
) -> tuple[float, Array]:
    """−log(marginal likelihood × priors) up to a constant, and its gradient (6,)."""
    from scipy.linalg import cho_solve, cholesky

    now = Hyperparameters(*theta)
    same = (fold[:, None] == fold[None, :]).astype(float)
    n = len(z)
    x, terms = warp.points(strength, now.floor)
    difference = x[:, None] - x[None, :]
    r = _SQRT5 * np.abs(difference) / np.exp(now.length_scale)
    exponential = np.exp(-r)
    process = (1 + r + r * r / 3) * exponential
    fall = (1 + r) / 3 * exponential  # −(d process / d r) / r
    _, shared, effect, deviation, noise, _ = np.exp(2 * theta)
    own = image_luck(x, x) if prior.counted else process
    smooth = shared if prior.counted else shared + deviation * same  # the size of what has the length scale
    matrix = (terms * prior.variance) @ terms.T + smooth * process + effect * same
    if prior.counted:
        matrix += deviation * same * own
    matrix[np.diag_indices(n)] += noise + NUGGET
    try:
        lower = cholesky(matrix, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros(6)
    rest = z - terms @ prior.mean
    inverse = cho_solve((lower, True), np.eye(n), check_finite=False)
    alpha = inverse @ rest
    value = 0.5 * rest @ alpha + np.log(np.diag(lower)).sum()
    outer = np.outer(alpha, alpha) - inverse  # the log likelihood's gradient is ½ tr(outer · dK) + alpha · d mean
    # λ₀ moves x: the more, the smaller λ is beside it
    offset = warp.offset(now.floor)
    moved = offset / (strength + offset) / np.log(10)
    by_distance = -(5 / np.exp(2 * now.length_scale)) * difference * fall  # d process / d difference
    by_offset = smooth * by_distance
    if prior.counted:
        by_offset = by_offset - deviation * same * np.sign(difference) / LUCK_LENGTH * own
    by_offset = by_offset * (moved[:, None] - moved[None, :])
    slope = np.zeros_like(terms)
    slope[:, 1:3] = np.stack([np.ones(n), 2 * terms[:, 1]], axis=1) * (moved / warp.half_width)[:, None]
    product = (slope * prior.variance) @ terms.T
    gradient = -0.5 * np.array(
        [
            (outer * smooth * r * r * fall).sum(),
            2 * shared * (outer * process).sum(),
            2 * effect * (outer * same).sum(),
            2 * deviation * (outer * same * own).sum(),
            2 * noise * np.trace(outer),
            (outer * (by_offset + product + product.T)).sum() + 2 * alpha @ (slope @ prior.mean),
        ]
    )
    width = np.array(prior.width)
    distance = (theta - np.array(prior.center)) / width
    return float(value + 0.5 * distance @ distance), gradient + distance / width


def _some(strength: Array) -> NDArray[np.bool_]:
    """(n,) which observations the hyperparameters are fitted to: all, or all folds of every so-many-th λ of many."""
    _, place = np.unique(strength, return_inverse=True)
    return np.asarray(place % -(-len(strength) // _MANY) == 0)
