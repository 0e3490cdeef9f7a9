"""Pictures of one size, gathered one by one; how they are brought to 8 bits is decided when all are there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DEPTHS = (8, 10, 12, 14, 16)


@dataclass(frozen=True, eq=False, slots=True)
class Picture:
    """One decoded picture.

    Attributes:
        pixels: (H, W, C) uint8, or (H, W, 1) uint16 of a gray picture with more than 8 bits.
        top: The largest value that a channel of more than 8 bits has in the file; 0 if no channel has more.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    top: int = 0


def bits_for(top: int) -> int:
    """The smallest usual depth that holds a value: of 8, 10, 12, 14 and 16 bits.

    Raises:
        ValueError: None does.
    """
    for bits in _DEPTHS:
        if top < 1 << bits:
            return bits
    raise ValueError(f"{top} needs more than 16 bits")


class PictureStack:
    """Pictures as they are read, by several threads at once: each writes to an index of its own.

    A file does not say how many of its 16 bits are used, and one picture cannot: a dark one uses few. So values of
    more than 8 bits wait as they are until the largest of all pictures, of both parts, is known.

    Args:
        count: How many there will be.
        shape: (C, H, W).
    """

    def __init__(self, count: int, shape: tuple[int, int, int]) -> None:
        # Written in place: a list of pictures and a stack of it would hold all pixels twice.
        self._images = np.empty((count, *shape), np.uint8)
        self._wide: dict[int, NDArray[np.uint16]] = {}
        self._tops = np.zeros(count, np.uint16)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return self._images.shape

    @property
    def top(self) -> int:
        """The largest value of channels with more than 8 bits; 0 if there are none."""
        return int(self._tops.max(initial=0))

    @property
    def lost_depth(self) -> bool:
        """Whether some pictures had more than 8 bits of which only the upper 8 could be read."""
        return bool(np.count_nonzero(self._tops) > len(self._wide))

    def fits(self, picture: Picture) -> bool:
        """Whether the picture has the stack's size; gray of more than 8 bits fits any number of channels."""
        channels, height, width = self._images.shape[1:]
        wide = picture.pixels.dtype == np.uint16
        return picture.pixels.shape == (height, width, 1 if wide else channels)

    def put(self, index: int, picture: Picture) -> None:
        """Keep a picture that fits."""
        if picture.pixels.dtype == np.uint16:
            self._wide[index] = picture.pixels.astype(np.uint16)[:, :, 0]
            self._tops[index] = max(picture.top, 1)  # an all black one counts as wide, too
        else:
            self._images[index] = picture.pixels.transpose(2, 0, 1)
            self._tops[index] = picture.top

    def to_eight_bits(self, bits: int) -> NDArray[np.uint8]:
        """(N, C, H, W) with the upper 8 of `bits` bits; pictures of 8 bits stay as they are."""
        for index, pixels in self._wide.items():
            self._images[index] = pixels >> (bits - 8)
        return self._images
