"""Images in memory: one plain form for every source, checked once."""

from __future__ import annotations

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

from l2tune.data.arrays import by, group_ids
from l2tune.data.keys import known_keys
from l2tune.data.labels import count_classes, read_labels
from l2tune.data.pixels import image_tensors
from l2tune.data.split import split_off_test, stratified_part
from l2tune.data.torch_dataset import read_dataset
from l2tune.errors import UserError
from l2tune.importing import one_line

_FORMS = "give (images, labels), (images, labels, test_images, test_labels), a torch Dataset or an ImageData"


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
        notes: What was joined, renumbered, dropped or converted on the way here, in sentences for people.

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
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part, images, labels in (
            ("images", self.images, self.labels),
            ("test_images", self.test_images, self.test_labels),
        ):
            where = f"{self.name}: {part}"
            if not isinstance(images, Tensor) or not isinstance(labels, Tensor) or images.is_meta or labels.is_meta:
                raise UserError("are no tensors with values", where, "give uint8 N×C×H×W and int64 N")
            if images.ndim != 4 or images.dtype != torch.uint8:
                raise UserError(f"have shape {tuple(images.shape)}, {images.dtype}", where, "give uint8 N×C×H×W")
            if labels.ndim != 1 or labels.dtype != torch.int64:
                raise UserError(f"labels have shape {tuple(labels.shape)}, {labels.dtype}", where, "give int64 N")
            if len(images) != len(labels):
                raise UserError(f"{len(images)} images but {len(labels)} labels", where, "give one label per image")
            if not images.numel():
                raise UserError("there are none", where, "give some")
            if images.shape[1:] != self.images.shape[1:]:
                shapes = [by(shape) for shape in (self.images.shape[1:], images.shape[1:])]
                raise UserError(f"are {shapes[1]}, training images {shapes[0]}", where, "give one shape")
        self._check_classes()
        if self.groups is not None and not isinstance(self.groups, np.ndarray):
            raise UserError("are no array", f"{self.name}: groups", "give one number per image")
        if self.groups is not None and np.shape(self.groups) != (len(self.images),):
            what = f"{len(self.images)} images but groups of shape {np.shape(self.groups)}"
            raise UserError(what, f"{self.name}: groups", "give one group per image")

    def _check_classes(self) -> None:
        if not isinstance(self.class_names, tuple) or not all(isinstance(name, str) for name in self.class_names):
            raise UserError("are no tuple of names", f"{self.name}: class_names", "give a tuple of K names")
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
            "notes": list(self.notes),
        }


