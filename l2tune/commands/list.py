"""`l2tune list`: the studies in a storage."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from l2tune.commands.flags import AsJson

if TYPE_CHECKING:
    import optuna

_COLUMNS = ("study", "trials", "running", "best λ", "value", "metric", "better", "begun")


@dataclass(frozen=True)
class ListedStudy:
    """What is told of a study; None for what is not known.

    Attributes:
        comparison: That it belongs to.
        best: λ of the best complete trial as it is shown.
        shown: Its value as it is shown.
        begun: Local time of its first trial.
        problem: Why nothing is known of it.
    """

    study: str
    comparison: str | None
    trials: int
    running: int
    begun: str | None
    best_lambda: float | None = None
    best: str | None = None
    value: float | None = None
    shown: str | None = None
    metric: str | None = None
    better: str | None = None
    problem: str | None = None

    def cells(self) -> tuple[str, ...]:
        known = self.best, self.shown, self.problem or self.metric, self.better, self.begun
        return self.study, str(self.trials), str(self.running), *(text or "–" for text in known)

    def plain(self) -> dict[str, object]:
        """As JSON has it."""
        return {name: value for name, value in asdict(self).items() if name not in ("best", "shown")}


def list_command(
    *,
    storage: Annotated[
        str, Parameter(help="Storage of the searches", env_var="L2TUNE_STORAGE")
    ] = "sqlite:///l2tune.db",
    as_json: AsJson = False,
) -> None:
    """List the studies in a storage: trials, the best λ of a complete trial and its value, and when it began.

    The studies of a comparison stand below its name.
    """
    import json

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
    compared = comparison_names(opened)

    def listed(study: optuna.Study) -> ListedStudy:
        return listed_study(study, compared.get(study.study_name))

    if as_json:
        studies = [listed(optuna.load_study(study_name=name, storage=opened)).plain() for name in names]
        print(json.dumps(studies, indent=2))
        return
    if not names:
        print(one_line(f"No study in {without_password(storage)}."))
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)

    def cell(text: str) -> Text:
        """As it is: a name such as `[bold]` is no markup."""
        return Text(readable(one_line(text), console.encoding))

    table = Table(box=None, pad_edge=False)
    for title in _COLUMNS:
        table.add_column(cell(title), no_wrap=title == "study")  # which other commands take
    for name in names:
        if name not in compared:
            table.add_row(*map(cell, listed(optuna.load_study(study_name=name, storage=opened)).cells()))
    for comparison in dict.fromkeys(compared.values()):
        table.add_row(cell(f"{comparison} (comparison)"))
        for study in comparison_studies(opened, comparison).values():
            first, *others = map(cell, listed(study).cells())
            table.add_row(Text("  ") + first, *others)
    console.print(table)


def listed_study(study: optuna.Study, comparison: str | None = None) -> ListedStudy:
    """What is told of a study.

    Args:
        comparison: That it belongs to.
    """
    import math
    from dataclasses import replace

    from l2tune.analysis.wording import amount
    from l2tune.errors import UserError
    from l2tune.penalty.strength import format_lambda
    from l2tune.records.check import check_stored
    from l2tune.records.observations import strength_of
    from l2tune.records.parameter import parameter_of
    from l2tune.records.study import check_schema, is_described, metric_of
    from l2tune.report.labels import own_name, own_written

    trials = study.get_trials(deepcopy=False)
    starts = [t.datetime_start for t in trials if t.datetime_start]
    found = ListedStudy(
        study.study_name,
        comparison,
        trials=sum(t.state.is_finished() for t in trials),
        running=sum(t.state.name == "RUNNING" for t in trials),
        begun=f"{min(starts):%Y-%m-%d %H:%M}" if starts else None,
    )
    try:
        check_schema(study)
    except UserError:
        return replace(found, problem="written by another version")
    try:
        check_stored(study)
        metric, parameter = metric_of(study), parameter_of(study)
    except UserError:
        return replace(found, problem="written by another program")
    if len(study.directions) > 1:
        return replace(found, metric=metric.name if is_described(study) else None, better="two objectives")
    found = replace(
        found, metric=metric.name if is_described(study) or study.metric_names else None, better=metric.better
    )
    complete = [t for t in trials if t.state.name == "COMPLETE" and t.values is not None]
    complete = [t for t in complete if math.isfinite(t.values[0])]
    best = min(complete, key=lambda t: metric.cost(t.values[0]), default=None)
    if best is None:
        return found
    found = replace(found, value=best.values[0], shown=amount(best.values[0], metric))
    strength = None if parameter is None else strength_of(best, parameter)
    if strength is None or parameter is None:
        return found
    written = format_lambda(strength)
    if parameter.scale.name != "lambda":
        written += f" ({own_name(parameter)} {own_written(parameter, strength)})"
    return replace(found, best_lambda=strength, best=written)
