"""Names of the classes, in any form in which a user may have them."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from l2tune.errors import UserError
from l2tune.importing import one_line

_FIX = "give a list of K names"


@dataclass(frozen=True, slots=True)
class ClassNames:
    """Names in the order of the classes.

    Attributes:
        names: K names.
        first: The label of the first of them, 0 or 1; None where only the order is known.
    """

    names: tuple[str, ...]
    first: int | None = None


def read_class_names(value: Any, limit: int, where: str) -> ClassNames:
    """Names from a list or anything that gives them in order, from {name: label} or from {label: name}.

    Args:
        limit: As many classes there can be; one more name is read at most, for what is given may be endless.

    Raises:
        UserError: It is a text, has no order, or holds what is no name.
    """
    if isinstance(value, ClassNames):
        return value
    if isinstance(value, str | bytes):
        raise UserError(f"is a text, {value!r:.60}", where, _FIX)
    if isinstance(value, set | frozenset) or not isinstance(value, Iterable):
        raise UserError(f"is a {type(value).__name__}, which has no order", where, _FIX)
    with one_line("cannot be read", where, _FIX):
        if isinstance(value, Mapping):
            return _from_mapping(list(islice(value.items(), limit + 1)), where)
        return ClassNames(tuple(class_name(item, where) for item in islice(value, limit + 1)))


def class_name(item: Any, where: str) -> str:
    """One name: a text, or a number as text.

    Raises:
        UserError: It is another thing, or empty.
    """
    if isinstance(item, np.ndarray) and item.ndim == 0:
        item = item.item()
    if isinstance(item, tuple | list) and item and all(isinstance(part, str) for part in item):
        item = ", ".join(item)  # ImageNet's have synonyms
    if isinstance(item, bytes):
        item = item.decode("utf-8", "replace")
    if not isinstance(item, str | numbers.Real):
        raise UserError(f"holds a {type(item).__name__}", where, _FIX)
    # names of files may hold bytes that are no text, which could be neither stored nor printed
    name = str(item).encode("utf-8", "replace").decode("utf-8")
    if not name.strip():
        raise UserError("has an empty name", where, _FIX)
    return name


def _from_mapping(items: list[tuple[Any, Any]], where: str) -> ClassNames:
    labelled = [(_label(value), key) for key, value in items]
    if any(label is None for label, _ in labelled):
        labelled = [(_label(key), value) for key, value in items]
    labels = sorted(label for label, _ in labelled if label is not None)
    first = labels[0] if labels else 0
    if len(labels) < len(items) or first not in (0, 1) or labels != list(range(first, first + len(labels))):
        what = "is a mapping that does not number the classes 0..K−1"
        raise UserError(what, where, "give {name: label} or a list of K names")
    ordered = sorted(labelled, key=lambda pair: pair[0] or 0)
    return ClassNames(tuple(class_name(name, where) for _, name in ordered), first)


def _label(value: Any) -> int | None:
    """The label that a value is, or a text of digits as JSON's keys are; None if it is neither."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    if not isinstance(value, bool) and isinstance(value, numbers.Integral):
        return int(value)
    return None
