"""Bias and variance: hand-computed cases, and what must hold for any predictions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2tune.analysis.bias_variance import decompose


def test_two_networks_and_one_image_computed_by_hand() -> None:
    parts = decompose(np.log([[[0.9, 0.1]], [[0.5, 0.5]]]), [0])
    # geometric means √(0.9·0.5) and √(0.1·0.5), normalized: the odds are √9 = 3 to 1
    assert parts.bias_loss == pytest.approx(-math.log(3 / 4))
    divergences = [
        0.75 * math.log(0.75 / 0.9) + 0.25 * math.log(0.25 / 0.1),
        0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5),
    ]
    assert parts.variance_loss == pytest.approx(sum(divergences) / 2)
    assert parts.loss == pytest.approx(-(math.log(0.9) + math.log(0.5)) / 2)


def test_zero_one_loss_of_domingos_computed_by_hand() -> None:
    def certain(k: int) -> list[float]:
        return [0.8 if k == c else 0.1 for c in range(3)]

    # image 0: votes 0, 0, 1 and truth 0 (unbiased); image 1: votes 2, 2, 0 and truth 0 (biased)
    votes = [[0, 2], [0, 2], [1, 0]]
    parts = decompose(np.log([[certain(k) for k in network] for network in votes]), [0, 0])
    assert parts.bias_error == pytest.approx(1 / 2)
    assert parts.error == pytest.approx((1 / 3 + 2 / 3) / 2)
    # the deviating vote costs 1/3 on image 0 and mends 1/3 on image 1
    assert parts.variance_error == pytest.approx((1 / 3 - 1 / 3) / 2)


def test_networks_that_agree_have_no_variance() -> None:
    log_p = np.log(np.random.default_rng(0).dirichlet(np.ones(4), size=30))
    parts = decompose(np.stack([log_p] * 3), np.arange(30) % 4)
    assert parts.variance_loss == pytest.approx(0, abs=1e-12)
    assert parts.variance_error == 0
    assert parts.bias_loss == pytest.approx(parts.loss)


@given(seed=st.integers(0, 10_000), networks=st.integers(2, 6), images=st.integers(1, 8), classes=st.integers(2, 5))
def test_the_parts_add_up_and_variance_is_the_mean_divergence(
    seed: int, networks: int, images: int, classes: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(networks, images, classes)) * rng.choice([0.1, 1, 10])
    log_p = scores - np.log(np.exp(scores).sum(axis=2, keepdims=True))
    labels = rng.integers(0, classes, images)
    parts = decompose(log_p, labels)
    assert parts.loss == pytest.approx(parts.bias_loss + parts.variance_loss)
    assert parts.error == pytest.approx(parts.bias_error + parts.variance_error)
    center = np.exp(log_p.mean(axis=0))
    center /= center.sum(axis=1, keepdims=True)
    divergence = (center * (np.log(center) - log_p)).sum(axis=2).mean()
    assert parts.variance_loss == pytest.approx(divergence, abs=1e-9)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="networks ≥ 2"):
        decompose(np.zeros((1, 3, 2)), [0, 1, 0])
    with pytest.raises(ValueError, match="expected"):
        decompose(np.zeros((2, 3, 2)), [0, 1])
