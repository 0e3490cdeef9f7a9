"""What a worker that `l2tune search --workers` has started shares with it: a token, and its end."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from l2tune.records.workers import Worker

TOKEN = "L2TUNE_WORKER_TOKEN"
"""Environment variable by which the coordinator tells a worker its token, so as to know what it leaves behind."""


def end_with_coordinator() -> Worker | None:
    """Be the worker that the coordinator has named, and end in good order when it ends, however that happens.

    Returns:
        None where there is no coordinator.
    """
    token = os.environ.get(TOKEN)
    if token is None:
        return None

    def wait_for_its_end() -> None:
        os.read(0, 1)  # standard input is a pipe that nobody writes to: it ends with the process that holds it
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait_for_its_end, name="l2tune-coordinator", daemon=True).start()

    from l2tune.records.workers import Worker

    return Worker(token)
