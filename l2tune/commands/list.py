"""`l2tune list`: the studies in a storage."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    import optuna

_COLUMNS = ("study", "trials", "running", "best λ", "value", "metric", "better", "begun")


def list_command(
    *,
    storage: Annotated[
        str, Parameter(help="Storage of the searches", env_var="L2TUNE_STORAGE")
    ] = "sqlite:///l2tune.db",
) -> None:
    """List the studies in a storage: trials, the best λ of a complete trial and its value, and when it began.

    The studies of a comparison stand below its name.
    """
    import optuna
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from l2tune.records.comparison import comparison_names, comparison_studies
    from l2tune.search.storage import open_storage
    from l2tune.storage_url import without_password
    from l2tune.terminal_text import one_line, readable

    opened = open_storage(storage, must_exist=True)
    names = optuna.get_all_study_names(opened)
    if not names:
        print(one_line(f"No study in {without_password(storage)}."))
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)

    def cell(text: str) -> Text:
        """As it is: a name such as `[bold]` is no markup."""
        return Text(readable(one_line(text), console.encoding))

    table = Table(box=None, pad_edge=False)
    compared = comparison_names(opened)
    for title in _COLUMNS:
        table.add_column(cell(title), no_wrap=title == "study")  # which other commands take
    for name in names:
        if name not in compared:
            table.add_row(*map(cell, _row(optuna.load_study(study_name=name, storage=opened))))
    for comparison in dict.fromkeys(compared.values()):
        table.add_row(cell(f"{comparison} (comparison)"))
        for study in comparison_studies(opened, comparison).values():
            first, *others = map(cell, _row(study))
            table.add_row(Text("  ") + first, *others)
    console.print(table)


def _row(study: optuna.Study) -> tuple[str, ...]:
    """A study's cells; – for what is not known of it."""
    trials = study.get_trials(deepcopy=False)
    starts = [t.datetime_start for t in trials if t.datetime_start]
    return (
        study.study_name,
        str(sum(t.state.is_finished() for t in trials)),
        str(sum(t.state.name == "RUNNING" for t in trials)),
        *_best(study),
        f"{min(starts):%Y-%m-%d %H:%M}" if starts else "–",
    )


def _best(study: optuna.Study) -> tuple[str, str, str, str]:
    """λ of the best complete trial, its value, the metric, and which values are better."""
    import math

    from l2tune.analysis.wording import amount
    from l2tune.errors import UserError
    from l2tune.penalty.strength import format_lambda
    from l2tune.records.check import check_stored
    from l2tune.records.observations import strength_of
    from l2tune.records.parameter import parameter_of
    from l2tune.records.study import check_schema, is_described, metric_of
    from l2tune.report.labels import own_name, own_written

    try:
        check_schema(study)
    except UserError:
        return "–", "–", "written by another version", "–"
    try:
        check_stored(study)
        metric, parameter = metric_of(study), parameter_of(study)
    except UserError:
        return "–", "–", "written by another program", "–"
    if len(study.directions) > 1:
        return "–", "–", metric.name if is_described(study) else "–", "two objectives"
    named = metric.name if is_described(study) or study.metric_names else "–"
    complete = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE" and t.values is not None]
    complete = [t for t in complete if math.isfinite(t.values[0])]
    best = min(complete, key=lambda t: metric.cost(t.values[0]), default=None)
    if best is None:
        return "–", "–", named, metric.better
    strength = None if parameter is None else strength_of(best, parameter)
    written = "–" if strength is None else format_lambda(strength)
    if strength is not None and parameter is not None and parameter.scale.name != "lambda":
        written += f" ({own_name(parameter)} {own_written(parameter, strength)})"
    return written, amount(best.values[0], metric), named, metric.better
