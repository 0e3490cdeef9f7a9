"""Values as users give them: nothing is made of another kind, names name what they say. Standard library only."""

from __future__ import annotations

import numbers
import os
import re
from types import NoneType
from typing import Any, get_args, get_origin

from l2tune.errors import UserError
from l2tune.storage_url import without_passwords
from l2tune.terminal_text import steering_sign

LONGEST_NAME = 255
"""Bytes of a file's or folder's name, on the file systems in use."""
LONGEST_PATH = 4095
LONGEST_STUDY = 200
"""Bytes: the name of its folder, and of files beside it."""
RESULTS = "runs"
"""Folder of all studies' results, and of their `artifacts`."""

_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices, whatever ending they have."""


def as_kind(value: Any, kind: Any, where: str = "") -> Any:
    """A value as the kind of a setting, `int`, `float`, `bool`, `str` or a tuple of them; never one made of another.

    Raises:
        UserError: It is of another kind, or a text that steers a terminal or cannot be stored.
    """
    kinds = [one for one in get_args(kind) if one is not NoneType] if NoneType in get_args(kind) else [kind]
    if value is None and len(kinds) < len(get_args(kind)):
        return None
    kind = kinds[0]
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{shown_value(value)} does not fit", where, "it should be a list")
        inner = [one for one in get_args(kind) if one is not Ellipsis]
        if len(set(inner)) == 1 and inner[0] in (int, float):
            return tuple(as_kind(item, inner[0], where) for item in value)
        return tuple(value)
    wanted = {
        int: (numbers.Integral, "a whole number"),
        float: (numbers.Real, "a number"),
        bool: (bool, "true or false"),
    }
    if kind in wanted:
        group, words = wanted[kind]
        if not isinstance(value, group) or (isinstance(value, bool) and kind is not bool):
            raise UserError(f"{shown_value(value)} does not fit", where, f"it should be {words}")
        try:
            return kind(value)
        except OverflowError:
            raise UserError(f"{shown_value(value)} does not fit", where, "it should be a finite number") from None
    if isinstance(value, str) and steering_sign(value):
        what = "is not UTF-8 text" if _is_half(value) else f"holds the control character {steering_sign(value)}"
        raise UserError(what, where, "write it anew")
    return value


def check_study_name(name: str, fix: str = "give --out FOLDER") -> str:
    """A study's name that can name a folder, for results lie in runs/STUDY.

    Raises:
        UserError: It would lead elsewhere, or some file system does not hold it, or no terminal shows it.
    """
    bad = re.search(r"[/\\]", name) or steering_sign(name) or name != name.strip() or name.endswith(".")
    bad = bad or _DEVICE.fullmatch(name) or name.casefold() == "artifacts" or (os.name == "nt" and ":" in name)
    if bad or not 0 < len(name.encode()) <= LONGEST_STUDY:
        raise UserError(f"{shown_value(name)} cannot name a study", fix=fix)
    return name


def check_path(path: str, where: str = "") -> str:
    """A text that a file system takes as a path.

    Raises:
        UserError: It is too long, or holds signs that no path has.
    """
    as_kind(path, str, where)
    longest = max((len(part.encode()) for part in re.split(r"[/\\]", path)), default=0)
    if longest > LONGEST_NAME or len(path.encode()) > LONGEST_PATH:
        raise UserError(f"{shown_value(path)} is too long", where, "give a shorter path")
    return path


def results_folder(study: str) -> str:
    """Where the results of a study lie unless another folder is asked for.

    Raises:
        UserError: The name, which may come from a storage, would lead out of `runs/`.
    """
    try:
        check_study_name(study)
    except UserError as error:
        raise UserError(f"{shown_value(study)} cannot name a folder", "study", error.fix) from None
    return f"{RESULTS}/{study}"


def shown_value(value: Any) -> str:
    """A value in an error line: no longer than a line can bear, and without passwords."""
    try:
        text = without_passwords(repr(value))
    except ValueError:  # a number of thousands of digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


def _is_half(text: str) -> bool:
    return any("\ud800" <= sign <= "\udfff" for sign in text)
