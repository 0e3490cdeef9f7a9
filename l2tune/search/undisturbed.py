"""What a signal must not cut in two: an operation of a storage, whose connection would stay open and hold its lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_depth = 0
_waiting: Callable[[], None] | None = None


@contextmanager
def undisturbed() -> Iterator[None]:
    """What a command's handler of signals would raise meanwhile, in the main thread, is raised at the end.

    For what takes a second at most: people wait for the end of what they have interrupted.
    """
    global _depth, _waiting
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        waiting = _waiting
        if waiting is not None and not _depth:
            _waiting = None
            waiting()


def raise_when_allowed(throw: Callable[[], None]) -> None:
    """Call what raises for a signal, now or at the end of what it must not disturb; by a handler of signals."""
    global _waiting
    if _depth:
        _waiting = throw
    else:
        throw()
