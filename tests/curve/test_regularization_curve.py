"""The curve against curves that are known: where their minimum is, and how much of it the folds can tell."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from l2tune.curve.regularization_curve import RegularizationCurve
from l2tune.metrics import BUILT_IN

LOW, HIGH = 1e-6, 1.0
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """(n,) λ, fold and score of each fit."""

    strength: Array
    fold: NDArray[np.int64]
    score: Array

    def fit(self, **given: object) -> RegularizationCurve:
        arguments: dict[str, object] = {"low": LOW, "high": HIGH, "folds": 5} | given
        return RegularizationCurve.fit(self.strength, self.fold, self.score, **arguments)  # type: ignore[arg-type]


def valley(strength: Array, best: float | Array = 3e-3, depth: float = 1.0) -> Array:
    """Logarithm of a loss: flat towards λ = 0, lowest at `best`, steep on the right."""
    x = np.log10((strength + best / 300) / best)
    return np.asarray(-2 + depth * (0.15 * x**2 * np.where(x < 0, 1, 3)))


def scores(
    strengths: list[float],
    folds: list[int],
    *,
    best: float = 3e-3,
    luck: float = 0.5,
    noise: float = 0.02,
    seed: int = 0,
) -> Table:
    """Each of the strengths on as many folds; a fold's luck multiplies its loss at every λ."""
    rng = np.random.default_rng(seed)
    lucks = rng.normal(0, luck, 5)
    strength = np.repeat(strengths, folds)
    fold = np.concatenate([np.arange(count) for count in folds]).astype(np.int64)
    score = np.exp(valley(strength, best) + lucks[fold] + noise * rng.normal(size=len(fold)))
    return Table(strength, fold, score)


SPREAD = [0.0, 1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 2e-3, 4e-3, 8e-3, 2e-2, 5e-2, 0.2, 1.0]
FEW_FOLDS = [5, 1, 1, 1, 1, 2, 3, 5, 2, 1, 1, 1, 1]


@pytest.mark.parametrize("best", [3e-5, 3e-3, 5e-2])
def test_the_minimizer_is_found_from_a_few_folds_each(best: float) -> None:
    strengths = [0.0, *(float(s) for s in np.geomspace(LOW, HIGH, 13))]
    table = scores(strengths, [5, *[1 + k % 3 for k in range(13)]], best=best)
    curve = table.fit()
    assert best / 3 < curve.best_lambda < best * 3
    low, high = curve.interval
    assert low <= best <= high


@pytest.mark.parametrize("noise", [0.01, 0.04, 0.15])
def test_the_interval_keeps_its_word(noise: float) -> None:
    """Of random valleys, folds that differ in level and in place, and few folds per λ, 95 % intervals cover 90 %."""
    covered = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        bests = 10 ** (rng.uniform(-4, -1.5) + rng.normal(0, 0.1, 5))
        lucks, depth = rng.normal(0, 0.5, 5), rng.uniform(0.3, 1.5)
        strength = np.repeat([0.0, *np.geomspace(LOW, HIGH, 13)], [5, *rng.integers(1, 4, 13)])
        fold = np.concatenate([rng.permutation(5)[: (strength == s).sum()] for s in np.unique(strength)])

        def expected(s: Array, k: Any, bests: Array = bests, lucks: Array = lucks, depth: float = depth) -> Array:
            return np.asarray(np.exp(valley(s, bests[k], depth) + lucks[k]))

        score = expected(strength, fold) * np.exp(noise * rng.normal(size=len(fold)))
        low, high = Table(strength, fold, score).fit().interval
        fine = np.geomspace(LOW, HIGH, 600)
        best = fine[np.mean([expected(fine, k) for k in range(5)], axis=0).argmin()]
        pitch = 10 ** (6 / 60)
        covered += bool(low / pitch <= best <= high * pitch)
    assert covered >= 36


def test_fold_luck_does_not_bias_a_strength_that_ran_on_one_lucky_fold() -> None:
    """A λ ten times too strong on the luckiest fold scores better than the best λ does on average."""
    table = scores(SPREAD, FEW_FOLDS, luck=0.0)
    luck = np.array([0.3, 1.0, 1.0, 2.0, 3.0])
    table = Table(table.strength, table.fold, table.score * luck[table.fold])
    assert table.score[table.strength == 2e-2].mean() < table.score[table.strength == 4e-3].mean()
    assert 1e-3 < table.fit().best_lambda < 1e-2


def test_the_paired_standard_error_is_smaller_than_the_unpaired() -> None:
    curve = scores(SPREAD, FEW_FOLDS).fit()
    places = np.array([1e-3, 8e-3, 2e-2])
    paired, unpaired = curve.standard_error(places, paired=True), curve.standard_error(places)
    assert (paired < 0.7 * unpaired).all()
    assert curve.standard_error([curve.best_lambda], paired=True)[0] < 0.01 * unpaired.min()


