"""`l2tune show`: a study's verdict and curve, or a comparison's forms side by side."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from l2tune.commands.flags import AsJson, OwnParameter, OwnScale


def show_command(
    study: Annotated[str, Parameter(help="Name of the study, or of the comparison")],
    /,
    *,
    storage: Annotated[str, Parameter(help="Storage of the search", env_var="L2TUNE_STORAGE")] = "sqlite:///l2tune.db",
    parameter: OwnParameter = None,
    scale: OwnScale = None,
    as_json: AsJson = False,
    sentence: Annotated[
        Literal["text", "md", "tex"] | None,
        Parameter(help="Print only the result for a paper: as text, Markdown or LaTeX"),
    ] = None,
) -> None:
    """Print a study's verdict and curve, or a comparison's forms side by side. Nothing is trained or written.

    JSON is what `l2tune report` writes into `results.json`, or `compare.json`.
    """
    from l2tune.commands.results import analysed, print_bytes, print_comparison, print_verdict
    from l2tune.errors import UserError
    from l2tune.records.comparison import is_comparison
    from l2tune.records.observations import observations
    from l2tune.records.parameter import parameter_of
    from l2tune.search.storage import load_study, open_storage
    from l2tune.tradeoff import Tradeoff

    if as_json and sentence is not None:
        raise UserError("was given beside --json", f"--sentence {sentence}", "give one of them")
    opened = open_storage(storage, must_exist=True)
    if is_comparison(opened, study):
        given = {"--parameter": parameter, "--scale": scale, f"--sentence {sentence}": sentence}
        idle = next((name for name, value in given.items() if value is not None), None)
        if idle:
            raise UserError("is for one study, and this is a comparison of several", idle, "leave it out")
        compared = analysed(opened, study)
        if as_json:
            from l2tune.report.comparison_files import comparison_json

            print_bytes(None if compared is None else comparison_json(compared), f"comparison {study!r}")
        else:
            print_comparison(compared)
        return
    found = load_study(opened, study)
    scored = len(observations(found, parameter_of(found, parameter, scale)).cost)
    tradeoff = Tradeoff.from_study(found, parameter=parameter, scale=scale) if scored else None
    if as_json:
        from l2tune.report.tables import results_json

        print_bytes(None if tradeoff is None else results_json(tradeoff), f"study {study!r}")
    elif sentence is not None:
        text = None if tradeoff is None else f"{tradeoff.sentence(sentence)}\n".encode("utf-8", "backslashreplace")
        print_bytes(text, f"study {study!r}")
    else:
        print_verdict(tradeoff)
