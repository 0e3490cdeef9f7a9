"""Batches of a fold: the order in which its images are seen and how they are augmented, drawn an epoch at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2tune.data.augment import draw
from l2tune.training.draws import batch_count
from l2tune.training.pixels import Normalization


class Stream:
    """What all members of one fold and seed see: the same random draws as `MemberTraining` makes for one of them.

    Attributes:
        fold: Index of the fold.
        seed: Of the initial weights and the draws.
        normalization: By the fold's statistics.
        batches: Of an epoch.
        order: (n,) indices into the training images of this epoch, batch after batch; on the CPU.
        draws: (n, 3) of `l2tune.data.augment.draw`, image by image.
    """

    def __init__(
        self,
        fold: int,
        seed: int,
        train: NDArray[np.int64],
        normalization: Normalization,
        batch_size: int,
        augmentations: Sequence[str],
        size: tuple[int, int],
    ) -> None:
        self.fold, self.seed, self.normalization = fold, seed, normalization
        self.batches = batch_count(len(train), batch_size)
        self._train = torch.from_numpy(train)
        self._batch_size, self._augmentations, self._size = batch_size, augmentations, size
        self._generator = torch.Generator().manual_seed(seed)
        self.order: Tensor = torch.zeros(0, dtype=torch.int64)
        self.draws: Tensor = torch.zeros(0, 3, dtype=torch.int16)

    def draw_epoch(self) -> None:
        """Draw the next epoch's order and augmentation."""
        order = self._train[torch.randperm(len(self._train), generator=self._generator)]
        self.order = order[: self.batches * self._batch_size]
        if self._augmentations:
            parts = [
                draw(len(part), *self._size, self._augmentations, self._generator).short()
                for part in torch.split(self.order, self._batch_size)
            ]
            self.draws = torch.cat(parts)

    def images_in(self, batch: int) -> int:
        """How many images a batch has; 0 past the epoch's end."""
        if batch >= self.batches:
            return 0
        return min(self._batch_size, len(self._train) - batch * self._batch_size)
