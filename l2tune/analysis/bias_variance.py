"""Bias and variance of the folds' networks, which all predict the same test images. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class BiasVariance:
    """Mean loss of the networks, split; `loss = bias_loss + variance_loss`, `error = bias_error + variance_error`.

    Attributes:
        loss: Mean cross-entropy over networks and images, nats.
        bias_loss: Cross-entropy of the central prediction, the normalized geometric mean of the networks'.
        variance_loss: Mean Kullback-Leibler divergence of the networks' predictions from the central one.
        error: Mean share of images classified wrongly.
        bias_error: Share of images whose most frequent prediction is wrong.
        variance_error: What deviations from the most frequent prediction add to the error net; they can also mend it.
    """

    loss: float
    bias_loss: float
    variance_loss: float
    error: float
    bias_error: float
    variance_error: float


def decompose(log_probabilities: ArrayLike, labels: ArrayLike) -> BiasVariance:
    """Split cross-entropy (Yang et al., 'Rethinking bias-variance trade-off', 2020) and 0-1 loss (Domingos, 2000).

    >>> found = decompose(np.log([[[0.9, 0.1]], [[0.5, 0.5]]]), [0])
    >>> round(found.loss, 3) == round(found.bias_loss + found.variance_loss, 3)
    True

    Args:
        log_probabilities: (networks, images, classes), two networks or more; finite.
        labels: (images,) true classes.

    Raises:
        ValueError: The shapes do not fit.
    """
    log_p = np.asarray(log_probabilities, dtype=np.float64)
    y = np.asarray(labels, dtype=np.int64)
    if log_p.ndim != 3 or len(log_p) < 2 or log_p.shape[1] != len(y) or not len(y):
        raise ValueError(f"expected (networks ≥ 2, images, classes) and (images,), not {log_p.shape} and {y.shape}")
    mean_log = log_p.mean(axis=0)  # (images, classes)
    peak = mean_log.max(axis=1, keepdims=True)
    log_norm = (peak + np.log(np.exp(mean_log - peak).sum(axis=1, keepdims=True)))[:, 0]  # ≤ 0, by Hölder
    image = np.arange(len(y))
    bias_loss = float((log_norm - mean_log[image, y]).mean())
    # mean over networks of KL(central ‖ network) is −log of the normalizer, for log central = mean log p − log_norm
    variance_loss = float(np.maximum(-log_norm, 0.0).mean())

    predicted = log_p.argmax(axis=2)  # (networks, images)
    votes = np.stack([(predicted == k).sum(axis=0) for k in range(log_p.shape[2])], axis=1)
    bias_error = float((votes.argmax(axis=1) != y).mean())
    error = float((predicted != y).mean())
    loss = float(-log_p[:, image, y].mean())
    return BiasVariance(loss, bias_loss, variance_loss, error, bias_error, error - bias_error)
