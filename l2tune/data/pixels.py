"""Images of any layout, type and depth → N×C×H×W uint8, all parts on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from l2tune.data.arrays import as_array, by, is_torch
from l2tune.data.decoding import stack_pictures
from l2tune.data.picture_stack import PictureStack, bits_for
from l2tune.errors import UserError

_CHANNELS = (1, 2, 3, 4)
_CHUNK = 1024
"""Images that are converted at a time, so that no second full-size array is held."""


def image_tensors(parts: Sequence[tuple[str, Any]]) -> tuple[list[Tensor], tuple[str, ...]]:
    """Images of each part as N×C×H×W uint8, and notes on how they were brought there.

    The scale is one for all parts, by the smallest and largest value of all:

    - 8-bit pixels and truth values (0 and 255) are what they are, whatever the rest is.
    - Whole numbers of any other type: 0..255 stay. Larger ones are taken as 10, 12, 14 or 16 bits, the fewest that
      hold the largest, and the upper 8 of these are kept. Those below 0 or above 65535 are refused.
    - Floating point: 0..1 if no value is above 1; whole numbers as above; fractions that reach 128..255 are rounded.
      Other fractions belong to no known scale and are refused.

    Args:
        parts: Where a part comes from, and its images: N×H×W, N×C×H×W or N×H×W×C with 1 to 4 channels, a
            `PictureStack`, or a list of Pillow's pictures. Where both layouts would fit, a tensor is N×C×H×W, as torch
            has it, and an array is refused.

    Raises:
        UserError: Another shape or type, an unknown scale, NaN, infinite or negative pixels.
    """
    arrays = [_laid_out(value, where) for where, value in parts]
    ranges = [_range(array, where) for array, (where, _) in zip(arrays, parts, strict=True)]
    unit = _is_unit(ranges)
    tops = [r.high for r in ranges if r.counts and not (unit and r.floating)]
    top = int(max(tops, default=0))
    bits = bits_for(top)
    for array, (where, _) in zip(arrays, parts, strict=True):
        if isinstance(array, PictureStack) and array.lost_depth and bits < 16:
            what = f"colour pictures use {bits} of 16 bits, and only the upper 8 of 16 can be read"
            raise UserError(what, where, "save them with 8 bits a channel")
    notes: tuple[str, ...] = ()
    if bits > 8:
        notes = (f"Pixels reach {top}: they are taken as {bits}-bit values, whose upper 8 bits are kept.",)
    return [_tensor(_eight_bits(array, unit, bits)) for array in arrays], notes


@dataclass(frozen=True, slots=True)
class _Range:
    """Values of a part; `counts` says whether it has a part in the choice of the scale."""

    where: str
    counts: bool = False
    floating: bool = False
    whole: bool = True
    low: float = 0
    high: float = 0


def _laid_out(value: Any, where: str) -> NDArray[Any] | PictureStack:
    """N×C×H×W."""
    if isinstance(value, tuple | list) and value and all(isinstance(item, Image.Image) for item in value):
        value = stack_pictures(value, where)
    if isinstance(value, PictureStack):
        if not np.prod(value.shape):
            raise UserError(f"have no pixels (shape {by(value.shape)})", where, "give some")
        return value
    array = as_array(value, where, "give one shape and one type of number")
    if array.ndim not in (3, 4):
        raise UserError(f"have shape {by(array.shape)}", where, "give N×H×W, N×C×H×W or N×H×W×C")
    if not array.size:
        what = f"have no pixels (shape {by(array.shape)})" if len(array) else "there are no images"
        raise UserError(what, where, "give some")
    array = array[:, None] if array.ndim == 3 else _channels_first(array, is_torch(value), where)
    if array.dtype.kind == "O" and all(isinstance(item, int | float) for item in array.flat):
        array = array.astype(np.float64)  # such as pandas has; whole numbers stay whole
    if array.dtype.kind not in "uifb":
        raise UserError(f"have type {array.dtype}", where, "give numbers: 0..255, or 0..1 in floating point")
    return array


def _channels_first(array: NDArray[Any], torch_layout: bool, where: str) -> NDArray[Any]:
    first, last = array.shape[1] in _CHANNELS, array.shape[3] in _CHANNELS
    if first and last and not torch_layout:
        fix = "give a torch tensor N×C×H×W"
        raise UserError(f"shape {by(array.shape)} can be N×C×H×W or N×H×W×C", where, fix)
    if not first and not last:
        fix = "give N×H×W, N×C×H×W or N×H×W×C with 1 to 4 channels"
        raise UserError(f"have shape {by(array.shape)}, without channels", where, fix)
    return array if first else array.transpose(0, 3, 1, 2)


def _range(array: NDArray[Any] | PictureStack, where: str) -> _Range:
    """Smallest and largest value.

    Raises:
        UserError: One is NaN, infinite, negative or needs more than 16 bits.
    """
    if isinstance(array, PictureStack):
        return _Range(where, counts=array.top > 0, high=array.top)
    if array.dtype.kind == "b" or array.dtype == np.uint8:
        return _Range(where)
    low, high, whole, floating = np.inf, -np.inf, True, array.dtype.kind == "f"
    for start in range(0, len(array), _CHUNK):
        part = array[start : start + _CHUNK]
        if floating:
            finite = np.isfinite(part)
            if not finite.all():
                index = start + int((~finite.reshape(len(part), -1).all(1)).argmax())
                raise UserError(f"image {index} has NaN or infinite pixels", where, "mend or leave out that image")
            whole = whole and bool((part == np.rint(part)).all())
        low, high = min(low, float(part.min())), max(high, float(part.max()))
    if low < 0 or high > (65535 if whole else 255):
        fix = "give 0..255, or 0..1 in floating point (normalization is done in training)"
        raise UserError(f"pixels reach from {low:g} to {high:g}", where, fix)
    if not whole and 1 < high < 128:
        fix = "give whole numbers 0..255, or 0..1"
        raise UserError(f"fractional pixels reach up to {high:g}, neither 0..1 nor 0..255", where, fix)
    return _Range(where, True, floating, whole, low, high)


def _is_unit(ranges: Sequence[_Range]) -> bool:
    """Whether floating point is 0..1.

    Raises:
        UserError: It is in one part and cannot be in another.
    """
    fractional = min((r for r in ranges if not r.whole), key=lambda r: r.high, default=None)
    floating = max((r for r in ranges if r.floating), key=lambda r: r.high, default=None)
    largest = max(ranges, key=lambda r: r.high)
    unit = floating is None or floating.high <= 1
    other = floating if fractional is not None and fractional.high <= 1 else largest
    if fractional is not None and other is not None and not unit and (fractional.high <= 1 or other.high > 255):
        what = f"fractional pixels reach up to {fractional.high:g}, those of {other.where} up to {other.high:g}"
        raise UserError(what, fractional.where, "give all parts on one scale")
    return unit


def _eight_bits(array: NDArray[Any] | PictureStack, unit: bool, bits: int) -> NDArray[np.uint8]:
    if isinstance(array, PictureStack):
        return array.to_eight_bits(bits)
    if array.dtype == np.uint8:
        return array
    images = np.empty(array.shape, np.uint8)
    for start in range(0, len(array), _CHUNK):
        part = array[start : start + _CHUNK]
        if part.dtype.kind == "b" or (part.dtype.kind == "f" and unit):
            part = np.rint(part.astype(np.float64) * 255)
        elif part.dtype.kind == "f":
            part = np.rint(part).astype(np.int64) >> (bits - 8)
        else:
            part = part >> (bits - 8)
        images[start : start + _CHUNK] = part
    return images


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))  # torch warns of read-only memory
