"""Arrays of images and labels, as users have them → uint8 and int64 tensors, or a line that says what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2tune.errors import UserError

_CHANNELS = (1, 2, 3, 4)
_CHUNK = 1024
"""Images that are converted at a time, so that no second full-size array is held."""


def image_tensor(value: Any, where: str) -> Tensor:
    """Any array of images as N×C×H×W uint8.

    Args:
        value: N×H×W, N×C×H×W or N×H×W×C with 1 to 4 channels; where both would fit, a tensor is N×C×H×W, as torch
            has it, and an array is refused. Integers are 0..255. Floating point is 0..1 if no value
            is above 1, else 0..255; fractions whose maximum lies between (1 to 127) belong to no known scale.

    Raises:
        UserError: Another shape or type, an unknown scale, NaN, infinite or negative pixels.
    """
    array = _array(value, where, "give one shape and one type of number")
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4:
        array = _channels_first(array, isinstance(value, Tensor), where)
    else:
        raise UserError(f"have shape {_shape(array)}", where, "give N×H×W, N×C×H×W or N×H×W×C")
    if array.dtype == np.uint8:
        return _tensor(array)
    if array.dtype.kind not in "uifb":
        raise UserError(f"have type {array.dtype}", where, "give numbers: 0..255, or 0..1 in floating point")
    scale = 255 if array.dtype.kind == "b" else _scale(array, where)
    images = np.empty(array.shape, np.uint8)
    for start in range(0, len(array), _CHUNK):
        part = array[start : start + _CHUNK]
        images[start : start + _CHUNK] = part if part.dtype.kind in "ui" else np.rint(part.astype(np.float64) * scale)
    return _tensor(images)


def label_tensor(value: Any, where: str) -> Tensor:
    """Any array of labels as N int64; whole numbers in floating point or truth values will do.

    Raises:
        UserError: They are not one whole number per image.
    """
    array = _array(value, where, "give one whole number per image")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise UserError(f"have shape {_shape(array)}", where, "give one whole number per image")
    if array.dtype.kind == "f":
        whole = np.isfinite(array) & (array == np.rint(array))
        if not whole.all():
            index = int((~whole).argmax())
            raise UserError(f"label {array[index]} of image {index} is no whole number", where, "give 0..K−1")
    elif array.dtype.kind not in "iub":
        raise UserError(f"have type {array.dtype}", where, "give whole numbers 0..K−1")
    return _tensor(array.astype(np.int64))


def count_classes(labels: Tensor, where: str) -> int:
    """K of labels that are 0..K−1, every one of them there.

    Raises:
        UserError: One is negative or missing, or all are the same.
    """
    present = torch.unique(labels).tolist()
    if len(present) == 1:
        raise UserError(f"there is only one class, {present[0]}", where, "give images of two classes or more")
    if present and present[0] < 0:
        raise UserError(f"label {present[0]} is negative", where, "number the classes 0..K−1")
    missing = next((k for k, label in enumerate(present) if k != label), None)
    if missing is not None:
        span = f"labels go from {present[0]} to {present[-1]} without a {missing}"
        raise UserError(span, where, "number the classes 0..K−1 without gaps")
    return len(present)


def group_ids(value: Any, count: int, where: str) -> NDArray[np.int64]:
    """Groups of any type, numbered from 0.

    Raises:
        UserError: There is not one per image.
    """
    array = _array(value, where, "give one group per image")
    if array.ndim != 1 or len(array) != count:
        raise UserError(f"{count} images but groups of shape {_shape(array)}", where, "give one group per image")
    if array.dtype.kind not in "uibUS":
        raise UserError(f"have type {array.dtype}", where, "give whole numbers or names")
    return np.unique(array, return_inverse=True)[1].astype(np.int64)


def _array(value: Any, where: str, fix: str) -> NDArray[Any]:
    if isinstance(value, Tensor):
        tensor = value.detach().cpu()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"are no array ({error})", where, fix) from None


def _channels_first(array: NDArray[Any], torch_layout: bool, where: str) -> NDArray[Any]:
    first, last = array.shape[1] in _CHANNELS, array.shape[3] in _CHANNELS
    if first and last and not torch_layout:
        fix = "give a torch tensor N×C×H×W"
        raise UserError(f"shape {_shape(array)} can be N×C×H×W or N×H×W×C", where, fix)
    if not first and not last:
        fix = "give N×H×W, N×C×H×W or N×H×W×C with 1 to 4 channels"
        raise UserError(f"have shape {_shape(array)}, without channels", where, fix)
    return array if first else array.transpose(0, 3, 1, 2)


def _scale(array: NDArray[Any], where: str) -> int:
    """What brings the pixels to 0..255."""
    low, high, whole = np.inf, -np.inf, True
    for start in range(0, len(array), _CHUNK):
        part = array[start : start + _CHUNK]
        if part.dtype.kind == "f":
            finite = np.isfinite(part)
            if not finite.all():
                index = start + int((~finite.reshape(len(part), -1).all(1)).argmax())
                raise UserError(f"image {index} has NaN or infinite pixels", where, "mend or leave out that image")
            whole = whole and bool((part == np.rint(part)).all())
        if part.size:
            low, high = min(low, float(part.min())), max(high, float(part.max()))
    if low < 0 or high > 255:
        fix = "give 0..255, or 0..1 in floating point (normalization is done in training)"
        raise UserError(f"pixels reach from {low:g} to {high:g}", where, fix)
    if array.dtype.kind != "f":
        return 1
    if not whole and 1 < high < 128:
        fix = "give whole numbers 0..255, or 0..1"
        raise UserError(f"fractional pixels reach up to {high:g}, neither 0..1 nor 0..255", where, fix)
    return 255 if high <= 1 else 1


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))  # torch warns of read-only memory


def _shape(array: NDArray[Any]) -> str:
    return "×".join(map(str, array.shape)) or "()"
