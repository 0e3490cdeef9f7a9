"""A torch data set of (image, label) pairs, read into arrays."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from l2tune.data.decoding import pixels_of
from l2tune.errors import UserError


def read_pairs(dataset: Dataset[Any], where: str) -> tuple[Tensor, NDArray[np.int64], Sequence[str] | None]:
    """Images (N, C, H, W), labels (N,) and class names (None if the data set has no `classes`).

    Tensors are C×H×W or H×W, arrays H×W×C or H×W as torchvision's transforms take them, pictures Pillow's.

    Raises:
        UserError: An item is no such pair, cannot be had, or is of another shape than the first.
    """
    try:
        count = len(dataset)  # type: ignore[arg-type]
    except TypeError:
        raise UserError("the data set has no length", where, "give one with __len__ and __getitem__") from None
    if not count:
        raise UserError("the data set is empty", where, "give some images")
    labels = np.empty(count, np.int64)
    image, labels[0] = _pair(dataset, 0, where)
    images = np.empty((count, *image.shape), image.dtype)
    images[0] = image
    for index in range(1, count):
        image, labels[index] = _pair(dataset, index, where)
        if image.shape != images.shape[1:] or image.dtype != images.dtype:
            first, other = (f"{'×'.join(map(str, a.shape))} {a.dtype}" for a in (images[0], image))
            what = f"images differ: item 0 is {first}, item {index} is {other}"
            raise UserError(what, where, "bring them to one size with a transform")
        images[index] = image
    classes = getattr(dataset, "classes", None)
    names = [str(name) for name in classes] if isinstance(classes, list | tuple) and classes else None
    return torch.from_numpy(images), labels, names


def _pair(dataset: Any, index: int, where: str) -> tuple[NDArray[Any], int]:
    try:
        item = dataset[index]
    except Exception as error:
        raise UserError(f"item {index} failed with {type(error).__name__}: {error}", where) from None
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise UserError(f"item {index} is no (image, label) pair", where, "give a data set of pairs")
    image, label = item
    try:
        return _image(image), operator.index(label)
    except UserError as error:
        raise UserError(f"item {index} {error.what}", where, error.fix) from None
    except TypeError:
        raise UserError(f"label {label!r} of item {index} is no whole number", where, "give 0..K−1") from None


def _image(image: Any) -> NDArray[Any]:
    """(C, H, W)."""
    if isinstance(image, Image.Image):
        gray = image.mode in ("1", "L") or image.mode.startswith("I")
        return pixels_of(image, "L" if gray else "RGB").transpose(2, 0, 1)
    if isinstance(image, Tensor):
        array = image.detach().cpu().float().numpy() if image.is_floating_point() else image.detach().cpu().numpy()
    elif isinstance(image, np.ndarray):
        array = image.transpose(2, 0, 1) if image.ndim == 3 else image
    else:
        kind = type(image).__name__
        raise UserError(f"has a {kind} for an image", fix="give tensors, arrays or Pillow's images")
    if array.ndim not in (2, 3):
        raise UserError(f"has an image of shape {'×'.join(map(str, array.shape))}", fix="give C×H×W or H×W")
    return array[None] if array.ndim == 2 else array
