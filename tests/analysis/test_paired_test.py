import numpy as np
import pytest
from scipy import stats

from l2tune.analysis.paired_test import compare, rowwise_standard_error, standard_errors


def test_at_five_folds_the_corrected_standard_error_is_one_and_a_half_times_the_naive_one() -> None:
    naive, corrected = standard_errors([1.0, 2.0, 4.0, 3.0, 5.0], 1 / 4)
    assert naive == pytest.approx(np.std([1, 2, 4, 3, 5], ddof=1) / np.sqrt(5))
    assert corrected / naive == pytest.approx(1.5)


def test_a_difference_worked_out_by_hand() -> None:
    # differences 1, 2, 3: mean 2, s = 1; corrected se = √(1/3 + 1/2) = 0.9129; t = 2.1909 with 2 degrees of freedom
    difference = compare([0.0, 0.0, 0.0], [1.0, 2.0, 3.0], 1 / 2)
    assert difference is not None
    assert difference.mean == 2
    assert difference.naive_standard_error == pytest.approx(0.57735, abs=1e-5)
    assert difference.standard_error == pytest.approx(0.91287, abs=1e-5)
    assert difference.p_value == pytest.approx(0.1598, abs=1e-4)
    assert difference.interval == pytest.approx((2 - 4.302653 * 0.91287, 2 + 4.302653 * 0.91287), abs=1e-4)
    assert not difference.is_measurable


def test_without_shared_images_it_is_the_paired_t_test() -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 10))
    difference = compare(first, second, 0.0)
    assert difference is not None
    assert difference.p_value == pytest.approx(stats.ttest_rel(second, first).pvalue)


def test_folds_that_only_one_has_are_left_out_and_one_pair_is_too_few() -> None:
    difference = compare([1.0, np.nan, 1.0, np.inf], [2.0, 5.0, 4.0, 1.0], 1 / 3)
    assert difference is not None
    assert (difference.folds, difference.mean) == (2, 2.0)
    assert compare([1.0, np.nan], [2.0, 3.0], 1.0) is None


def test_equal_differences_leave_no_doubt() -> None:
    same, more = compare([1.0, 2.0], [1.0, 2.0], 1.0), compare([1.0, 2.0], [2.0, 3.0], 1.0)
    assert same is not None
    assert more is not None
    assert (same.p_value, same.is_measurable) == (1.0, False)
    assert (more.p_value, more.interval) == (0.0, (1.0, 1.0))


def test_rowwise_errors_leave_missing_folds_out() -> None:
    rows = np.array([[1.0, 2.0, np.nan], [1.0, np.nan, np.nan], [3.0, 5.0, 7.0]])
    errors = rowwise_standard_error(rows)
    assert errors[[0, 2]] == pytest.approx([0.5, 2 / np.sqrt(3)])
    assert np.isnan(errors[1])
