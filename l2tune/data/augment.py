"""Random augmentation of a batch, on its device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def augment(batch: Tensor, names: Sequence[str], generator: torch.Generator) -> Tensor:
    """Augment each image of a batch on its own.

    `flip` mirrors half of the images left to right. `shift` moves each image by whole pixels, up to an eighth of its
    side either way, and fills the border with its mirror image.

    Args:
        batch: (..., N, C, H, W) of any type, say with members in front; every image gets a draw of its own. Members
            that should see the same images take one augmented (N, C, H, W) batch together.
        names: Of `flip` and `shift`; none leaves the batch as it is and draws nothing.
        generator: Draws on its own device: a CPU generator gives the same augmentation on every device.

    Returns:
        A batch of the same shape and type.
    """
    images = batch.reshape(-1, *batch.shape[-3:])
    count, device = len(images), batch.device
    if "flip" in names:
        flipped = torch.rand(count, generator=generator, device=generator.device) < 0.5
        images = torch.where(flipped.to(device)[:, None, None, None], images.flip(3), images)
    if "shift" in names:
        channels, height, width = images.shape[1:]
        rows = _moved(height, count, generator).to(device)  # (N, H)
        columns = _moved(width, count, generator).to(device)  # (N, W)
        image = torch.arange(count, device=device)[:, None, None, None]
        channel = torch.arange(channels, device=device)[None, :, None, None]
        images = images[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
    return images.reshape(batch.shape)


def _moved(side: int, count: int, generator: torch.Generator) -> Tensor:
    """(N, side): which row (or column) of the image each place shows, moved and mirrored at the ends."""
    reach = side // 8
    moves = torch.randint(-reach, reach + 1, (count, 1), generator=generator, device=generator.device)
    index = (torch.arange(side, device=generator.device) + moves).abs()
    return (side - 1) - ((side - 1) - index).abs()
