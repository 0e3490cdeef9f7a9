"""Logistic regression as a network."""

from __future__ import annotations

import math

from torch import nn


def linear(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Multinomial logistic regression on the pixels: one linear layer.

    Args:
        shape: (C, H, W) of an image.
        classes: K.

    Returns:
        A module of (N, C, H, W) → (N, K) logits.
    """
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))
