"""Several fits of a user's function at once, each in a process of its own, for one study in this process.

Threads of this process would share torch's and numpy's generators, so seeds set by one fit would mix with those of
another. Processes have their own.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as NotYet
from typing import Any

import cloudpickle
from loky import ProcessPoolExecutor, cpu_count

from l2tune.errors import UserError

_LOOK_SECONDS = 0.1
"""How often a thread that waits for its fit looks whether the search has been stopped."""


class FitProcesses:
    """`fit`, run in one of several processes; as a context manager, which ends them.

    Args:
        fit: Anything that cloudpickle takes: functions of notebooks and lambdas, too.
        count: How many processes.

    Raises:
        UserError: The function, or what it holds on to, cannot be sent to another process.
    """

    def __init__(self, fit: Callable[..., Any], count: int) -> None:
        self.splits = getattr(fit, "splits", None)
        functools.update_wrapper(self, fit, updated=())
        try:
            self._sent = cloudpickle.dumps(fit)
        except Exception as error:
            what = f"fit cannot be sent to another process ({type(error).__name__}: {error})"
            raise UserError(what, "n_jobs", "open files and connections inside of fit, or leave out n_jobs=") from None
        threads = str(max(1, cpu_count() // count))
        self._pool = ProcessPoolExecutor(count, timeout=None, env={"OMP_NUM_THREADS": threads})
        self._count, self._stop = count, threading.Event()

    def __enter__(self) -> FitProcesses:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._pool.shutdown(wait=True, kill_workers=True)

    def __call__(self, *arguments: Any, **drawn: Any) -> Any:
        """What `fit` gives; all that it yields at once.

        Raises:
            KeyboardInterrupt: The search was stopped meanwhile.
        """
        future = self._pool.submit(_called, self._sent, arguments, drawn)
        while True:
            try:
                yielded, result = future.result(timeout=_LOOK_SECONDS)
                return iter(result) if yielded else result
            except NotYet:
                if future.done():  # a timeout of the fit's own
                    raise
            except Exception as error:
                if error.__cause__ is not None:  # the other process's traceback, as text
                    error.add_note(str(error.__cause__))
                    error.__cause__ = None
                raise
            if self._stop.is_set():
                raise KeyboardInterrupt

    def in_threads(self, work: Callable[[bool], str]) -> str:
        """Call `work(first)` in as many threads as there are processes; returns what the first one gives.

        Raises:
            KeyboardInterrupt: Ctrl-C; all threads have ended.
            BaseException: Whatever was first raised in one of them.
        """
        found: list[str] = [""] * self._count
        raised: list[BaseException] = []

        def run(number: int) -> None:
            try:
                found[number] = work(number == 0)
            except BaseException as error:
                if not self._stop.is_set():
                    raised.append(error)
                self._stop.set()
            finally:
                ended.release()

        ended = threading.Semaphore(0)
        left = self._count
        for number in range(self._count):
            threading.Thread(target=run, args=(number,), name=f"l2tune-{number}").start()
        try:
            while left:  # not by `join`: one that is interrupted takes its thread for ended
                left -= ended.acquire(timeout=_LOOK_SECONDS)
        except BaseException:
            self._stop.set()
            while left:
                left -= ended.acquire(timeout=_LOOK_SECONDS)
            raise
        if raised:
            raise raised[0]
        return found[0]


def _called(sent: bytes, arguments: tuple[Any, ...], drawn: dict[str, Any]) -> tuple[bool, Any]:
    result = _received(sent)(*arguments, **drawn)
    return (True, list(result)) if isinstance(result, Iterator) else (False, result)


@functools.lru_cache(maxsize=1)
def _received(sent: bytes) -> Callable[..., Any]:
    function: Callable[..., Any] = cloudpickle.loads(sent)
    return function
