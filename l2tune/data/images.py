"""Images in memory: one plain form for every source, checked once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2tune.errors import UserError

TEST_SHARE = 0.2
_SPLIT_SEED = 0
"""The test part is the same whatever the search's seed: seeds of a search are compared on the same images."""


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
            ("training", self.images, self.labels),
            ("test", self.test_images, self.test_labels),
        ):
            where = f"{self.name}: {part} images"
            if images.ndim != 4 or images.dtype != torch.uint8:
                raise UserError(
                    f"have shape {tuple(images.shape)} and type {images.dtype}", where, "give uint8 N×C×H×W"
                )
            if not len(images):
                raise UserError("there are none", where)
            if len(images) != len(labels):
                raise UserError(f"{len(images)} images but {len(labels)} labels", where, "give one label per image")
            if images.shape[1:] != self.images.shape[1:]:
                raise UserError(f"have shape {tuple(images.shape[1:])}, training {self.shape}", where, "give one shape")
            if labels.dtype != torch.int64 or labels.ndim != 1:
                raise UserError(f"labels have type {labels.dtype} and shape {tuple(labels.shape)}", where)
            _check_labels(labels, len(self.class_names), where)
        present = torch.bincount(self.labels, minlength=self.classes)
        if self.classes < 2:
            raise UserError(
                f"only one class ({self.class_names[0]!r})", self.name, "give images of two classes or more"
            )
        if (present == 0).any():
            missing = int((present == 0).nonzero()[0])
            raise UserError(
                f"no training image has label {missing} ({self.class_names[missing]!r})",
                self.name,
                f"labels must be 0..{self.classes - 1} without gaps",
            )
        if self.groups is not None and len(self.groups) != len(self.images):
            raise UserError(f"{len(self.images)} images but {len(self.groups)} groups", self.name, "give one per image")

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
        """SHA-256 of all images, labels, groups and class names; the same on every machine."""
        digest = hashlib.sha256(repr((tuple(self.class_names), tuple(self.images.shape))).encode())
        for tensor in (self.images, self.labels, self.test_images, self.test_labels):
            digest.update(tensor.contiguous().numpy())
        if self.groups is not None:
            digest.update(np.ascontiguousarray(self.groups))
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
        images: N×H×W, N×C×H×W or N×H×W×C. Integers are taken as 0..255, floating point as 0..1 if none is above 1,
            else as 0..255. Channels are recognized by a size of 1, 3 or 4, first place tried first.
        labels: N whole numbers 0..K−1.

    Raises:
        UserError: NaN, values out of range, labels with gaps, numbers that do not match.
    """
    if (test_images is None) != (test_labels is None):
        raise UserError("test_images and test_labels go together", name, "give both or none")
    train_x, train_y = _pixels(images, f"{name}: images"), _labels(labels, f"{name}: labels")
    if len(train_x) != len(train_y):
        raise UserError(f"{len(train_x)} images but {len(train_y)} labels", name, "give one label per image")
    if not len(train_x):
        raise UserError("there are no images", name)
    group_ids = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
    if group_ids is not None and len(group_ids) != len(train_x):
        raise UserError(f"{len(train_x)} images but {len(group_ids)} groups", name, "give one group per image")
    count = len(class_names) if class_names is not None else int(train_y.max()) + 1
    names = tuple(str(n) for n in class_names) if class_names is not None else tuple(str(k) for k in range(count))
    _check_labels(train_y, count, f"{name}: labels")
    if test_images is not None:
        test_x, test_y = _pixels(test_images, f"{name}: test_images"), _labels(test_labels, f"{name}: test_labels")
        return ImageData(train_x, train_y, names, test_x, test_y, group_ids, name)
    train, test = split_off(train_y, group_ids, name)
    kept = None if group_ids is None else group_ids[train.numpy()]
    return ImageData(train_x[train], train_y[train], names, train_x[test], train_y[test], kept, name)


def from_object(value: Any, name: str = "data") -> ImageData:
    """Images from what a Python caller or a user's function gives.

    Args:
        value: An `ImageData`; `(images, labels)` or `(images, labels, test_images, test_labels)`; a mapping with these
            names; a torch `Dataset` of (image, label) pairs, or a pair of them (training, test).

    Raises:
        UserError: It is none of these, or does not fit.
    """
    if isinstance(value, ImageData):
        return value
    if isinstance(value, dict):
        allowed = {"images", "labels", "test_images", "test_labels", "groups", "class_names"}
        unknown = sorted(set(value) - allowed)
        if unknown or not {"images", "labels"} <= set(value):
            raise UserError(f"has the keys {', '.join(map(str, value))}", name, f"give {', '.join(sorted(allowed))}")
        return assemble(**value, name=name)
    if isinstance(value, tuple | list) and len(value) in (2, 4):
        if all(_is_dataset(part) for part in value):
            if len(value) == 4:
                raise UserError("four data sets were given", name, "give (training, test)")
            (train_x, train_y), (test_x, test_y) = (_read_dataset(part, name) for part in value)
            return assemble(train_x, train_y, test_x, test_y, class_names=_classes_of(value[0]), name=name)
        return assemble(*value, name=name)
    if _is_dataset(value):
        return assemble(*_read_dataset(value, name), class_names=_classes_of(value), name=name)
    raise UserError(
        f"a {type(value).__name__} is no image data", name, "give (images, labels), a torch Dataset or an ImageData"
    )


def take_subset(data: ImageData, count: int | None) -> ImageData:
    """A stratified part of `count` training images; the test part stays.

    Raises:
        UserError: There are not so many, or fewer than two of each class.
    """
    if count is None or count == len(data.images):
        return data
    where = f"--subset {count}"
    if count > len(data.images):
        raise UserError(f"{data.name} has only {len(data.images)} training images", where, "ask for fewer")
    if count < 2 * data.classes:
        raise UserError(f"is too few for {data.classes} classes", where, f"ask for at least {2 * data.classes}")
    kept = torch.from_numpy(_stratified(data.labels.numpy(), count))
    groups = None if data.groups is None else data.groups[kept.numpy()]
    return ImageData(
        data.images[kept],
        data.labels[kept],
        data.class_names,
        data.test_images,
        data.test_labels,
        groups,
        data.name,
    )


def split_off(labels: Tensor, groups: NDArray[np.int64] | None, name: str) -> tuple[Tensor, Tensor]:
    """Indices of the training part and of a stratified fifth for testing; groups stay together."""
    from sklearn.model_selection import StratifiedGroupKFold

    if groups is not None:
        splitter = StratifiedGroupKFold(round(1 / TEST_SHARE), shuffle=True, random_state=_SPLIT_SEED)
        try:
            train, test = next(iter(splitter.split(np.zeros(len(labels)), labels.numpy(), groups)))
        except ValueError as error:
            raise UserError(f"groups do not allow a test part ({error})", name, "give test_images") from None
        return torch.from_numpy(train), torch.from_numpy(test)
    counts = torch.bincount(labels)
    if int((counts > 0).sum()) < 2:
        raise UserError("only one class", name, "give images of two classes or more")
    if (counts == 1).any():
        lonely = int((counts == 1).nonzero()[0])
        raise UserError(f"class {lonely} has one image only", name, "give at least as many images of it as folds")
    test_count = max(round(TEST_SHARE * len(labels)), len(counts))
    test = np.sort(_stratified(labels.numpy(), test_count))
    mask = torch.ones(len(labels), dtype=torch.bool)
    mask[test] = False
    return mask.nonzero()[:, 0], torch.from_numpy(test)


def _stratified(labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Indices of `count` images, each class in proportion (largest remainders) and at least once, in original order."""
    classes, sizes = np.unique(labels, return_counts=True)
    exact = sizes * count / len(labels)
    take = np.maximum(np.floor(exact).astype(int), 1)
    order = np.argsort(take - exact)
    for k in range(max(0, count - take.sum())):
        take[order[k % len(order)]] += 1
    rng = np.random.default_rng(_SPLIT_SEED)
    parts = [rng.permutation(np.flatnonzero(labels == c))[:n] for c, n in zip(classes, take, strict=True)]
    return np.sort(np.concatenate(parts))


