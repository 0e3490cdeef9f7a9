"""Optuna's journal in a file: a line that a killed writer left unfinished is taken away, a damaged one is named.

Optuna's own `JournalFileBackend` appends to an unfinished last line, and so makes it and the next entry unreadable for
ever; creates a journal anew that was removed under way; and raises whatever a damaged line happens to lead to. What is
written is the same, line by line, so that both may be used on one file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend, JournalFileSymlinkLock

from l2tune.errors import StorageFailed

MEND = "bring back a copy of the file, or mend that line"

_FIELDS: dict[int, tuple[str, ...]] = {
    0: ("study_name", "directions"),
    1: ("study_id",),
    2: ("study_id", "user_attr"),
    3: ("study_id", "system_attr"),
    4: ("study_id", "datetime_start"),
    5: ("trial_id", "param_name", "param_value_internal", "distribution"),
    6: ("trial_id", "state", "values"),
    7: ("trial_id", "step", "intermediate_value"),
    8: ("trial_id", "user_attr"),
    9: ("trial_id", "system_attr"),
    10: (),
}
"""What Optuna reads of an entry, by the number of its operation."""
_BLOCK = 2**16


class Journal(BaseJournalBackend):
    """The entries of a journal file, which several processes append to.

    Args:
        path: The file; it is created where there is none.
        where: What to call it in messages.

    Attributes:
        entries: How many have been read.
        damage: What is wrong with the last line, if it is no entry: another process may be writing it at this moment.
    """

    def __init__(self, path: Path, where: str) -> None:
        self.entries, self.damage = 0, ""
        self._path, self._where = path, where
        self._lock = JournalFileSymlinkLock(str(path))
        self._offset = 0  # where the first entry begins that was not yet read
        if not path.exists():
            path.open("ab").close()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The entries from this number on.

        Raises:
            StorageFailed: A line is no entry, unless it is the last one, or the file has become shorter.
            OSError: It cannot be read.
        """
        if log_number_from != self.entries:
            self.entries, self._offset = 0, 0
        self.damage = ""
        with self._path.open("rb") as file:
            end = os.fstat(file.fileno()).st_size  # what others write meanwhile is for the next time
            if end < self._offset:
                raise StorageFailed("the journal has become shorter than it was", self._where, "bring back its copy")
            file.seek(self._offset)
            for line in file:
                if self.damage:
                    raise StorageFailed(self.damage, self._where, MEND)
                if self._offset + len(line) > end or not line.endswith(b"\n"):
                    return
                try:
                    entry = _entry(line)
                except (ValueError, RecursionError) as error:
                    self.damage = f"line {self.entries + 1} is no entry of a journal ({_short(error)})"
                    continue
                self.entries += 1
                self._offset += len(line)
                if self.entries > log_number_from:
                    yield entry

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write entries, whole or not at all.

        Raises:
            OSError: They cannot be written.
        """
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with _held(self._lock):
            file = os.open(self._path, os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0))
            try:
                end = _end_of_last_line(file)
                if end < os.fstat(file).st_size:  # a killed writer's line, which no reader has taken for an entry
                    os.ftruncate(file, end)
                try:
                    _write(file, text)
                except OSError:
                    with suppress(OSError):
                        os.ftruncate(file, end)
                    raise
                os.fsync(file)
            finally:
                os.close(file)


def _entry(line: bytes) -> dict[str, Any]:
    """The entry that a line holds.

    Raises:
        ValueError: It holds none.
    """
    entry = json.loads(line.decode("utf-8"))
    if not isinstance(entry, dict):
        raise ValueError("no object")
    operation = entry.get("op_code")
    if type(operation) is not int or operation not in _FIELDS:
        raise ValueError(f"unknown operation {operation!r}")
    missing = [name for name in ("worker_id", *_FIELDS[operation]) if name not in entry]
    if missing:
        raise ValueError(f"it lacks {missing[0]}")
    return entry


def _short(error: Exception) -> str:
    """What is wrong, without the place in the line: the line is named already."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    return error.msg.removesuffix(" at") if isinstance(error, json.JSONDecodeError) else str(error)


def _end_of_last_line(file: int) -> int:
    """Where the last line that is finished ends."""
    end = os.fstat(file).st_size
    while end:
        begin = max(0, end - _BLOCK)
        os.lseek(file, begin, os.SEEK_SET)
        found = os.read(file, end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _write(file: int, text: bytes) -> None:
    left = memoryview(text)
    while left:
        left = left[os.write(file, left) :]


@contextmanager
def _held(lock: JournalFileSymlinkLock) -> Iterator[None]:
    lock.acquire()
    try:
        yield
    finally:
        with suppress(RuntimeError):  # another process took it for one that a killed process left
            lock.release()
