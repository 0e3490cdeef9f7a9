"""torchvision's data sets: used in place when present, otherwise downloaded."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from l2tune.data.images import ImageData, assemble
from l2tune.errors import UserError

_CLASSES = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "svhn": "SVHN",
}


def data_root(root: str | None) -> Path:
    """`root`, else $L2TUNE_DATA, else the user's cache folder."""
    if root:
        return Path(root).expanduser()
    if os.environ.get("L2TUNE_DATA"):
        return Path(os.environ["L2TUNE_DATA"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "l2tune"


def load_torchvision(name: str, root: str | None) -> ImageData:
    """A data set with its official training and test part.

    CIFAR's files are pickles; torchvision opens them only after their MD5 sums match those it ships.

    Raises:
        UserError: It is neither present nor can it be downloaded.
    """
    folder = data_root(root)
    train, test = (_open(name, folder, train=part) for part in (True, False))
    (images, labels), (test_images, test_labels) = _arrays(train), _arrays(test)
    names = getattr(train, "classes", None) or [str(k) for k in range(10)]
    return assemble(images, labels, test_images, test_labels, class_names=names, name=name)


def _open(name: str, folder: Path, *, train: bool) -> Any:
    from torchvision import datasets

    kind = getattr(datasets, _CLASSES[name])
    part = {"split": "train" if train else "test"} if name == "svhn" else {"train": train}
    where = f"--data {name}"
    try:
        return kind(str(folder), download=False, **part)
    except (RuntimeError, OSError, ValueError):
        pass  # not there, or not whole
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "it cannot be written to", str(folder))
        # Downloaded beside the target and moved when whole, so that a broken download is never taken for data.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
            dataset = kind(scratch, download=True, **part)
            for entry in Path(scratch).iterdir():
                _move(entry, folder / entry.name)
        return dataset
    except OSError as error:
        cause = error.strerror or getattr(error, "reason", None) or error
        raise UserError(
            f"is not in {folder} and cannot be downloaded ({cause})",
            where,
            "put torchvision's files there, or give the folder that holds them with --data-root",
        ) from None
    except RuntimeError as error:
        raise UserError(f"cannot be downloaded ({error})", where, "try again, or give --data-root") from None


def _move(source: Path, target: Path) -> None:
    if source.is_dir() and target.is_dir():
        for entry in source.iterdir():
            _move(entry, target / entry.name)
    else:
        source.replace(target)


def _arrays(dataset: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(images, labels) as torchvision keeps them."""
    labels = getattr(dataset, "targets", None)
    labels = dataset.labels if labels is None else labels
    images = dataset.data
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(images)
    return images, torch.as_tensor(np.asarray(labels), dtype=torch.int64)
