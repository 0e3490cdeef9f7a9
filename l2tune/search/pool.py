"""Worker processes of one machine: started, watched, replaced when they die, ended together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from l2tune.errors import SearchAborted
from l2tune.records.workers import Worker

DEATHS_IN_A_ROW = 3
"""So many workers may die without any of them having finished a fit."""

_END_SECONDS = 30.0
"""So long a worker may take to put down what it is at."""


@dataclass(eq=False)
class _Process:
    """A worker process, with its last lines of standard error."""

    place: int
    worker: Worker
    process: subprocess.Popen[bytes]
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    reader: threading.Thread | None = None


class Pool:
    """Worker processes that train for one study, from `with` to its end.

    Args:
        command: Runs one worker.
        places: Environment variables of each worker, beside those of this process.
        token_variable: The environment variable that tells a worker its token.
        on_lost: Called with a worker that has died, so that what it left is taken over at once.
        say: Called with what the workers say.
    """

    def __init__(
        self,
        command: Sequence[str],
        places: Sequence[Mapping[str, str]],
        token_variable: str,
        *,
        on_lost: Callable[[Worker], object],
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._command, self._places, self._token_variable = list(command), list(places), token_variable
        self._on_lost, self._say = on_lost, say
        self._processes: list[_Process] = []
        self._deaths = 0
        self._fits = 0

    def __enter__(self) -> Self:
        try:
            for place in range(len(self._places)):
                self._start(place)
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def at_work(self) -> int:
        """How many workers are at work."""
        return len(self._processes)

    def look(self, fits: int) -> None:
        """Replace workers that have died; those that are done are let go.

        Args:
            fits: How many fits the study has: as long as they become more, workers may die.

        Raises:
            SearchAborted: A worker has given up, or too many have died in a row; its last line is told.
        """
        if fits > self._fits:
            self._fits, self._deaths = fits, 0
        for ended in [one for one in self._processes if one.process.poll() is not None]:
            self._processes.remove(ended)
            status = self._clear_away(ended)
            last = next(reversed(ended.lines), "it said nothing")
            if status in (1, 2):
                raise SearchAborted(f"worker {ended.place + 1} gave up: {last}")
            if status not in (0, 3):
                self._deaths += 1
                why = signal.Signals(-status).name if status < 0 else f"exit status {status}"
                if self._deaths >= DEATHS_IN_A_ROW:
                    raise SearchAborted(f"{self._deaths} workers in a row have died ({why}); the last one said: {last}")
                self._say(
                    f"worker {ended.place + 1} has died ({why}): another takes its place, and its fit is repeated"
                )
                self._start(ended.place)

    def end(self) -> None:
        """End all workers: they put down what they are at; who does not within some seconds is killed."""
        for one in self._processes:
            with suppress(OSError):
                one.process.terminate()
        end = time.monotonic() + _END_SECONDS
        for one in self._processes:
            try:
                one.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                one.process.kill()
        while self._processes:
            self._clear_away(self._processes.pop())

    def _start(self, place: int) -> None:
        worker = Worker()
        environment = os.environ | dict(self._places[place]) | {self._token_variable: worker.token}
        process = subprocess.Popen(
            self._command,
            env=environment,
            stdin=subprocess.PIPE,  # held open: its end is this process's end
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C comes to this process alone, which ends them in good order
        )
        one = _Process(place, worker, process)
        one.reader = threading.Thread(target=self._read, args=(one,), daemon=True)
        one.reader.start()
        self._processes.append(one)

    def _read(self, one: _Process) -> None:
        assert one.process.stderr is not None
        for raw in one.process.stderr:
            line = raw.decode(errors="replace").rstrip().removeprefix("l2tune: ")
            if line:
                one.lines.append(line)

    def _clear_away(self, one: _Process) -> int:
        status = one.process.wait()
        if one.reader is not None:
            one.reader.join(timeout=5)
        for pipe in (one.process.stdin, one.process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        if status not in (0, 3):
            self._on_lost(one.worker)
        return status


def worker_command_line(study: str, flags: Mapping[str, object]) -> list[str]:
    """What runs one worker of a study; its storage, which may hold a password, it is told by the environment.

    Args:
        flags: By name; those that are None are left out.
    """
    given = [word for name, value in flags.items() if value is not None for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "l2tune", "worker", "--quiet", *given, "--", study]
