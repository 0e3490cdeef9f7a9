"""`l2tune dashboard`: the Optuna dashboard on a storage."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from l2tune.commands.flags import number


def dashboard_command(
    *,
    storage: Annotated[
        str, Parameter(help="Storage of the searches", env_var="L2TUNE_STORAGE")
    ] = "sqlite:///l2tune.db",
    artifacts: Annotated[str, Parameter(help="Folder where searches keep their artifacts")] = "runs/artifacts",
    port: Annotated[int, Parameter(help="Port on 127.0.0.1", converter=number)] = 8080,
) -> None:
    """Open the Optuna dashboard on a storage, on this machine only (127.0.0.1). Ctrl-C ends it."""
    from l2tune.given import check_path
    from l2tune.process import end_loading
    from l2tune.report.dashboard import serve
    from l2tune.search.storage import open_storage

    end_loading()
    check_path(artifacts, "--artifacts")
    # the dashboard keeps a cache of its own, and asks which kind of storage it is
    serve(open_storage(storage, must_exist=True).backend, artifacts, port=port)
