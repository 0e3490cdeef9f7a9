"""Labels of any form (numbers from 0 or from 1, names, one-hot rows) → 0..K−1 and the classes' names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2tune.data.arrays import as_array, by
from l2tune.data.class_names import ClassNames, class_name, read_class_names
from l2tune.errors import UserError

_FIX = "give one whole number 0..K−1 per image"
_INT64 = np.iinfo(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Labels of all parts, numbered alike.

    Attributes:
        training: (N,) int64 of each training part; together they hold every class 0..K−1.
        test: (M,) int64, or None.
        names: Of the K classes.
        notes: What was done to them, in sentences.
    """

    training: tuple[Tensor, ...]
    test: Tensor | None
    names: tuple[str, ...]
    notes: tuple[str, ...]


def read_labels(
    training: Sequence[tuple[str, Any]], test: tuple[str, Any] | None, class_names: Any, where: str
) -> Labels:
    """Number the classes from 0, in all parts alike.

    Whole numbers may go from 0 or from 1; a row that has a single 1 (one-hot) is the number of its column; names are
    numbered in sorted order, or in that of `class_names` where these are given.

    Args:
        training: Where each training part comes from, and its labels: N or N×1 numbers or names, or N×K one-hot.
        test: The same of the test part.
        class_names: As `read_class_names` takes them, or None.
        where: Of the class names, for messages.

    Raises:
        UserError: Labels are of another kind, multi-label, have gaps, or can be read in two ways.
    """
    given = [*training, *([] if test is None else [test])]
    columns = [_column(value, part) for part, value in given]
    first = columns[0]
    for column, (part, _) in zip(columns, given, strict=True):
        if (column.values.dtype.kind == "U") != (first.values.dtype.kind == "U"):
            raise UserError("are names in one part and numbers in the other", part, "give one kind of label")
        if column.width and first.width and column.width != first.width:
            what = f"one-hot rows are {column.width} long, those of the training images {first.width}"
            raise UserError(what, part, "give one kind of label")
    together = np.concatenate([column.values for column in columns[: len(training)]])
    if not len(together):
        raise UserError("there are none", training[0][0], _FIX)
    given_names = None if class_names is None else read_class_names(class_names, len(together), where)
    if first.values.dtype.kind == "U":
        numbered, names, notes = _number_names(columns, given, together, given_names, where)
    else:
        numbered, names, notes = _number_from_zero(columns, given, together, given_names, where)
    tensors = [torch.from_numpy(np.ascontiguousarray(values, np.int64)) for values in numbered]
    last = None if test is None else tensors.pop()
    return Labels(tuple(tensors), last, names, notes)


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


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """One label per image: int64 or text; `width` is K of one-hot rows, else 0."""

    values: NDArray[Any]
    width: int = 0


def _number_names(
    columns: Sequence[_Column],
    given: Sequence[tuple[str, Any]],
    together: NDArray[Any],
    class_names: ClassNames | None,
    where: str,
) -> tuple[list[NDArray[np.int64]], tuple[str, ...], tuple[str, ...]]:
    names = tuple(sorted(set(together.tolist()))) if class_names is None else class_names.names
    order = {name: index for index, name in enumerate(names)}
    if len(order) < len(names):
        raise UserError("has a name twice, and the labels are names", where, "give each name once")
    numbered = []
    for column, (part, _) in zip(columns, given, strict=True):
        unknown = next((name for name in column.values.tolist() if name not in order), None)
        if unknown is not None:
            source = "the training images' labels" if class_names is None else "the class names"
            raise UserError(f"label {unknown!r} is none of {source}", part, "give labels of the same classes")
        numbered.append(np.array([order[name] for name in column.values.tolist()], np.int64))
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    notes = () if class_names is not None else (f"Labels are names; classes are numbered in their order: {shown}.",)
    return numbered, names, notes


