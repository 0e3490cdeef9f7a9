"""torchvision's data sets: used in place when present, otherwise downloaded."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from platformdirs import user_cache_path

from l2tune.data.images import ImageData, assemble
from l2tune.errors import UserError
from l2tune.importing import one_line, user_path

_PLACES = {
    "mnist": ("MNIST", "MNIST/raw/train-images-idx3-ubyte"),
    "fashion-mnist": ("FashionMNIST", "FashionMNIST/raw/train-images-idx3-ubyte"),
    "kmnist": ("KMNIST", "KMNIST/raw/train-images-idx3-ubyte"),
    "cifar10": ("CIFAR10", "cifar-10-batches-py/data_batch_1"),
    "cifar100": ("CIFAR100", "cifar-100-python/train"),
    "svhn": ("SVHN", "train_32x32.mat"),
}
"""Name → torchvision's class, and the first of the files that it looks for under the data root."""

_PATIENCE = 30.0
"""Seconds without an answer after which a download is given up; torchvision itself would wait for minutes."""


def data_root(root: str | None) -> Path:
    """`root`, else $L2TUNE_DATA, else the user's cache folder."""
    chosen = root or os.environ.get("L2TUNE_DATA")
    if chosen:
        return user_path(chosen)
    return user_cache_path("l2tune", appauthor=False)


def load_torchvision(name: str, root: str | None) -> ImageData:
    """A data set with its official training and test part.

    CIFAR's files are pickles. torchvision opens them only after the MD5 sum of each has matched the one that it
    ships, so nothing but the published files is ever unpickled.

    Raises:
        UserError: It is neither present nor can it be downloaded, or its files are damaged.
    """
    folder = data_root(root)
    train, test = (_open(name, folder, train=part) for part in (True, False))
    (images, labels), (test_images, test_labels) = _arrays(train), _arrays(test)
    return assemble(images, labels, test_images, test_labels, class_names=getattr(train, "classes", None), name=name)


def _open(name: str, folder: Path, *, train: bool) -> Any:
    """One part of a data set, downloaded if it is not there."""
    kind, part = _dataset(name), _part(name, train)
    try:
        return kind(str(folder), download=False, **part)
    except Exception as error:  # torchvision raises many kinds, RuntimeError where files are missing
        present = folder / _PLACES[name][1]
        if os.path.exists(present):  # a path that cannot be is no error
            cause = "their checksums differ" if "corrupted" in str(error) else _cause(error)
            fix = "remove them to have them downloaded anew, or give --data-root"
            raise UserError(f"the files in {present.parent} are damaged ({cause})", f"--data {name}", fix) from None
    _download(name, folder, part)
    with one_line("cannot be opened", f"--data {name}", "remove its files to have them downloaded anew"):
        return kind(str(folder), download=False, **part)


def _dataset(name: str) -> Any:
    from torchvision import datasets

    kind = getattr(datasets, _PLACES[name][0])
    if not issubclass(kind, datasets.MNIST):
        return kind
    # Without the path that would load an old `processed/training.pt`: that is a pickle. Files lie by the class's name.
    return type(kind.__name__, (kind,), {"_check_legacy_exist": lambda self: False})


def _part(name: str, train: bool) -> dict[str, Any]:
    return {"split": "train" if train else "test"} if name == "svhn" else {"train": train}


def _download(name: str, folder: Path, part: dict[str, Any]) -> None:
    """Download beside the target and move when whole, so that a broken download is never taken for data."""
    missing = [place for place in (folder, *folder.parents) if not os.path.exists(place)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as scratch, _impatient():
            _dataset(name)(scratch, download=True, **part)
            _move(Path(scratch), folder)
    except Exception as error:
        for place in missing:  # a mistyped root leaves nothing behind
            if os.path.isdir(place) and not any(place.iterdir()):
                place.rmdir()
        what = f"is not in {folder} and cannot be downloaded ({_cause(error)})"
        fix = f"give the folder that holds {_PLACES[name][1]} with --data-root"
        raise UserError(what, f"--data {name}", fix) from None


@contextmanager
def _impatient() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _move(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for entry in source.iterdir():
        if entry.is_dir():
            _move(entry, target / entry.name)
        else:
            entry.replace(target / entry.name)


def _cause(error: Exception) -> str:
    """The reason in a few words; torchvision lists every mirror on lines of its own."""
    reasons = re.findall(r"got:\n(.*)", str(error)) or [str(getattr(error, "strerror", None) or error)]
    return reasons[-1].strip("<>").removeprefix("urlopen error ") or type(error).__name__


def _arrays(dataset: Any) -> tuple[torch.Tensor | NDArray[np.uint8], NDArray[np.int64]]:
    """(images, labels) as torchvision keeps them."""
    labels = dataset.labels if hasattr(dataset, "labels") else dataset.targets
    return dataset.data, np.asarray(labels, dtype=np.int64)
