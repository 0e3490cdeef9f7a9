"""`l2tune show`: a study's verdict and curve."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from l2tune.commands.flags import OwnParameter, OwnScale


def show_command(
    study: Annotated[str, Parameter(help="Name of the study")],
    /,
    *,
    storage: Annotated[str, Parameter(help="Storage of the search")] = "sqlite:///l2tune.db",
    parameter: OwnParameter = None,
    scale: OwnScale = None,
) -> None:
    """Print a study's verdict and curve. Nothing is trained or written."""
    from l2tune.commands.results import print_verdict
    from l2tune.records.observations import observations
    from l2tune.records.parameter import parameter_of
    from l2tune.search.storage import load_study, open_storage
    from l2tune.tradeoff import Tradeoff

    found = load_study(open_storage(storage, must_exist=True), study)
    scored = len(observations(found, parameter_of(found, parameter, scale)).cost)
    print_verdict(Tradeoff.from_study(found, parameter=parameter, scale=scale) if scored else None)
