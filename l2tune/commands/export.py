"""`l2tune export`: a study's tables, for other tools."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from l2tune.commands.flags import OwnParameter, OwnScale


def export_command(
    study: Annotated[str, Parameter(help="Name of the study")],
    /,
    *,
    storage: Annotated[str, Parameter(help="Storage of the search", env_var="L2TUNE_STORAGE")] = "sqlite:///l2tune.db",
    parameter: OwnParameter = None,
    scale: OwnScale = None,
    out: Annotated[str | None, Parameter(help="Folder for the tables (default: runs/STUDY/tables)")] = None,
    format: Annotated[
        Literal["csv", "parquet"], Parameter(help="Of the tables; parquet needs l2tune[parquet]")
    ] = "csv",
) -> None:
    """Write a study's tables for other tools: fits, epochs, trials, λ, layers, final networks. Nothing is trained."""
    from pathlib import Path

    from l2tune.commands.results import check_folder, unwritten
    from l2tune.errors import UserError
    from l2tune.given import results_folder
    from l2tune.records.comparison import comparison_studies, is_comparison
    from l2tune.report.export import table_bytes, tables
    from l2tune.search.storage import load_study, open_storage
    from l2tune.terminal_text import printable
    from l2tune.tradeoff import Tradeoff
    from l2tune.whole_files import write_together

    opened = open_storage(storage, must_exist=True)
    if is_comparison(opened, study):
        names = ", ".join(repr(one.study_name) for one in comparison_studies(opened, study).values())
        raise UserError("is a comparison of several studies", repr(study), f"export them one by one: {names}")
    found = load_study(opened, study)
    folder = out or str(Path(results_folder(study)) / "tables")
    check_folder(folder, room=0)
    tradeoff = Tradeoff.from_study(found, parameter=parameter, scale=scale)
    contents = {f"{name}.{format}": table_bytes(table, format) for name, table in tables(tradeoff).items()}
    try:
        files = write_together(Path(folder), contents)
    except OSError as error:
        raise unwritten(error, f"--out {folder}", "the study is kept", f"`l2tune export {study}`") from None
    for file in files:
        print(printable(str(file)))