def test_with_full_folds_the_standard_error_is_that_of_the_cross_validation() -> None:
    table = scores(SPREAD, [5] * len(SPREAD))
    naive = table.score[table.strength == 4e-3].std(ddof=1) / math.sqrt(5)
    assert table.fit().standard_error([4e-3])[0] == pytest.approx(naive, rel=0.15)


def test_the_expected_metric_is_the_mean_over_folds_not_of_logarithms() -> None:
    table = scores(SPREAD, [5] * len(SPREAD), luck=1.5, noise=0.005)
    for strength in (1e-4, 4e-3, 5e-2):
        expected = table.score[table.strength == strength].mean()
        assert table.fit().mean([strength])[0] == pytest.approx(expected, rel=0.05)


def test_lambda_zero_is_a_point_of_the_curve() -> None:
    table = scores(SPREAD, FEW_FOLDS)
    curve = table.fit()
    assert curve.grid[0] == 0
    assert curve.mean([0.0])[0] == pytest.approx(table.score[table.strength == 0].mean(), rel=0.05)
    assert curve.mean([0.0])[0] == pytest.approx(curve.mean([1e-9])[0], rel=1e-3), "so little λ changes nothing"
    only = Table(np.zeros(5), np.arange(5), table.score[:5]).fit()
    assert np.isfinite(only.mean([0.0, 1e-3])).all()


def test_where_regularizing_harms_the_best_is_no_regularization() -> None:
    strength = np.repeat(SPREAD, 5)
    fold = np.tile(np.arange(5), len(SPREAD))
    rng = np.random.default_rng(1)
    score = 0.1 * np.exp(0.2 * fold + 4 * np.log10(1 + strength / 1e-4) + 0.01 * rng.normal(size=len(fold)))
    curve = Table(strength, fold, score).fit()
    assert curve.best_lambda < 1e-5
    assert curve.interval[0] == 0, "λ = 0 is not excluded"


def test_diverged_fits_count_as_the_worst_and_leave_the_minimum_in_place() -> None:
    table = scores(SPREAD, FEW_FOLDS)
    for bad in (np.inf, np.nan):
        score = table.score.copy()
        score[table.strength >= 0.2] = bad
        score[(table.strength == 2e-2) & (table.fold == 0)] = bad
        curve = Table(table.strength, table.fold, score).fit()
        assert 1e-3 < curve.best_lambda < 1e-2
        assert curve.mean([0.5])[0] > 2 * curve.best_value


def test_three_orders_of_magnitude() -> None:
    """Losses from 0.01 to 10: the foot of the valley is still told apart."""
    strength = np.repeat(SPREAD, FEW_FOLDS)
    fold = np.concatenate([np.arange(count) for count in FEW_FOLDS])
    x = np.log10((strength + 1e-5) / 4e-3)
    score = np.minimum(10, 0.01 * np.exp(1.5 * np.abs(x) ** 1.5)) * np.exp(0.3 * fold)
    curve = Table(strength, fold, score).fit()
    assert score.max() / score.min() > 900
    assert 1.5e-3 < curve.best_lambda < 1.2e-2
    assert np.isfinite(curve.mean(curve.grid)).all()


def test_error_rates_with_zeros() -> None:
    rng = np.random.default_rng(0)
    strength, fold = np.repeat(SPREAD, 5), np.tile(np.arange(5), len(SPREAD))
    rate = np.exp(valley(strength)) * 0.2 * (0.4 + 0.4 * fold)
    score = rng.binomial(160, np.minimum(rate, 0.9)) / 160
    assert (score == 0).any()
    curve = Table(strength, fold, score).fit(metric=BUILT_IN["error"])
    assert (curve.mean(curve.grid) >= 0).all()
    assert (curve.mean(curve.grid) <= 1).all()
    assert 2e-4 < curve.best_lambda < 2e-2
    assert curve.interval[0] < 3e-3 < curve.interval[1]


def test_folds_that_agree_by_luck_are_no_certainty() -> None:
    """Every fold has 4 wrong of 100, yet five times 100 images do not tell 4 % to the last digit."""
    strength, fold = np.repeat([0.0, 1e-4, 1e-2], 5), np.tile(np.arange(5), 3)
    score = np.where(strength == 1e-2, 0.05, 0.04)
    score[:2] = [0.03, 0.05]
    curve = Table(strength, fold, score).fit(metric=BUILT_IN["error"])
    assert curve.standard_error([1e-4])[0] > 0.9 * math.sqrt(0.04 * 0.96 / 500)


def test_a_fit_without_one_error_is_no_certainty() -> None:
    """All zeros on the left: the curve stays finite and knows that 0 of 60 is not 0."""
    strength, fold = np.repeat([0.0, 1e-4, 1e-2, 1.0], 5), np.tile(np.arange(5), 4)
    curve = Table(strength, fold, np.where(strength < 0.1, 0.0, 0.9)).fit(metric=BUILT_IN["error"])
    assert np.isfinite(curve.standard_error(curve.grid)).all()
    assert curve.best_value < 0.1
    assert curve.mean([1.0])[0] > 0.5


