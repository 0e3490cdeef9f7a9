"""Where images come from: a source by its name, a folder, an .npz file, or a user's function."""

from __future__ import annotations

import difflib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from l2tune.data.folder import load_folder
from l2tune.data.images import ImageData, assemble, from_object, take_subset
from l2tune.data.keys import known_keys
from l2tune.data.torchvision_sets import load_torchvision
from l2tune.errors import UserError, mend
from l2tune.importing import is_reference, load_callable, one_line, user_path
from l2tune.settings import TORCHVISION_SOURCES, DataSettings

_NAMES = ("digits", *TORCHVISION_SOURCES)
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".7z", ".rar", ".zst")


def load(settings: DataSettings) -> ImageData:
    """Load the images that the settings name.

    A name of ours comes first; write `./digits` for a folder that is called so.

    Raises:
        UserError: There is no such source, or its images cannot be used.
    """
    source, path = settings.source, user_path(settings.source)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:  # a name that is too long, or a folder around it that may not be entered
        what = f"cannot be looked for ({error.strerror})"
        raise UserError(what, _flag(source), "give a path that can be read") from None
    folder = source not in _NAMES and is_folder
    if not folder and (settings.image_size is not None or settings.grayscale):
        flag = "--image-size" if settings.image_size is not None else "--grayscale"
        raise UserError(f"is for folders of pictures, and {source!r} is none", flag, "leave it out")
    if source == "digits":
        data = _digits()
    elif source in TORCHVISION_SOURCES:
        try:
            data = load_torchvision(source, settings.root)
        except UserError as error:
            if not is_folder:
                raise
            raise UserError(error.what, error.where, f"or write ./{source} for the folder of this name here") from None
    elif folder:
        data = load_folder(path, settings.image_size, grayscale=settings.grayscale, name=source)
    elif path.suffix == ".npz" or is_file:
        data = _file(path, source)
    elif is_reference(source):
        data = _from_function(source)
    else:
        close = difflib.get_close_matches(source, _NAMES, n=1)
        forms = f"give {', '.join(_NAMES)}, a folder of class folders, an .npz file or package.module:function"
        raise UserError(
            "no such data set, folder or file", _flag(source), f"did you mean {close[0]!r}?" if close else forms
        )
    return take_subset(data, settings.subset)


def _digits() -> ImageData:
    """scikit-learn's handwritten digits: 1,797 images of 8×8, values 0..16 brought to 0..255.

    Its own file is read, for the import of scikit-learn takes nearly as long as that of torch.
    """
    found = find_spec("sklearn")
    file = Path(found.origin or "").parent / "datasets" / "data" / "digits.csv.gz" if found else Path()
    if file.is_file():
        rows = np.loadtxt(file, delimiter=",")
        values, labels = rows[:, :-1], rows[:, -1].astype(np.int64)
    else:
        from sklearn.datasets import load_digits

        values, labels = load_digits(return_X_y=True)
    pixels = np.round(values.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return assemble(pixels, labels, name="digits")


def _file(path: Path, source: str) -> ImageData:
    where = _flag(source)
    if path.suffix == ".py":
        raise UserError("names no function", where, f"write {source}:function")
    if path.suffix != ".npz":
        archive = path.suffix.lower() in _ARCHIVES
        fix = "unpack it first and give its folder" if archive else "give a folder of class folders or an .npz file"
        raise UserError("is an archive" if archive else "is no folder and no .npz file", where, fix)
    if not path.is_file():
        raise UserError("no such file", where, "give the path of an .npz file")
    if not zipfile.is_zipfile(path):
        raise UserError("is damaged or no .npz file", where, "write it with numpy.savez")
    with_pickles = "write plain arrays: Python objects are never loaded"
    try:
        # opened here: of a damaged archive, numpy would leave the file open
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as archive_file:
            arrays = {meaning: archive_file[key] for meaning, key in known_keys(archive_file.files, source).items()}
    except UserError:
        raise
    except Exception as error:  # zip, zlib, header and memory errors of many kinds
        if "allow_pickle" in str(error):
            raise UserError("holds Python objects", where, with_pickles) from None
        what = f"cannot be read ({type(error).__name__}: {error})"
        raise UserError(what, where, mend(error, "write it anew")) from None
    return assemble(**arrays, name=source)


def _from_function(source: str) -> ImageData:
    function = load_callable(source, _flag(source))
    with one_line("the function failed", _flag(source), "it is called without arguments"):
        value = function()
    return from_object(value, source)


def _flag(source: str) -> str:
    return f"--data {source}"
