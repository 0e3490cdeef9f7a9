"""What a network is like at the end of its schedule."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2tune.members import NetworkState
from l2tune.training.evaluate import calibration_error

NEAR_ZERO = 1e-3
"""A weight is near zero below this share of its layer's initial root mean square."""

GRADIENT_IMAGES = 1000
"""Test images that the input gradient is averaged over, at most."""


def describe_network(
    weights: Mapping[str, Tensor],
    initial_rms: Mapping[str, Tensor],
    log_p: NDArray[np.float32],
    labels: NDArray[np.int64],
    smoothness: float,
) -> NetworkState:
    """The state of a network.

    Args:
        weights: The regularized ones.
        initial_rms: Root mean square of each at the start.
        log_p: (test images, classes) log-probabilities.
        labels: (test images,).
        smoothness: Mean norm of the input gradient.
    """
    with torch.no_grad():
        count = sum(w.numel() for w in weights.values()) or 1
        zeros = sum(int((w == 0).sum()) for w in weights.values())
        small = sum(int((w.abs() < NEAR_ZERO * initial_rms[n]).sum()) for n, w in weights.items())
        norms = {name.removesuffix(".weight"): float(w.norm()) for name, w in weights.items()}
    return NetworkState(
        weight_norms=norms,
        zero_fraction=zeros / count,
        near_zero_fraction=small / count,
        test_loss=float(-log_p[np.arange(len(labels)), labels].mean(dtype=np.float64)),
        test_error=float((log_p.argmax(1) != labels).mean()),
        calibration_error=calibration_error(log_p, labels),
        input_gradient_norm=smoothness,
        test_log_probabilities=log_p,
    )
