"""Which row of stacked members sees which stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import torch
from torch import Tensor

from l2tune.members import Member
from l2tune.training.stacked.batches import Stream

StreamKey = tuple[int, int]
"""(fold, seed)."""


class Layout:
    """The streams of stacked members, in the members' order; those of one stream lie side by side.

    Args:
        members: One for each row, M of them.
        streams: Those of all members, and maybe others.
        device: Where the statistics and row numbers lie.

    Attributes:
        keys: Of the S streams.
        streams: They themselves.
        stream_of: (M,) int64, each row's stream.
    """

    def __init__(self, members: Sequence[Member], streams: Mapping[StreamKey, Stream], device: torch.device) -> None:
        self.keys = list(dict.fromkeys((member.fold, member.seed) for member in members))
        self.streams = [streams[key] for key in self.keys]
        rows = [self.keys.index((member.fold, member.seed)) for member in members]
        self._starts = [rows.index(stream) for stream in range(len(self.keys))] + [len(members)]
        self.stream_of = torch.tensor(rows, dtype=torch.int64, device=device)
        if self.streams:
            mean = torch.stack([stream.normalization.mean for stream in self.streams])[:, None, :, None, None]
            std = torch.stack([stream.normalization.std for stream in self.streams])[:, None, :, None, None]
            self._shift, self._scale = -mean / std, 1 / (255 * std)  # (S, 1, C, 1, 1)

    def rows(self, first: int, last: int) -> slice:
        """The rows of the streams from `first` to before `last`."""
        return slice(self._starts[first], self._starts[last])

    def normalized(self, pixels: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """Pixels (S or 1, N, C, H, W) uint8 → (S, N, C, H, W) by each stream's statistics."""
        shift, scale = self._shift[first:last], self._scale[first:last]
        return torch.addcmul(shift, pixels.to(scale.dtype), scale)

    def ragged(self, batch: int, trained: Mapping[StreamKey, int]) -> Iterator[tuple[int, int, int]]:
        """(images, first stream, last stream + 1) of the streams for which this batch is equally long.

        Args:
            trained: How many batches of the epoch a stream's members have trained on already.
        """
        sizes = [
            stream.images_in(batch) if trained.get(key, 0) <= batch else 0
            for key, stream in zip(self.keys, self.streams, strict=True)
        ]
        place = 0
        for size, group in groupby(sizes):
            count = len(list(group))
            if size:
                yield size, place, place + count
            place += count
