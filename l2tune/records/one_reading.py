"""What is decided at once is decided by one reading of the storage.

A decision of a search asks many questions of a study, and each used to read it anew: on a server that is a round trip
each time, and among many workers the answers may not even fit together. Within `one_reading` a storage that l2tune
opened is read once, until this thread writes to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from contextlib import ContextDecorator
from types import TracebackType
from typing import TypeVar, cast

T = TypeVar("T")


class _Readings(threading.local):
    """This thread's: how many blocks deep it is, and what it has read since it entered the outermost."""

    def __init__(self) -> None:
        self.depth = 0
        self.known: dict[Hashable, object] = {}


_readings = _Readings()


class one_reading(ContextDecorator):
    """A block, or a function that is decorated with it, in which nothing waits for what other workers do.

    A block within another belongs to that one.
    """

    def __enter__(self) -> None:
        _readings.depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _readings.depth -= 1
        if not _readings.depth:
            _readings.known.clear()


def read_once(what: Hashable, read: Callable[[], T]) -> T:
    """What this thread has read in this block already, or else reads now; outside of blocks, always read anew.

    Args:
        what: Tells storage, study and question.
    """
    if not _readings.depth:
        return read()
    if what not in _readings.known:
        _readings.known[what] = read()
    return cast(T, _readings.known[what])


def forget_readings() -> None:
    """Read anew what comes: this thread has written."""
    _readings.known.clear()
