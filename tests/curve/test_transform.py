"""The outcome transform: what an affine change of a metric does to the curve, and what a diverged fit counts as."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from l2tune.curve.choice import choose_best, choose_one_se
from l2tune.curve.observations import Observations, fit_curve
from l2tune.curve.regularization_curve import RegularizationCurve
from l2tune.curve.transform import InputWarp, OutcomeTransform, worst_cost
from l2tune.metrics import BUILT_IN, Metric

Array = NDArray[np.float64]
PLAIN, TURNED = Metric("own"), Metric("own", maximize=True)


def observed(seed: int, *, level: float = 0.3, diverged: bool = False) -> Observations:
    """A random valley over λ on five folds, most of them incomplete, with folds of different luck."""
    rng = np.random.default_rng(seed)
    strengths = np.concatenate([[0.0], np.sort(10 ** rng.uniform(-6, 0, 9))])
    counts = [5, *rng.integers(1, 6, 9)]
    strength = np.repeat(strengths, counts)
    fold = np.concatenate([rng.permutation(5)[:count] for count in counts])
    best, depth = rng.uniform(-4, -1), rng.uniform(0.02, 0.15)
    x = np.log10(strength + 1e-6)
    luck = np.exp(rng.normal(0, 0.2, 5))
    cost = level * luck[fold] * np.exp(depth * (x - best) ** 2 + rng.normal(0, 0.02, len(x)))
    cost = np.where(diverged & (strength > 0.1), np.inf, cost)
    return Observations(strength, fold, cost, np.arange(len(fold)), PLAIN, 5)


def answers(seen: Observations) -> tuple[RegularizationCurve, Array]:
    """The curve, and every number that a search takes from it."""
    curve = fit_curve(seen)
    assert curve is not None
    costs = seen.by_strength()
    gain = curve.knowledge_gradient(seen.least_seen())
    settled = float(gain.max() / curve.best_standard_error)
    chosen = [choose_best(curve, costs), choose_one_se(curve, costs), *curve.interval, *curve.band]
    following = float(curve.candidates[gain.argmax()]) if settled > 1e-9 else 0.0  # of no gain none is the greatest
    return curve, np.array([*chosen, following, max(settled, 1e-9)])


def changed(seen: Observations, shift: float, factor: float, metric: Metric) -> Observations:
    costs = metric.cost(shift + factor * seen.cost)
    return Observations(seen.strength, seen.fold, costs, seen.trial, metric, seen.folds)


@given(
    seed=st.integers(0, 10**6),
    shift=st.floats(-50, 50),
    size=st.floats(-3, 3),
    turned=st.booleans(),
    diverged=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_an_affine_change_of_the_metric_changes_no_answer(
    seed: int, shift: float, size: float, turned: bool, diverged: bool
) -> None:
    """Same λ, interval, next λ and stopping, to rounding; turned round with a maximized metric, too."""
    seen = observed(seed, diverged=diverged)
    factor = 10**size * (-1 if turned else 1)
    metric = TURNED if turned else PLAIN
    other = changed(seen, shift, factor, metric)
    other = Observations(other.strength, other.fold, np.where(np.isinf(seen.cost), np.inf, other.cost), *_rest(other))
    first, second = answers(seen)[1], answers(other)[1]
    assert second == pytest.approx(first, rel=1e-3)


def _rest(seen: Observations) -> tuple[Any, ...]:
    return seen.trial, seen.metric, seen.folds


@given(seed=st.integers(0, 10**6), shift=st.floats(0, 50), size=st.floats(-3, 3))
@settings(max_examples=30, deadline=None)
def test_a_positive_metric_is_no_exception(seed: int, shift: float, size: float) -> None:
    plain = observed(seed)
    seen = changed(plain, 0.0, 1.0, BUILT_IN["loss"])
    other = changed(plain, shift, 10**size, BUILT_IN["mse"])
    assert answers(other)[1] == pytest.approx(answers(seen)[1], rel=1e-3)


@pytest.mark.parametrize("metric", [*BUILT_IN.values(), Metric("psnr", maximize=True, kind="positive")], ids=str)
def test_a_cost_comes_back_from_its_transform(metric: Metric) -> None:
    rng = np.random.default_rng(0)
    cost = metric.cost(rng.uniform(0.05, 0.6, 40)) if metric.kind != "real" else rng.normal(-3, 5, 40)
    transform = OutcomeTransform.of(metric, cost, np.tile(np.arange(5), 8))
    assert transform.cost(transform.standardize(cost)) == pytest.approx(cost, rel=1e-9)
    z = np.linspace(-3, 3, 50)
    assert (np.diff(transform.cost(z)) >= 0).all(), "less y is less cost"


@pytest.mark.parametrize("kind", ["positive", "proportion", "real"])
@pytest.mark.parametrize("values", [[0.5], [0.1, 0.2, 0.5], [0.0], [0.0, 0.0], [0.3, 0.3]])
def test_a_diverged_fit_is_worse_than_all_else(kind: Any, values: list[float]) -> None:
    metric = Metric("own", kind=kind)
    assert worst_cost(np.array(values), metric) > max(values)
    if kind == "real":
        shifted = worst_cost(np.array(values) - 7, metric)
        assert shifted > max(values) - 7


def test_a_range_of_any_width_has_its_middle() -> None:
    assert InputWarp.of(1e-12, 1e6, None).bottom == pytest.approx(1e-3)
    assert InputWarp.of(1e-6, 1.0, 5.0).bottom == 1.0, "an estimate beyond the range counts as its end"
