import math

import pytest

from l2tune.errors import UserError
from l2tune.penalty.strength import StrengthScale, check_range, format_lambda, from_weight_decay, log_grid, weight_decay


def test_weight_decay_is_twice_lambda_and_back() -> None:
    assert weight_decay(5e-5) == 1e-4
    assert from_weight_decay(weight_decay(0.3)) == 0.3


@pytest.mark.parametrize(
    ("low", "high", "line"),
    [
        (0.0, 1.0, "lambda_range: 0 cannot start a log range; give a low end above 0 "),
        (1.0, 1e-3, "lambda_range: 1 is not below 0.001; give the low end first"),
        (1e-3, math.inf, "lambda_range: 0.001, inf is not a finite range"),
        (math.nan, 1.0, "lambda_range: nan, 1.0 is not a finite range"),
    ],
)
def test_a_range_that_cannot_be_searched_is_refused(low: float, high: float, line: str) -> None:
    with pytest.raises(UserError, match="^" + line):
        check_range(low, high)


def test_log_grid_is_even_in_log_and_holds_both_ends() -> None:
    grid = log_grid(1e-6, 1.0, 7)
    assert grid[0] == 1e-6
    assert grid[-1] == 1.0
    assert [round(math.log10(x), 9) for x in grid] == [-6, -5, -4, -3, -2, -1, 0]
    assert log_grid(1e-4, 1e-2, 1) == [pytest.approx(1e-3)]


@pytest.mark.parametrize(
    ("strength", "text"), [(0.0, "0"), (3.1623e-3, "3.16e-3"), (1.0, "1.00e0"), (2e-12, "2.00e-12")]
)
def test_show(strength: float, text: str) -> None:
    assert format_lambda(strength) == text


def test_an_unknown_scale_is_refused() -> None:
    with pytest.raises(UserError, match=r"^scale: 'decay' is no scale; give one of lambda, weight_decay, alpha, C$"):
        StrengthScale("decay")  # type: ignore[arg-type]
