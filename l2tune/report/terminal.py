"""The verdict and a small curve for a terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap

import numpy as np

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.findings import verdict
from l2tune.analysis.wording import amounts
from l2tune.curve.regularization_curve import RegularizationCurve
from l2tune.penalty.strength import format_lambda
from l2tune.report.labels import metric_title
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
    if tradeoff.curve is not None and len(tradeoff.record.observations.tried):
        drawn += "\n" + "\n".join(_draw(tradeoff, tradeoff.curve, width, ascii_only)) + "\n"
    return readable(drawn, encoding)


def _draw(tradeoff: Estimates, curve: RegularizationCurve, width: int, ascii_only: bool) -> list[str]:
    """Expected validation metric over log λ, each strength tried, and where it overfits and underfits.

    More is drawn higher, whether that is better or worse.
    """
    metric = tradeoff.metric
    columns = max(20, width - 10)
    strengths = np.geomspace(curve.low, curve.high, columns)
    values = curve.mean(strengths)
    # the means of a λ that lacks folds lie off the curve by the luck of the folds it has
    shown = tradeoff.strengths[tradeoff.strengths["complete"]]
    low = min([values.min(), *metric.cost(shown["validation"].to_numpy(float))])
    best_cost = metric.cost(tradeoff.best_value)
    reach = 3 * best_cost if metric.kind != "real" and best_cost > 0 else 4 * float(np.median(values) - low)
    high = max(min(values.max(), low + reach), low + 1e-9 * max(1.0, abs(low)))
    height = np.log if metric.kind == "positive" and not metric.maximize and low > 0 else np.asarray

    def row(cost: float) -> int:
        badness = (height(min(max(cost, low), high)) - height(low)) / (height(high) - height(low))
        return round(float(badness if metric.maximize else 1 - badness) * (_ROWS - 1))

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
    bottom, top = amounts(sorted(metric.score(float(end)) for end in (low, high)), metric)
    labels, margin = {0: top, _ROWS - 1: bottom}, max(8, len(top), len(bottom))
    lines = [f"{labels.get(i, ''):>{margin}} |{''.join(cell).rstrip()}" for i, cell in enumerate(cells)]
    lines.append(" " * margin + " +" + "-" * columns)
    ends = f"{format_lambda(curve.low)}{format_lambda(curve.high):>{columns - len(format_lambda(curve.low))}}"
    lines.append(" " * (margin + 2) + ends)
    band = ["-"] * columns
    for column, strength in enumerate(strengths):
        band[column] = "<" if strength < tradeoff.band[0] else ">" if strength > tradeoff.band[1] else "="
    lines.append(" " * (margin + 2) + "".join(band))
    legend = (
        f"validation {metric_title(metric, direction=True)} over λ; "
        "< overfits, = within one standard error of the best, > underfits"
    )
    legend = readable(legend, "ascii" if ascii_only else "utf-8")
    return lines + [" " * (margin + 2) + line for line in textwrap.wrap(legend, columns)]
