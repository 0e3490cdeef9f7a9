"""What the arrays in a mapping or an .npz file are called."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from l2tune.errors import UserError

KEYS = ("images", "labels", "test_images", "test_labels", "groups", "class_names")
"""What an .npz file or a mapping may hold."""

_OTHER_NAMES = {
    "train_images": "images",
    "train_labels": "labels",
    "x_train": "images",
    "y_train": "labels",
    "val_images": "val_images",
    "val_labels": "val_labels",
    "x_val": "val_images",
    "y_val": "val_labels",
    "x_valid": "val_images",
    "y_valid": "val_labels",
    "x_test": "test_images",
    "y_test": "test_labels",
}
"""Those of MedMNIST and Keras; capitals do not count."""


def known_keys(keys: Iterable[Any], where: str) -> dict[str, Any]:
    """Which key of a mapping or an .npz file holds what: one of `KEYS`, `val_images` or `val_labels` → the key.

    Raises:
        UserError: A key is missing, unknown, or there under two names.
    """
    found: dict[str, Any] = {}
    given = list(keys)
    for key in given:
        plain = key.lower() if isinstance(key, str) else key
        meaning = plain if plain in KEYS else _OTHER_NAMES.get(plain) if isinstance(plain, str) else None
        if meaning is None:
            continue
        if meaning in found:
            raise UserError(f"has {found[meaning]!r} and {key!r}, which mean the same", where, "leave one out")
        found[meaning] = key
    for needed in ("images", "labels"):
        if needed not in found:
            has = f"it has {', '.join(map(_shown, given))}" if given else "it is empty"
            raise UserError(f"has no {needed!r}", where, f"{has}; known are {', '.join(KEYS)}")
    unknown = next((key for key in given if key not in found.values()), None)
    if unknown is not None:
        close = difflib.get_close_matches(_shown(unknown), (*KEYS, *_OTHER_NAMES), n=1)
        fix = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(KEYS)}"
        raise UserError(f"{_shown(unknown)!r} is unknown", where, fix)
    return found


def _shown(key: Any) -> str:
    return key if isinstance(key, str) else type(key).__name__
