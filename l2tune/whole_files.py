"""Files that are written whole or not at all. Standard library only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_unfinished: set[str] = set()


def write_together(folder: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Replace files, all of them or none: no file is put in its place before every one is on the disk.

    Args:
        folder: Made if it is not there.

    Returns:
        Their paths.

    Raises:
        OSError: The disk is full, or the folder cannot be made or written to; the old files are left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, str] = {}
    try:
        for name, content in contents.items():
            if (folder / name).is_dir():
                raise IsADirectoryError(21, "Is a directory", str(folder / name))
            written[name] = _write_beside(folder, name, content)
        for name, unfinished in written.items():
            os.replace(unfinished, folder / name)
            _unfinished.discard(unfinished)
    finally:
        for unfinished in written.values():
            _remove(unfinished)
    return [folder / name for name in contents]


def remove_unfinished() -> None:
    """Remove what this process has begun to write, before it ends at once."""
    for name in list(_unfinished):
        _remove(name)


def _write_beside(folder: Path, name: str, content: bytes) -> str:
    """The content in a file of another name in that folder, on the disk."""
    handle, unfinished = tempfile.mkstemp(dir=folder, prefix=f".{name}-")
    _unfinished.add(unfinished)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(unfinished, 0o666 & ~umask)
    except BaseException:
        _remove(unfinished)
        raise
    return unfinished


def _remove(unfinished: str) -> None:
    if unfinished in _unfinished:
        with suppress(OSError):
            os.unlink(unfinished)
        _unfinished.discard(unfinished)
