"""λ_best and λ_1se: of the strengths that were tried, by the curve."""

import math

import numpy as np
from numpy.typing import NDArray

from l2tune.curve.choice import choose_best, choose_one_se
from l2tune.curve.regularization_curve import RegularizationCurve

BEST = 3e-3
MANY = {1e-6: 5, 1e-5: 5, 1e-4: 5, 1e-3: 5, 2e-3: 5, 3e-3: 5, 5e-3: 5, 1e-2: 5, 1e-1: 5, 1.0: 5}


def loss(strength: float, fold: int, noise: float = 0.02) -> float:
    depth = math.log10((strength + 1e-5) / BEST)
    luck = noise * math.sin(1e3 * math.log(strength + 1e-9) + 7 * fold)
    return math.exp(-2 + 0.15 * depth**2 * (1 if depth < 0 else 3) + 0.3 * fold + luck)


def curve_of(folds: dict[float, int]) -> RegularizationCurve:
    rows = [(s, f, loss(s, f)) for s, count in folds.items() for f in range(count)]
    strength, fold, score = (np.array(column) for column in zip(*rows, strict=True))
    return RegularizationCurve.fit(strength, fold, score, low=1e-6, high=1.0, folds=5)


def done(mean: float, folds: int = 5) -> NDArray[np.float64]:
    return np.array([mean] * folds + [np.nan] * (5 - folds))


def test_of_strengths_that_cannot_be_told_apart_the_lowest_full_score_is_chosen() -> None:
    curve = curve_of(MANY)
    near = [curve.best_lambda * 0.95, curve.best_lambda * 1.05]
    for low, high in (near, near[::-1]):
        assert choose_best(curve, {low: done(0.1), high: done(0.2), 1.0: done(0.05)}) == low
        assert choose_best(curve, {low: done(0.2), high: done(0.1, folds=2), 1.0: done(0.05)}) == low
        assert choose_best(curve, {low: done(0.2, folds=3), high: done(0.1, folds=2)}) == low, "most folds"
    assert choose_best(curve, {1e-6: done(0.1), 1.0: done(0.1)}) == curve.best_lambda, "none of those tried is as good"
    assert choose_best(curve, {near[0]: np.array([0.1, np.inf, 0.1, 0.1, 0.1]), near[1]: done(0.2)}) == near[1]


def test_one_se_is_never_below_the_best() -> None:
    curve = curve_of(MANY)
    for strengths in (MANY, (1e-6, 1.0), (curve.one_se_lambda * 0.9,)):
        assert choose_one_se(curve, dict.fromkeys(strengths, done(0.1))) >= curve.best_lambda
    assert choose_one_se(curve, {curve.one_se_lambda * 0.9: done(0.1)}) == curve.one_se_lambda * 0.9


def test_no_regularization_may_be_the_answer() -> None:
    rows = [
        (s, f, 0.1 * math.exp(0.2 * f + 3 * math.log10(1 + s / 1e-5)))
        for s in (0.0, 1e-6, 1e-5, 1e-4, 1e-2, 1.0)
        for f in range(5)
    ]
    strength, fold, score = (np.array(column) for column in zip(*rows, strict=True))
    curve = RegularizationCurve.fit(strength, fold, score, low=1e-6, high=1.0, folds=5)
    assert choose_best(curve, {s: score[strength == s] for s in (0.0, 1e-5, 1e-4)}) == 0.0
    assert choose_best(curve, dict.fromkeys((1e-5, 1e-4), done(0.2))) <= 1e-6


def test_a_strength_of_which_a_fold_diverged_is_not_chosen() -> None:
    """Two of five folds without a penalty broke, the others were the best of all."""
    rows = [(0.0, f, 0.1 if f < 3 else np.inf) for f in range(5)]
    rows += [(s, f, 0.2 + 0.01 * f + 0.1 * abs(math.log10(s / 1e-2))) for s in (1e-3, 1e-2, 1e-1) for f in range(5)]
    strength, fold, score = (np.array(column) for column in zip(*rows, strict=True))
    curve = RegularizationCurve.fit(strength, fold, score, low=1e-3, high=1e-1, folds=5)
    costs = {float(s): score[strength == s] for s in np.unique(strength)}
    assert choose_best(curve, costs) > 0
    assert choose_one_se(curve, costs) > 0


def test_where_every_strength_diverged_on_one_fold_the_others_decide() -> None:
    curve = curve_of(MANY)
    low, high = curve.best_lambda * 0.95, curve.best_lambda * 1.05
    worse, better = (np.array([math.inf, mean, mean, mean, mean]) for mean in (0.2, 0.1))
    assert choose_best(curve, {low: worse, high: better}) == high
    assert choose_best(curve, {low: done(0.3), high: better}) == low, "one that never diverged goes before"
