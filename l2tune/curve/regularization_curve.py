"""The regularization curve: expected validation cost over log λ, from folds that are mostly incomplete.

Model, with y the transformed cost of a fold (`transform.OutcomeTransform`) and x = log10(λ + λ₀):

    y(x, fold) = quadratic(x) + g(x) + b(fold) + d(x, fold) + noise

g is a Gaussian process (Matérn 5/2) that all folds share; the fold effect b shifts a fold, with one prior for all
folds, so that one observation already counts; d lets a fold deviate smoothly, for a fold's luck is not the same at
every λ. λ₀ is the strength below which λ changes nothing: it makes the curve flat on the left and gives the baseline
λ = 0 its place. The quadratic mean has Gaussian coefficients, weak enough to be overruled: without it the curve would
expect new valleys far from all data. All terms are kernels of one joint Gaussian, so the posterior of y is exact; their
sizes, the length scale and λ₀ maximize the posterior density. The idea of folds as tasks: Swersky, Snoek and Adams,
'Multi-Task Bayesian Optimization' (NeurIPS 2013).

Of error rates, and other scores that are proportions, d is the luck of the fold's images, which all λ share. What two
λ differ by is the luck of the images that only one of them gets wrong; their number grows in proportion to the
distance, so d is an Ornstein-Uhlenbeck process (Matérn 1/2) whose size follows from the number of images. Other images
would have other luck: d is then no part of what is asked for, and an interval says how far the luck may have moved the
minimum.

A curve by error may have a guide, the curve of the loss of the same fits, which is far less noisy: the mean is then

    a + b · guide(λ) + quadratic(x), b ~ N(0.8, 0.4²)

and g is the residual, so that an error whose minimum is elsewhere wins where it is measured well enough. Source:
Kennedy and O'Hagan, 'Predicting the output from a complex computer code when fast approximations are available'
(Biometrika, 2000). The guide is taken at its posterior mean.

What is asked for is the mean of the cost itself over the study's folds, f(λ) = mean over folds of cost(y). It is not a
mean of y: where folds differ tenfold in loss, the minimizers of the two are decades apart. Costs are those of
`Metric.cost`: less is better, whatever the metric.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from l2tune.curve.kernel import (
    NUGGET,
    Hyperparameters,
    Prior,
    covariance,
    image_luck,
    matern,
    most_probable,
    root,
)
from l2tune.curve.transform import Array, Folds, Guide, InputWarp, OutcomeTransform, Points, worst_cost
from l2tune.metrics import BUILT_IN, Metric

Regime = Literal["underfit", "balanced", "overfit"]

GRID_POINTS = 121
_SAMPLES = 512


@dataclass(frozen=True, eq=False)
class RegularizationCurve:
    """A fitted curve; made by `RegularizationCurve.fit`.

    >>> curve = RegularizationCurve.fit(
    ...     [0, 0, 1e-4, 1e-3, 1e-3, 1e-2, 1e-2, 1e-1],
    ...     [0, 1, 0, 0, 1, 0, 1, 0],
    ...     [0.50, 0.60, 0.48, 0.40, 0.49, 0.30, 0.38, 0.90],
    ...     low=1e-5,
    ...     high=1.0,
    ...     folds=2,
    ... )
    >>> 1e-3 < curve.best_lambda < 1e-1
    True
    >>> curve.best_lambda <= curve.one_se_lambda
    True

    Attributes:
        low: Lowest λ of the range.
        high: Highest.
        folds: How many folds the mean is over.
        strength: (n,) λ of each observation.
        fold: (n,) fold index.
        hyperparameters: Of the model above.
        points: How many λ above 0 it is looked at on, at most: fewer cost less, and leave λ_best and its interval
            coarser.
    """

    low: float
    high: float
    folds: int
    strength: Array
    fold: Folds
    hyperparameters: Hyperparameters
    _transform: OutcomeTransform
    _warp: InputWarp
    _prior: Prior
    _cholesky: Array
    _weights: Array
    _seed: int
    points: int = GRID_POINTS

    @classmethod
    def fit(
        cls,
        strength: ArrayLike,
        fold: ArrayLike,
        cost: ArrayLike,
        *,
        low: float,
        high: float,
        folds: int,
        metric: Metric = BUILT_IN["loss"],
        first_estimate: float | None = None,
        guide: Guide | None = None,
        seed: int = 0,
        points: int = GRID_POINTS,
    ) -> RegularizationCurve:
        """Fit to final costs of folds.

        Args:
            strength: (n,) λ; 0 is the baseline. n ≥ 1.
            fold: (n,) fold index below `folds`.
            cost: (n,) validation costs; NaN or infinite where the fold diverged, which counts as worse than all else.
            low: Lowest λ of the range.
            high: Highest λ of the range.
            folds: Number of folds of the cross-validation.
            metric: Whose costs they are; its kind chooses the transform.
            first_estimate: Where the quadratic mean is expected to be lowest; the middle of the range by default.
            guide: Another curve of the same fits, that this one is expected to be like.
            seed: Of samples.
            points: Of the grid, at most.

        Raises:
            ValueError: There is no finite cost.
        """
        from scipy.linalg import cho_solve, cholesky  # SciPy only where there is something to fit: see `kernel.root`

        strengths, fold_index, costs = np.asarray(strength, float), np.asarray(fold, np.int64), np.array(cost, float)
        finite = np.isfinite(costs)
        if not finite.any():
            raise ValueError("no fold has a finite score")
        costs[~finite] = worst_cost(costs[finite], metric)
        transform, warp = OutcomeTransform.of(metric, costs, fold_index), InputWarp.of(low, high, first_estimate, guide)
        z = transform.standardize(costs)
        prior = Prior.of(transform, guided=guide is not None)
        theta = most_probable(warp, strengths, fold_index, z, prior)
        at = warp.points(strengths, theta.floor)
        matrix = covariance(prior, at, fold_index, at, fold_index, theta)
        matrix[np.diag_indices_from(matrix)] += np.exp(2 * theta.noise) + NUGGET
        lower = cholesky(matrix, lower=True)
        weights = cho_solve((lower, True), z - at.terms @ prior.mean)
        return cls(low, high, folds, strengths, fold_index, theta, transform, warp, prior, lower, weights, seed, points)

    def fold_means(self, strengths: ArrayLike) -> Array:
        """(folds, m) cost of each fold at each λ, at the posterior mean of y."""
        values = np.atleast_1d(np.asarray(strengths, float))
        x, folds = self._of_all_folds(values)
        return self._transform.cost(self._expected(x, folds)).reshape(self.folds, len(values))

    def as_guide(self) -> Guide:
        """What another curve of the same fits is expected to be like: the folds' mean of standardized y."""
        x, folds = self._of_all_folds(np.append(self.candidates, 0.0))
        y = self._expected(x, folds).reshape(self.folds, -1).mean(axis=0)
        return Guide(self.candidates, y[:-1], float(y[-1]))

    def mean(self, strengths: ArrayLike) -> Array:
        """(m,) expected cost at each λ, averaged over the folds."""
        return np.asarray(self.fold_means(strengths).mean(axis=0))

    def standard_error(self, strengths: ArrayLike, paired: bool = False) -> Array:
        """(m,) standard error of the cost at each λ.

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
        if np.isfinite(
            self._transform.images
        ):  # folds may agree by luck, but not more closely than so few images allow
            variance = np.maximum(variance, rate * (1 - rate) / (self._transform.images * self.folds))
        return np.asarray(np.sqrt(variance))

    def band_of(self, strengths: ArrayLike, level: float = 0.95) -> tuple[Array, Array]:
        """Lower and upper end, (m,) each, of the credible interval of the expected cost at each λ."""
        draws = self._draw(np.atleast_1d(np.asarray(strengths, float)))
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high

    def band_of_candidates(self, level: float = 0.95) -> tuple[Array, Array]:
        """`band_of` the candidates, from the same samples as `interval`: it costs nothing more."""
        draws = self._draws[:, -len(self.candidates) :]
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high

    @cached_property
    def candidates(self) -> Array:
        """Strengths above 0 on which the curve is looked at, evenly spaced in log λ over the range."""
        points = min(self.points, max(41, 10 * GRID_POINTS // self.folds))
        return np.geomspace(self.low, self.high, points)

    @cached_property
    def grid(self) -> Array:
        """The candidates, and before them λ = 0 if it was run: what was not run is no answer."""
        return self.candidates if not (self.strength == 0).any() else np.concatenate([[0.0], self.candidates])

    @cached_property
    def best_lambda(self) -> float:
        """Minimizer of the expected cost; 0 if λ = 0 was run and no λ of the range beats it."""
        return float(self.grid[self._on_grid.argmin()])

    @property
    def best_value(self) -> float:
        """Expected cost at `best_lambda`."""
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
        """Lowest and highest λ of the stretch around λ_best whose expected cost is at most `value`."""
        mean = self._on_grid
        low = high = int(mean.argmin())
        while low > 0 and mean[low - 1] <= value:
            low -= 1
        while high + 1 < len(mean) and mean[high + 1] <= value:
            high += 1
        return float(self.grid[low]), float(self.grid[high])

    @property
    def band(self) -> tuple[float, float]:
        """All λ around λ_best within one standard error of its cost; the upper end is λ_1se."""
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
        """(m,) probability that each λ's expected cost is at most `tolerance` above the lowest."""
        values = np.atleast_1d(np.asarray(strengths, float))
        draws = self._draw(np.concatenate([self.grid, values]))
        lowest = draws.min(axis=1, keepdims=True)
        return np.asarray((draws[:, len(self.grid) :] <= lowest + tolerance).mean(axis=0))

    def knowledge_gradient(self, fold: int, pending: tuple[ArrayLike, ArrayLike] = ((), ())) -> Array:
        """(candidates,) expected fall of the curve's minimum from training each λ of the range on a fold.

        The expected cost is linearized in y at λ_best: exact where it matters, and far from there on y's own scale,
        where a bad λ is not mistaken for a promising one. Source: Frazier, Powell and Dayanik, 'The knowledge-gradient
        policy for correlated normal beliefs' (2009).

        Args:
            pending: (λ, fold) of fits under way; their results are unknown but will narrow the curve there.
        """
        from scipy.special import ndtri

        waiting, waiting_fold = (np.atleast_1d(np.asarray(part, float)) for part in pending)
        count, size, noise = len(self.candidates), len(self.grid), np.exp(2 * self.hyperparameters.noise) + NUGGET
        points = self._points(np.concatenate([self.candidates, waiting]))
        point_folds = np.concatenate([np.full(count, fold), waiting_fold]).astype(np.int64)
        x, folds = self._of_all_folds(self.grid)
        y = self._expected(x, folds)
        at_best = y.reshape(self.folds, -1)[:, self._on_grid.argmin()]
        slope = (self._transform.cost(at_best + 1e-4) - self._transform.cost(at_best - 1e-4)) / (2e-4 * self.folds)
        slope = np.repeat(slope, size)
        joint = slope[:, None] * self._joint(x, folds, points, point_folds, luck=(self._with_luck, True))
        of_f = joint.reshape(self.folds, size, -1).sum(axis=0)  # (grid, points) covariance of f and fold values
        among = self._joint(points, point_folds, points, point_folds)
        variance = np.diag(among)[:count]
        if len(waiting):  # condition on where the pending results will be, not on what they are
            gain = np.linalg.solve(among[count:, count:] + noise * np.eye(len(waiting)), among[count:, :count])
            of_f = of_f[:, :count] - of_f[:, count:] @ gain
            variance = variance - np.einsum("ij,ij->j", among[count:, :count], gain)
        change = of_f[:, :count] / np.sqrt(np.clip(variance, 0, None) + noise)
        quantiles = ndtri((np.arange(16) + 0.5) / 16)
        mean = (slope * y).reshape(self.folds, -1).sum(axis=0)
        lowest = np.min(mean[:, None, None] + change[:, :, None] * quantiles, axis=0)  # (candidates, quantiles)
        return np.asarray(mean.min() - lowest.mean(axis=1))

    # ---- posterior ----

    def _points(self, strengths: Array) -> Points:
        return self._warp.points(strengths, self.hyperparameters.floor)

    def _of_all_folds(self, strengths: Array) -> tuple[Points, Folds]:
        """The strengths for each fold, fold by fold: (folds·m,) points and fold."""
        return self._points(strengths).repeated(self.folds), np.repeat(np.arange(self.folds), len(strengths))

    def _expected(self, points: Points, fold: Folds) -> Array:
        """Posterior mean of standardized y."""
        cross = self._covariance(points, fold, *self._observed, luck=self._with_luck)
        return np.asarray(points.terms @ self._prior.mean + cross @ self._weights)

    @property
    def _with_luck(self) -> bool:
        """Whether a fold's deviation is part of what is asked for; the luck of its images is not."""
        return not self._prior.counted

    def _covariance(self, points1: Points, fold1: Folds, points2: Points, fold2: Folds, *, luck: bool = True) -> Array:
        return covariance(self._prior, points1, fold1, points2, fold2, self.hyperparameters, luck=luck)

    def _joint(
        self, points1: Points, fold1: Folds, points2: Points, fold2: Folds, *, luck: tuple[bool, bool] = (True, True)
    ) -> Array:
        """Posterior covariance of noiseless standardized y."""
        from scipy.linalg import solve_triangular

        half1, half2 = (
            solve_triangular(self._cholesky, self._covariance(*self._observed, p, f, luck=own), lower=True)
            for p, f, own in ((points1, fold1, luck[0]), (points2, fold2, luck[1]))
        )
        return np.asarray(self._covariance(points1, fold1, points2, fold2, luck=all(luck)) - half1.T @ half2)

    def _draw(self, strengths: Array) -> Array:
        """(samples, m) joint draws of f at these strengths.

        By pathwise conditioning (Wilson et al., 2020): draw from the prior at the strengths and the observations, then
        correct by what the observations say. Cheaper than a factor of the posterior over strengths × folds.
        """
        from scipy.linalg import cho_solve

        rng = np.random.default_rng(self._seed)
        seen, place = np.unique(self.strength, return_inverse=True)
        points = self._points(np.concatenate([strengths, seen]))
        x, terms, prior_of = points.x, points.terms, self._prior
        m, n, k = len(strengths), len(x), self.folds
        _, g, b, d, noise, _ = np.exp(self.hyperparameters)
        half = root(matern(x, x, self.hyperparameters.length_scale))
        shared = rng.standard_normal((_SAMPLES, n)) @ half.T * g
        shared += (
            prior_of.mean + rng.standard_normal((_SAMPLES, terms.shape[1])) * np.sqrt(prior_of.variance)
        ) @ terms.T
        half = root(image_luck(x, x)) if prior_of.counted else half
        own = (rng.standard_normal((_SAMPLES * k, n)) @ half.T * d).reshape(_SAMPLES, k, n)
        prior = shared[:, None, :] + own + b * rng.standard_normal((_SAMPLES, k, 1))  # (samples, folds, n)
        at_seen = prior[:, self.fold, m + place]  # (samples, observations)
        if not self._with_luck:
            prior = prior - own
        at_seen = at_seen + np.sqrt(noise**2 + NUGGET) * rng.standard_normal(at_seen.shape)
        target = self._cholesky @ (self._cholesky.T @ self._weights) + self._observed[0].terms @ self._prior.mean
        weights = cho_solve((self._cholesky, True), (target - at_seen).T)  # (observations, samples)
        wanted, folds = self._of_all_folds(strengths)
        cross = self._covariance(wanted, folds, *self._observed, luck=self._with_luck)
        y = prior[:, :, :m] + (cross @ weights).T.reshape(_SAMPLES, k, m)
        return np.asarray(self._transform.cost(y).mean(axis=1))

    @cached_property
    def _observed(self) -> tuple[Points, Folds]:
        return self._points(self.strength), self.fold

    @cached_property
    def _on_grid(self) -> Array:
        return self.mean(self.grid)

    @cached_property
    def _draws(self) -> Array:
        """(samples, grid) of f."""
        return self._draw(self.grid)
