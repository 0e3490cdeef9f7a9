"""The main job on MNIST and on CIFAR-10 as an image folder, as a user would run it."""

import json
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from processes import run

QUICK = ("--subset", "120", "--epochs", "1", "--folds", "2", "--trials", "3")


def search(folder: Path, *words: str) -> dict[str, object]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("L2TUNE_DATA")  # where data lie, the words tell
        done = run(folder, "search", *words, *QUICK, "--study", "quick")
    assert done.returncode == 0, done.stderr
    return dict(json.loads((folder / "runs/quick/results.json").read_text()))


def test_mnist(real_data: Path, tmp_path: Path) -> None:
    words = ("--data", "mnist", "--data-root", str(real_data))
    results = search(tmp_path, *words, "--model", "linear")  # each network scores 10,000 test images
    assert results["data"] == results["data"] | {"images": 120, "test_images": 10000, "shape": [1, 28, 28]}
    assert results["trials"] == 3


def test_a_folder_of_cifar10(real_data: Path, tmp_path: Path) -> None:
    seen: Counter[Path] = Counter()
    with tarfile.open(real_data / "cifar10-jpeg.tar.xz", "r|xz") as archive:
        for member in archive:
            kind = Path(member.name).parent
            if member.isfile() and seen[kind] < 20:
                seen[kind] += 1
                archive.extract(member, tmp_path / "cifar10", filter="data")
    results = search(tmp_path, "--data", "./cifar10", "--augment", "flip", "shift")
    assert results["data"] == results["data"] | {"images": 120, "test_images": 200, "shape": [3, 32, 32], "classes": 10}
    assert results["trials"] == 3
