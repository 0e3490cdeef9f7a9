"""Which folders inside a data folder are parts (training, validation, test), and which are classes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from l2tune.data.decoding import picture_suffixes
from l2tune.errors import UserError

_ROLES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_SET = re.compile(r"[ _-]?(set|data)$")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the class folders of each part are.

    Attributes:
        classes: Names of the class folders, in order.
        training: Folders that hold the class folders of the training part.
        test: The folder that holds those of the test part; None if there is none.
        notes: What was joined, left out or split, in sentences.
    """

    classes: tuple[str, ...]
    training: tuple[Path, ...]
    test: Path | None = None
    notes: tuple[str, ...] = ()


def find_layout(folder: Path, where: str) -> Layout:
    """How a data folder is laid out: class folders, or `train/`, `val/` and `test/` with class folders inside.

    Parts may be called in full (`Training`), `val` also `valid`, and with `_set` or `_data` behind. A folder with such
    a name is a part only if it holds folders and no pictures of its own: a class may be called `train`. The validation
    part joins the training part; without a test part, a fifth is to be split off.

    Raises:
        UserError: There are no classes, the parts' classes differ, or the folders can be read in two ways.
    """
    names = subfolders(folder, folder, where)
    parts = [name for name in names if role_of(name) and _holds_folders_only(folder / name, folder, where)]
    stray = sum(is_picture(entry.name) for entry in _entries(folder, where) if not _is_folder(entry))
    notes = [f"{stray} pictures beside the class folders belong to no class and are left out."] if stray else []
    if not parts:
        return Layout(_plain_classes(folder, names, where), (folder,), None, tuple(notes))
    empty = [name for name in names if name not in parts and not _has_pictures(folder / name, where)]
    strange = next((name for name in names if name not in parts and name not in empty), None)
    if strange is not None and role_of(strange) and _inner_folders(folder / strange, folder, where):
        fix = "move them away, or into the class folders"
        raise UserError(f"{strange}/ has pictures beside its class folders", where, fix)
    if strange is not None:
        inside = "pictures, but no class folders" if role_of(strange) else "pictures, too"
        what = f"{parts[0]}/ has class folders, and {strange}/ beside it has {inside}"
        fix = f"give --data {folder / parts[0]}, or move {strange}/ away"
        raise UserError(what, where, fix)
    notes += [f"{name}/ has no pictures and is left out." for name in empty]
    return _parts(folder, parts, notes, where)


def role_of(name: str) -> str | None:
    """`train`, `val` or `test` if a folder of this name may be such a part."""
    return _ROLES.get(_SET.sub("", name.casefold()))


def subfolders(folder: Path, root: Path, where: str) -> list[str]:
    """Names of the folders inside, in order, hidden ones left out.

    Raises:
        UserError: The folder cannot be read, or a link in it leads back into the data folder `root`.
    """
    found = []
    for entry in _entries(folder, where):
        if hidden(entry.name):
            continue
        refuse_broken(entry, where)
        if not _is_folder(entry):
            continue
        if entry.is_symlink() and leads_back(entry.path, root):
            what = f"{entry.path} is a link to {os.path.realpath(entry.path)}, inside or around the data folder itself"
            raise UserError(what, where, "remove the link")
        found.append(entry.name)
    return sorted(found)


def refuse_broken(entry: os.DirEntry[str], where: str) -> None:
    """A link to what is not there may have been a whole class.

    Raises:
        UserError: The entry is such a link; links of single pictures are told where these are read.
    """
    if entry.is_symlink() and not is_picture(entry.name) and not os.path.exists(entry.path):
        what = f"{entry.path} is a link to {os.readlink(entry.path)}, which is not there"
        raise UserError(what, where, "mend or remove the link")


def leads_back(path: str, root: Path) -> bool:
    """Whether a link leads into the data folder, where its pictures are read anyway, or to a folder around it."""
    target, top = Path(os.path.realpath(path)), Path(os.path.realpath(root))
    if target == top or target in top.parents:
        return True
    # what lies in a hidden folder is read through links only
    return top in target.parents and not any(map(hidden, target.relative_to(top).parts))


def hidden(name: str) -> bool:
    """Whether a file or folder is passed over."""
    return name.startswith(".") or name == "__MACOSX"


