"""`l2tune` in processes of its own that start at once: forked from one that has imported the libraries, none of ours.

Half of what a short search takes is the import of torch, pandas and plotly, and hundreds of tests start one. What a
process is from its first instruction on (the environment that torch reads, Python's flags, a pipe that nobody reads)
is for tests that start a real one with `subprocess`; so do the workers that a search starts itself.
"""

from __future__ import annotations

import atexit
import gc
import io
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import warnings
import weakref
from collections.abc import Mapping
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any
from unittest.mock import patch

LIBRARIES = """
torch torchvision optuna optuna_dashboard sqlalchemy alembic.context sqlite3 pandas scipy.optimize scipy.stats sklearn
sklearn.datasets plotly.graph_objects cyclopts pydantic jinja2 PIL.Image rich.console
"""

_started = multiprocessing.get_context("forkserver")
_started.set_forkserver_preload(LIBRARIES.split())


class Process:
    """What `subprocess.Popen` is, for a command of l2tune; its output is kept in files."""

    def __init__(
        self, words: tuple[str, ...], folder: Path, environment: Mapping[str, str], script: str | None = None
    ) -> None:
        self.args = words
        self._outputs = [tempfile.TemporaryFile(), tempfile.TemporaryFile()]  # noqa: SIM115
        for file in self._outputs:
            weakref.finalize(self, file.close)
        given = words, str(folder), dict(environment), script, *(DupFd(file.fileno()) for file in self._outputs)
        self._process = _started.Process(target=_command, args=given)
        with patch.dict(os.environ, {"OMP_NUM_THREADS": "1"}):  # what all are forked from reads it, if it begins now
            self._process.start()
        assert self._process.pid
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Its exit status once it has ended; a signal's negative number where one has ended it."""
        return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        """The same."""
        return self.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns the exit status.

        Raises:
            subprocess.TimeoutExpired: It has not ended after so many seconds.
        """
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0, *self.output)
        return self.returncode

    @property
    def output(self) -> tuple[str, str]:
        """What it has written to standard output and standard error so far."""
        numbers = [file.fileno() for file in self._outputs]
        out, errors = (os.pread(number, os.fstat(number).st_size, 0) for number in numbers)
        return out.decode(errors="replace"), errors.decode(errors="replace")

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; returns all output. Raises as `wait` does."""
        self.wait(timeout)
        return self.output

    def until(self, text: str, seconds: float = 120.0) -> None:
        """Wait until it has written this to standard error.

        Raises:
            AssertionError: It has ended before, or so many seconds were not enough.
        """
        end = time.monotonic() + seconds
        while text not in self.output[1]:
            assert self.poll() is None, f"it ended: {self.output}"
            assert time.monotonic() < end, f"{text!r} did not come: {self.output}"
            time.sleep(0.05)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def begin(folder: Path, *words: str, script: str | None = None, **environment: str) -> Process:
    """Start `l2tune`, or a script of Python, in a folder, as the leader of a session; it computes in one thread."""
    return Process(words, folder, os.environ | {"OMP_NUM_THREADS": "1"} | environment, script)


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `l2tune` in a folder to its end."""
    process = begin(folder, *words, **environment)
    try:
        out, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    return subprocess.CompletedProcess(words, process.wait(), out, errors)


def _command(
    words: tuple[str, ...], folder: str, environment: dict[str, str], script: str | None, out: Any, errors: Any
) -> None:
    """In the process itself: as `python -m l2tune` would have begun, then the command, then the end of Python."""
    gc.freeze()  # what it was forked from is not its garbage
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, file in ((1, out), (2, errors)):
        os.dup2(file.detach(), number)
    sys.stdin = open(os.devnull)  # noqa: SIM115
    binary = {number: os.fdopen(number, "wb", closefd=False) for number in (1, 2)}
    sys.stdout = io.TextIOWrapper(binary[1], encoding="utf-8")
    sys.stderr = io.TextIOWrapper(binary[2], encoding="utf-8", errors="backslashreplace", line_buffering=True)
    sys.path.insert(0, folder)
    sys.argv = ["l2tune", *words]
    if asked := environment.get("PYTHONWARNINGS"):
        warnings.simplefilter(asked)  # type: ignore[arg-type]
    try:
        if script is None:
            runpy.run_module("l2tune", run_name="__main__", alter_sys=True)
        else:
            exec(compile(script, "<string>", "exec"), {"__name__": "__main__"})
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
