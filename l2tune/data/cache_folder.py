"""Where what can be had again is kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """l2tune's folder in the user's cache folder; it may not be there yet."""
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "l2tune"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "l2tune"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "l2tune"
