"""A folder of class folders, with `train/` and `test/` inside or without."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2tune.data.decoding import picture_suffixes, read_picture
from l2tune.data.images import ImageData, assemble
from l2tune.errors import UserError


def load_folder(folder: Path, image_size: int | None, *, grayscale: bool, name: str | None = None) -> ImageData:
    """Read `folder/CLASS/*`, or `folder/train/CLASS/*` and `folder/test/CLASS/*`.

    Classes are numbered in the order of their folders' names. Folders inside a class belong to it; hidden ones, and
    files whose suffix is no picture's (`Thumbs.db`, `README.txt`), are passed over.

    Args:
        image_size: Side that pictures are resized to (squares, antialiased); without it all must have one size.
        grayscale: One channel instead of three.
        name: Of the data in messages and studies; the folder as given if None.

    Raises:
        UserError: A picture cannot be read, sizes differ, a class is empty or alone, the parts' classes differ.
    """
    name = name or str(folder)
    where = f"--data {name}"
    train, test = folder / "train", folder / "test"
    parts = [part for part in (train, test) if _class_names(part, where)]
    if len(parts) == 1:
        missing = "test" if parts == [train] else "train"
        fix = f"add {missing}/, or give --data {parts[0]}: a fifth of it becomes the test part"
        raise UserError(f"has {parts[0].name}/ with class folders but no such {missing}/", where, fix)
    names = _class_names(train if parts else folder, where)
    if not names:
        raise UserError("has no class folders", where, "put the pictures of each class into a folder of its own")
    if len(names) == 1:
        raise UserError(f"has only one class ({names[0]!r})", where, "give pictures of two classes or more")
    if not parts:
        images, labels = _read_part(folder, names, image_size, grayscale, where)
        return assemble(images, labels, class_names=names, name=name)
    test_names = _class_names(test, where)
    if test_names != names:
        odd = sorted(set(names) ^ set(test_names))[0]
        only = "train" if odd in names else "test"
        raise UserError(f"class {odd!r} is in {only}/ only", where, "train/ and test/ must hold the same classes")
    images, labels = _read_part(train, names, image_size, grayscale, where)
    test_images, test_labels = _read_part(test, names, image_size, grayscale, where)
    if test_images.shape[1:] != images.shape[1:]:
        sizes = [f"{part.shape[3]}×{part.shape[2]}" for part in (images, test_images)]
        what = f"training pictures are {sizes[0]} pixels, test pictures {sizes[1]}"
        raise UserError(what, where, "give --image-size")
    return assemble(images, labels, test_images, test_labels, class_names=names, name=name)


def _class_names(folder: Path, where: str) -> list[str]:
    """Folders inside a folder, by name; none if there is no such folder."""
    try:
        return sorted(e.name for e in os.scandir(folder) if e.is_dir() and not _hidden(e.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror})", where, "mend or remove it") from None


def _read_part(
    folder: Path, names: Sequence[str], image_size: int | None, grayscale: bool, where: str
) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) uint8 and labels (N,) of the class folders."""
    found = [list(_pictures(folder / name, where)) for name in names]
    for name, paths in zip(names, found, strict=True):
        if not paths:
            raise UserError(f"{folder / name} has no pictures", where, "add some, or remove the folder")
    files = [path for paths in found for path in paths]
    labels = torch.tensor([label for label, paths in enumerate(found) for _ in paths])
    with warnings.catch_warnings():  # here, not in the threads, which share the filters
        warnings.simplefilter("ignore")
        first = read_picture(files[0], image_size, grayscale=grayscale)
        # Written into one array in place: a list of pictures and a stack of it would hold all pixels twice.
        images = np.empty((len(files), first.shape[2], *first.shape[:2]), np.uint8)

        def read(start: int) -> None:
            for index in range(start, min(start + _CHUNK, len(files))):
                images[index] = _one_size(files[index], files[0], first, image_size, grayscale, where)

        # Pillow decodes without the interpreter lock, opens with it: more threads only queue for it
        pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
        try:
            for _ in pool.map(read, range(0, len(files), _CHUNK)):
                pass
        finally:
            pool.shutdown(cancel_futures=True)
    return torch.from_numpy(images), labels


_CHUNK = 64
"""Pictures that a thread reads at a time."""


def _one_size(
    path: Path, other: Path, expected: NDArray[np.uint8], image_size: int | None, grayscale: bool, where: str
) -> NDArray[np.uint8]:
    """(C, H, W) of a picture that must be as large as the others."""
    pixels = read_picture(path, image_size, grayscale=grayscale)
    if pixels.shape != expected.shape:
        sizes = [f"{array.shape[1]}×{array.shape[0]}" for array in (expected, pixels)]
        what = f"pictures differ in size: {other} is {sizes[0]} pixels, {path} is {sizes[1]}"
        raise UserError(what, where, "give --image-size")
    return pixels.transpose(2, 0, 1)


def _pictures(folder: Path, where: str) -> Iterator[Path]:
    """Pictures below a folder, in the order of their names. Links to folders are followed, loops once."""

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename} cannot be read ({error.strerror})", where, "mend or remove it") from None

    seen: set[str] = set()
    for parent, inner, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if not _hidden(name))
        for name in sorted(files):
            if not _hidden(name) and os.path.splitext(name)[1].lower() in picture_suffixes():
                yield Path(parent, name)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
