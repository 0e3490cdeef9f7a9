"""Ctrl-C that cannot be lost."""

from __future__ import annotations

import signal
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def lasting_interrupts() -> Iterator[Callable[[], None]]:
    """Ctrl-C raises KeyboardInterrupt at once or, where that comes to nothing, at the next call of what this yields.

    Python drops (and prints) an exception raised inside a finalizer or a weak reference's callback, and training runs
    many: one Ctrl-C in thirty was lost there. Where SIGINT is ignored or handled by others, nothing changes.
    """
    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        if not _is_dropped_in(frame):
            signal.default_int_handler(number, frame)

    def raise_if_interrupted() -> None:
        if interrupted:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        yield raise_if_interrupted
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield raise_if_interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _is_dropped_in(frame: FrameType | None) -> bool:
    """Whether an exception raised in this frame would end in a finalizer or a weak reference's callback."""
    while frame is not None:
        if frame.f_code.co_name == "__del__" or frame.f_code.co_filename == weakref.__file__:
            return True
        frame = frame.f_back
    return False
