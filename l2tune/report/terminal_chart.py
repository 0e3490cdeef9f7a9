"""The curve of validation over λ in plain characters; colours repeat what the characters tell."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from l2tune.analysis.wording import amounts
from l2tune.curve.choice import balanced_band
from l2tune.curve.regularization_curve import RegularizationCurve
from l2tune.metrics import Metric
from l2tune.penalty.strength import format_lambda
from l2tune.report.colors import BALANCED, BASELINE, BEST, OVERFITS, UNDERFITS, VALIDATION
from l2tune.report.labels import metric_title
from l2tune.search.state import SearchState
from l2tune.terminal_text import one_line, readable

if TYPE_CHECKING:
    from l2tune.analysis.estimates import Estimates

ROWS = 9
LEAST_WIDTH = 40
"""Columns that a chart needs."""

_MARGIN = 8


@dataclass(frozen=True, slots=True)
class Signs:
    """What is drawn with; every meaning has a sign of its own, so that none needs colour."""

    curve: str = "·"
    tried: str = "o"
    best: str = "●"
    line: str = "─"
    tick: str = "┴"
    corner: str = "└"
    side: str = "│"
    left: str = "├"
    right: str = "┤"


_ASCII = Signs(curve=".", best="*", line="-", tick="|", corner="+", side="|", left="[", right="]")


@dataclass(frozen=True)
class Chart:
    """What is drawn.

    Attributes:
        metric: Whose scores.
        curve: Expected cost over λ.
        complete: λ → mean cost of those that have all folds, λ = 0 among them if it was run.
        tried: All λ above 0 that have a fold.
        best: λ_best and its cost; None as long as none that was run can be named.
        interval: 95 % credible interval of the minimizer.
        band: Balanced λ.
    """

    metric: Metric
    curve: RegularizationCurve
    complete: Mapping[float, float]
    tried: tuple[float, ...]
    best: tuple[float, float] | None
    interval: tuple[float, float]
    band: tuple[float, float]

    @classmethod
    def of(cls, t: Estimates) -> Chart | None:
        """A study's; None where there is no curve."""
        if t.curve is None or not len(t.record.observations.tried):
            return None
        table = t.strengths[t.strengths["complete"]]
        costs = t.metric.cost(table["validation"].to_numpy(float))
        complete = dict(zip(table["lambda"].tolist(), costs.tolist(), strict=True))
        best = t.best_lambda, t.metric.cost(t.best_value)
        tried = tuple(t.record.observations.tried)
        return cls(t.metric, t.curve, complete, tried, best, t.interval, t.band)

    @classmethod
    def so_far(cls, state: SearchState) -> Chart | None:
        """A running search's; None while there is no curve."""
        costs = state.seen.by_strength()
        if state.curve is None or state.best is None or state.one_se is None:
            return None
        complete = {s: float(c.mean()) for s, c in costs.items() if np.isfinite(c).all()}
        strength = state.best[0]
        cost = complete.get(strength, float(state.curve.mean([strength])[0]))
        best = (strength, cost) if strength in costs else None
        band = balanced_band(state.curve, strength, state.one_se[0])
        tried = tuple(state.seen.tried)
        return cls(state.seen.metric, state.curve, complete, tried, best, state.curve.interval, band)

    def draw(self, width: int, *, rows: int = ROWS, ascii_only: bool = False, legend: bool = True) -> list[Text]:
        """Lines of `width` columns: expected validation over log λ, what was tried, λ_best, its interval, the regimes.

        More is drawn higher, whether that is better or worse. λ = 0 stands left of the axis. A λ that lacks folds is a
        mark on the axis alone: its mean lies off the curve by the luck of the folds that it has.
        """
        signs, metric = _ASCII if ascii_only else Signs(), self.metric
        low, high = self._ends()
        bottom, top = amounts(sorted(metric.score(end) for end in (low, high)), metric)
        margin = max(_MARGIN, len(top), len(bottom))
        columns = max(20, width - margin - 2)
        strengths = np.geomspace(self.curve.low, self.curve.high, columns)
        position = np.log(strengths)

        def column(strength: float) -> int:
            return int(np.abs(position - np.log(max(strength, self.curve.low))).argmin())

        def row(cost: float) -> int:
            height = np.log if metric.kind == "positive" and not metric.maximize and low > 0 else np.asarray
            share = (height(min(max(cost, low), high)) - height(low)) / (height(high) - height(low))
            return round(float(share if metric.maximize else 1 - share) * (rows - 1))

        cells = [[(" ", "")] * columns for _ in range(rows)]
        for place, cost in enumerate(self.curve.mean(strengths)):
            if cost <= high:
                cells[row(float(cost))][place] = (signs.curve, VALIDATION)
        for strength, cost in self.complete.items():
            if strength > 0 and cost <= high:
                cells[row(cost)][column(strength)] = (signs.tried, VALIDATION)
        best = None if self.best is None or self.best[0] == 0 else self.best
        if best is not None:
            cells[row(best[1])][column(best[0])] = (signs.best, f"bold {BEST}")
        zero = row(self.complete[0.0]) if self.complete.get(0.0, np.inf) <= high else None
        best_is_zero = self.best is not None and best is None
        labels = {0: top, rows - 1: bottom}
        lines = []
        for index, line in enumerate(cells):
            text = Text(f"{labels.get(index, ''):>{margin}}")
            text.append("0" if index == zero else " ", f"bold {BEST}" if best_is_zero else BASELINE)
            text.append(signs.side)
            for sign, style in line:
                text.append(sign, style)
            text.rstrip()
            lines.append(text)
        ticks = {column(strength) for strength in self.tried}
        axis = "".join(signs.tick if place in ticks else signs.line for place in range(columns))
        lines.append(Text(f"{'':>{margin + 1}}{signs.corner}{axis}"))
        first, last = format_lambda(self.curve.low), format_lambda(self.curve.high)
        lines.append(Text(f"{'':>{margin + 2}}{first}{last:>{columns - len(first)}}"))
        places = [column(strength) for strength in (*self.interval, *(best or ())[:1])]
        lines.append(Text(" " * (margin + 2)) + _interval(places, signs))
        lines.append(Text(" " * (margin + 2)) + self._regimes(strengths))
        if legend:
            lines += self._legend(columns, margin + 2, signs, ascii_only, zero is not None)
        return lines

    def _ends(self) -> tuple[float, float]:
        """Lowest and highest cost drawn, from the best to somewhat above λ = 0: what is far worse is left out."""
        metric, values = self.metric, self.curve.mean(self.curve.candidates)
        best = float(values.min()) if self.best is None else self.best[1]
        finite = [cost for cost in self.complete.values() if np.isfinite(cost)]
        low = float(min([values.min(), best, *finite]))
        zero = self.complete.get(0.0, np.inf)
        level = max(zero if np.isfinite(zero) else float(values[0]), best)
        measured = metric.kind == "proportion" or (metric.kind == "positive" and not metric.maximize)
        top = level + 0.5 * (level - low)
        top = max(top, 1.7 * best) if measured and best > 0 else top
        reach = max(level, min(float(values.max()), top if level > low else float(values.max())))
        return low, max(reach, low + 1e-9 * max(1.0, abs(low)))

    def _regimes(self, strengths: np.ndarray) -> Text:
        text = Text()
        for strength in strengths:
            weak, strong = strength < self.band[0], strength > self.band[1]
            sign, style = ("<", OVERFITS) if weak else (">", UNDERFITS) if strong else ("=", BALANCED)
            text.append(sign, style)
        return text

    def _legend(self, columns: int, indent: int, signs: Signs, ascii_only: bool, zero: bool) -> list[Text]:
        parts = [f"validation {metric_title(self.metric, direction=True)} over λ: {signs.tried} all folds"]
        parts += ["0 no penalty"] if zero else []
        parts += [f"{signs.left}{signs.best}{signs.right} best λ and its 95 % interval"]
        parts += ["< overfits, = within one standard error of the best, > underfits"]
        legend = readable(one_line("; ".join(parts)), "ascii" if ascii_only else "utf-8")
        legend = re.sub(r"([<=>]) ", "\\1\xa0", legend)  # a sign stays beside its word
        styles = {signs.tried: VALIDATION, signs.left + signs.best + signs.right: BEST, "0": BASELINE}
        styles |= {"<": OVERFITS, "=": BALANCED, ">": UNDERFITS}
        lines = []
        for line in textwrap.wrap(legend, columns):
            text = Text(" " * indent + line.replace("\xa0", " "))
            for sign, style in styles.items():
                text.highlight_regex(rf"(?<!\S){re.escape(sign)}(?= \w)", style)
            lines.append(text)
        return lines


def _interval(places: list[int], signs: Signs) -> Text:
    """From its first to its second place; at a third one, λ_best."""
    left, right, *best = places
    line = [" "] * (max(places) + 1)
    line[left : right + 1] = [signs.line] * (right + 1 - left)
    line[left], line[right] = signs.left, signs.right
    for place in best:
        line[place] = signs.best
    return Text("".join(line), BEST)
