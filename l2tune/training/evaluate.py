"""Scores of a trained network, in evaluation mode. Batches are iterables of (normalized images, labels)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax

Batches = Iterable[tuple[Tensor, Tensor]]

CALIBRATION_BINS = 15


def loss_and_error(model: Callable[[Tensor], Tensor], batches: Batches) -> tuple[float, float]:
    """Mean cross-entropy (nats) and share classified wrongly."""
    loss = wrong = torch.zeros(())
    count = 0
    with torch.inference_mode():
        for images, labels in batches:
            logits = model(images).float() if images.dtype != torch.float64 else model(images)
            loss = loss.to(logits.device) + cross_entropy(logits, labels, reduction="sum")
            wrong = wrong.to(logits.device) + (logits.argmax(1) != labels).sum()
            count += len(labels)
    return float(loss) / count, float(wrong) / count


def mean_gradients(
    model: Callable[[Tensor], Tensor], weights: Sequence[nn.Parameter], batches: Batches
) -> list[Tensor]:
    """Of the mean cross-entropy, each like its weight; zeros for one that takes no part in it."""
    count = 0
    gradients = [torch.zeros_like(weight) for weight in weights]
    for images, labels in batches:
        loss = cross_entropy(model(images), labels, reduction="sum")
        parts: Sequence[Tensor | None] = torch.autograd.grad(loss, weights, allow_unused=True)
        for gradient, part in zip(gradients, parts, strict=True):
            if part is not None:
                gradient += part
        count += len(labels)
    for gradient in gradients:
        gradient /= count
    return gradients


def log_probabilities(model: Callable[[Tensor], Tensor], batches: Batches) -> NDArray[np.float32]:
    """(images, classes) log-probabilities."""
    with torch.inference_mode():
        found = [log_softmax(model(images).float(), 1).cpu() for images, _ in batches]
    return torch.cat(found).numpy()


def calibration_error(log_p: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Expected calibration error over 15 equal-width bins of the confidence (Guo et al., 2017)."""
    confidence = np.exp(log_p.max(axis=1).astype(np.float64))
    correct = log_p.argmax(axis=1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=confidence - correct, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(labels))


def input_gradient_norm(model: Callable[[Tensor], Tensor], batches: Batches) -> float:
    """Mean over images of ‖∂ cross-entropy / ∂ normalized image‖₂: how steeply the network reacts to its input."""
    total, count = 0.0, 0
    for images, labels in batches:
        images = images.detach().requires_grad_()
        loss = cross_entropy(model(images), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, images)
        total += float(gradient.flatten(1).norm(dim=1).sum())
        count += len(labels)
    return total / count