def assemble(
    images: Any,
    labels: Any,
    test_images: Any = None,
    test_labels: Any = None,
    *,
    val_images: Any = None,
    val_labels: Any = None,
    groups: Any = None,
    class_names: Any = None,
    name: str = "images",
    notes: Sequence[str] = (),
) -> ImageData:
    """Images from arrays or tensors; without a test part, a stratified fifth becomes it.

    A validation part joins the training part: cross-validation makes its own.

    Args:
        images: As `image_tensors` takes them; `test_images` and `val_images` likewise.
        labels: As `read_labels` takes them.
        groups: N numbers or names of those whose images must stay together, the validation part's last.
        class_names: As `read_class_names` takes them; the labels themselves if None.
        notes: What was done to the images before.

    Raises:
        UserError: NaN, values out of range, labels with gaps, numbers that do not match.
    """
    given = {"": (images, labels), "val_": (val_images, val_labels), "test_": (test_images, test_labels)}
    for part, values in given.items():
        if (values[0] is None) != (values[1] is None):
            there, missing = ("labels", "images") if values[0] is None else ("images", "labels")
            raise UserError(f"has {part}{there} but no {part}{missing}", name, "give both or none")
    given = {part: values for part, values in given.items() if values[0] is not None}
    if "" not in given:
        raise UserError("has no images and labels", name, "give both")
    tensors, pixel_notes = image_tensors([(f"{name}: {part}images", values[0]) for part, values in given.items()])
    training = [(f"{name}: {part}labels", values[1]) for part, values in given.items() if part != "test_"]
    test = None if "test_" not in given else (f"{name}: test_labels", given["test_"][1])
    read = read_labels(training, test, class_names, f"{name}: class_names")
    numbers = [*read.training, *([] if read.test is None else [read.test])]
    for part, x, y in zip(given, tensors, numbers, strict=True):
        if len(x) != len(y):
            raise UserError(f"{len(x)} {part}images but {len(y)} {part}labels", name, "give one label per image")
        if x.shape[1:] != tensors[0].shape[1:]:
            what = f"are {by(x.shape[1:])}, training images {by(tensors[0].shape[1:])}"
            raise UserError(what, f"{name}: {part}images", "give one shape")
    x, y = tensors[0], numbers[0]
    said = [*notes, *pixel_notes, *read.notes]
    if "val_" in given:
        said.append(f"The validation part ({len(tensors[1])} images) joins the training part ({len(x)}).")
        x, y = torch.cat(tensors[:2]), torch.cat(numbers[:2])
    ids = None if groups is None else group_ids(groups, len(x), f"{name}: groups")
    if read.test is not None:
        return ImageData(x, y, read.names, tensors[-1], read.test, ids, name, tuple(said))
    train, split = split_off_test(y.numpy(), ids, name)
    kept = None if ids is None else ids[train]
    return ImageData(x[train], y[train], read.names, x[split], y[split], kept, name, tuple(said))


def from_object(value: Any, name: str = "data") -> ImageData:
    """Images from what a Python caller or a user's function gives.

    Args:
        value: An `ImageData`; `(images, labels)` or `(images, labels, test_images, test_labels)`; Keras'
            `((images, labels), (test_images, test_labels))`; a mapping with these names, MedMNIST's or Keras', and
            `groups` and `class_names` if wanted; a torch `Dataset` of (image, label) pairs, or two of them (training,
            test).

    Raises:
        UserError: It is none of these, or does not fit.
    """
    if isinstance(value, ImageData):
        return value
    if isinstance(value, Mapping):
        return _from_mapping(value, name)
    if isinstance(value, Dataset):
        read = read_dataset(value, name)
        return assemble(read.images, read.labels, class_names=read.class_names, name=name)
    if isinstance(value, tuple | list):
        if value and all(isinstance(part, Dataset) for part in value):
            return _from_datasets(value, name)
        if isinstance(value, tuple) and len(value) in (2, 3) and all(map(_is_part, value)):
            (images, labels), *validation, (test_images, test_labels) = value
            val_images, val_labels = validation[0] if validation else (None, None)
            return assemble(
                images, labels, test_images, test_labels, val_images=val_images, val_labels=val_labels, name=name
            )
        if len(value) in (2, 4):
            return assemble(*value, name=name)
        raise UserError(f"{len(value)} values cannot be images with labels", name, _FORMS)
    raise UserError(f"a {type(value).__name__} cannot be images with labels", name, _FORMS)


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


def _from_mapping(value: Mapping[Any, Any], name: str) -> ImageData:
    with one_line("the mapping cannot be read", name):
        parts = {meaning: value[key] for meaning, key in known_keys(value, name).items()}
    return assemble(**parts, name=name)


def _from_datasets(value: Any, name: str) -> ImageData:
    if len(value) > 2:
        raise UserError(f"{len(value)} data sets were given", name, "give one, or (training, test)")
    if len(value) == 1:
        return from_object(value[0], name)
    train, test = (read_dataset(part, name, role) for part, role in zip(value, ("", "test "), strict=True))
    return assemble(train.images, train.labels, test.images, test.labels, class_names=train.class_names, name=name)


def _is_part(value: Any) -> bool:
    """Whether it is (images, labels) of arrays; a list of two images is not."""
    return (
        isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], np.ndarray | Tensor) and value[0].ndim > 2
    )