def _pixels(value: Any, where: str) -> Tensor:
    """Any array of images as N×C×H×W uint8."""
    try:
        array = value if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(np.asarray(value)))
    except (TypeError, ValueError) as error:
        raise UserError(f"are no array of numbers ({error})", where, "give one shape and one number type") from None
    array = array.detach().cpu()
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4:
        raise UserError(f"have shape {tuple(array.shape)}", where, "give N×H×W, N×C×H×W or N×H×W×C")
    if array.shape[1] not in (1, 3, 4) and array.shape[3] in (1, 3, 4):
        array = array.permute(0, 3, 1, 2)
    if not len(array) or array.dtype == torch.uint8:
        return array.contiguous()
    if array.dtype == torch.bool:
        return (array.to(torch.uint8) * 255).contiguous()
    if array.is_complex():
        raise UserError("are complex numbers", where, "give 0..255 or 0..1")
    if array.is_floating_point():
        if not torch.isfinite(array).all():
            image = int((~torch.isfinite(array)).flatten(1).any(1).nonzero()[0])
            raise UserError(f"image {image} has NaN or infinite pixels", where, "mend or leave out that image")
        if float(array.max()) <= 1.0:
            array = array * 255
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 255:
        raise UserError(f"pixels reach from {low:g} to {high:g}", where, "give 0..255, or 0..1 in floating point")
    return array.round().to(torch.uint8).contiguous()


