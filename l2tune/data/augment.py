"""Random augmentation of a batch, on its device.

Why not torchvision's v2 transforms: a transform draws one set of parameters a call, so a whole batch is mirrored or
none of it, and image by image it would be a loop in Python; it draws from torch's global generator, which every member
and every engine would share, so a fold's augmentation would depend on who trains beside it; its kernels take numbers,
not a tensor of them, so that a captured step on a GPU would repeat the first draw for ever; and rotation, affine maps
and colours interpolate or round, which need not give the same bits in both engines and on every device. Moving whole
pixels does, with draws that are a small tensor of integers made before the step. A test tells should v2 change.
"""

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
    if names:
        draws = draw(len(images), images.shape[2], images.shape[3], names, generator)
        images = move(images, _beside(draws, batch), names)
    return images.reshape(batch.shape)


def _beside(draws: Tensor, batch: Tensor) -> Tensor:
    """On the batch's device; from memory that is not pinned, CUDA would first finish all that it still computes."""
    if batch.device.type == "cuda" and draws.device.type == "cpu":
        return draws.pin_memory().to(batch.device, non_blocking=True)
    return draws.to(batch.device)


def draw(count: int, height: int, width: int, names: Sequence[str], generator: torch.Generator) -> Tensor:
    """(N, 3) int64: whether each image is mirrored (0 or 1), and by how many rows and columns it moves."""
    draws = torch.zeros(count, 3, dtype=torch.int64, device=generator.device)
    if "flip" in names:
        draws[:, 0] = torch.rand(count, generator=generator, device=generator.device) < 0.5
    if "shift" in names:
        for column, side in ((1, height), (2, width)):
            reach = side // 8
            draws[:, column] = torch.randint(
                -reach, reach + 1, (count, 1), generator=generator, device=generator.device
            ).squeeze(1)
    return draws


def move(images: Tensor, draws: Tensor, names: Sequence[str]) -> Tensor:
    """Images (N, C, H, W) augmented as `draw` drew it (N, 3), both on one device."""
    if "flip" in names:
        images = torch.where(draws[:, 0].bool()[:, None, None, None], images.flip(3), images)
    if "shift" in names:
        channels, height, width = images.shape[1:]
        rows = _shown(height, draws[:, 1:2])  # (N, H)
        columns = _shown(width, draws[:, 2:3])  # (N, W)
        image = torch.arange(len(images), device=images.device)[:, None, None, None]
        channel = torch.arange(channels, device=images.device)[None, :, None, None]
        images = images[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
    return images


def _shown(side: int, moves: Tensor) -> Tensor:
    """(N, side): which row (or column) of the image each place shows, moved and mirrored at the ends."""
    index = (torch.arange(side, device=moves.device) + moves).abs()
    return (side - 1) - ((side - 1) - index).abs()
