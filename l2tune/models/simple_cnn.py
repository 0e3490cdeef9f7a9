"""The classic network of two convolutions."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def simple_cnn(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Conv(C→32, 3×3), ReLU, Conv(32→64, 3×3), ReLU, Linear(64·H·W→128), ReLU, Linear(128→classes); all padded by 1.

    Args:
        shape: (C, H, W) of an image.
        classes: K.

    Returns:
        A module of (N, C, H, W) → (N, K) logits.
    """
    channels, height, width = shape
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 32, 3, padding=1),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(32, 64, 3, padding=1),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(64 * height * width, 128),
            relu3=nn.ReLU(),
            fc2=nn.Linear(128, classes),
        )
    )
