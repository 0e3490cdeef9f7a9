"""The posterior density of the hyperparameters, and what maximizes it."""

import numpy as np
from scipy.optimize import check_grad

from l2tune.curve.kernel import negative_log_posterior, prior_center
from l2tune.curve.transform import InputWarp

WARP = InputWarp.of(1e-6, 1.0, 1e-2)


def test_the_gradient_is_the_finite_difference() -> None:
    rng = np.random.default_rng(0)
    strength = np.repeat([0.0, 1e-6, 1e-5, 1e-4, 1e-3, 4e-3, 2e-2, 1.0], [5, 1, 1, 2, 3, 5, 1, 1])
    fold = np.concatenate([np.arange(count) for count in (5, 1, 1, 2, 3, 5, 1, 1)])
    z = rng.normal(size=len(fold))
    center = prior_center(0.1)
    data = WARP, strength, fold, z, center
    for _ in range(5):
        theta = np.array(center) + 0.5 * rng.normal(size=len(center))
        difference = check_grad(
            lambda t: negative_log_posterior(t, *data)[0],
            lambda t: negative_log_posterior(t, *data)[1],
            theta,
            epsilon=1e-6,
        )
        size = float(np.linalg.norm(negative_log_posterior(theta, *data)[1]))
        assert difference < 1e-3 * max(1.0, size)
