"""How numbers are written."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2tune.analysis.wording import amounts, change, lambdas, listed, p_value, percentage, plain
from l2tune.metrics import BUILT_IN, Metric

LOSS, ERROR = BUILT_IN["loss"], BUILT_IN["error"]
numbers = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6)


@given(st.lists(numbers, min_size=1, max_size=6))
def test_values_look_alike_only_if_they_are(values: list[float]) -> None:
    texts = amounts(values, LOSS)
    largest = max(map(abs, values))
    for first, one in zip(values, texts, strict=True):
        assert float(one) == pytest.approx(first, rel=6e-3)
        for second, other in zip(values, texts, strict=True):
            if abs(first - second) > 1e-8 * max(abs(first), abs(second), 1e-3 * largest):
                assert one != other
            if first == second:
                assert one == other


@given(st.lists(st.floats(1e-12, 1e6), min_size=1, max_size=8))
def test_strengths_look_alike_only_if_they_are(strengths: list[float]) -> None:
    texts = lambdas([0.0, *strengths])
    for first in texts:
        assert float(texts[first]) == pytest.approx(first, rel=6e-3)
        for second in texts:
            if not math.isclose(first, second, rel_tol=2e-9):
                assert texts[first] != texts[second]


def test_rounding_is_no_difference() -> None:
    assert amounts([0.3, 0.1 + 0.2, 0.25], LOSS) == ["0.3", "0.3", "0.25"]
    assert amounts([1e-17, 0.5, -0.0], LOSS) == ["0", "0.5", "0"]
    assert amounts([1e20, 0.5], LOSS) == ["1e+20", "0.5"], "what is small beside a loss about to diverge is no zero"
    assert lambdas([1e-3, 10**-3.0 * (1 + 1e-15)]) == {1e-3: "1.00e-3", 10**-3.0 * (1 + 1e-15): "1.00e-3"}


def test_a_change_shows() -> None:
    assert change(1.8249, 1.8241, LOSS) == "1.825 → 1.824 nats"
    assert change(1.82, 1.8201, LOSS) == "1.8200 → 1.8201 nats"
    assert change(0.5, 0.25, LOSS) == "0.5 → 0.25 nats"
    assert change(0.971, 0.983, ERROR) == "97.1 → 98.3 %"
    assert change(-1.0, -2.5, Metric("energy")) == "-1 → -2.5"


def test_large_numbers_have_no_exponent() -> None:
    assert plain(1234.5, 3) == "1234"
    assert plain(100.0, 3) == "100"


@given(st.floats(0, 1))
def test_p_values_stay_on_their_side(value: float) -> None:
    text = p_value(value).split()[-1]
    assert (float(text) < 0.05) == (value < 0.05)


@given(st.floats(1e-6, 0.9999999))
def test_less_than_all_is_not_all(share: float) -> None:
    assert 0 < float(percentage(share).removesuffix(" %")) < 100


def test_lists() -> None:
    assert [listed(list("abc"[:n])) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
