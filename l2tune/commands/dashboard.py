"""`l2tune dashboard`: the Optuna dashboard on a storage."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from l2tune.commands.flags import number


def dashboard_command(
    study: Annotated[str | None, Parameter(help="Study to show first (default: the only one, or all)")] = None,
    /,
    *,
    storage: Annotated[
        str, Parameter(help="Storage of the searches", env_var="L2TUNE_STORAGE")
    ] = "sqlite:///l2tune.db",
    artifacts: Annotated[str, Parameter(help="Folder where searches keep their artifacts")] = "runs/artifacts",
    open: Annotated[bool, Parameter(help="Open the browser there", negative=())] = False,
    port: Annotated[int, Parameter(help="Port on 127.0.0.1", converter=number)] = 8080,
) -> None:
    """Open the Optuna dashboard on a storage, on this machine only (127.0.0.1). Ctrl-C ends it.

    A study's page has the verdict as its note, the figures of the report, and its files as artifacts.
    """
    import optuna

    from l2tune.given import check_path
    from l2tune.process import end_loading
    from l2tune.report.dashboard import serve
    from l2tune.search.storage import load_study, open_storage

    end_loading()
    check_path(artifacts, "--artifacts")
    opened = open_storage(storage, must_exist=True)
    names = optuna.get_all_study_names(opened)
    if study is not None and study not in names:
        load_study(opened, study)  # names those that there are
    shown = study if study is not None else names[0] if len(names) == 1 else None
    number = None if shown is None else opened.get_study_id_from_name(shown)
    # the dashboard keeps a cache of its own, and asks which kind of storage it is
    serve(opened.backend, artifacts, port=port, study=number, browse=open)
