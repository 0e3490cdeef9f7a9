"""By error: what the loss of the same fits and the luck of a fold's images tell of the curve."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from l2tune.curve.observations import Observations, fit_curve
from l2tune.curve.regularization_curve import RegularizationCurve
from l2tune.metrics import BUILT_IN

Array = NDArray[np.float64]
STRENGTHS = np.array([0.0, *np.geomspace(1e-6, 1.0, 13)])
FOLDS, IMAGES, LUCK_DECADES = 5, 200, 2.5


def valley(strength: Array, best: float) -> Array:
    """0 at the best, about 1 a decade and a half off on its right, flat on its left."""
    x = np.log10((strength + best / 30) / best)
    return np.asarray(0.45 * x**2)


@dataclass(frozen=True)
class World:
    """Networks whose error rate is known; they are scored on the same images at every λ.

    An image's difficulty is drawn anew every 2.5 decades or so: it changes sides there, whatever the rate does.
    """

    best: float
    loss_best: float
    seed: int
    rate: float = 0.25
    depth: float = 0.04

    def error_rate(self, strength: Array) -> Array:
        return np.asarray(self.rate + self.depth * valley(strength, self.best))

    def observations(self, counts: NDArray[np.int64]) -> Observations:
        """Each of the strengths on so many folds."""
        rng = np.random.default_rng(self.seed)
        places = np.log10(STRENGTHS + 1e-7)
        rows = []
        for fold in range(FOLDS):
            moved = np.cumsum(np.concatenate([[0.0], np.diff(places)]) / LUCK_DECADES)
            draws = rng.uniform(size=(IMAGES, 40))
            arrivals = np.cumsum(rng.exponential(size=(IMAGES, 40)), axis=1)
            for place, strength in enumerate(STRENGTHS):
                which = (arrivals < moved[place]).sum(axis=1)
                wrong = draws[np.arange(IMAGES), which] < self.error_rate(strength)
                loss = (1 + 0.3 * valley(strength, self.loss_best)) * np.exp(0.1 * fold + 0.01 * rng.normal())
                rows.append((strength, fold, wrong.mean(), loss))
        kept = [row for row in rows if row[1] < counts[int(np.flatnonzero(row[0] == STRENGTHS)[0])]]
        strength, fold, error, loss = (np.array(column) for column in zip(*kept, strict=True))
        parts = {"strength": strength, "fold": fold.astype(np.int64), "trial": np.arange(len(fold)), "folds": FOLDS}
        guide = Observations(cost=loss, metric=BUILT_IN["loss"], **parts)
        return Observations(cost=error, metric=BUILT_IN["error"], guide=guide, **parts)


def fitted(seen: Observations) -> RegularizationCurve:
    curve = fit_curve(seen)
    assert curve is not None
    return curve


def without_guide(seen: Observations) -> Observations:
    return Observations(seen.strength, seen.fold, seen.cost, seen.trial, seen.metric, seen.folds)


@pytest.mark.parametrize("guided", [True, False])
def test_the_interval_is_about_images_that_nobody_has_seen(guided: bool) -> None:
    """All folds of all λ are known, and still the lowest mean is partly luck: 95 % intervals cover 90 %."""
    covered, decades = 0, []
    for seed in range(30):
        best = 10 ** np.random.default_rng(seed).uniform(-4, -1)
        seen = World(best, best * 2, seed).observations(np.full(14, FOLDS))
        low, high = fitted(seen if guided else without_guide(seen)).interval
        pitch = 10**0.1
        covered += bool(low / pitch <= best <= high * pitch)
        decades.append(np.log10(high / max(low, 1e-6)))
    assert covered >= 27
    assert np.median(decades) < (1.5 if guided else 3)


def test_the_loss_of_the_same_fits_brings_the_choice_nearer_to_the_best() -> None:
    regrets = []
    for seed in range(12):
        world = World(3e-3, 6e-3, seed)
        seen = world.observations(np.array([5, 1, 1, 2, 1, 2, 3, 2, 5, 2, 1, 1, 1, 1]))
        chosen = [fitted(of).best_lambda for of in (seen, without_guide(seen))]
        regrets.append(world.error_rate(np.array(chosen)) - world.rate)
    guided, alone = np.mean(regrets, axis=0)
    assert guided < 0.5 * alone


def test_an_error_that_disagrees_with_the_loss_wins() -> None:
    world = World(best=1e-4, loss_best=3e-2, seed=0, depth=0.15)
    low, high = fitted(world.observations(np.full(14, FOLDS))).interval
    assert low < 1e-4 * 3
    assert high < 3e-2, "the loss alone would say so"


def test_a_loss_that_diverged_everywhere_is_no_guide() -> None:
    seen = World(1e-3, 1e-3, 0).observations(np.full(14, 2))
    assert seen.guide is not None
    seen.guide.cost[:] = np.inf
    assert fitted(seen).best_lambda == fitted(without_guide(seen)).best_lambda


def test_one_diverged_fit_of_both_is_no_harm() -> None:
    seen = World(1e-3, 1e-3, 0).observations(np.full(14, FOLDS))
    assert seen.guide is not None
    for cost in (seen.cost, seen.guide.cost):
        cost[seen.strength == 1.0] = np.inf
    assert 1e-4 < fitted(seen).best_lambda < 1e-2


@pytest.mark.parametrize("count", [1, 5])
def test_the_baseline_alone_gives_a_curve(count: int) -> None:
    counts = np.zeros(14, np.int64)
    counts[0] = count
    curve = fitted(World(1e-3, 1e-3, 0).observations(counts))
    assert np.isfinite(curve.mean([0.0, 1e-3])).all()
    assert np.isfinite(curve.knowledge_gradient(0)).all()
