"""The verdict and a small curve for a terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap

import numpy as np

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.findings import verdict
from l2tune.curve.regularization_curve import RegularizationCurve
from l2tune.penalty.strength import format_lambda
from l2tune.terminal_text import readable

_ROWS = 9


def render(tradeoff: Estimates, width: int | None = None, *, ascii_only: bool | None = None) -> str:
    """Verdict and curve as text.

    Args:
        width: Columns; of the terminal by default.
        ascii_only: Draw with ASCII signs; by default where the output cannot show others.
    """
    width = width or min(shutil.get_terminal_size().columns, 100)
    if ascii_only is None:
        ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    encoding = "ascii" if ascii_only else "utf-8"
    text = "\n".join(textwrap.wrap(readable(verdict(tradeoff), encoding), width))
    drawn = text + "\n"
    if tradeoff.curve is not None:
        drawn += "\n" + "\n".join(_draw(tradeoff, tradeoff.curve, width, ascii_only)) + "\n"
    return readable(drawn, encoding)


def _draw(tradeoff: Estimates, curve: RegularizationCurve, width: int, ascii_only: bool) -> list[str]:
    """Expected validation metric over log λ, each strength tried, and where it overfits and underfits."""
    metric = tradeoff.metric
    columns = max(20, width - 10)
    strengths = np.geomspace(curve.low, curve.high, columns)
    values = curve.mean(strengths)  # costs: less is better, and drawn lower
    # the means of a λ that lacks folds lie off the curve by the luck of the folds it has
    shown = tradeoff.strengths[tradeoff.strengths["complete"]]
    low = min([values.min(), *metric.cost(shown["validation"].to_numpy(float))])
    best_cost = metric.cost(tradeoff.best_value)
    reach = 3 * best_cost if metric.kind != "real" and best_cost > 0 else 4 * float(np.median(values) - low)
    high = max(min(values.max(), low + reach), low + 1e-9)
    height = np.log if metric.kind == "positive" and not metric.maximize and low > 0 else np.asarray

    def row(value: float) -> int:
        share = (height(min(max(value, low), high)) - height(low)) / (height(high) - height(low))
        return round(float((1 - share) * (_ROWS - 1)))

    cells = [[" "] * columns for _ in range(_ROWS)]
    line, point, best = (".", "o", "*") if ascii_only else ("·", "o", "●")
    for column, value in enumerate(values):
        if value <= high:
            cells[row(float(value))][column] = line
    for _, one in shown[shown["lambda"] > 0].iterrows():
        column = int(np.abs(np.log(strengths / one["lambda"])).argmin())
        cost = metric.cost(float(one["validation"]))
        if cost <= high:
            cells[row(cost)][column] = best if one["lambda"] == tradeoff.best_lambda else point
    labels = {0: f"{metric.score(high):.3g}", _ROWS - 1: f"{metric.score(low):.3g}"}
    lines = [f"{labels.get(i, ''):>8} |{''.join(cell).rstrip()}" for i, cell in enumerate(cells)]
    lines.append(" " * 8 + " +" + "-" * columns)
    ends = f"{format_lambda(curve.low)}{format_lambda(curve.high):>{columns - len(format_lambda(curve.low))}}"
    lines.append(" " * 10 + ends)
    band = ["-"] * columns
    for column, strength in enumerate(strengths):
        band[column] = "<" if strength < tradeoff.band[0] else ">" if strength > tradeoff.band[1] else "="
    lines.append(" " * 10 + "".join(band))
    turned = " (better is lower here)" if metric.maximize else ""
    legend = f"validation {metric} over λ{turned}; < overfits, = within one standard error of the best, > underfits"
    return lines + [
        " " * 10 + line for line in textwrap.wrap(readable(legend, "ascii" if ascii_only else "utf-8"), columns)
    ]
