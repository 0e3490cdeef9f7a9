"""The verdict and a small curve for a terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap

from rich.text import Text

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.findings import verdict
from l2tune.report.terminal_chart import Chart
from l2tune.terminal_text import printable, readable

_WIDEST = 100


def render(tradeoff: Estimates, width: int | None = None, *, ascii_only: bool | None = None) -> str:
    """Verdict and curve as text.

    Args:
        width: Columns; of the terminal by default.
        ascii_only: Draw with ASCII signs; by default where the output cannot show others.
    """
    return render_styled(tradeoff, width, ascii_only=ascii_only).plain


def render_styled(tradeoff: Estimates, width: int | None = None, *, ascii_only: bool | None = None) -> Text:
    """The same with its colours."""
    width = width or min(shutil.get_terminal_size().columns, _WIDEST)
    if ascii_only is None:
        ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    encoding = "ascii" if ascii_only else "utf-8"
    lines = [*map(Text, textwrap.wrap(printable(readable(verdict(tradeoff), encoding)), width))]
    chart = Chart.of(tradeoff)
    if chart is not None:
        lines += [Text(), *chart.draw(width, ascii_only=ascii_only)]
    return Text("\n").join([*lines, Text()])
