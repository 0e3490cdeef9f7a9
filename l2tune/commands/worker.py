"""`l2tune worker`: one more process, on any machine, for a search that was begun elsewhere."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from l2tune.commands.flags import number
from l2tune.errors import UserError


def worker_command(
    study: Annotated[str, Parameter(help="Name of the study")],
    /,
    *,
    storage: Annotated[
        str, Parameter(help="Storage of the search, as seen from here", env_var="L2TUNE_STORAGE")
    ] = "sqlite:///l2tune.db",
    data_root: Annotated[str | None, Parameter(help="Where torchvision's data sets lie on this machine")] = None,
    device: Annotated[str, Parameter(help="auto (CUDA when there is one), cpu, cuda, cuda:1")] = "auto",
    threads: Annotated[
        int | None, Parameter(help="CPU threads (default: as the search asks, else all cores)", converter=number)
    ] = None,
    timeout: Annotated[
        float | None,
        Parameter(help="Begin no trial after so many seconds (default: as the search asks)", converter=number),
    ] = None,
    storage_patience: Annotated[
        float, Parameter(help="Seconds to wait for a server that does not answer", converter=number)
    ] = 300.0,
    quiet: Annotated[bool, Parameter(help="Print nothing but what goes wrong", negative=())] = False,
) -> None:
    """Join a running search, and train for it until its answer is settled.

    All else comes from the storage. It refuses a study whose images or version of l2tune are others than those here.
    `l2tune search --workers 0` begins a study for workers alone.
    """
    from l2tune.commands.coordinated import end_with_coordinator
    from l2tune.commands.interrupts import lasting_interrupts
    from l2tune.commands.progress import Progress
    from l2tune.commands.searching import search_shown
    from l2tune.search.joining import join_study
    from l2tune.search.storage import open_storage
    from l2tune.terminal_text import printable

    def say(line: str) -> None:
        print(printable(line), file=sys.stderr, flush=True)

    if threads is not None and not 1 <= threads <= 1024:
        raise UserError(f"{threads} is no number of threads", "--threads", "give 1 to 1024")
    opened = open_storage(storage, must_exist=True, patience=storage_patience, say=say)
    coordinated = end_with_coordinator()
    with lasting_interrupts() as raise_if_interrupted:
        found, objective, assembled = join_study(
            opened, study, device=device, threads=threads, data_root=data_root, timeout=timeout
        )
        progress = Progress(objective.settings, objective.trainer, quiet=quiet)
        progress.say(assembled.engine)
        status = search_shown(
            found, objective, progress, None, raise_if_interrupted, worker=coordinated, wait=coordinated is None
        )
    sys.exit(status)
