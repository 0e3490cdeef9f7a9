"""What all figures of a report share: panels below their headings, λ = 0 beside the axis of log λ, and marks.

From top to bottom a figure has its legend, the first panel's heading, the names of the regimes and of the marked λ, and
the panels, each below its heading. All that is above the first panel is measured in pixels, so nothing runs into
anything else, however small the figure is drawn. What is no panel has no place within one.

`layout.height` is what the figure needs, in pixels; where it is taken away (the dashboard has a height of its own) the
panels shrink. `layout.meta["narrow"]` is what a page that is narrower than 600 pixels merges into the layout, level by
level. Texts have no colour of their own: the page sets `layout.font.color`.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from l2tune.analysis.estimates import Estimates
from l2tune.metrics import Metric
from l2tune.penalty.strength import format_lambda
from l2tune.records.parameter import StrengthParameter
from l2tune.report.colors import BASELINE, BEST
from l2tune.report.label_rows import Label, in_rows, spread_out
from l2tune.report.labels import for_plotly, metric_name, own_name, own_written

STRENGTH_AXIS = "λ (log scale)"
NARROW = 340
"""Pixels of the narrowest page that a figure is laid out for."""

_LONGEST = 28
"""Letters of a metric's name in a heading."""
_HEADING = 42
"""Letters of a heading's line."""
_ZERO_ENDS, _STRENGTH_STARTS = 0.06, 0.12
"""Shares of the width: of the axis that has nothing but λ = 0, and where that of the other λ starts."""
_LEFT, _RIGHT, _RIGHT_NARROW, _BELOW = 58, 40, 12, 50
_LINE = 17
"""Height of a line of text."""
_LETTER = 7.2
"""Width of a letter, rather too much than too little."""
_BUTTONS = ("sendChartToCloud", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d")
"""Left out of the tool bar: what would upload a study's numbers, and what needs more room than it is worth."""
_ALL_BUTTONS = (
    *_BUTTONS,
    "zoom2d",
    "pan2d",
    "resetScale2d",
    "toImage",
    "hoverClosestCartesian",
    "hoverCompareCartesian",
)


class Canvas:
    """A figure in the making: panels above each other over one horizontal axis.

    Args:
        headings: Of each panel: its name, and what follows the name in plain letters. Escaped here.
        x: Title of the horizontal axis.
        heights: Of each panel, in pixels.
        zero: Whether λ = 0 has a place of its own, left of the others.
        colors: Of each panel's subject, shown before its heading.
        reading: How to read the first panel, in a smaller line below its heading.
    """

    def __init__(
        self,
        headings: Sequence[tuple[str, str]],
        x: str = "",
        *,
        heights: Sequence[float] | None = None,
        zero: bool = False,
        colors: Sequence[str] = (),
        reading: str = "",
    ) -> None:
        self.rows = len(headings)
        lines = [_lines(name, rest) for name, rest in headings]
        self._heights = list(heights or [260.0 if self.rows == 1 else 150.0] * self.rows)
        self._gap = 20.0 + _LINE * max((len(found) for found in lines[1:]), default=0)
        self._plot = sum(self._heights) + self._gap * (self.rows - 1)
        self.figure = make_subplots(
            rows=self.rows,
            shared_xaxes=True,
            vertical_spacing=self._gap / self._plot,
            row_heights=self._heights,
        )
        self._above = 6.0
        self._lines, self._colors, self._reading = lines, list(colors), reading
        self._zero = zero
        self._shapes: list[dict[str, Any]] = []  # plotly checks all there are with each one that is added
        self._texts: list[dict[str, Any]] = []
        self._style(x)

    def zero_at(self, row: int = 1) -> dict[str, Any]:
        """The axes of a trace at λ = 0, whose x are numbers from −1 to 1: beside each other only to be told apart."""
        return {"xaxis": f"x{self.rows + row}", "yaxis": _axis("y", row)}

    def panel(self, row: int = 1) -> dict[str, Any]:
        """The axes of a trace in a panel."""
        return {"xaxis": _axis("x", row), "yaxis": _axis("y", row)}

    def y(self, row: int = 1, **options: Any) -> None:
        """Set the vertical axis of a panel."""
        self.figure.update_yaxes(options, row=row, col=1)

    def strengths(self, low: float, high: float) -> None:
        """Make the horizontal axes those of λ, from the lowest to the highest."""
        self._ends = math.log10(low), math.log10(high)
        span = self._ends[1] - self._ends[0]
        ends = [self._ends[0] - 0.02 * span, self._ends[1] + 0.02 * span]
        decades = {"dtick": math.ceil(span / 7)} if span >= 2 else {}
        axis = {"type": "log", "range": ends, "tickfont": {"size": 10}} | decades  # powers are drawn larger
        for row in range(1, self.rows + 1):
            self.figure.update_xaxes(axis, row=row, col=1)

    def level(self, value: float, row: int = 1) -> None:
        """A dotted line at the height of λ = 0."""
        line = {"color": BASELINE, "dash": "dot", "width": 1.5}
        at = {"xref": "paper", "x0": 0, "x1": 1, "yref": _axis("y", row), "y0": value, "y1": value}
        self._shapes.append({"type": "line", "line": line, "layer": "below"} | at)

    def regimes(self, regions: Sequence[tuple[float, float, str, str]]) -> None:
        """Shade ranges of λ, and name each above the panels.

        Args:
            regions: log₁₀ of both ends, name and colour.
        """
        low, high = self.figure.layout.xaxis.range
        edges = self._ends
        wide = [_LETTER * len(name) + 8 for *_, name, _ in regions]
        shares = [(0.5 * (left + right) - low) / (high - low) for left, right, *_ in regions]
        places = spread_out(shares, [width / self._room for width in wide])
        for (left, right, name, color), place in zip(regions, places, strict=True):
            ends = {"x0": 10 ** (low if left <= edges[0] else left), "x1": 10 ** (high if right >= edges[1] else right)}
            shape = {"type": "rect", "xref": "x", "fillcolor": color, "line_width": 0, "layer": "below"} | ends
            self._shapes.append(shape | {"yref": "paper", "y0": 0, "y1": 1, "opacity": 0.08})
            above = {"yref": "paper", "yanchor": 1, "ysizemode": "pixel", "y0": 0, "y1": self._top + _LINE + 3}
            self._shapes.append(shape | above | {"opacity": 0.08})
            strip = {"y0": self._top + _LINE, "y1": self._top + _LINE + 3, "opacity": 0.9}
            self._shapes.append(shape | above | strip)
            self._text(name, x=low + place * (high - low), xref="x", xanchor="center", yshift=self._top)
        self._top += _LINE + 5

    def mark(self, t: Estimates, marks: Sequence[tuple[float, str, str]]) -> None:
        """Vertical lines through all panels, each with its name above them.

        Args:
            marks: λ, its name, of one line or two, and the line's dash.
        """
        low, high = self.figure.layout.xaxis.range
        left = _LEFT + (_STRENGTH_STARTS * self._width if self._zero else 0.0)
        labels = [
            Label(
                self._room * (math.log10(strength) - low) / (high - low),
                max(_LETTER * len(line) for line in name.splitlines()) + 8,
                len(name.splitlines()),
            )
            for strength, name, _ in marks
        ]
        places = in_rows(labels, left - 4, self._room + _RIGHT_NARROW)
        for index in sorted(range(len(marks)), key=lambda index: places[index].row):
            (strength, name, dash), place = marks[index], places[index]
            height = _LINE * labels[index].lines
            line = {"type": "line", "xref": "x", "x0": strength, "x1": strength, "layer": "above"}
            line["line"] = {"color": BEST, "dash": dash, "width": 1.5}
            for row in range(1, self.rows + 1):
                self._shapes.append(line | {"yref": f"{_axis('y', row)} domain", "y0": 0, "y1": 1})
            above = {"yref": "paper", "yanchor": 1, "ysizemode": "pixel", "y0": 0, "y1": self._top + height}
            if place.reached:
                self._shapes.append(line | above)
            self._text(
                "<br>".join(map(for_plotly, name.splitlines())),
                x=math.log10(strength),
                xref="x",
                xanchor="right" if place.grows_left else "left",
                align="right" if place.grows_left else "left",
                xshift=-4 if place.grows_left else 4,
                yshift=self._top,
                hovertext=own_number(t.record.parameter, strength),
            )
            self._top += height
        self._top += 2

    def finished(self) -> go.Figure:
        """The figure, with its headings and as much room as all of it needs."""
        first = len(self._lines[0]) * _LINE + (_LINE if self._reading else 0)
        if self._reading:
            place = {"x": 0, "xref": "paper", "xanchor": "left", "xshift": 6 - _LEFT, "yshift": self._top}
            self._text(for_plotly(self._reading), font={"size": 11}, **place)
        for row, lines in enumerate(self._lines, 1):
            shift = 5 if row > 1 else self._top + 2 + (_LINE if self._reading else 0)
            self._heading(row, lines, shift)
        above = self._top + first + 8
        height = above + self._plot + _BELOW
        wide, narrow = (self._legend(width) for width in (640, NARROW))
        self.figure.update_layout(
            shapes=self._shapes,
            annotations=self._texts,
            height=height + wide,
            margin={"l": _LEFT, "r": _RIGHT, "t": above + wide, "b": _BELOW},
            meta={
                "narrow": {
                    "height": height + narrow,
                    "margin": {"l": _LEFT, "r": _RIGHT_NARROW, "t": above + narrow, "b": _BELOW},
                    "modebar": {"remove": list(_ALL_BUTTONS)},
                }
            },
        )
        return self.figure

    @property
    def _width(self) -> float:
        """Of the narrowest plot."""
        return NARROW - _LEFT - _RIGHT_NARROW

    @property
    def _room(self) -> float:
        """Of the narrowest axis of λ above 0."""
        return self._width * (1 - _STRENGTH_STARTS if self._zero else 1)

    def _style(self, x: str) -> None:
        figure, self._top = self.figure, self._above
        grid = {"gridcolor": "rgba(127,127,127,0.2)", "zeroline": False, "linecolor": BASELINE, "tickcolor": BASELINE}
        grid |= {"ticklabeloverflow": "allow"}  # where none is left, Plotly puts the axis's title at minus infinity
        family = "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif"
        figure.update_layout(
            template="none",
            paper_bgcolor="rgba(0,0,0,0)",
            plot_bgcolor="rgba(0,0,0,0)",
            font={"size": 12, "color": "#444", "family": family},
            hovermode="closest",
            showlegend=False,
            modebar={
                "orientation": "v",
                "bgcolor": "rgba(0,0,0,0)",
                "color": "rgba(127,127,127,0.7)",
                "activecolor": BEST,
                "remove": list(_BUTTONS),
            },
        )
        figure.update_xaxes(exponentformat="power", showline=True, ticks="outside", **grid)
        figure.update_yaxes(ticks="outside", nticks=6, exponentformat="e", automargin=True, **grid)
        figure.update_xaxes(title={"text": for_plotly(x), "standoff": 6}, row=self.rows, col=1)
        if not self._zero:
            return
        figure.update_xaxes(domain=[_STRENGTH_STARTS, 1])
        for row in range(1, self.rows + 1):
            name = f"xaxis{self.rows + row}"
            last = row == self.rows
            place = {"domain": [0, _ZERO_ENDS], "anchor": _axis("y", row), "range": [-2, 2], "fixedrange": True}
            ticks = {"tickvals": [0], "ticktext": ["0"], "showgrid": False, "ticks": "outside"}
            figure.layout[name] = grid | place | ticks | {"showline": True, "showticklabels": last}
            figure.update_yaxes({"anchor": f"x{self.rows + row}"}, row=row, col=1)

    def _heading(self, row: int, lines: Sequence[str], shift: float) -> None:
        top = self.figure.layout[_axis("yaxis", row)].domain[1]
        color = self._colors[row - 1] if row <= len(self._colors) else ""
        aside = 16 if color else 0
        text = "<br>".join(lines)
        self._text(text, x=0, xref="paper", xanchor="left", xshift=6 - _LEFT + aside, y=top, yshift=shift)
        if color:
            box = {"type": "rect", "fillcolor": color, "line_width": 0, "xref": "paper", "yref": "paper"}
            size = {"xsizemode": "pixel", "ysizemode": "pixel", "xanchor": 0, "yanchor": top}
            low = shift + _LINE * (len(lines) - 1) + 4
            place = {"x0": 7 - _LEFT, "x1": 18 - _LEFT, "y0": low, "y1": low + 11}
            self._shapes.append(box | size | place)

    def _text(self, text: str, **place: Any) -> None:
        plain = {"y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False, "align": "left", "borderpad": 0}
        self._texts.append(plain | {"text": text} | place)

    def _legend(self, width: float) -> float:
        """Lay the legend out at the very top; its height in pixels on a page of such a width."""
        shown = {
            trace.legendgroup or str(index): trace.name.split("<br>")
            for index, trace in enumerate(self.figure.data)
            if trace.name and trace.showlegend is not False
        }
        if len(shown) < 2:
            return 0.0
        letters = max(len(line) for lines in shown.values() for line in lines)
        entry = math.ceil(_LETTER * letters) + 4
        in_row = max(1, int((width - _LEFT - _RIGHT_NARROW) // (entry + 40)))
        self.figure.update_layout(
            showlegend=True,
            legend={
                "orientation": "h",
                "yref": "container",
                "y": 1,
                "yanchor": "top",
                "x": 0,
                "xref": "container",
                "entrywidth": entry,
                "tracegroupgap": 0,
                "bgcolor": "rgba(0,0,0,0)",
            },
        )
        return math.ceil(len(shown) / in_row) * (_LINE * max(map(len, shown.values())) + 3) + 8


def score_heading(part: str, metric: Metric) -> tuple[str, str]:
    """`Validation cross-entropy`, and its unit and direction: a heading's name and its rest."""
    name = metric_name(metric)
    name = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
    told = [metric.unit] if metric.unit else []
    told += ["higher is better"] if metric.maximize else []
    return f"{part[:1].upper()}{part[1:]} {name}", f" ({', '.join(told)})" if told else ""


def score_ticks(metric: Metric) -> dict[str, Any]:
    """Percentages have their sign at every tick."""
    return {"tickformat": ".3~%"} if metric.unit == "%" else {}


def log_ticks(low: float, high: float, height: float) -> dict[str, Any]:
    """A logarithmic axis with ticks at 1, 2 and 5, or at decades where those would be too many.

    Args:
        low: Its lower end, above 0.
        high: Its upper end.
        height: Of the panel, in pixels.
    """
    ends = [math.log10(low), math.log10(high)]
    decades = ends[1] - ends[0]
    most = height / 30
    step = "D2" if 3 * decades < most else math.ceil(decades / most)
    return {"type": "log", "tickformat": ".3~g", "dtick": step, "range": ends}


def score_on_hover(metric: Metric) -> str:
    """A point's score with its unit, as a hover template has it."""
    unit = f" {for_plotly(metric.unit)}" if metric.unit else ""
    return "%{y:.4~%}" if metric.unit == "%" else f"%{{y:.5~g}}{unit}"


def own_number(parameter: StrengthParameter, strength: float) -> str:
    """`weight decay 6.32e-3`, or the study's own parameter and its number."""
    return for_plotly(f"{own_name(parameter)} {own_written(parameter, strength)}")


def own_numbers(parameter: StrengthParameter, strengths: Iterable[float]) -> list[list[str]]:
    """Custom data of points whose hover text names the number beside λ: `%{customdata[0]}`."""
    return [[own_number(parameter, float(strength))] for strength in strengths]


def spans_decades(metric: Metric, values: Any) -> bool:
    """Whether a logarithmic axis shows these scores better."""
    finite = np.asarray(values, float)
    finite = finite[np.isfinite(finite)]
    return metric.kind == "positive" and len(finite) > 0 and finite.min() > 0 and finite.max() > 20 * finite.min()


def short(values: Any) -> list[float]:
    """Five digits: a figure in the dashboard is sent with every page."""
    return [float(f"{value:.5g}") for value in values]


def beside_each_other(count: int) -> list[float]:
    """Places of so many points at λ = 0."""
    return np.linspace(-1.0, 1.0, count).tolist() if count > 1 else [0.0] * count


def named_strength(t: Estimates, name: str, strength: float) -> str:
    """`one-SE λ 1e-2`, and on a second line whether only the curve tells of it."""
    return f"{name} {format_lambda(strength)}" + ("" if t.row(strength) is not None else "\n(by the curve)")


def _axis(kind: str, row: int) -> str:
    """`y`, `y2`, …: as plotly counts them."""
    return kind if row == 1 else f"{kind}{row}"


def _lines(name: str, rest: str) -> list[str]:
    """A heading's lines: its name in bold, and no line too long for a phone."""
    found = textwrap.wrap(name + rest, _HEADING, break_long_words=True) or [""]
    bold = len(name)
    lines = []
    for line in found:
        head, tail = line[:bold], line[bold:]
        space = "\u00a0" if head and tail.startswith(" ") else ""  # any other one is lost beside markup
        lines.append((f"<b>{for_plotly(head)}</b>" if head else "") + space + for_plotly(tail))
        bold = max(0, bold - len(line) - 1)
    return lines
