"""A folder of class folders, with `train/` and `test/` inside or without."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from l2tune.data.images import ImageData, assemble
from l2tune.errors import UserError


def load_folder(folder: Path, image_size: int | None, *, grayscale: bool) -> ImageData:
    """Read `folder/CLASS/*` or `folder/train/CLASS/*` and `folder/test/CLASS/*`; classes in the order of their names.

    Args:
        image_size: Side that images are resized to (squares, antialiased); without it all must have one size.
        grayscale: One channel instead of three.

    Raises:
        UserError: An image cannot be read, sizes differ, a class is empty or alone.
    """
    where = f"--data {folder}"
    train, test = folder / "train", folder / "test"
    if train.is_dir() != test.is_dir() and _classes(train if train.is_dir() else test):
        missing = "test" if train.is_dir() else "train"
        raise UserError(f"has no {missing}/ beside the other part", where, f"add {missing}/, or give the class folders")
    if not train.is_dir():
        images, labels, names = _read_part(folder, None, image_size, grayscale, where)
        return assemble(images, labels, class_names=names, name=str(folder))
    images, labels, names = _read_part(train, None, image_size, grayscale, where)
    test_images, test_labels, _ = _read_part(test, names, image_size, grayscale, where)
    if test_images.shape[1:] != images.shape[1:]:
        raise UserError(
            f"test images are {_size(test_images)}, training images {_size(images)}", where, "give --image-size"
        )
    return assemble(images, labels, test_images, test_labels, class_names=names, name=str(folder))


def _classes(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _read_part(
    folder: Path, expected: list[str] | None, image_size: int | None, grayscale: bool, where: str
) -> tuple[Tensor, Tensor, list[str]]:
    """All images below the class folders: (N, C, H, W) uint8, labels, class names."""
    try:
        names = _classes(folder)
        files = [[path for path in sorted((folder / name).rglob("*")) if _is_image(path)] for name in names]
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror}: {error.filename})", where) from None
    if not names:
        hint = "put the images of each class into a folder of its own"
        raise UserError(f"{folder.name}/ has no class folders" if expected else "has no class folders", where, hint)
    if expected is not None and names != expected:
        odd = sorted(set(names) ^ set(expected))
        raise UserError(f"train/ and test/ have different classes ({', '.join(odd)})", where, "make them the same")
    if len(names) < 2:
        raise UserError(f"only one class ({names[0]!r})", where, "give images of two classes or more")
    for name, found in zip(names, files, strict=True):
        if not found:
            raise UserError("has no images", f"{where}: {folder / name}", "add images or remove the folder")
    flat = [path for found in files for path in found]

    def read(path: Path) -> NDArray[np.uint8]:
        return _read_image(path, image_size, grayscale)

    with ThreadPoolExecutor() as pool:  # Pillow decodes without the interpreter lock
        arrays = list(pool.map(read, flat))
    first = arrays[0].shape
    for path, array in zip(flat, arrays, strict=True):
        if array.shape != first:
            raise UserError(
                f"images differ in size: {flat[0].name} is {first[1]}×{first[0]}, {path.name} is "
                f"{array.shape[1]}×{array.shape[0]}",
                where,
                "give --image-size",
            )
    images = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
    labels = torch.tensor([label for label, found in enumerate(files) for _ in found])
    return images, labels, names


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _suffixes() and not path.name.startswith(".") and path.is_file()


def _suffixes() -> set[str]:
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}


def _read_image(path: Path, image_size: int | None, grayscale: bool) -> NDArray[np.uint8]:
    """(H, W, C) uint8, turned as its EXIF orientation says."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)
            with Image.open(path) as opened:
                image = ImageOps.exif_transpose(opened)
                if image.mode in ("I;16", "I;16B", "I;16L", "I"):  # Pillow would clip 16 bits instead of scaling them
                    image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
                image = image.convert("L" if grayscale else "RGB")
                if image_size is not None:
                    image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
                array = np.asarray(image, dtype=np.uint8)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError("is too large to be opened safely", str(path), "scale it down") from None
    except MemoryError:
        raise UserError("does not fit in memory", str(path), "scale it down") from None
    except Exception as error:  # Pillow's decoders raise many kinds
        raise UserError(f"cannot be read as an image ({error})", str(path), "mend or remove the file") from None
    return array if array.ndim == 3 else array[:, :, None]


def _size(images: Tensor) -> str:
    return f"{images.shape[3]}×{images.shape[2]}"
