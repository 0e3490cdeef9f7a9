"""A limit on how long code may take: an exception in Python code, and a watchdog where that cannot work.

In the main thread SIGALRM raises wherever Python code runs. Code in C that never comes back to Python, and code in
another thread, cannot be stopped so: a watchdog waits as long again and then tells whoever asked for the limit.
"""

from __future__ import annotations

import inspect
import math
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from l2tune.errors import TookTooLong

LEAST_GRACE, MOST_GRACE = 1.0, 600.0
"""Seconds that the watchdog waits at least and at most after the time is over."""
_AGAIN = 0.5
"""Seconds until the exception is raised again, for one in a finalizer or in `except BaseException` comes to nothing."""


class _TimeIsUp(BaseException):
    """Raised inside; no `except Exception` there takes it for an error of its own."""


class _Limit:
    """One limit under way.

    Args:
        seconds: From now on.
    """

    def __init__(self, seconds: float) -> None:
        self.due = time.monotonic() + seconds
        self.active, self.over = True, False
        self.imports = _imports(inspect.currentframe())
        """Of modules under way before: a user's module may well search while it is loaded."""
        self.outer_due = math.inf
        self.outer: Any = None
        """When an alarm that was set before is to ring, and its handler."""

    def ring(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGALRM."""
        now = time.monotonic()
        if now >= self.outer_due and callable(self.outer):
            self.outer(number, frame)
        if self.active and now >= self.due:
            self.over = True
            if not is_dropped_in(frame) and _imports(frame) <= self.imports:
                raise _TimeIsUp


@contextmanager
def time_limit(
    seconds: float | None, what: str = "it took longer", on_stuck: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Limit the time that the code inside takes.

    Args:
        seconds: Above 0; None for no limit.
        what: Of the message.
        on_stuck: Called in a thread of its own, with a line, where the code did not stop when its time was over. It
            may end the process; where it returns, the code is waited for.

    Raises:
        TookTooLong: The time was over before the code ended.
    """
    if seconds is None:
        yield
        return
    limit = _Limit(seconds)
    ended = threading.Event()
    watchdog = None
    if on_stuck is not None:
        patience = seconds + min(max(seconds, LEAST_GRACE), MOST_GRACE)
        watchdog = threading.Thread(
            target=_watch, args=(ended, patience, on_stuck, what), name="l2tune-time-limit", daemon=True
        )
        watchdog.start()
    try:
        with _alarm(limit, seconds):
            yield
    except _TimeIsUp as error:
        raise TookTooLong(what).with_traceback(error.__traceback__) from None
    except Exception as error:
        if not limit.over:
            raise
        raise TookTooLong(what).with_traceback(error.__traceback__) from None
    finally:
        ended.set()
        if watchdog is not None and watchdog is not threading.current_thread():
            watchdog.join()
    if limit.over or time.monotonic() > limit.due:
        raise TookTooLong(what)


@contextmanager
def _alarm(limit: _Limit, seconds: float) -> Iterator[None]:
    """Have SIGALRM ring while the code inside runs, where this thread can; an outer alarm goes on afterwards."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGALRM, limit.ring)
    outer, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    if outer:
        limit.outer_due, limit.outer = time.monotonic() + outer, handler
    try:
        signal.setitimer(signal.ITIMER_REAL, max(min(seconds, outer or seconds), 1e-3), _AGAIN)
        try:
            yield
        finally:
            limit.active = False
    finally:
        limit.active = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        if outer:
            signal.setitimer(signal.ITIMER_REAL, max(limit.outer_due - time.monotonic(), 1e-3), interval)


def is_dropped_in(frame: FrameType | None) -> bool:
    """Whether an exception raised in this frame would end in a finalizer or a weak reference's callback."""
    while frame is not None:
        if frame.f_code.co_name == "__del__" or frame.f_code.co_filename == weakref.__file__:
            return True
        frame = frame.f_back
    return False


def _imports(frame: FrameType | None) -> int:
    """How many frames load a module: half loaded, it would make every later fit fail."""
    found = 0
    while frame is not None:
        found += frame.f_code.co_filename.startswith("<frozen importlib")
        frame = frame.f_back
    return found


def _watch(ended: threading.Event, patience: float, on_stuck: Callable[[str], None], line: str) -> None:
    if not ended.wait(patience):
        on_stuck(line)
