"""The regularization curve: expected validation metric over log λ, from folds that are mostly incomplete.

Model, with y the transformed metric of a fold and x = log10(λ + λ₀):

    y(x, fold) = bowl(x) + g(x) + b(fold) + d(x, fold) + noise

g is a Gaussian process (Matérn 5/2) that all folds share; b shifts a fold, with one prior for all folds, so that one
observation already counts; d lets a fold deviate smoothly, for a fold's luck is not the same at every λ. λ₀ is the
strength below which λ changes nothing: it makes the curve flat on the left and gives the baseline λ = 0 its place. The
bowl is a quadratic with Gaussian coefficients, weak enough to be overruled: without it the curve would expect new
valleys far from all data. All terms are kernels of one joint Gaussian, so the posterior of y is exact; their sizes, the
length scale and λ₀ maximize the posterior density. The idea of folds as tasks: Swersky, Snoek and Adams, 'Multi-Task
Bayesian Optimization' (NeurIPS 2013).

What is asked for is the mean of the metric itself over the study's folds, f(λ) = mean over folds of metric(y). It is
not a mean of y: where folds differ tenfold in loss, the minimizers of the two are decades apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.stats import norm

Array = NDArray[np.float64]
Folds = NDArray[np.int64]
Metric = Literal["loss", "error"]
Regime = Literal["underfit", "balanced", "overfit"]

GRID_POINTS = 121
_SAMPLES = 512
_MANY = 150
"""Observations beyond which the hyperparameters, whose fit takes n³ many times over, are fitted to some of them."""

_NUGGET = 1e-6
_SQRT5 = np.sqrt(5.0)

_KNEE = 1.0
"""Well above the better scores, y is compressed logarithmically: there only 'bad' matters, not how bad."""

# Quadratic in u, the design scaled to −1..1 over the range: prior mean and variance of its coefficients (1, u, u²),
# in units of the standardized observations.
_BOWL_MEAN = np.array([0.0, 0.0, 1.0])
_BOWL_VARIANCE = np.array([10.0, 1.0, 1.0])

# Logarithms of the length scale (decades), the sizes of g, b, d (standardized) and the noise, and λ₀ / lowest λ.
_PRIOR_CENTER = np.log([1.2, 0.7, 0.5, 0.2, 1.0, 30.0])
_PRIOR_WIDTH = np.array([0.4, 0.8, 1.0, 1.0, 0.7, 2.5])
_BOUNDS = [(-1.2, 1.6), (-7.0, 3.0), (-7.0, 3.0), (-7.0, 3.0), (-5.0, 1.5), (-2.0, 9.2)]

_NOISE_OF_LOSS = 0.04
"""Relative noise of a fold's loss, expected before there are data: recordings have 0.01 to 0.1."""

_NOISE_OF_ERROR = 0.5
"""Noise of a fold's error rate, in standard deviations of a binomial: most images are wrong, or right, at any λ."""


