"""Where images come from: a source by its name, a folder, an .npz file, or a user's function."""

from __future__ import annotations

import difflib
import zipfile
from pathlib import Path

import numpy as np

from l2tune.data.folder import load_folder
from l2tune.data.images import ImageData, assemble, from_object, take_subset
from l2tune.data.torchvision_sets import load_torchvision
from l2tune.errors import UserError
from l2tune.importing import is_reference, load_callable
from l2tune.settings import TORCHVISION_SOURCES, DataSettings

_NAMES = ("digits", *TORCHVISION_SOURCES)


def load(settings: DataSettings) -> ImageData:
    """Load the images that the settings name.

    Raises:
        UserError: There is no such source, or its images cannot be used.
    """
    source, path = settings.source, Path(settings.source)
    sized = settings.image_size is not None or settings.grayscale
    if sized and (source in _NAMES or not path.is_dir()):
        raise UserError(
            f"{source!r} is no folder of images",
            "--image-size" if settings.image_size is not None else "--grayscale",
            "leave the flag out: it is for folders",
        )
    if source == "digits":
        data = _digits()
    elif source in TORCHVISION_SOURCES:
        data = load_torchvision(source, settings.root)
    elif path.is_dir():
        data = load_folder(path, settings.image_size, grayscale=settings.grayscale)
    elif is_reference(source):
        data = _from_function(source)
    elif path.suffix == ".npz":
        data = _npz(path)
    elif path.exists():
        raise UserError(
            "is no folder and no .npz file", f"--data {source}", "unpack an archive first and give its folder"
        )
    else:
        close = difflib.get_close_matches(source, _NAMES, n=1)
        known = (
            f"did you mean {close[0]!r}?" if close else f"give a folder, an .npz file, or one of {', '.join(_NAMES)}"
        )
        raise UserError("no such data set or path", f"--data {source}", known)
    return take_subset(data, settings.subset)


def _digits() -> ImageData:
    """scikit-learn's handwritten digits: 1,797 images of 8×8, values 0..16 brought to 0..255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return assemble(pixels, digits.target, name="digits")


def _npz(path: Path) -> ImageData:
    where = f"--data {path}"
    if not path.exists():
        raise UserError("no such file", where)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        if "pickle" in str(error).lower() and zipfile.is_zipfile(path):
            raise UserError("holds Python objects, which are never loaded", where, "save plain numbers") from None
        raise UserError(f"cannot be read as .npz ({error})", where, "write it with numpy.savez") from None
    if "class_names" in arrays:
        arrays["class_names"] = [str(name) for name in arrays["class_names"].ravel()]
    return from_object(arrays, str(path))


def _from_function(source: str) -> ImageData:
    function = load_callable(source, f"--data {source}")
    try:
        value = function()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"failed with {type(error).__name__}: {error}", f"--data {source}") from None
    return from_object(value, source)
