"""A torch data set of (image, label) pairs, read into arrays."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from l2tune.data.arrays import as_array, by
from l2tune.data.decoding import decode_as_is
from l2tune.data.picture_stack import Picture, PictureStack
from l2tune.errors import UserError
from l2tune.importing import one_line

_READ_AGAIN = 32
"""Items, spread over the data set, that are read twice before it is read as a whole: of random transforms that change
one item in ten, all three readings of all of them agree in one case of a thousand."""


@dataclass(frozen=True, eq=False, slots=True)
class DatasetParts:
    """What a data set holds.

    Attributes:
        images: (N, C, H, W), or pictures.
        labels: N numbers, names or one-hot rows.
        class_names: Its `classes` or `class_to_idx`; None if it has neither.
    """

    images: Tensor | PictureStack
    labels: list[Any]
    class_names: Any


def read_dataset(dataset: Dataset[Any], where: str, part: str = "") -> DatasetParts:
    """Read all items, once; a few of them twice more, to see whether they are the same each time.

    Tensors are C×H×W or H×W, arrays H×W×C or H×W as torchvision's transforms take them, pictures Pillow's. The global
    generators of Python, numpy and torch are afterwards as they were.

    Args:
        part: `test ` for messages on the test part.

    Raises:
        UserError: An item is no such pair, cannot be had, is of another shape than the first, or is random.
    """
    count = _length(dataset, where)
    with _generators_kept() as seed:
        known: dict[int, _Item] = {}
        for index in _spread(count):
            for attempt in range(2):
                seed(2 * index + attempt)
                item = _item(dataset, index, where, part)
                _expect_same(known.setdefault(index, item), item, index, where, part)
        seed(2 * count)
        return _gather(dataset, count, known, where, part)


@dataclass(frozen=True, eq=False, slots=True)
class _Item:
    """An image, (C, H, W) or a picture, and its label: a number, a name or a one-hot row."""

    image: NDArray[Any] | Picture
    label: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        if isinstance(self.image, Picture):
            height, width, channels = self.image.pixels.shape
            return channels, height, width
        return self.image.shape

    @property
    def pixels(self) -> NDArray[Any]:
        return self.image.pixels if isinstance(self.image, Picture) else self.image

    def __str__(self) -> str:
        return f"{by(self.shape)} {'picture' if isinstance(self.image, Picture) else self.pixels.dtype}"


def _length(dataset: Any, where: str) -> int:
    try:
        with one_line("the length of the data set cannot be had", where, "give one with __len__ and __getitem__"):
            count = len(dataset)
    except UserError as error:
        if not hasattr(type(dataset), "__len__"):
            raise UserError("the data set has no length", where, error.fix) from None
        raise
    if not count:
        raise UserError("the data set is empty", where, "give some images")
    return count


def _spread(count: int) -> list[int]:
    """Indices that are read again: some of all regions, and no more than half of the items."""
    again = min(_READ_AGAIN, (count + 1) // 2)
    return [step * (count - 1) // max(again - 1, 1) for step in range(again)]


def _gather(dataset: Any, count: int, known: dict[int, _Item], where: str, part: str) -> DatasetParts:
    first = known[0]
    stack = array = None
    with one_line(f"{count} images of {first} cannot be held", where, "give fewer or smaller images"):
        if isinstance(first.image, Picture):
            channels, height, width = first.shape
            stack = PictureStack(count, (channels, height, width))
        else:
            array = np.empty((count, *first.shape), first.image.dtype)
    labels = []
    for index in range(count):
        item = _item(dataset, index, where, part)
        if index in known:
            _expect_same(known[index], item, index, where, part)
        fits = stack.fits(item.image) if stack is not None and isinstance(item.image, Picture) else False
        if array is not None and isinstance(item.image, np.ndarray):
            fits = item.shape == array.shape[1:] and item.image.dtype == array.dtype
        if not fits:
            what = f"images differ: {part}item 0 is {first}, item {index} is {item}"
            raise UserError(what, where, "bring them to one size with a transform")
        if stack is not None and isinstance(item.image, Picture):
            stack.put(index, item.image)
        elif array is not None:
            array[index] = item.image
        if np.shape(item.label) != np.shape(first.label):
            shapes = " and ".join(by(np.shape(label)) for label in (first.label, item.label))
            what = f"labels of {part}items 0 and {index} have shapes {shapes}"
            raise UserError(what, where, "give one label per image")
        labels.append(item.label)
    images: Any = stack if array is None else torch.from_numpy(array)
    return DatasetParts(images, labels, _class_names(dataset, where))


def _item(dataset: Any, index: int, where: str, part: str) -> _Item:
    with one_line(f"{part}item {index} failed", where, "mend the data set"):
        item = dataset[index]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise UserError(f"{part}item {index} is no (image, label) pair", where, "give a data set of pairs")
    try:
        return _Item(_image(item[0]), _label(item[1]))
    except UserError as error:
        raise UserError(f"{part}item {index} {error.what}", where, error.fix) from None


def _image(image: Any) -> NDArray[Any] | Picture:
    """(C, H, W)."""
    if isinstance(image, Image.Image):
        return decode_as_is(image)
    fix = "give tensors, arrays or Pillow's images"
    if not isinstance(image, Tensor | np.ndarray):
        raise UserError(f"has a {type(image).__name__} for an image", fix=fix)
    try:
        array = as_array(image, "", fix)
    except UserError as error:
        raise UserError(f"has an image whose pixels {error.what}", fix=error.fix) from None
    if array.ndim not in (2, 3):
        raise UserError(f"has an image of shape {by(array.shape)}", fix="give C×H×W or H×W")
    if array.dtype.kind not in "uifb":
        raise UserError(f"has an image of type {array.dtype}", fix="give numbers: 0..255, or 0..1 in floating point")
    if array.ndim == 2:
        return array[None]
    return array if isinstance(image, Tensor) else array.transpose(2, 0, 1)


def _label(label: Any) -> Any:
    """A number, a name, or a row of numbers; a row of one is that number."""
    if isinstance(label, str | int):
        return label
    try:
        array = as_array(label, "", "give one whole number")
    except UserError as error:
        raise UserError(f"has labels that {error.what}", fix=error.fix) from None
    if array.ndim > 1:
        raise UserError(f"has a label of shape {by(array.shape)}", fix="give one whole number")
    return array.reshape(-1)[0] if array.size == 1 else array


def _class_names(dataset: Any, where: str) -> Any:
    """What the data set says of its classes, where it says something."""
    with one_line("the classes of the data set cannot be had", where, "mend the data set"):
        for name in ("classes", "class_to_idx"):
            value = getattr(dataset, name, None)
            if value is not None and not isinstance(value, int) and not callable(value) and len(value):
                return value
    return None


def _expect_same(before: _Item, now: _Item, index: int, where: str, part: str) -> None:
    if not np.array_equal(np.asarray(before.label), np.asarray(now.label)):
        what = f"{part}item {index} has another label each time it is read"
        raise UserError(what, where, "give a data set whose order and labels stay")
    same = before.shape == now.shape and before.pixels.dtype == now.pixels.dtype
    if not same or before.pixels.tobytes() != now.pixels.tobytes():
        what = f"{part}item {index} is another image each time it is read"
        raise UserError(what, where, "take the random transform out; --augment flip shift does it on the fly")


@contextmanager
def _generators_kept() -> Iterator[Callable[[int], None]]:
    """Yield what seeds the global generators, and leave them as they were."""
    devices = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    torch_state, cuda = torch.get_rng_state(), torch.cuda.get_rng_state_all() if devices else []

    def seed(number: int) -> None:
        random.seed(number)
        np.random.seed(number % 2**32)  # noqa: NPY002
        torch.default_generator.manual_seed(number)  # torch.manual_seed would touch every device
        if devices:
            torch.cuda.manual_seed_all(number)

    try:
        yield seed
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(torch_state)
        if devices:
            torch.cuda.set_rng_state_all(cuda)
