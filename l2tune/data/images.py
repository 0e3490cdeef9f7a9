"""Images in memory: one plain form for every source, checked once."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from l2tune.data.arrays import count_classes, group_ids, image_tensor, label_tensor
from l2tune.data.split import split_off_test, stratified_part
from l2tune.data.torch_dataset import read_pairs
from l2tune.errors import UserError

KEYS = ("images", "labels", "test_images", "test_labels", "groups", "class_names")
"""What an .npz file or a mapping may hold."""


@dataclass(frozen=True, eq=False)
class ImageData:
    """Labelled images, a training and a test part.

    Attributes:
        images: (N, C, H, W) uint8; cross-validated.
        labels: (N,) int64 in 0..K−1, every class present.
        class_names: K names.
        test_images: (M, C, H, W) uint8; no fold sees them.
        test_labels: (M,) int64.
        groups: (N,) int64, images of one group stay in one fold; None if there are none.
        name: Of the source, for messages.

    Raises:
        UserError: Shapes, types or labels do not fit.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    test_images: Tensor
    test_labels: Tensor
    groups: NDArray[np.int64] | None = None
    name: str = "images"

    def __post_init__(self) -> None:
        for part, images, labels in (
            ("images", self.images, self.labels),
            ("test_images", self.test_images, self.test_labels),
        ):
            where = f"{self.name}: {part}"
            if images.ndim != 4 or images.dtype != torch.uint8:
                raise UserError(f"have shape {tuple(images.shape)}, {images.dtype}", where, "give uint8 N×C×H×W")
            if labels.ndim != 1 or labels.dtype != torch.int64:
                raise UserError(f"labels have shape {tuple(labels.shape)}, {labels.dtype}", where, "give int64 N")
            if len(images) != len(labels):
                raise UserError(f"{len(images)} images but {len(labels)} labels", where, "give one label per image")
            if not images.numel():
                raise UserError("there are none", where, "give some")
            if images.shape[1:] != self.images.shape[1:]:
                shapes = [_by(shape) for shape in (self.images.shape[1:], images.shape[1:])]
                raise UserError(f"are {shapes[1]}, training images {shapes[0]}", where, "give one shape")
        self._check_classes()
        if self.groups is not None and self.groups.shape != (len(self.images),):
            what = f"{len(self.images)} images but groups of shape {self.groups.shape}"
            raise UserError(what, f"{self.name}: groups", "give one group per image")

    def _check_classes(self) -> None:
        present = count_classes(self.labels, f"{self.name}: labels")
        if present > self.classes:
            what = f"{present} classes but {self.classes} names"
            raise UserError(what, f"{self.name}: class_names", "give one name per class")
        if present < self.classes:
            what = f"no training image is labelled {present} ({self.class_names[present]!r})"
            raise UserError(what, f"{self.name}: labels", "give images of every class")
        low, high = int(self.test_labels.min()), int(self.test_labels.max())
        if low < 0 or high >= self.classes:
            what = f"label {low if low < 0 else high} is outside 0..{self.classes - 1}"
            raise UserError(what, f"{self.name}: test_labels", "test images must be of the training images' classes")

    @property
    def classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.images.shape[1:]
        return int(channels), int(height), int(width)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of shapes, pixels, labels, groups and class names; the same on every machine."""
        digest = hashlib.sha256(repr(tuple(self.class_names)).encode())
        parts = [t.cpu().numpy() for t in (self.images, self.labels, self.test_images, self.test_labels)]
        if self.groups is not None:
            parts.append(self.groups)
        for array in parts:
            stored = np.ascontiguousarray(array, "<i8" if array.dtype.itemsize > 1 else None)
            digest.update(repr((stored.dtype.str, stored.shape)).encode())
            digest.update(stored.data)
        return digest.hexdigest()

    def summary(self) -> dict[str, Any]:
        """What a study stores of the images."""
        return {
            "name": self.name,
            "images": len(self.images),
            "test_images": len(self.test_images),
            "shape": list(self.shape),
            "classes": self.classes,
            "class_names": list(self.class_names),
            "fingerprint": self.fingerprint,
        }


def assemble(
    images: Any,
    labels: Any,
    test_images: Any = None,
    test_labels: Any = None,
    *,
    groups: Any = None,
    class_names: Sequence[str] | None = None,
    name: str = "images",
) -> ImageData:
    """Images from arrays or tensors; without a test part, a stratified fifth becomes it.

    Args:
        images: As `image_tensor` takes them; `test_images` likewise.
        labels: N whole numbers 0..K−1.
        groups: N numbers or names of those whose images must stay together.
        class_names: K names; the numbers if None.

    Raises:
        UserError: NaN, values out of range, labels with gaps, numbers that do not match.
    """
    if (test_images is None) != (test_labels is None):
        there, missing = ("test_labels", "test_images") if test_images is None else ("test_images", "test_labels")
        raise UserError(f"has {there} but no {missing}", name, "give both or none")
    x, y = image_tensor(images, f"{name}: images"), label_tensor(labels, f"{name}: labels")
    if len(x) != len(y):
        raise UserError(f"{len(x)} images but {len(y)} labels", name, "give one label per image")
    if not x.numel():
        raise UserError("there are no images", name, "give some")
    ids = None if groups is None else group_ids(groups, len(x), f"{name}: groups")
    classes = count_classes(y, f"{name}: labels")
    names = tuple(str(k) for k in (range(classes) if class_names is None else class_names))
    if test_images is not None:
        test_x = image_tensor(test_images, f"{name}: test_images")
        test_y = label_tensor(test_labels, f"{name}: test_labels")
        return ImageData(x, y, names, test_x, test_y, ids, name)
    train, test = split_off_test(y.numpy(), ids, name)
    kept = None if ids is None else ids[train]
    return ImageData(x[train], y[train], names, x[test], y[test], kept, name)


def from_object(value: Any, name: str = "data") -> ImageData:
    """Images from what a Python caller or a user's function gives.

    Args:
        value: An `ImageData`; `(images, labels)` or `(images, labels, test_images, test_labels)`; a mapping with these
            names, and `groups` and `class_names` if wanted; a torch `Dataset` of (image, label) pairs, or two of them
            (training, test).

    Raises:
        UserError: It is none of these, or does not fit.
    """
    if isinstance(value, ImageData):
        return value
    if isinstance(value, Mapping):
        check_keys(list(value), name)
        return assemble(**value, name=name)
    if isinstance(value, tuple | list) and value and all(isinstance(part, Dataset) for part in value):
        if len(value) != 2:
            raise UserError(f"{len(value)} data sets were given", name, "give one, or (training, test)")
        (images, labels, names), (test_images, test_labels, _) = (read_pairs(part, name) for part in value)
        return assemble(images, labels, test_images, test_labels, class_names=names, name=name)
    if isinstance(value, tuple | list) and len(value) in (2, 4):
        return assemble(*value, name=name)
    if isinstance(value, Dataset):
        images, labels, names = read_pairs(value, name)
        return assemble(images, labels, class_names=names, name=name)
    kind = f"{len(value)} values" if isinstance(value, tuple | list) else f"a {type(value).__name__}"
    fix = "give (images, labels), (images, labels, test_images, test_labels), a torch Dataset or an ImageData"
    raise UserError(f"{kind} cannot be images with labels", name, fix)


def check_keys(keys: Sequence[Any], where: str) -> None:
    """Whether a mapping or an .npz file holds what is needed and nothing unknown.

    Raises:
        UserError: A key is missing or unknown.
    """
    for key in ("images", "labels"):
        if key not in keys:
            has = f"it has {', '.join(map(str, keys))}" if keys else "it is empty"
            raise UserError(f"has no {key!r}", where, f"{has}; known are {', '.join(KEYS)}")
    unknown = next((str(key) for key in keys if key not in KEYS), None)
    if unknown is not None:
        close = difflib.get_close_matches(unknown, KEYS, n=1)
        fix = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(KEYS)}"
        raise UserError(f"{unknown!r} is unknown", where, fix)


def take_subset(data: ImageData, count: int | None) -> ImageData:
    """A stratified part of `count` training images; the test part stays.

    Raises:
        UserError: There are not so many, or fewer were asked for than there are classes.
    """
    if count is None or count == len(data.images):
        return data
    where = f"--subset {count}"
    if count > len(data.images):
        fix = f"ask for {len(data.images)} or fewer, or leave it out"
        raise UserError(f"{data.name} has only {len(data.images)} training images", where, fix)
    if count < data.classes:
        raise UserError(f"is too few for {data.classes} classes", where, "ask for as many of each class as folds")
    kept = stratified_part(data.labels.numpy(), count)
    groups = None if data.groups is None else data.groups[kept]
    return replace(data, images=data.images[kept], labels=data.labels[kept], groups=groups)


def _by(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
