"""The picture files of each class, each real file once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from l2tune.data.layout import Layout, hidden, is_picture, leads_back, refuse_broken
from l2tune.errors import UserError


@dataclass
class PictureFiles:
    """Which files are read.

    Attributes:
        training: Files in order, and the number of each one's class.
        test: The same of the test part.
        notes: Which links were left out, in sentences.
    """

    training: list[tuple[Path, int]] = field(default_factory=list)
    test: list[tuple[Path, int]] = field(default_factory=list)
    notes: tuple[str, ...] = ()


def find_pictures(root: Path, layout: Layout, where: str) -> PictureFiles:
    """Pictures of all classes, in the order of classes and names; those in folders inside a class belong to it.

    Linked files and folders are read, too. A linked folder is passed over where it leads into the data folder, around
    it, or to what was read for the class before; a file that is there twice by links counts once.

    Raises:
        UserError: A class has no pictures, or links put one file into two classes, or into training and test part.
    """
    found = PictureFiles()
    walk = _Walk(root, where)
    seen: dict[str, tuple[int, bool, Path]] = {}  # real path → class, whether of the test part, path
    twice = 0
    for part in (*layout.training, *([] if layout.test is None else [layout.test])):
        test = part == layout.test
        for label, name in enumerate(layout.classes):
            before = len(found.test if test else found.training)
            for path, real in walk.pictures(part / name):
                other = seen.setdefault(real, (label, test, path))
                if other[0] != label:
                    what = f"{other[2]} and {path} are the same file, in two classes"
                    raise UserError(what, where, "remove one of them")
                if other[1] != test:
                    what = f"{other[2]} and {path} are the same file, in the training and the test part"
                    raise UserError(what, where, "remove one of them: the test part is for images that no fold sees")
                if other[2] is not path:
                    twice += 1
                    continue
                (found.test if test else found.training).append((path, label))
            if len(found.test if test else found.training) == before:
                raise UserError(f"{part / name} has no pictures", where, "add some, or remove the folder")
    notes = [f"{path} leads back or around the data folder and is left out." for path in walk.passed_over[:3]]
    if len(walk.passed_over) > 3:
        notes.append(f"So are {len(walk.passed_over) - 3} other links.")
    if twice:
        notes.append(f"Linked pictures that are there under another name, too, count once ({twice}).")
    if walk.inner:
        notes.append(f"Pictures in folders inside a class folder, such as {walk.inner}, belong to that class.")
    found.notes = tuple(notes)
    return found


class _Walk:
    """Goes through class folders, and remembers what it passed over and whether there were folders inside."""

    def __init__(self, root: Path, where: str) -> None:
        self.root, self.where = root, where
        self.passed_over: list[str] = []
        self.inner: str | None = None

    def pictures(self, folder: Path) -> Iterator[tuple[Path, str]]:
        """Pictures below a folder and their real paths: its own first, then those of each folder inside."""
        waiting, seen = [str(folder)], set()
        while waiting:
            current = waiting.pop()
            real = os.path.realpath(current)
            if real in seen:
                self.passed_over.append(current)
                continue
            seen.add(real)
            try:
                with os.scandir(current) as opened:
                    entries = sorted((entry for entry in opened if not hidden(entry.name)), key=lambda e: e.name)
            except OSError as error:
                what = f"{current} cannot be read ({error.strerror})"
                raise UserError(what, self.where, "mend or remove it") from None
            inside = []
            for entry in entries:
                refuse_broken(entry, self.where)
                linked = entry.is_symlink()
                if os.path.isdir(entry.path) if linked else entry.is_dir():
                    if linked and leads_back(entry.path, self.root):
                        self.passed_over.append(entry.path)
                    else:
                        inside.append(entry.path)
                elif is_picture(entry.name):
                    if self.inner is None and current != str(folder):
                        self.inner = current
                    path = Path(entry.path)
                    yield path, os.path.realpath(path) if linked else os.path.join(real, entry.name)
            waiting.extend(reversed(inside))
