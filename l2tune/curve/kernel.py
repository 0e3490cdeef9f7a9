"""The covariance of the curve's Gaussian process, and the hyperparameters of highest posterior density."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l2tune.curve.transform import Array, Folds, InputWarp

NUGGET = 1e-6
_SQRT5 = np.sqrt(5.0)

_MOSTLY_NOISE = float(np.log(0.5))
"""A curve that explains so little may have missed that λ = 0 is far from the lowest λ of the range: it is fitted once
more, from a λ₀ below that one."""
_BESIDE_ZERO = -1.0

_MANY = 150
"""Observations beyond which the hyperparameters, whose fit takes n³ many times over, are fitted to some of them."""

# Prior mean and variance of the quadratic's coefficients (1, u, u²), in units of the standardized observations.
QUADRATIC_MEAN = np.array([0.0, 0.0, 1.0])
QUADRATIC_VARIANCE = np.array([10.0, 1.0, 1.0])


class Hyperparameters(NamedTuple):
    """Natural logarithms of what the curve's shape follows from; sizes are standard deviations of standardized y.

    Attributes:
        length_scale: Of both Matérn processes, decades.
        shared: Size of the process that all folds share.
        fold_effect: Size of a fold's shift.
        fold_deviation: Size of a fold's own process.
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
_PRIOR_WIDTH = np.array(Hyperparameters(0.4, 0.8, 1.0, 1.0, 0.7, 2.5))
_LOWEST = Hyperparameters(-1.2, -7.0, -7.0, -7.0, -5.0, -2.0)
_HIGHEST = Hyperparameters(1.6, 3.0, 3.0, 3.0, 1.5, 9.2)


def matern(x1: Array, x2: Array, log_length: float) -> Array:
    """(n,) and (m,) places → (n, m) Matérn 5/2 correlation."""
    r = _SQRT5 * np.abs(x1[:, None] - x2[None, :]) / np.exp(log_length)
    return np.asarray((1 + r + r * r / 3) * np.exp(-r))


def root(correlation: Array) -> Array:
    """A matrix whose square is the correlation (n, n), close strengths allowed."""
    from scipy.linalg import cholesky  # SciPy only where there is something to fit: a search begins without

    correlation = correlation.copy()
    correlation[np.diag_indices_from(correlation)] += 1e-7
    return np.asarray(cholesky(correlation, lower=True))


def covariance(warp: InputWarp, x1: Array, fold1: Folds, x2: Array, fold2: Folds, theta: Hyperparameters) -> Array:
    """(n, m) prior covariance of noiseless fold values, the quadratic's coefficients included."""
    process = matern(x1, x2, theta.length_scale)
    quadratic = (warp.terms(x1) * QUADRATIC_VARIANCE) @ warp.terms(x2).T
    own = np.exp(2 * theta.fold_effect) + np.exp(2 * theta.fold_deviation) * process
    return np.asarray(quadratic + np.exp(2 * theta.shared) * process + (fold1[:, None] == fold2[None, :]) * own)


def most_probable(warp: InputWarp, strength: Array, fold: Folds, z: Array, noise: float) -> Hyperparameters:
    """Hyperparameters of highest posterior density, given standardized observations z (n,).

    Args:
        noise: Median of the prior of the noise, standardized.
    """
    from scipy.optimize import minimize

    some = _some(strength)
    data = warp, strength[some], fold[some], z[some]
    center = prior_center(noise)

    def search(start: Hyperparameters) -> tuple[float, Hyperparameters]:
        found = minimize(
            lambda theta: negative_log_posterior(theta, *data, center),
            np.array(start),
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(_LOWEST, _HIGHEST, strict=True)),
            options={"maxiter": 40},
        )
        return float(found.fun), Hyperparameters(*found.x.tolist())

    value, best = search(center)
    if best.noise > _MOSTLY_NOISE:
        other, beside_zero = search(center._replace(floor=_BESIDE_ZERO))
        best = beside_zero if other < value else best
    return best


def prior_center(noise: float) -> Hyperparameters:
    """Medians of the hyperparameters' log-normal priors."""
    return _PRIOR_CENTER._replace(noise=float(np.clip(np.log(noise), _LOWEST.noise, _HIGHEST.noise)))


def negative_log_posterior(
    theta: Array, warp: InputWarp, strength: Array, fold: Folds, z: Array, center: Hyperparameters
) -> tuple[float, Array]:
    """−log(marginal likelihood × priors) up to a constant, and its gradient (6,)."""
    from scipy.linalg import cho_solve, cholesky

    now = Hyperparameters(*theta)
    same = (fold[:, None] == fold[None, :]).astype(float)
    n = len(z)
    x = warp.x(strength, now.floor)
    difference = x[:, None] - x[None, :]
    r = _SQRT5 * np.abs(difference) / np.exp(now.length_scale)
    exponential = np.exp(-r)
    process = (1 + r + r * r / 3) * exponential
    fall = (1 + r) / 3 * exponential  # −(d process / d r) / r
    _, shared, effect, deviation, noise, _ = np.exp(2 * theta)
    terms = warp.terms(x)
    matrix = (terms * QUADRATIC_VARIANCE) @ terms.T + (shared + deviation * same) * process + effect * same
    matrix[np.diag_indices(n)] += noise + NUGGET
    try:
        lower = cholesky(matrix, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros(6)
    rest = z - terms @ QUADRATIC_MEAN
    inverse = cho_solve((lower, True), np.eye(n), check_finite=False)
    alpha = inverse @ rest
    value = 0.5 * rest @ alpha + np.log(np.diag(lower)).sum()
    outer = np.outer(alpha, alpha) - inverse  # the log likelihood's gradient is ½ tr(outer · dK) + alpha · d mean
    # λ₀ moves x: the more, the smaller λ is beside it
    offset = warp.offset(now.floor)
    moved = offset / (strength + offset) / np.log(10)
    by_distance = -(5 / np.exp(2 * now.length_scale)) * difference * fall  # d process / d difference
    by_offset = (shared + deviation * same) * by_distance * (moved[:, None] - moved[None, :])
    slope = np.stack([np.zeros(n), np.ones(n), 2 * terms[:, 1]], axis=1) * (moved / warp.half_width)[:, None]
    product = (slope * QUADRATIC_VARIANCE) @ terms.T
    gradient = -0.5 * np.array(
        [
            (outer * (shared + deviation * same) * r * r * fall).sum(),
            2 * shared * (outer * process).sum(),
            2 * effect * (outer * same).sum(),
            2 * deviation * (outer * same * process).sum(),
            2 * noise * np.trace(outer),
            (outer * (by_offset + product + product.T)).sum() + 2 * alpha @ (slope @ QUADRATIC_MEAN),
        ]
    )
    distance = (theta - np.array(center)) / _PRIOR_WIDTH
    return float(value + 0.5 * distance @ distance), gradient + distance / _PRIOR_WIDTH


def _some(strength: Array) -> NDArray[np.bool_]:
    """(n,) which observations the hyperparameters are fitted to: all, or all folds of every so-many-th λ of many."""
    _, place = np.unique(strength, return_inverse=True)
    return np.asarray(place % -(-len(strength) // _MANY) == 0)