def _labels(value: Any, where: str) -> Tensor:
    """Any array of labels as N int64."""
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise UserError(f"have shape {array.shape}", where, "give one whole number per image")
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.round(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub":
        raise UserError(f"have type {array.dtype}", where, "give whole numbers 0..K−1")
    return torch.from_numpy(array.astype(np.int64))


def _check_labels(labels: Tensor, classes: int, where: str) -> None:
    if len(labels) and (int(labels.min()) < 0 or int(labels.max()) >= classes):
        bad = labels[(labels < 0) | (labels >= classes)][0]
        raise UserError(
            f"label {int(bad)} is outside 0..{classes - 1}", where, "number the classes from 0 without gaps"
        )


def _is_dataset(value: Any) -> bool:
    return hasattr(value, "__getitem__") and hasattr(value, "__len__") and isinstance(value, torch.utils.data.Dataset)


def _classes_of(dataset: Any) -> Sequence[str] | None:
    classes = getattr(dataset, "classes", None)
    return [str(c) for c in classes] if isinstance(classes, list | tuple) and classes else None


def _read_dataset(dataset: Any, name: str) -> tuple[Tensor, Tensor]:
    """All (image, label) pairs of a torch data set."""
    images, labels = [], []
    for index in range(len(dataset)):
        try:
            image, label = dataset[index]
        except (TypeError, ValueError):
            raise UserError(f"item {index} is no (image, label) pair", name, "give a data set of pairs") from None
        array = image if isinstance(image, Tensor) else torch.from_numpy(np.array(image))
        if array.ndim == 3 and not isinstance(image, Tensor):
            array = array.permute(2, 0, 1)
        images.append(array[None] if array.ndim == 2 else array)
        labels.append(int(label))
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise UserError(
            f"images have different shapes, {' and '.join(map(str, sorted(shapes)[:2]))}", name, "resize them"
        )
    if not images:
        raise UserError("the data set is empty", name)
    return torch.stack(images), torch.tensor(labels)
