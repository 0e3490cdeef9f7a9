"""Means over all folds where few are done: the folds' luck cancels."""

import numpy as np
import pytest

from l2tune.analysis.paired_curve import over_all_folds
from l2tune.curve.observations import Observations
from l2tune.metrics import Metric


def observations(strength: np.ndarray, fold: np.ndarray, cost: np.ndarray) -> Observations:
    return Observations(strength, fold, cost, np.zeros(len(fold), np.int64), Metric("loss"), 3, (1e-6, 1.0))


def test_a_lucky_fold_does_not_make_its_strength_look_good() -> None:
    luck = np.array([-1.0, 0.0, 1.0])
    done = [(s, f) for s in (0.0, 1e-4, 1e-3, 1e-2) for f in range(3)] + [(3e-4, 0), (3e-3, 2)]
    strength, fold = np.array([s for s, _ in done]), np.array([f for _, f in done])
    values = 10 + luck[fold] + np.log10(strength + 1e-5)
    found = over_all_folds(observations(strength, fold, values), strength, fold, values)
    assert list(found.index) == sorted({s for s, _ in done})
    for at in (0.0, 1e-4, 1e-3, 1e-2):
        assert found[at] == pytest.approx(10 + np.log10(at + 1e-5)), "measured where all folds are done"
    for at in (3e-4, 3e-3):
        assert abs(found[at] - (10 + np.log10(at + 1e-5))) < 0.2, "the fold alone is off by 1"


def test_numbers_that_span_decades_are_expected_by_their_logarithm() -> None:
    done = [(s, f) for s in (1e-4, 1e-3, 1e-2) for f in range(3)] + [(1e-1, 0)]
    strength, fold = np.array([s for s, _ in done]), np.array([f for _, f in done])
    values = 1e-3 / strength
    found = over_all_folds(observations(strength, fold, values), strength, fold, values, log=True)
    assert found[1e-1] == pytest.approx(1e-2, rel=0.5)


def test_a_strength_of_which_something_is_not_known_is_left_out() -> None:
    strength, fold = np.array([1e-3, 1e-3, 1e-2]), np.array([0, 1, 0])
    values = np.array([1.0, np.nan, 2.0])
    found = over_all_folds(observations(strength, fold, values), strength, fold, values)
    assert list(found.index) == [1e-2]
    assert not len(over_all_folds(observations(strength, fold, values), strength, fold, values * np.nan))
