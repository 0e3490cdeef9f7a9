"""Fixtures that several parts share: small pictures on disk, and real data where there are some."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeFolder = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Write class folders of random PNGs: `make_folder({"cat": 3, "dog": 2}, "photos/train", size=(8, 6))`."""

    def make(counts: dict[str, int], inside: str = "photos", size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Path:
        rng = np.random.default_rng(0)
        for name, count in counts.items():
            folder = tmp_path / inside / name
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                Image.fromarray(pixels).convert(mode).save(folder / f"{index}.png")
        return tmp_path / inside

    return make


@pytest.fixture
def real_data() -> Path:
    """The folder $L2TUNE_DATA with downloaded data; the test is skipped where it is not set."""
    root = os.environ.get("L2TUNE_DATA")
    if not root:
        pytest.skip("L2TUNE_DATA is not set")
    return Path(root)
