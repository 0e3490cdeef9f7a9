"""Pixels on their way into a network: uint8 images on the device, normalized batch by batch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class DeviceImages:
    """Images and labels on the device; the images stay uint8 and are normalized batch by batch."""

    images: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64

    @classmethod
    def of(cls, images: Tensor, labels: Tensor, device: torch.device) -> DeviceImages:
        return cls(images.to(device), labels.to(device))


@dataclass(frozen=True, eq=False)
class Normalization:
    """Mean and standard deviation of each channel of the training images, pixels in 0..1."""

    mean: Tensor  # (C,)
    std: Tensor  # (C,)

    @classmethod
    def of(cls, images: Tensor, indices: NDArray[np.int64], dtype: torch.dtype, device: torch.device) -> Normalization:
        """Exact statistics of some images: from counts of the 256 values, so every device gets the same."""
        values = torch.arange(256, dtype=torch.float64) / 255
        means, stds = [], []
        for channel in range(images.shape[1]):
            counts = torch.zeros(256, dtype=torch.float64)
            for part in np.array_split(indices, max(1, len(indices) // 4096)):
                pixels = images[torch.from_numpy(part), channel].flatten()
                counts += torch.bincount(pixels.int(), minlength=256).double()
            share = counts / counts.sum()
            mean = (share * values).sum()
            means.append(mean)
            stds.append((share * (values - mean).square()).sum().sqrt())
        std = torch.stack(stds)
        std = torch.where(std > 1e-6, std, torch.ones_like(std))  # a constant channel stays zero, not NaN
        return cls(torch.stack(means).to(device, dtype), std.to(device, dtype))

    def apply(self, batch: Tensor) -> Tensor:
        """uint8 (N, C, H, W) → normalized floating point."""
        return torch.addcmul(self._shift, batch.to(self.mean.dtype), self._scale)

    @cached_property
    def _scale(self) -> Tensor:  # (C, 1, 1)
        return (1 / (255 * self.std))[:, None, None]

    @cached_property
    def _shift(self) -> Tensor:  # (C, 1, 1)
        return (-self.mean / self.std)[:, None, None]