@dataclass(frozen=True, eq=False)
class RegularizationCurve:
    """A fitted curve; made by `RegularizationCurve.fit`.

    Attributes:
        low: Lowest λ of the range.
        high: Highest.
        folds: How many folds the mean is over.
        strength: (n,) λ of each observation.
        fold: (n,) fold index.
        hyperparameters: (6,) logarithms of length scale, sizes of g, b, d and noise, and λ₀ / low.
    """

    low: float
    high: float
    folds: int
    strength: Array
    fold: Folds
    hyperparameters: Array
    _scale: _Scale
    _cholesky: Array
    _weights: Array
    _seed: int

    @classmethod
    def fit(
        cls,
        strength: ArrayLike,
        fold: ArrayLike,
        score: ArrayLike,
        *,
        low: float,
        high: float,
        folds: int,
        metric: Metric = "loss",
        first_estimate: float | None = None,
        seed: int = 0,
    ) -> RegularizationCurve:
        """Fit to final fold scores.

        Args:
            strength: (n,) λ; 0 is the baseline. n ≥ 1.
            fold: (n,) fold index below `folds`.
            score: (n,) validation loss or error; NaN or infinite where the fold diverged, which counts as the worst.
            low: Lowest λ of the range.
            high: Highest λ of the range.
            folds: Number of folds of the cross-validation.
            metric: `loss` is taken on a log scale, `error` as arcsine of the square root, which steadies the variance
                of a proportion near zero.
            first_estimate: Where the bowl of the prior has its bottom; the middle of the range by default.
            seed: Of samples.

        Raises:
            ValueError: There is no finite score.
        """
        strengths, fold_index, scores = np.asarray(strength, float), np.asarray(fold, np.int64), np.array(score, float)
        finite = np.isfinite(scores)
        if not finite.any():
            raise ValueError("no fold has a finite score")
        scores[~finite] = scores[finite].max()
        scale = _Scale.of(metric, scores, fold_index, low, high, first_estimate)
        z = scale.standardize(scores)
        some = _some(strengths)
        theta = _most_probable(scale, strengths[some], fold_index[some], z[some], scale.expected_noise)
        x = scale.design(strengths, theta)
        covariance = _covariance(scale, x, fold_index, x, fold_index, theta)
        covariance[np.diag_indices_from(covariance)] += np.exp(2 * theta[4]) + _NUGGET
        lower = cholesky(covariance, lower=True)
        weights = cho_solve((lower, True), z - scale.bowl(x) @ _BOWL_MEAN)
        return cls(low, high, folds, strengths, fold_index, theta, scale, lower, weights, seed)

    def fold_means(self, strengths: ArrayLike) -> Array:
        """(folds, m) metric of each fold at each λ, at the posterior mean of y."""
        values = np.atleast_1d(np.asarray(strengths, float))
        x, folds = self._of_all_folds(values)
        return self._scale.metric(self._expected(x, folds)).reshape(self.folds, len(values))

    def mean(self, strengths: ArrayLike) -> Array:
        """(m,) expected metric at each λ, averaged over the folds."""
        return np.asarray(self.fold_means(strengths).mean(axis=0))

    def standard_error(self, strengths: ArrayLike, paired: bool = False) -> Array:
        """(m,) standard error of the metric at each λ.

        Args:
            paired: Of the difference from λ_best, where the folds' luck cancels. Otherwise with the luck of the folds,
                as the standard error of a cross-validation has it.
        """
        values = np.atleast_1d(np.asarray(strengths, float))
        draws = self._draw(np.append(values, self.best_lambda))
        if paired:
            return np.asarray((draws[:, :-1] - draws[:, -1:]).std(axis=0))
        variance = draws[:, :-1].var(axis=0)
        means = self.fold_means(values)
        if self.folds > 1:
            variance += means.var(axis=0, ddof=1) / self.folds
        rate = means.mean(axis=0)
        if self._scale.metric_name == "error":  # folds may agree by luck, but not more closely than so few images allow
            variance = np.maximum(variance, rate * (1 - rate) / (self._scale.images * self.folds))
        return np.asarray(np.sqrt(variance))

    def band_of(self, strengths: ArrayLike, level: float = 0.95) -> tuple[Array, Array]:
        """Lower and upper end, (m,) each, of the credible interval of the expected metric at each λ."""
        draws = self._draw(np.atleast_1d(np.asarray(strengths, float)))
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high

    @cached_property
    def grid(self) -> Array:
        """Strengths on which the curve is looked at: 0, then the range."""
        points = min(GRID_POINTS, max(41, 10 * GRID_POINTS // self.folds))
        return np.concatenate([[0.0], np.geomspace(self.low, self.high, points)])

    @cached_property
    def best_lambda(self) -> float:
        """Minimizer of the expected metric; 0 if no λ of the range beats the baseline."""
        return float(self.grid[self._on_grid.argmin()])

    @property
    def best_value(self) -> float:
        """Expected metric at `best_lambda`."""
        return float(self._on_grid.min())

    @cached_property
    def best_standard_error(self) -> float:
        """Standard error at `best_lambda`, with the luck of the folds."""
        return float(self.standard_error(self.best_lambda)[0])

    def argmin_samples(self) -> Array:
        """(samples,) of the λ at which f is lowest; 0 where the baseline is."""
        return np.asarray(self.grid[self._draws.argmin(axis=1)])

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Central 95 % of the samples of the minimizer."""
        low, high = np.quantile(self.argmin_samples(), [0.025, 0.975], method="closest_observation")
        return float(low), float(high)

    def within(self, value: float) -> tuple[float, float]:
        """Lowest and highest λ of the stretch around λ_best whose expected metric is at most `value`."""
        mean = self._on_grid
        low = high = int(mean.argmin())
        while low > 0 and mean[low - 1] <= value:
            low -= 1
        while high + 1 < len(mean) and mean[high + 1] <= value:
            high += 1
        return float(self.grid[low]), float(self.grid[high])

    @property
    def band(self) -> tuple[float, float]:
        """All λ around λ_best within one standard error of its metric; the upper end is λ_1se."""
        return self.within(self.best_value + self.best_standard_error)

    @property
    def one_se_lambda(self) -> float:
        """The largest λ within one standard error of the best (Breiman et al., 1984): the simplest that is as good."""
        return self.band[1]

    def regime(self, strength: float) -> Regime:
        """On which side of the balanced band λ lies: weaker penalties overfit, stronger ones underfit."""
        low, high = self.band
        if strength < low:
            return "overfit"
        return "underfit" if strength > high else "balanced"

    def probability_within(self, strengths: ArrayLike, tolerance: float) -> Array:
        """(m,) probability that each λ's expected metric is at most `tolerance` above the lowest."""
        values = np.atleast_1d(np.asarray(strengths, float))
        draws = self._draw(np.concatenate([self.grid, values]))
        lowest = draws.min(axis=1, keepdims=True)
        return np.asarray((draws[:, len(self.grid) :] <= lowest + tolerance).mean(axis=0))

    def knowledge_gradient(self, fold: int, pending: tuple[ArrayLike, ArrayLike] = ((), ())) -> Array:
        """(grid − 1,) expected fall of the curve's minimum from training each λ of the range on a fold.

        The expected metric is linearized in y at λ_best: exact where it matters, and far from there on y's own scale,
        where a bad λ is not mistaken for a promising one. Source: Frazier, Powell and Dayanik, 'The knowledge-gradient
        policy for correlated normal beliefs' (2009).

        Args:
            pending: (λ, fold) of fits under way; their results are unknown but will narrow the curve there.
        """
        waiting, waiting_fold = (np.atleast_1d(np.asarray(part, float)) for part in pending)
        count, noise = len(self.grid) - 1, np.exp(2 * self.hyperparameters[4]) + _NUGGET
        points = self._design(np.concatenate([self.grid[1:], waiting]))
        point_folds = np.concatenate([np.full(count, fold), waiting_fold]).astype(np.int64)
        x, folds = self._of_all_folds(self.grid)
        y = self._expected(x, folds)
        at_best = y.reshape(self.folds, -1)[:, self._on_grid.argmin()]
        slope = (self._scale.metric(at_best + 1e-4) - self._scale.metric(at_best - 1e-4)) / (2e-4 * self.folds)
        slope = np.repeat(slope, count + 1)
        joint = slope[:, None] * self._joint(x, folds, points, point_folds)
        of_f = joint.reshape(self.folds, count + 1, -1).sum(axis=0)  # (grid, points) covariance of f and fold values
        among = self._joint(points, point_folds, points, point_folds)
        variance = np.diag(among)[:count]
        if len(waiting):  # condition on where the pending results will be, not on what they are
            gain = np.linalg.solve(among[count:, count:] + noise * np.eye(len(waiting)), among[count:, :count])
            of_f = of_f[:, :count] - of_f[:, count:] @ gain
            variance = variance - np.einsum("ij,ij->j", among[count:, :count], gain)
        change = of_f[:, :count] / np.sqrt(np.clip(variance, 0, None) + noise)
        quantiles = norm.ppf((np.arange(16) + 0.5) / 16)
        mean = (slope * y).reshape(self.folds, -1).sum(axis=0)
        lowest = np.min(mean[:, None, None] + change[:, :, None] * quantiles, axis=0)  # (candidates, quantiles)
        return np.asarray(mean.min() - lowest.mean(axis=1))

    # ---- posterior ----

    def _design(self, strengths: Array) -> Array:
        return self._scale.design(strengths, self.hyperparameters)

    def _of_all_folds(self, strengths: Array) -> tuple[Array, Folds]:
        """The strengths for each fold, fold by fold: (folds·m,) design and fold."""
        return np.tile(self._design(strengths), self.folds), np.repeat(np.arange(self.folds), len(strengths))

    def _expected(self, x: Array, fold: Folds) -> Array:
        """Posterior mean of standardized y."""
        cross = _covariance(self._scale, x, fold, *self._observed, self.hyperparameters)
        return np.asarray(self._scale.bowl(x) @ _BOWL_MEAN + cross @ self._weights)

    def _joint(self, x1: Array, fold1: Folds, x2: Array, fold2: Folds) -> Array:
        """Posterior covariance of noiseless standardized y."""
        half1, half2 = (
            solve_triangular(
                self._cholesky, _covariance(self._scale, *self._observed, x, f, self.hyperparameters), lower=True
            )
            for x, f in ((x1, fold1), (x2, fold2))
        )
        return np.asarray(_covariance(self._scale, x1, fold1, x2, fold2, self.hyperparameters) - half1.T @ half2)

    def _draw(self, strengths: Array) -> Array:
        """(samples, m) joint draws of f at these strengths.

        By pathwise conditioning (Wilson et al., 2020): draw from the prior at the strengths and the observations, then
        correct by what the observations say. Cheaper than a factor of the posterior over strengths × folds.
        """
        rng = np.random.default_rng(self._seed)
        seen, place = np.unique(self.strength, return_inverse=True)
        x = self._design(np.concatenate([strengths, seen]))
        m, n, k = len(strengths), len(x), self.folds
        _, g, b, d, noise, _ = np.exp(self.hyperparameters)
        root = _root(_matern(x, x, self.hyperparameters[0]))
        shared = rng.standard_normal((_SAMPLES, n)) @ root.T * g
        shared += (_BOWL_MEAN + rng.standard_normal((_SAMPLES, 3)) * np.sqrt(_BOWL_VARIANCE)) @ self._scale.bowl(x).T
        own = (rng.standard_normal((_SAMPLES * k, n)) @ root.T * d).reshape(_SAMPLES, k, n)
        prior = shared[:, None, :] + own + b * rng.standard_normal((_SAMPLES, k, 1))  # (samples, folds, n)
        at_seen = prior[:, self.fold, m + place]  # (samples, observations)
        at_seen = at_seen + np.sqrt(noise**2 + _NUGGET) * rng.standard_normal(at_seen.shape)
        target = self._cholesky @ (self._cholesky.T @ self._weights) + self._scale.bowl(self._observed[0]) @ _BOWL_MEAN
        weights = cho_solve((self._cholesky, True), (target - at_seen).T)  # (observations, samples)
        points, folds = self._of_all_folds(strengths)
        cross = _covariance(self._scale, points, folds, *self._observed, self.hyperparameters)
        y = prior[:, :, :m] + (cross @ weights).T.reshape(_SAMPLES, k, m)
        return np.asarray(self._scale.metric(y).mean(axis=1))

    @cached_property
    def _observed(self) -> tuple[Array, Folds]:
        return self._design(self.strength), self.fold

    @cached_property
    def _on_grid(self) -> Array:
        return self.mean(self.grid)

    @cached_property
    def _draws(self) -> Array:
        """(samples, grid) of f."""
        return self._draw(self.grid)


@dataclass(frozen=True)
class _Scale:
    """Metric ↔ standardized y, and λ → design.

    Attributes:
        images: Per fold, as far as the error rates tell; infinite for the loss.
        start: y (before standardizing) from which it is compressed.
        floor: Lowest loss told apart from zero.
    """

    metric_name: Metric
    low: float
    high: float
    bottom: float
    images: float
    start: float
    floor: float
    center: float
    spread: float

    @classmethod
    def of(
        cls, metric: Metric, scores: Array, fold: Folds, low: float, high: float, first_estimate: float | None
    ) -> _Scale:
        floor = max(1e-12, 1e-3 * float(np.median(np.abs(scores))))
        bottom = float(np.clip(first_estimate, low, high)) if first_estimate else float(np.sqrt(low * high))
        images = _images(scores, fold) if metric == "error" else np.inf
        bare = cls(metric, low, high, bottom, images, np.inf, floor, 0.0, 1.0)
        bare = replace(bare, start=float(np.quantile(bare._outer(scores), 0.25)))
        y = bare._y(scores)
        spread = float(y.std())
        return replace(bare, center=float(y.mean()), spread=spread if spread > 1e-6 else 1.0)

    def standardize(self, scores: Array) -> Array:
        return np.asarray((self._y(scores) - self.center) / self.spread)

    @property
    def expected_noise(self) -> float:
        """Prior median of the noise, standardized."""
        noise = _NOISE_OF_LOSS if self.metric_name == "loss" else _NOISE_OF_ERROR / (2 * np.sqrt(self.images))
        return noise / self.spread

    def metric(self, z: Array) -> Array:
        """The metric of standardized y."""
        y = self.center + self.spread * z
        above = np.maximum(y - self.start, 0.0)
        y = np.where(above > 0, self.start + self._knee * np.expm1(np.minimum(above / self._knee, 3.0)), y)
        if self.metric_name == "loss":
            return np.asarray(np.exp(y))
        return np.asarray(np.sin(np.clip(y, 0.0, np.pi / 2)) ** 2)

    def design(self, strengths: Array, theta: Array) -> Array:
        return np.asarray(np.log10(strengths + self.low * np.exp(theta[5])))

    def bowl(self, x: Array) -> Array:
        """(m, 3) terms of the quadratic: 1, u, u²."""
        half = 0.5 * np.log10(self.high / self.low)
        u = (x - np.log10(self.bottom)) / half
        return np.stack([np.ones_like(u), u, u * u], axis=1)

    @property
    def _knee(self) -> float:
        return _KNEE if self.metric_name == "loss" else _KNEE / 4

    def _outer(self, scores: Array) -> Array:
        if self.metric_name == "loss":
            return np.asarray(np.log(np.maximum(scores, self.floor)))
        return np.asarray(np.arcsin(np.sqrt(np.clip(scores, 0.0, 1.0))))

    def _y(self, scores: Array) -> Array:
        y = self._outer(scores)
        above = np.maximum(y - self.start, 0.0)
        return np.asarray(np.where(above > 0, self.start + self._knee * np.log1p(above / self._knee), y))


def _images(scores: Array, fold: Folds) -> float:
    """Images per fold: error rates are multiples of one over it. Too few where no fold shows a single step."""
    steps = np.concatenate([np.diff(np.unique(np.append(scores[fold == k], 0.0))) for k in np.unique(fold)])
    steps = steps[steps > 1e-6]
    return float(np.clip(1 / steps.min(), 10, 1e6)) if len(steps) else 100.0


def _root(correlation: Array) -> Array:
    """A matrix whose square is the correlation, close strengths allowed."""
    correlation = correlation.copy()
    correlation[np.diag_indices_from(correlation)] += 1e-7
    return np.asarray(cholesky(correlation, lower=True))


def _matern(x1: Array, x2: Array, log_length: float) -> Array:
    """Matérn 5/2 correlation."""
    r = _SQRT5 * np.abs(x1[:, None] - x2[None, :]) / np.exp(log_length)
    return np.asarray((1 + r + r * r / 3) * np.exp(-r))


def _covariance(scale: _Scale, x1: Array, fold1: Folds, x2: Array, fold2: Folds, theta: Array) -> Array:
    """Prior covariance of noiseless fold values, the bowl's coefficients included."""
    shared = _matern(x1, x2, theta[0])
    _, g, b, d, _, _ = np.exp(2 * theta)
    bowl = (scale.bowl(x1) * _BOWL_VARIANCE) @ scale.bowl(x2).T
    return np.asarray(bowl + g * shared + (fold1[:, None] == fold2[None, :]) * (b + d * shared))


def _some(strength: Array) -> NDArray[np.bool_]:
    """(n,) which observations the hyperparameters are fitted to: all, or all folds of every so-many-th λ of many."""
    _, place = np.unique(strength, return_inverse=True)
    return np.asarray(place % -(-len(strength) // _MANY) == 0)


def _most_probable(scale: _Scale, strength: Array, fold: Folds, z: Array, noise: float) -> Array:
    """Hyperparameters of highest posterior density: marginal likelihood times log-normal priors.

    Args:
        noise: Median of the prior of the noise, standardized.
    """
    center = _PRIOR_CENTER.copy()
    center[4] = np.clip(np.log(noise), *_BOUNDS[4])
    same = (fold[:, None] == fold[None, :]).astype(float)
    n = len(z)

    def objective(theta: Array) -> tuple[float, Array]:
        x = scale.design(strength, theta)
        difference = x[:, None] - x[None, :]
        r = _SQRT5 * np.abs(difference) / np.exp(theta[0])
        exponential = np.exp(-r)
        shared = (1 + r + r * r / 3) * exponential
        fall = (1 + r) / 3 * exponential  # −(d shared / d r) / r
        _, g, b, d, noise, _ = np.exp(2 * theta)
        terms = scale.bowl(x)
        covariance = (terms * _BOWL_VARIANCE) @ terms.T + (g + d * same) * shared + b * same
        covariance[np.diag_indices(n)] += noise + _NUGGET
        try:
            lower = cholesky(covariance, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros(6)
        rest = z - terms @ _BOWL_MEAN
        inverse = cho_solve((lower, True), np.eye(n), check_finite=False)
        alpha = inverse @ rest
        value = 0.5 * rest @ alpha + np.log(np.diag(lower)).sum()
        outer = np.outer(alpha, alpha) - inverse  # the log likelihood's gradient is ½ tr(outer · dK) + alpha · d mean
        # λ₀ moves the design: the more, the smaller λ is beside it
        offset = scale.low * np.exp(theta[5])
        moved = offset / (strength + offset) / np.log(10)
        by_distance = -(5 / np.exp(2 * theta[0])) * difference * fall  # d shared / d difference
        by_offset = (g + d * same) * by_distance * (moved[:, None] - moved[None, :])
        half = 0.5 * np.log10(scale.high / scale.low)
        slope = np.stack([np.zeros(n), np.ones(n), 2 * terms[:, 1]], axis=1) * (moved / half)[:, None]
        product = (slope * _BOWL_VARIANCE) @ terms.T
        gradient = -0.5 * np.array(
            [
                (outer * (g + d * same) * r * r * fall).sum(),
                2 * g * (outer * shared).sum(),
                2 * b * (outer * same).sum(),
                2 * d * (outer * same * shared).sum(),
                2 * noise * np.trace(outer),
                (outer * (by_offset + product + product.T)).sum() + 2 * alpha @ (slope @ _BOWL_MEAN),
            ]
        )
        deviation = (theta - center) / _PRIOR_WIDTH
        return value + 0.5 * deviation @ deviation, gradient + deviation / _PRIOR_WIDTH

    result = minimize(objective, center, jac=True, method="L-BFGS-B", bounds=_BOUNDS, options={"maxiter": 40})
    return np.asarray(result.x)
