"""`l2tune show`: a study's verdict and curve."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter


def show_command(
    study: Annotated[str, Parameter(help="Name of the study")],
    /,
    *,
    storage: Annotated[str, Parameter(help="Storage of the search")] = "sqlite:///l2tune.db",
) -> None:
    """Print a study's verdict and curve. Nothing is trained or written."""
    from l2tune.commands.results import print_verdict
    from l2tune.records.observations import observations
    from l2tune.search.storage import load_study, open_storage
    from l2tune.tradeoff import Tradeoff

    found = load_study(open_storage(storage, must_exist=True), study)
    print_verdict(Tradeoff.from_study(found) if len(observations(found).cost) else None)
