"""Standard error of a command: what nobody can take any more is dropped, and stops no work.

The reader of a pipe may have gone (`| head`; the search that started this worker), the terminal may have been closed,
the disk of a log be full. A search that dies of it would lose what it is at, and a message that fails in the middle of
an operation on the storage looks like a fault of the storage.
"""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Unheard(io.FileIO):
    """A file whose writes never fail."""

    def write(self, data: ReadableBuffer, /) -> int:
        size = memoryview(data).nbytes
        with suppress(OSError):
            return super().write(data) or size
        return size


def write_unheard() -> None:
    """Let `sys.stderr` drop what cannot be written; where it is not the process's own stream, nothing is changed."""
    stream = sys.__stderr__
    if stream is None or sys.stderr is not stream or stream.closed or not isinstance(stream, io.TextIOWrapper):
        return
    raw = io.BufferedWriter(_Unheard(stream.fileno(), "wb", closefd=False))
    sys.stderr = io.TextIOWrapper(raw, encoding=stream.encoding, errors=stream.errors, line_buffering=True)