def test_one_se_is_the_right_end_of_the_band_around_the_best() -> None:
    for seed in range(5):
        curve = scores(SPREAD, FEW_FOLDS, seed=seed).fit()
        low, high = curve.band
        assert low <= curve.best_lambda <= curve.one_se_lambda == high
        limit = curve.best_value + curve.best_standard_error
        assert curve.mean([high])[0] <= limit
        inside = (curve.grid >= low) & (curve.grid <= high)
        assert (curve.mean(curve.grid[inside]) <= limit).all()


def test_more_folds_narrow_the_interval() -> None:
    strengths = [0.0, *(float(s) for s in np.geomspace(LOW, HIGH, 13))]

    def width(count: int) -> float:
        curves = [scores(strengths, [5, *[count] * 13], noise=0.1, seed=seed).fit() for seed in range(8)]
        return float(np.mean([np.log10(curve.interval[1] / max(curve.interval[0], LOW)) for curve in curves]))

    assert width(5) < width(1)


def test_more_folds_leave_less_to_gain() -> None:
    few, many = (scores(SPREAD, [5, *[count] * 12], noise=0.1).fit() for count in (1, 5))
    assert many.knowledge_gradient(0).max() < 0.5 * few.knowledge_gradient(0).max()


def test_the_probability_to_be_best_is_high_at_the_best_and_nil_far_away() -> None:
    curve = scores(SPREAD, FEW_FOLDS).fit()
    near, far = curve.probability_within([curve.best_lambda, 0.5], 0.2 * curve.best_standard_error)
    assert near > 0.5
    assert far < 0.01
    assert curve.probability_within([0.5], 1e9)[0] == 1


def test_a_pending_fit_takes_the_gain_from_its_place() -> None:
    curve = scores([0.0, 1e-6, 1e-4, 1e-2, 1.0], [5, 1, 1, 1, 1]).fit()
    alone = curve.knowledge_gradient(0)
    at = int(alone.argmax())
    pending = curve.knowledge_gradient(0, ([curve.grid[1:][at]], [0]))
    assert (alone >= -1e-9).all()
    assert pending[at] < 0.6 * alone[at]


def test_a_first_estimate_places_the_expectation_until_data_overrule_it() -> None:
    few = scores([0.0], [5])
    left, right = (few.fit(first_estimate=estimate).argmin_samples() for estimate in (1e-5, 1e-2))
    assert np.median(left) < np.median(right)
    table = scores(SPREAD, [5] * len(SPREAD))
    overruled = table.fit(first_estimate=1e-5).best_lambda
    assert overruled == pytest.approx(table.fit(first_estimate=1e-2).best_lambda, rel=0.5)


def test_two_hundred_observations_are_fitted() -> None:
    strengths = [0.0, *(float(s) for s in np.geomspace(LOW, HIGH, 39))]
    curve = scores(strengths, [5] * 40, noise=0.1).fit()
    assert len(curve.strength) == 200
    assert 1e-3 < curve.best_lambda < 1e-2


@pytest.mark.parametrize("metric", ["loss", "error", "accuracy", "nll", "r2"])
@pytest.mark.parametrize(
    "table",
    [
        Table(np.array([1e-3]), np.array([0]), np.array([0.5])),
        Table(np.array([0.0]), np.array([3]), np.array([0.0])),
        Table(np.full(5, 1e-3), np.arange(5), np.full(5, 0.1)),
        Table(np.array([1e-4, 1e-3, 1e-2]), np.zeros(3, dtype=np.int64), np.array([0.3, 0.2, 0.4])),
        Table(np.array([1e-4, 1e-4, 1e-2]), np.array([0, 1, 0]), np.array([np.inf, 0.2, np.nan])),
    ],
    ids=["one observation", "one zero", "one strength", "one fold", "mostly diverged"],
)
def test_little_data_gives_finite_answers(table: Table, metric: str) -> None:
    for folds in (5, int(table.fold.max()) + 1):
        curve = table.fit(metric=BUILT_IN[metric], folds=folds)
        values = [curve.best_value, curve.best_standard_error, *curve.interval, *curve.band]
        assert np.isfinite(values).all()
        assert np.isfinite(curve.knowledge_gradient(0)).all()
        assert np.isfinite(curve.band_of(curve.grid)).all()


def test_without_any_finite_score_there_is_no_curve() -> None:
    with pytest.raises(ValueError, match="no fold has a finite score"):
        Table(np.array([1e-3, 1e-2]), np.array([0, 1]), np.array([np.inf, np.nan])).fit()


def test_the_same_data_and_seed_give_the_same_answer() -> None:
    first, second = (scores(SPREAD, FEW_FOLDS).fit(seed=3) for _ in range(2))
    assert first.interval == second.interval
    assert (first.argmin_samples() == second.argmin_samples()).all()
