"""A folder of class folders, with `train/`, `val/` and `test/` around them or without."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from l2tune.data.class_names import read_class_names
from l2tune.data.decoding import read_picture
from l2tune.data.images import ImageData, assemble
from l2tune.data.layout import find_layout
from l2tune.data.picture_files import find_pictures
from l2tune.data.picture_stack import PictureStack
from l2tune.errors import UserError

_CHUNK = 64
"""Pictures that a thread reads at a time."""


def load_folder(folder: Path, image_size: int | None, *, grayscale: bool, name: str | None = None) -> ImageData:
    """Read `folder/CLASS/*`, or `folder/train/CLASS/*` and so on: see `find_layout`.

    Classes are numbered in the order of their folders' names. Hidden folders and files whose suffix is no picture's
    (`Thumbs.db`, `README.txt`) are passed over.

    Args:
        image_size: Side that pictures are resized to (squares, antialiased); without it all must have one size.
        grayscale: One channel instead of three.
        name: Of the data in messages and studies; the folder as given if None.

    Raises:
        UserError: A picture cannot be read, sizes differ, a class is empty or alone, the parts' classes differ.
    """
    name = name or str(folder)
    where = f"--data {name}"
    layout = find_layout(folder, where)
    files = find_pictures(folder, layout, where)
    training = _read([path for path, _ in files.training], image_size, grayscale, where)
    test = None
    if layout.test is not None:
        test = _read([path for path, _ in files.test], image_size, grayscale, where)
        if test.shape[1:] != training.shape[1:]:
            sizes = [f"{part.shape[3]}×{part.shape[2]}" for part in (training, test)]
            what = f"training pictures are {sizes[0]} pixels, test pictures {sizes[1]}"
            raise UserError(what, where, "give --image-size")
    return assemble(
        training,
        [label for _, label in files.training],
        test,
        None if test is None else [label for _, label in files.test],
        class_names=read_class_names(layout.classes, len(files.training), where),
        name=name,
        notes=(*layout.notes, *files.notes),
    )


def _read(files: Sequence[Path], image_size: int | None, grayscale: bool, where: str) -> PictureStack:
    """The pictures in the files, by several threads."""
    with warnings.catch_warnings():  # here, not in the threads, which share the filters
        warnings.simplefilter("ignore")
        height, width = read_picture(files[0], image_size, grayscale=grayscale).pixels.shape[:2]
        stack = PictureStack(len(files), (1 if grayscale else 3, height, width))

        def read(start: int) -> None:
            for index in range(start, min(start + _CHUNK, len(files))):
                picture = read_picture(files[index], image_size, grayscale=grayscale)
                if not stack.fits(picture):
                    size = f"{picture.pixels.shape[1]}×{picture.pixels.shape[0]}"
                    sizes = f"{files[0]} is {width}×{height} pixels, {files[index]} is {size}"
                    raise UserError(f"pictures differ in size: {sizes}", where, "give --image-size")
                stack.put(index, picture)

        # Pillow decodes without the interpreter lock, opens with it: more threads only queue for it
        pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
        try:
            for _ in pool.map(read, range(0, len(files), _CHUNK)):
                pass
        finally:
            pool.shutdown(cancel_futures=True)
    return stack
