"""λ_max of L1 and the elastic net: the least strength that keeps a network's penalized weights at zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

_CONSTANT = 1e-5
"""Logits that differ by less from image to image do not depend on the image, but for rounding."""
_FLAT = 1e-6
"""A slope below it is zero but for rounding."""


def lambda_max(
    network: nn.Module, multipliers: Mapping[str, float], l1_ratio: float, batches: Iterable[tuple[Tensor, Tensor]]
) -> float | None:
    """The steepest slope of the mean cross-entropy at zero weights, over what the penalty's |w| has: as glmnet's.

    With its penalized weights at zero a network predicts the same for every image: the classes' shares, where it has an
    output bias that is not penalized. Zero weights stay where no slope is steeper than ρλ times their multiplier
    (Friedman, Hastie and Tibshirani, 'Regularization paths for generalized linear models', 2010, section 2.5).

    Args:
        network: Left as it is.
        multipliers: Penalized parameter → what λ is multiplied by.
        l1_ratio: ρ > 0.
        batches: Normalized images and labels.

    Returns:
        None where there is none: with two layers of zero weights between image and output no slope is left, so that
        zero weights stay at every λ; where predictions at zero weights depend on the image after all; and where other
        weights are trained without a penalty, which can make any slope steeper.
    """
    model = deepcopy(network).eval()
    named = dict(model.named_parameters())
    weights = [named[name] for name in multipliers]
    with torch.no_grad():
        for weight in weights:
            weight.zero_()
    others = [p for name, p in named.items() if name not in multipliers and p.requires_grad]
    seen = list(batches)
    biases = _output_biases(model, others, seen[0][0])
    if not all(biases):  # of most networks: no image but one was looked at
        return None
    with torch.no_grad():
        logits = torch.cat([model(images).float() for images, _ in seen])
    labels = torch.cat([labels for _, labels in seen])
    if not torch.isfinite(logits).all() or (logits - logits[0]).abs().max() > _CONSTANT * (1 + logits.abs().max()):
        return None
    wanted = torch.nn.functional.one_hot(labels, logits.shape[1]).float()
    predicted = wanted.mean(0) if biases else logits[0].softmax(0)
    slopes = [torch.zeros_like(weight) for weight in weights]
    place = 0
    for images, _ in seen:
        excess = (predicted - wanted[place : place + len(images)]) / len(labels)  # ∂ cross-entropy / ∂ logits
        place += len(images)
        parts = torch.autograd.grad((model(images).float() * excess).sum(), weights, allow_unused=True)
        for slope, part in zip(slopes, parts, strict=True):
            if part is not None:
                slope += part
    highest = max(float(slope.abs().max()) / factor for slope, factor in zip(slopes, multipliers.values(), strict=True))
    return highest / l1_ratio if highest > _FLAT else None


def _output_biases(model: nn.Module, parameters: list[nn.Parameter], images: Tensor) -> list[bool]:
    """Which of these parameters are added to the logits as they are."""
    logits = model(images[:1]).float()[0]
    weight = torch.arange(1.0, len(logits) + 1, device=logits.device)
    if not logits.requires_grad or not parameters:
        return [False] * len(parameters)
    parts = torch.autograd.grad((logits * weight).sum(), parameters, allow_unused=True)
    return [part is not None and part.shape == weight.shape and torch.allclose(part.float(), weight) for part in parts]
