"""A comparison in a terminal: the verdict, and a small table."""

from __future__ import annotations

import math
import shutil
import sys
import textwrap

from l2tune.analysis.comparison import BASELINE, Comparison, form_title
from l2tune.analysis.comparison_findings import comparison_verdict
from l2tune.analysis.wording import percentage
from l2tune.metrics import BUILT_IN
from l2tune.report.labels import UNKNOWN, metric_title, scores_column, strengths_column
from l2tune.terminal_text import printable, readable


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
    text = "\n".join(textwrap.wrap(readable(comparison_verdict(c), encoding), width))
    return readable(printable(f"{text}\n\n{_table(c)}\n"), encoding)


def _table(c: Comparison) -> str:
    rows = [row for row in c.table.to_dict("records") if row["penalty"] != BASELINE or c.baseline is not None]

    def column(name: str) -> list[float]:
        return [float(row[name]) for row in rows]

    left = [
        UNKNOWN if math.isnan(n) else f"{n:,.0f} ({percentage(n / total)})"
        for n, total in zip(column("one_se_nonzero"), column("one_se_parameters"), strict=True)
    ]
    columns = {
        "": [form_title(str(row["penalty"])) for row in rows],
        "λ_best": strengths_column(column("best_lambda")),
        "λ_1se": strengths_column(column("one_se_lambda")),
        "validation": scores_column(column("best_value"), c.metric, column("best_standard_error")),
        "zeros": [UNKNOWN if math.isnan(v) else "none" if v == 0 else percentage(v) for v in column("one_se_zeros")],
        "numbers left": left,
        "test loss": scores_column(column("one_se_test_loss"), BUILT_IN["loss"]),
        "test error (%)": scores_column(column("one_se_test_error"), BUILT_IN["error"]),
    }
    widths = {head: max(map(len, [head, *cells])) for head, cells in columns.items()}
    lines = ["  ".join(head.rjust(size) for head, size in widths.items())]
    for place in range(len(rows)):
        texts = {head: cells[place] for head, cells in columns.items()}
        lines.append("  ".join(f"{t:>{widths[head]}}" if head else f"{t:<{widths[head]}}" for head, t in texts.items()))
    title = f"Validation {metric_title(c.metric)} at λ_best; zeros and the network trained on all images at λ_1se:"
    return "\n".join([title, *lines])
