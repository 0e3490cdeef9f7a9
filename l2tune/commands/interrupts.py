"""Signals that end a command in good order, and cannot be lost: Ctrl-C, SIGTERM, SIGHUP."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from l2tune.search.undisturbed import raise_when_allowed
from l2tune.training.time_limit import is_dropped_in
from l2tune.whole_files import remove_unfinished

_WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
SHOW_CURSOR = b"\x1b[?25h"
"""The live line hides it."""
_ONE_PRESS = 0.05
"""Seconds within which two signals are one: some launchers pass on a Ctrl-C that the terminal has sent already."""


class Signalled(KeyboardInterrupt):
    """A signal other than Ctrl-C that ends a command as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


def status_of(error: KeyboardInterrupt) -> int:
    """The exit status: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    return 128 + getattr(error, "number", signal.SIGINT)


def told_signal(error: KeyboardInterrupt) -> str:
    """What the signal did, in a word or two."""
    return _WORDS[signal.Signals(status_of(error) - 128).name]


class _Handler:
    """Of all signals of one command."""

    def __init__(self) -> None:
        self.first = 0
        self._at, self._process = 0.0, os.getpid()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a child that a user's code has forked ends as it always did
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            signal.raise_signal(number)
            return
        if self.first:  # it is ending already
            if time.monotonic() - self._at >= _ONE_PRESS and number in (self.first, signal.SIGINT):
                _end_at_once(number)
            return
        self.first, self._at = number, time.monotonic()
        if number == getattr(signal, "SIGHUP", None):
            _let_go_of_the_terminal()
        if not is_dropped_in(frame):
            raise_when_allowed(self.raise_if_signalled)

    def raise_if_signalled(self) -> None:
        """Raise what the first signal asks for, if there was one."""
        if self.first == signal.SIGINT:
            raise KeyboardInterrupt
        if self.first:
            raise Signalled(self.first)


@contextmanager
def lasting_interrupts() -> Iterator[Callable[[], None]]:
    """Ctrl-C raises KeyboardInterrupt at once or, where that comes to nothing, at the next call of what this yields.

    SIGTERM and SIGHUP raise `Signalled`, which is one. The second Ctrl-C ends the process at once, with one line.
    Python drops (and prints) an exception raised inside a finalizer or a weak reference's callback, and training runs
    many: one Ctrl-C in thirty was lost there. A signal that is ignored or handled by others stays so. Used inside
    another, it yields what that one does.
    """
    outer = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    found = next((handler for handler in outer if isinstance(handler, _Handler)), None)
    if found is not None or threading.current_thread() is not threading.main_thread():
        yield found.raise_if_signalled if found is not None else lambda: None
        return
    handler = _Handler()
    before: dict[int, Any] = {}
    for name in _WORDS:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            before[number] = signal.signal(number, handler)
    try:
        yield handler.raise_if_signalled
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _end_at_once(number: int) -> None:
    """End without a report: the study is kept, and the next search takes up what was in training."""
    with suppress(OSError, ValueError):
        os.write(2, SHOW_CURSOR if os.isatty(2) else b"")
        os.write(2, f"\nl2tune: {told_signal(Signalled(number))} again: ended at once, without a report\n".encode())
    remove_unfinished()
    os._exit(128 + number)


def _let_go_of_the_terminal() -> None:
    """Send what is still printed nowhere where the terminal has gone: writing to it fails."""
    for stream in (1, 2):
        try:
            os.write(stream, b"")
        except OSError:
            with suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream)
                os.close(nowhere)
