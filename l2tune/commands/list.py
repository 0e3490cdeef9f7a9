"""`l2tune list`: the studies in a storage."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter


def list_command(
    *,
    storage: Annotated[str, Parameter(help="Storage of the searches")] = "sqlite:///l2tune.db",
) -> None:
    """List the studies in a storage: trials, the best λ of a complete trial and its value, and when it began."""
    import optuna
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from l2tune.penalty.strength import format_lambda
    from l2tune.records.observations import strength_of
    from l2tune.records.parameter import DEFAULT, parameter_of
    from l2tune.records.study import is_described, metric_of
    from l2tune.search.storage import open_storage
    from l2tune.storage_url import without_password
    from l2tune.terminal_text import one_line, readable

    opened = open_storage(storage, must_exist=True)
    names = optuna.get_all_study_names(opened)
    if not names:
        print(one_line(f"No study in {without_password(storage)}."))
        return
    console = Console(highlight=False)

    def cell(text: str) -> Text:
        """As it is: a name such as `[bold]` is no markup."""
        return Text(readable(one_line(text), console.encoding))

    table = Table(box=None, pad_edge=False)
    for title in ("study", "trials", "running", "best λ", "value", "metric", "begun"):
        table.add_column(cell(title))
    for name in names:
        study = optuna.load_study(study_name=name, storage=opened)
        trials = study.get_trials(deepcopy=False)
        complete = [t for t in trials if t.state.name == "COMPLETE" and t.values is not None and len(t.values) == 1]
        metric, parameter = metric_of(study), parameter_of(study) or DEFAULT
        best = min(complete, key=lambda t: metric.cost(t.values[0]), default=None)
        strength = strength_of(best, parameter) if best else None
        starts = [t.datetime_start for t in trials if t.datetime_start]
        row = (
            name,
            str(sum(t.state.is_finished() for t in trials)),
            str(sum(t.state.name == "RUNNING" for t in trials)),
            format_lambda(strength) if strength is not None else "–",
            f"{best.values[0]:.4g}" if best else "–",
            metric.name if is_described(study) else "",
            f"{min(starts):%Y-%m-%d %H:%M}" if starts else "–",
        )
        table.add_row(*map(cell, row))
    console.print(table, width=None if console.is_terminal else 200)
