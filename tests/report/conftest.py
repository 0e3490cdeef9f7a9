"""A study whose curve is a valley, with the best λ near 1.5e-3."""

import math
from collections.abc import Callable
from functools import partial

import optuna
import pytest

STRENGTHS = (0.0, 1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 1.5e-3, 2e-3, 3e-3, 1e-2, 1e-1, 1.0)


def valley(strength: float) -> float:
    x = math.log10(max(strength, 1e-7)) + 2.5
    return 0.12 + 0.08 / (1 + math.exp(2 * (x + 1.2))) + 0.05 * math.exp(1.3 * (x - 0.7))


def rising(strength: float) -> float:
    return 0.001 + 3 * min(strength, 0.7)


@pytest.fixture(scope="session")
def make_valley(make_study: Callable[..., optuna.Study]) -> Callable[..., optuna.Study]:
    """`make_study` with its curves given."""
    return partial(make_study, valley, rising, strengths=STRENGTHS)