def is_picture(name: str) -> bool:
    """Whether a file counts as a picture, by its suffix."""
    return not hidden(name) and os.path.splitext(name)[1].lower() in picture_suffixes()


def _plain_classes(folder: Path, names: Sequence[str], where: str) -> tuple[str, ...]:
    """Names of the class folders in a folder without parts."""
    if not names:
        raise UserError("has no class folders", where, "put the pictures of each class into a folder of its own")
    if len(names) > 1 and all(map(role_of, names)) and any(role_of(name) == "train" for name in names):
        what = f"{' and '.join(f'{name}/' for name in names)} hold pictures, not only class folders"
        raise UserError(what, where, "put the pictures of each class into a folder of its own")
    inner = [set(_inner_folders(folder / name, folder, where)) for name in names]
    if len(names) == 1:
        fix = "give pictures of two classes or more"
        if len(inner[0]) > 1:
            fix = f"{fix}, or --data {folder / names[0]} if the folders in it are the classes"
        raise UserError(f"has only one class ({names[0]!r})", where, fix)
    shared = sorted(set.intersection(*inner))
    if len(shared) > 1 and not any(_holds_pictures(folder / name, where) for name in names):
        what = f"{names[0]}/ and {names[1]}/ hold the same folders ({', '.join(shared[:3])}): which are the classes?"
        fix = "put class folders at the top with pictures directly inside, or below train/ and test/"
        raise UserError(what, where, fix)
    return tuple(names)


def _parts(folder: Path, parts: Sequence[str], notes: list[str], where: str) -> Layout:
    found: dict[str, str] = {}
    for name in parts:
        role = role_of(name) or ""
        if role in found:
            what = f"{found[role]}/ and {name}/ are both the {'training' if role == 'train' else role} part"
            raise UserError(what, where, "leave one of them")
        found[role] = name
    if "train" not in found:
        what = f"has {parts[0]}/ with class folders but no such train/"
        fix = f"add train/, or give --data {folder / parts[0]}: a fifth of it becomes the test part"
        raise UserError(what, where, fix)
    classes = subfolders(folder / found["train"], folder, where)
    if len(classes) == 1:
        what = f"{found['train']}/ has only one class ({classes[0]!r})"
        raise UserError(what, where, "give pictures of two classes or more")
    for name in found.values():
        others = subfolders(folder / name, folder, where)
        if others != classes:
            odd = sorted(set(classes) ^ set(others))[0]
            only = found["train"] if odd in classes else name
            both = f"{found['train']}/ and {name}/ must hold the same classes"
            raise UserError(f"class {odd!r} is in {only}/ only", where, both)
    training = [found["train"]]
    if "val" in found:
        training.append(found["val"])
        notes.append(f"{found['val']}/ joins {found['train']}/: cross-validation makes its own validation parts.")
    if "test" not in found:
        notes.append(f"There is no test/: a fifth of the pictures in {'/ and '.join(training)}/ becomes the test part.")
    test = folder / found["test"] if "test" in found else None
    return Layout(tuple(classes), tuple(folder / name for name in training), test, tuple(notes))


def _holds_folders_only(folder: Path, root: Path, where: str) -> bool:
    return bool(_inner_folders(folder, root, where)) and not _holds_pictures(folder, where)


def _holds_pictures(folder: Path, where: str) -> bool:
    """Whether there are pictures directly inside."""
    return any(is_picture(entry.name) and not _is_folder(entry) for entry in _entries(folder, where))


def _has_pictures(folder: Path, where: str) -> bool:
    """Whether there are pictures inside or further below; a link to a folder counts as some."""
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        if _holds_pictures(current, where):
            return True
        inner = [entry for entry in _entries(current, where) if _is_folder(entry) and not hidden(entry.name)]
        if any(entry.is_symlink() for entry in inner):
            return True
        waiting.extend(Path(entry.path) for entry in inner)
    return False


def _inner_folders(folder: Path, root: Path, where: str) -> list[str]:
    """Names of the folders inside, links that lead back left out."""
    return [
        entry.name
        for entry in _entries(folder, where)
        if not hidden(entry.name) and _is_folder(entry) and not (entry.is_symlink() and leads_back(entry.path, root))
    ]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _entries(folder: Path, where: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror})", where, "mend or remove it") from None
