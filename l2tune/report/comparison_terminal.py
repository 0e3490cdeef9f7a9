"""A comparison in a terminal: the verdict, and a small table."""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence

from l2tune.analysis.comparison import BASELINE, Comparison, form_title
from l2tune.analysis.comparison_findings import comparison_verdict
from l2tune.analysis.wording import percentage
from l2tune.metrics import BUILT_IN
from l2tune.report.labels import UNKNOWN, metric_title, scores_column, strengths_column
from l2tune.terminal_text import one_line, readable


def render_terminal(c: Comparison, width: int | None = None, *, ascii_only: bool | None = None) -> str:
    """Verdict and table as text.

    Args:
        width: Columns; of the terminal by default, 100 at most.
        ascii_only: Use ASCII signs; by default where the output cannot show others.
    """
    width = width or min(shutil.get_terminal_size().columns, 100)
    if ascii_only is None:
        ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    encoding = "ascii" if ascii_only else "utf-8"
    text = "\n".join(textwrap.wrap(_cell(comparison_verdict(c), encoding), width))
    return f"{text}\n\n{_table(c, width, encoding)}\n"


def _table(c: Comparison, width: int, encoding: str) -> str:
    """What each form has, a row each; columns that the terminal is too narrow for follow below."""
    rows = [row for row in c.table.to_dict("records") if row["penalty"] != BASELINE or c.baseline is not None]

    def column(name: str) -> list[float]:
        return [float(row[name]) for row in rows]

    left = [
        UNKNOWN if math.isnan(n) else f"{n:,.0f} ({percentage(n / total)})"
        for n, total in zip(column("one_se_nonzero"), column("one_se_parameters"), strict=True)
    ]
    errors = scores_column(column("one_se_test_error"), BUILT_IN["error"])
    columns = {
        "": [form_title(str(row["penalty"])) for row in rows],
        "λ_best": strengths_column(column("best_lambda")),
        "λ_1se": strengths_column(column("one_se_lambda")),
        "validation": scores_column(column("best_value"), c.metric, column("best_standard_error")),
        "zeros": [_zeros(*both) for both in zip(column("best_zeros"), column("one_se_zeros"), strict=True)],
        "numbers left": left,
        "test loss": scores_column(column("one_se_test_loss"), BUILT_IN["loss"]),
        "test error": [text if text == UNKNOWN else f"{text} %" for text in errors],
    }
    shown = {_cell(head, encoding): [_cell(text, encoding) for text in cells] for head, cells in columns.items()}
    what = f"Validation {metric_title(c.metric)} at λ_best; zeros at λ_best → λ_1se"
    title = f"{what}; the network trained on all images at λ_1se:"
    lines = textwrap.wrap(_cell(title, encoding), width)
    for place, block in enumerate(_blocks(shown, width)):
        lines += [""] * (place > 0) + block
    return "\n".join(lines)


def _zeros(best: float, one_se: float) -> str:
    """`74 → 83 %`; one share where both are written alike."""
    first, last = (UNKNOWN if math.isnan(v) else "none" if v == 0 else percentage(v) for v in (best, one_se))
    if first == last:
        return last
    return f"{first.removesuffix(' %') if last.endswith(' %') else first} → {last}"


def _blocks(columns: Mapping[str, Sequence[str]], width: int) -> list[list[str]]:
    """The table's lines, in as many parts as it takes to be no wider; each has the first column."""
    widths = {head: max(map(len, [head, *cells])) for head, cells in columns.items()}
    first, *others = columns
    parts: list[list[str]] = [[]]
    for head in others:
        if parts[-1] and widths[first] + sum(2 + widths[other] for other in (*parts[-1], head)) > width:
            parts.append([])
        parts[-1].append(head)
    return [
        [
            "  ".join(
                [names.ljust(widths[first]), *(cell.rjust(widths[h]) for h, cell in zip(part, cells, strict=True))]
            )
            for names, *cells in zip(*([head, *columns[head]] for head in (first, *part)), strict=True)
        ]
        for part in parts
    ]


def _cell(text: str, encoding: str) -> str:
    """As the terminal shows it, so that its width is known."""
    return readable(one_line(text), encoding)
