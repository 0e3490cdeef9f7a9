"""`l2tune show`: a study's verdict and curve, or a comparison's forms side by side."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from l2tune.commands.flags import OwnParameter, OwnScale


def show_command(
    study: Annotated[str, Parameter(help="Name of the study, or of the comparison")],
    /,
    *,
    storage: Annotated[str, Parameter(help="Storage of the search", env_var="L2TUNE_STORAGE")] = "sqlite:///l2tune.db",
    parameter: OwnParameter = None,
    scale: OwnScale = None,
) -> None:
    """Print a study's verdict and curve, or a comparison's forms side by side. Nothing is trained or written."""
    from l2tune.commands.results import analysed, print_comparison, print_verdict
    from l2tune.errors import UserError
    from l2tune.records.comparison import is_comparison
    from l2tune.records.observations import observations
    from l2tune.records.parameter import parameter_of
    from l2tune.search.storage import load_study, open_storage
    from l2tune.tradeoff import Tradeoff

    opened = open_storage(storage, must_exist=True)
    if is_comparison(opened, study):
        if parameter is not None or scale is not None:
            where = "--scale" if parameter is None else "--parameter"
            raise UserError("is for one study, and this is a comparison of several", where, "leave it out")
        print_comparison(analysed(opened, study))
        return
    found = load_study(opened, study)
    scored = len(observations(found, parameter_of(found, parameter, scale)).cost)
    print_verdict(Tradeoff.from_study(found, parameter=parameter, scale=scale) if scored else None)
