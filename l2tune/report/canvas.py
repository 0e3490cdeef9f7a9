"""What all figures of a report share: colours, axes, and how scores and strengths are written in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from l2tune.analysis.estimates import Estimates
from l2tune.metrics import Metric
from l2tune.penalty.strength import format_lambda
from l2tune.records.parameter import StrengthParameter
from l2tune.report.labels import for_plotly, metric_name, own_name, own_written

# Okabe and Ito's palette, told apart with any colour vision
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY = "#7f7f7f"
STRENGTH_AXIS = "λ (log scale)"
_LONGEST = 28
"""Letters of a metric's name along an axis."""


def canvas(x: str = "", y: str = "", *, rows: int = 1, heights: Sequence[float] | None = None) -> go.Figure:
    """An empty figure. Texts are escaped here."""
    figure = make_subplots(rows=rows, shared_xaxes=True, vertical_spacing=0.06, row_heights=heights)
    grid = {"gridcolor": "rgba(127,127,127,0.2)", "zeroline": False, "linecolor": GREY, "ticks": "outside"}
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"size": 13, "color": "#444"},
        margin={"l": 64, "r": 16, "t": 36, "b": 48},
        legend={"orientation": "h", "y": -0.34, "x": 0},
        hovermode="closest",
    )
    figure.update_xaxes(title=for_plotly(x), exponentformat="power", **grid)
    figure.update_yaxes(title=for_plotly(y), **grid)
    return figure


def strength_axis(figure: go.Figure, t: Estimates) -> None:
    """Make the horizontal axes those of λ."""
    ends = None if t.curve is None else [math.log10(t.curve.low), math.log10(t.curve.high)]
    figure.update_xaxes(type="log", range=ends)


def score_axis(part: str, metric: Metric) -> dict[str, Any]:
    """Name, unit and direction of an axis of scores; percentages have their sign at every tick."""
    name = metric_name(metric)
    name = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
    title = for_plotly(f"{part} {name}" + (f" ({metric.unit})" if metric.unit not in ("", "%") else ""))
    title += "<br>(higher is better)" if metric.maximize else ""
    return {"title": title, "automargin": True} | ({"tickformat": ".3~%"} if metric.unit == "%" else {})


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


def strength_line(figure: go.Figure, t: Estimates, strength: float, text: str, dash: str, height: float) -> None:
    """A vertical line through all panels, with its name, of one line or two."""
    line = {"color": GREEN, "dash": dash, "width": 1.5}
    figure.add_shape(type="line", x0=strength, x1=strength, xref="x", y0=0, y1=1, yref="paper", line=line)
    right = t.curve is not None and strength > t.curve.low**0.25 * t.curve.high**0.75  # there it has no room
    figure.add_annotation(
        x=math.log10(strength),
        y=height,
        yref="paper",
        text="<br>".join(map(for_plotly, text.splitlines())),
        align="right" if right else "left",
        showarrow=False,
        xanchor="right" if right else "left",
        yanchor="top",
        xshift=-4 if right else 4,
        font={"color": GREEN, "size": 12},
        hovertext=own_number(t.record.parameter, strength),
    )


def named_strength(t: Estimates, name: str, strength: float) -> str:
    """`one-SE λ 1e-2`, and on a second line whether only the curve tells of it."""
    return f"{name} {format_lambda(strength)}" + ("" if t.row(strength) is not None else "\n(by the curve)")
