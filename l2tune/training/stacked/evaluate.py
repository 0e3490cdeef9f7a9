"""Scores of stacked networks: what `evaluate` finds for one network, found for all members in one pass.

`forward` maps pixels to (M, N, K) logits, each member's images normalized by its own fold: (1, N, C, H, W) that all
members see, or (S, N, C, H, W), those of each stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from l2tune.penalty.forms import along

Forward = Callable[[Tensor], Tensor]
CountedBatches = Iterable[tuple[Tensor, Tensor, Tensor]]
"""Pixels, labels (N,) or (M, N), and how often each image belongs to each part of each member (M, parts, N)."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over images, float64, of each part of each member, say training and validation."""

    losses: Tensor  # (M, parts) nats
    wrong: Tensor  # (M, parts)
    count: Tensor  # (M, parts)

    def means(self) -> tuple[list[list[float]], list[list[float]]]:
        """Mean cross-entropy and share classified wrongly, [member][part]."""
        return (self.losses / self.count).tolist(), (self.wrong / self.count).tolist()


def losses_and_errors(forward: Forward, batches: CountedBatches) -> Sums:
    """Cross-entropy and errors of every part, each image seen once."""
    with torch.no_grad():
        parts = [_sums(forward(pixels), labels, counts) for pixels, labels, counts in batches]
    return Sums(*(torch.stack(column).sum(0) for column in zip(*parts, strict=True)))


def mean_gradients(forward: Forward, weights: Sequence[Tensor], batches: CountedBatches) -> list[Tensor]:
    """Of the mean cross-entropy of the first part, each like its weight (M, …)."""
    gradients = [torch.zeros_like(weight) for weight in weights]
    count: Tensor | None = None
    for pixels, labels, counts in batches:
        logits = forward(pixels)
        loss = _picked(cross_entropies(logits, labels), counts[:, 0]).sum()
        for gradient, part in zip(gradients, torch.autograd.grad(loss, list(weights)), strict=True):
            gradient += part
        number = counts[:, 0].sum(1)
        count = number if count is None else count + number
    assert count is not None
    return [gradient / along(count, gradient) for gradient in gradients]


def log_probabilities(forward: Forward, batches: Iterable[Tensor]) -> Tensor:
    """(M, images, K) float32 log-probabilities, on the CPU."""
    with torch.no_grad():
        return torch.cat([log_softmax(forward(pixels).float(), -1).cpu() for pixels in batches], dim=1)


def input_gradient_norms(network: Forward, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """(M,) mean over images of ‖∂ cross-entropy / ∂ normalized image‖₂.

    Args:
        network: (M, N, C, H, W) normalized images → (M, N, K) logits.
        batches: Normalized images (M, N, C, H, W) and labels (N,).
    """
    totals, count = [], 0
    for images, labels in batches:
        images = images.detach().requires_grad_()
        loss = cross_entropies(network(images), labels).sum()
        (gradient,) = torch.autograd.grad(loss, images)
        totals.append(gradient.flatten(2).norm(dim=2).sum(1).double())
        count += len(labels)
    return torch.stack(totals).sum(0) / count


def cross_entropies(logits: Tensor, labels: Tensor) -> Tensor:
    """(M, N) cross-entropy; labels (N,) or (M, N)."""
    labels = labels.expand(logits.shape[:2])
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(logits.shape[:2])


def _picked(values: Tensor, counts: Tensor) -> Tensor:
    """Values times how often they count; what does not count may be NaN."""
    return torch.where(counts > 0, values * counts, 0)


def _sums(logits: Tensor, labels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    losses = cross_entropies(logits, labels).double()[:, None]  # (M, 1, N)
    wrong = (logits.argmax(-1) != labels).double()[:, None]
    return _picked(losses, counts).sum(-1), (wrong * counts).sum(-1), counts.sum(-1).double()
