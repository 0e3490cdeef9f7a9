"""Random augmentation of a batch, on its device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad


def augment(batch: Tensor, names: Sequence[str], generator: torch.Generator) -> Tensor:
    """Augment each image of a batch on its own.

    `flip` mirrors half of the images left to right. `shift` moves each image by whole pixels, up to an eighth of its
    side either way, and repeats the border.

    Args:
        batch: (N, C, H, W), any type.
        generator: On the CPU, so that the draws are the same on every device.
    """
    if "flip" in names:
        flipped = (torch.rand(len(batch), generator=generator) < 0.5).to(batch.device)
        batch = torch.where(flipped[:, None, None, None], batch.flip(3), batch)
    if "shift" in names:
        batch = _shift(batch, generator)
    return batch


def _shift(batch: Tensor, generator: torch.Generator) -> Tensor:
    count, channels, height, width = batch.shape
    reach = max(1, min(height, width) // 8)
    moves = torch.randint(0, 2 * reach + 1, (2, count), generator=generator).to(batch.device)
    # replication padding knows floating point only; uint8 is exact in float32
    padded = pad(batch.float(), (reach,) * 4, mode="replicate").to(batch.dtype)
    rows = moves[0][:, None] + torch.arange(height, device=batch.device)  # (N, H)
    columns = moves[1][:, None] + torch.arange(width, device=batch.device)  # (N, W)
    image = torch.arange(count, device=batch.device)[:, None, None, None]
    channel = torch.arange(channels, device=batch.device)[None, :, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
