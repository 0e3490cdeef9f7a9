"""The posterior density of the hyperparameters, and what maximizes it."""

import numpy as np
import pytest
from scipy.optimize import check_grad

from l2tune.curve.kernel import Prior, image_luck, negative_log_posterior, root
from l2tune.curve.transform import Guide, InputWarp, OutcomeTransform
from l2tune.metrics import BUILT_IN

STRENGTH = np.repeat([0.0, 1e-6, 1e-5, 1e-4, 1e-3, 4e-3, 2e-2, 1.0], [5, 1, 1, 2, 3, 5, 1, 1])
FOLD = np.concatenate([np.arange(count) for count in (5, 1, 1, 2, 3, 5, 1, 1)])
GUIDE = Guide(np.geomspace(1e-6, 1.0, 9), np.linspace(-1, 1, 9) ** 2, 0.7)


@pytest.mark.parametrize(("metric", "guide"), [("loss", None), ("error", None), ("error", GUIDE)])
def test_the_gradient_is_the_finite_difference(metric: str, guide: Guide | None) -> None:
    rng = np.random.default_rng(0)
    warp = InputWarp.of(1e-6, 1.0, 1e-2, guide)
    transform = OutcomeTransform.of(BUILT_IN[metric], rng.integers(20, 60, len(FOLD)) / 200, FOLD)
    prior = Prior.of(transform, guided=guide is not None)
    data = warp, STRENGTH, FOLD, rng.normal(size=len(FOLD)), prior
    for _ in range(5):
        theta = np.array(prior.center) + 0.5 * rng.normal(size=len(prior.center))
        difference = check_grad(
            lambda t: negative_log_posterior(t, *data)[0],
            lambda t: negative_log_posterior(t, *data)[1],
            theta,
            epsilon=1e-6,
        )
        size = float(np.linalg.norm(negative_log_posterior(theta, *data)[1]))
        assert difference < 1e-3 * max(1.0, size)


def test_the_luck_of_images_is_that_of_those_that_not_both_strengths_get_wrong() -> None:
    """Images that change sides at places evenly spread over log λ: the variance of a difference grows in proportion."""
    x = np.array([0.0, 0.1, 0.2])
    correlation = image_luck(x, x)
    near, far = 1 - correlation[0, 1], 1 - correlation[0, 2]
    assert far / near == pytest.approx(2, rel=0.05)
    assert np.isfinite(root(correlation)).all()
