"""`l2tune report`: the results of a study or a comparison again, from storage alone."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from l2tune.commands.flags import OwnParameter, OwnScale


def report_command(
    study: Annotated[str, Parameter(help="Name of the study, or of the comparison")],
    /,
    *,
    storage: Annotated[str, Parameter(help="Storage of the search", env_var="L2TUNE_STORAGE")] = "sqlite:///l2tune.db",
    parameter: OwnParameter = None,
    scale: OwnScale = None,
    out: Annotated[str | None, Parameter(help="Folder for the results (default: runs/STUDY)")] = None,
    format: Annotated[
        tuple[Literal["html", "json", "csv", "svg", "png", "md", "tex"], ...],
        Parameter(
            help="What to write: the page, the numbers, trials and curve, a picture of each figure (svg and png need "
            "l2tune[png] and Chromium or Chrome), the result in a sentence for a paper (Markdown, LaTeX)",
            consume_multiple=True,
            negative=(),
        ),
    ] = ("html", "json", "csv"),
) -> None:
    """Write a study's or a comparison's results again, from its storage alone. Nothing is trained."""
    from l2tune.commands.results import (
        check_folder,
        print_comparison,
        print_verdict,
        write_comparison_results,
        write_results,
    )
    from l2tune.errors import UserError
    from l2tune.given import results_folder
    from l2tune.records.comparison import is_comparison
    from l2tune.search.storage import load_study, open_storage

    opened = open_storage(storage, must_exist=True)
    if is_comparison(opened, study):
        given: dict[str, object] = {"--parameter": parameter, "--scale": scale}
        given |= {f"--format {name}": name for name in format if name not in ("html", "json", "csv")}
        idle = next((name for name, value in given.items() if value is not None), None)
        if idle:
            raise UserError("is for one study, and this is a comparison of several", idle, "leave it out")
        folder = out or results_folder(study)
        check_folder(folder, room=0)
        print_comparison(write_comparison_results(opened, study, folder), folder)
        return
    found = load_study(opened, study)
    folder = out or results_folder(study)
    check_folder(folder, room=0)
    tradeoff = write_results(found, folder, format, parameter=parameter, scale=scale)
    print_verdict(tradeoff, folder if tradeoff and "html" in format else None)
