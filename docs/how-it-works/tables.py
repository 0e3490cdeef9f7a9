"""The tables of `measured.md`: rows and columns of `studies/benchmarks/results/*.md`, number by number as in them.

python docs/how-it-works/tables.py
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "studies/benchmarks/results"

Row = dict[str, str]


def tables(name: str) -> dict[str, list[Row]]:
    """Heading → rows of the table below it."""
    found: dict[str, list[Row]] = {}
    heading, columns = "", []
    for line in (RESULTS / f"{name}.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading, columns = line.lstrip("# "), []
        elif not line.startswith("|"):
            columns = []
        elif not columns:
            columns = _cells(line)
        elif not set(line) <= set("|-: "):
            found.setdefault(heading, []).append(dict(zip(columns, _cells(line), strict=True)))
    return found


def write(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """A table of these columns."""
    lines = [list(columns), ["---", *["---:"] * (len(columns) - 1)]]
    lines += [[row[column] for column in columns] for row in rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def searches() -> str:
    """What l2tune finds on each recording."""
    wanted = ("recording", "fits", "most fits", "gain", "gain 5%", "test gain", "regret", "within 1 se", "coverage")
    rows = [{"recording": recording} | _of(strategies, "l2tune") for recording, strategies in _recordings().items()]
    return write(wanted, rows)


def rivals() -> str:
    """The gain of several strategies after 25 fits on each recording."""
    names = ("l2tune", "smac", "grid, anova race", "grid, forgiving stopping", "gp, none", "tpe, none", "tpe, median")
    rows = [
        {"recording": recording} | {name: _of(strategies, name)["gain at 25"] for name in names}
        for recording, strategies in _recordings().items()
    ]
    return write(["recording", *names], rows)


def early_epochs() -> str:
    """How early epochs rank the λ, beside the last."""
    [(_, rows)] = [(heading, rows) for heading, rows in tables("search-loss").items() if heading.startswith("Rank")]
    return write(list(rows[0]), rows)


def judged() -> str:
    """Searches by error, judged by other images."""
    wanted = "recording", "searches", "within 1 se", "regret", "worst", "coverage", "decades", "gain", "fits", "claims"
    rows = [row for row in tables("judged-error")["Searches"] if row["strategy"] == "l2tune"]
    return write(wanted, rows)


def workers() -> str:
    """How many workers pay, simulated."""
    wanted = ("workers", "settled", "fits", "speed-up", "efficiency", "within 1 se", "settled at all")
    rows = tables("workers")["How many workers pay: simulated searches"]
    return write(wanted, rows)


def scikit_learn() -> str:
    """Beside scikit-learn's searches."""
    rows = tables("scikit-learn")["RegularizationSearchCV beside scikit-learn's searches"]
    return write(list(rows[0]), rows)


TABLES = {
    "searches": searches,
    "rivals": rivals,
    "early-epochs": early_epochs,
    "judged": judged,
    "workers": workers,
    "scikit-learn": scikit_learn,
}
"""File name → what it holds."""


def _recordings() -> dict[str, list[Row]]:
    return {heading: rows for heading, rows in tables("search-loss").items() if "strategy" in rows[0]}


def _of(strategies: list[Row], name: str) -> Row:
    return next(row for row in strategies if row["strategy"] == name)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


if __name__ == "__main__":
    (HERE / "tables").mkdir(exist_ok=True)
    for name, make in TABLES.items():
        (HERE / "tables" / f"{name}.md").write_text(make(), encoding="utf-8")