def _number_from_zero(
    columns: Sequence[_Column],
    given: Sequence[tuple[str, Any]],
    together: NDArray[Any],
    class_names: ClassNames | None,
    where: str,
) -> tuple[list[NDArray[np.int64]], tuple[str, ...], tuple[str, ...]]:
    numbered = [column.values for column in columns]
    present = np.unique(together)
    count = len(present)
    from_one = count > 1 and present[0] == 1 and present[-1] == count and not any(c.width for c in columns)
    if class_names is not None and class_names.first is not None and class_names.first != (1 if from_one else 0):
        what = f"numbers the classes from {class_names.first}, the labels go from {present[0]} to {present[-1]}"
        raise UserError(what, where, "give both from 0")
    if from_one and class_names is not None and len(class_names.names) == count + 1:
        what = f"labels go from 1 to {count}, and there are {count + 1} class names"
        raise UserError(what, given[0][0], "number the classes 0..K−1, or give one name per class")
    notes: tuple[str, ...] = ()
    if from_one:
        for column, (part, _) in zip(columns, given, strict=True):
            for label in (column.values.min(initial=1), column.values.max(initial=1)):
                if not 1 <= label <= count:
                    what = f"label {label} is outside 1..{count}, which the training images have"
                    raise UserError(what, part, "number the classes of all parts alike")
        numbered = [values - 1 for values in numbered]
        notes = (f"Labels 1..{count} are renumbered 0..{count - 1}.",)
    classes = count_classes(torch.from_numpy(together - 1 if from_one else together), given[0][0])
    shown = range(classes) if not from_one else range(1, classes + 1)
    names = tuple(map(str, shown)) if class_names is None else class_names.names
    return numbered, names, notes


def _column(value: Any, where: str) -> _Column:
    array = as_array(value, where, _FIX)
    if array.ndim == 2 and array.shape[1] > 1:
        return _from_one_hot(array, where)
    if array.ndim not in (1, 2) or (array.ndim == 2 and not array.shape[1]):
        raise UserError(f"have shape {by(array.shape)}", where, _FIX)
    array = array.reshape(-1)
    kind = array.dtype.kind
    if kind in "UST" or (kind == "O" and len(array) and all(isinstance(item, str | bytes) for item in array)):
        if isinstance(value, tuple | list) and not all(isinstance(item, str | bytes) for item in value):
            raise UserError("are names and numbers mixed", where, "give one kind of label")
        return _Column(np.array([class_name(item, where) for item in array.tolist()], str))
    if kind == "O":
        return _Column(np.array([_whole(item, index, where) for index, item in enumerate(array)], np.int64))
    if kind not in "fiub":
        raise UserError(f"have type {array.dtype}", where, _FIX)
    if kind == "f":
        whole = np.isfinite(array) & (array == np.rint(array))
        if not whole.all():
            index = int((~whole).argmax())
            raise UserError(f"label {array[index]} of image {index} is no whole number", where, "give 0..K−1")
    large = array >= 2.0**63 if kind == "f" else array > _INT64.max
    small = array < -(2.0**63) if kind == "f" else array < _INT64.min
    if (large | small).any():
        _too_wide(int((large | small).argmax()), where)
    return _Column(array.astype(np.int64))


def _whole(item: Any, index: int, where: str) -> int:
    if isinstance(item, np.ndarray | Tensor) and item.ndim == 0:
        item = item.item()
    if isinstance(item, int | np.integer | np.bool_):
        if not _INT64.min <= int(item) <= _INT64.max:
            _too_wide(index, where)
        return int(item)
    if isinstance(item, float) and item.is_integer():
        return _whole(int(item), index, where)
    raise UserError(f"label of image {index} is a {type(item).__name__}, no whole number", where, _FIX)


def _too_wide(index: int, where: str) -> None:
    raise UserError(f"label of image {index} needs more than 64 bits", where, "give 0..K−1")


def _from_one_hot(array: NDArray[Any], where: str) -> _Column:
    """The number of each row's column that is 1."""
    if array.dtype.kind not in "fiub" or not ((array == 0) | (array == 1)).all():
        raise UserError(f"have shape {by(array.shape)}", where, _FIX)
    ones = (array == 1).sum(1)
    if (ones > 1).any():
        what = f"are multi-label: image {int((ones > 1).argmax())} has {int(ones.max())} of {array.shape[1]} labels"
        raise UserError(what, where, "give one label per image")
    if (ones == 0).any():
        raise UserError(f"image {int((ones == 0).argmax())} has none of {array.shape[1]} labels", where, _FIX)
    return _Column((array == 1).argmax(1).astype(np.int64), array.shape[1])
