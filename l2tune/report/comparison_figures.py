"""Forms of the penalty side by side: their curves, and the validation metric over what λ buys. None where not known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from l2tune.analysis.comparison import BASELINE, CHOICES, Comparison, form_title
from l2tune.analysis.estimates import Estimates
from l2tune.metrics import BUILT_IN
from l2tune.report.canvas import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    STRENGTH_AXIS,
    VERMILION,
    canvas,
    score_axis,
    score_on_hover,
    short,
)
from l2tune.report.labels import for_plotly, metric_name

_POINTS = 121
FAINT = 0.4
"""Opacity of a λ that lacks folds: its mean has the luck of those that it has."""


@dataclass(frozen=True, slots=True)
class FormStyle:
    """How a form looks in every figure: told apart by colour, by dash and by marker."""

    color: str
    dash: str
    symbol: str

    def shade(self, opacity: float) -> str:
        """Its colour, as transparent as this."""
        red, green, blue = (int(self.color[i : i + 2], 16) for i in (1, 3, 5))
        return f"rgba({red},{green},{blue},{opacity})"


_STYLES = {
    BASELINE: FormStyle(GREY, "dot", "x"),
    "l2": FormStyle(BLUE, "solid", "circle"),
    "l2-loss": FormStyle(SKY, "longdashdot", "pentagon"),
    "l2-decoupled": FormStyle(GREEN, "dash", "square"),
    "l1": FormStyle(VERMILION, "longdash", "diamond"),
    "elastic": FormStyle(PURPLE, "dashdot", "triangle-up"),
}


def style_of(form: str) -> FormStyle:
    """How a form looks."""
    return _STYLES.get(form, FormStyle(ORANGE, "solid", "star"))


def estimated(c: Comparison) -> list[tuple[str, Estimates]]:
    """The forms with a curve: a λ above 0 was run and has a finite score."""
    return [
        (form, t) for form, t in c.estimates.items() if t.curve is not None and len(t.record.observations.tried) > 0
    ]


def curves_figure(c: Comparison) -> go.Figure | None:
    """The expected validation metric of every form over λ, with 95 % bands, means over folds, λ_best and λ_1se."""
    forms = estimated(c)
    if not forms:
        return None
    metric, figure = c.metric, canvas(STRENGTH_AXIS)
    for form, t in forms:
        assert t.curve is not None
        look, title = style_of(form), form_title(form)
        strengths = np.geomspace(t.curve.low, t.curve.high, _POINTS)
        low, high = t.curve.band_of(strengths)
        figure.add_scatter(
            x=short(np.concatenate([strengths, strengths[::-1]])),
            y=short(np.concatenate([metric.score(high), metric.score(low)[::-1]])),
            fill="toself",
            fillcolor=look.shade(0.12),
            line={"width": 0},
            mode="lines",
            hoverinfo="skip",
            showlegend=False,
        )
        figure.add_scatter(
            x=short(strengths),
            y=short(metric.score(t.curve.mean(strengths))),
            mode="lines",
            name=for_plotly(title),
            line={"color": look.color, "dash": look.dash, "width": 2.5},
            hoverinfo="skip",
        )
        rows = t.strengths[(t.strengths["lambda"] > 0) & t.strengths["validation"].notna()]
        _points(figure, c, form, rows, rows["lambda"], "λ", legend=False, lines=False)
        for choice in CHOICES:
            chosen, symbol = c.strength(form, choice), "star" if choice == "best" else "star-open"
            if chosen > 0:
                figure.add_scatter(
                    x=[chosen],
                    y=[metric.score(float(t.curve.mean([chosen])[0]))],
                    mode="markers",
                    showlegend=False,
                    marker={
                        "color": look.color,
                        "size": 14,
                        "symbol": symbol,
                        "line": {"color": look.color, "width": 2},
                    },
                    hovertemplate=f"{for_plotly(title)}, {CHOICES[choice]} %{{x:.4~g}}<br>"
                    f"{score_on_hover(metric)}<extra></extra>",
                )
    _baseline(figure, c)
    figure.update_xaxes(type="log", dtick=1)
    figure.update_layout(legend={"y": -0.2})
    figure.update_yaxes(score_axis("validation", metric) | {"range": close_up(c)})
    return figure


def bought_figure(c: Comparison, column: str, title: str, *, percent: bool = False) -> go.Figure | None:
    """The validation metric of every λ with all folds over something that λ buys, in λ's order, with standard errors.

    None where nothing is bought, as no zeros are by L2.

    Args:
        column: Of `Estimates.strengths`.
        title: Of the axis.
        percent: Whether it is a share.
    """
    figure, drawn = canvas(), 0
    for form, t in estimated(c):
        whole = t.strengths[(t.strengths["lambda"] > 0) & t.strengths["complete"].astype(bool)]
        rows = whole[whole[column].notna()]  # the mean of a λ that lacks folds has the luck of those that it has
        if len(rows):
            _points(figure, c, form, rows, rows[column], title, percent=percent)
            drawn += bool((rows[column] > 0).any())
    base = None if c.baseline is None else c.baseline.row(0.0)
    if not drawn:
        return None
    if base is not None and math.isfinite(base["validation"]) and math.isfinite(base[column]):
        _points(figure, c, BASELINE, pd.DataFrame([base]), pd.Series([base[column]]), title, percent=percent)
    figure.update_xaxes(title=for_plotly(title), tickformat=".0%" if percent else None)
    figure.update_yaxes(score_axis("validation", c.metric) | {"range": close_up(c)})
    return figure


def size_figure(c: Comparison) -> go.Figure | None:
    """Test loss of the networks refitted on all training data over how many of their numbers are not zero."""
    metric, figure, drawn = BUILT_IN["loss"], canvas("numbers left (parameters that are not zero)"), 0
    table = c.table.set_index("penalty")
    for form in table.index:
        row, look = table.loc[form], style_of(str(form))
        points = [
            (choice, float(row[f"{choice}_nonzero"]), float(row[f"{choice}_test_loss"]), float(row[f"{choice}_lambda"]))
            for choice in CHOICES
            if form != BASELINE or choice == "best"
        ]
        points = [point for point in points if all(map(math.isfinite, point[1:]))]
        if not points:
            continue
        drawn += 1
        figure.add_scatter(
            x=[point[1] for point in points],
            y=[point[2] for point in points],
            mode="lines+markers",
            name=for_plotly(form_title(str(form))),
            line={"color": look.color, "dash": look.dash, "width": 1},
            marker={
                "color": look.color,
                "size": 12,
                "symbol": [look.symbol + ("" if point[0] == "best" else "-open") for point in points],
                "line": {"color": look.color, "width": 2},
            },
            customdata=[[CHOICES[point[0]] if form != BASELINE else "λ", point[3]] for point in points],
            hovertemplate=f"{for_plotly(form_title(str(form)))}, %{{customdata[0]}} = %{{customdata[1]:.4~g}}<br>"
            f"%{{x:,}} numbers left<br>{score_on_hover(metric)}<extra></extra>",
        )
    if not drawn:
        return None
    figure.update_xaxes(type="log")
    figure.update_yaxes(score_axis("test", metric))
    return figure


def close_up(c: Comparison) -> list[float] | None:
    """Validation scores from the best to somewhat above λ = 0; curves of networks that learn nothing leave them."""
    metric = c.metric
    best = [metric.cost(t.best_value) for _, t in estimated(c) if math.isfinite(t.best_value)]
    errors = [t.best_standard_error for _, t in estimated(c) if math.isfinite(t.best_standard_error)]
    base = None if c.baseline is None else c.baseline.row(0.0)
    level = metric.cost(float(base["validation"])) if base is not None and math.isfinite(base["validation"]) else None
    if not best:
        return None
    low, worst = min(best), max([*best, *([] if level is None else [level])])
    width = max(worst - low, 3 * max(errors, default=0.0), 1e-9 * max(1.0, abs(low)))
    bottom, top = low - 0.5 * width, worst + 0.6 * width
    bottom = max(0.0, bottom) if metric.kind != "real" and low >= 0 else bottom
    return sorted([metric.score(bottom), metric.score(top)])


def _points(
    figure: go.Figure,
    c: Comparison,
    form: str,
    rows: pd.DataFrame,
    x: Any,
    what: str,
    *,
    percent: bool = False,
    legend: bool = True,
    lines: bool = True,
) -> None:
    look, title = style_of(form), for_plotly(form_title(form))
    shown = "%{x:.3~%}" if percent else "%{x:.4~g}"
    figure.add_scatter(
        x=short(x),
        y=short(rows["validation"]),
        error_y={"type": "data", "array": short(rows["validation_se"]), "thickness": 1, "width": 3},
        mode="lines+markers" if lines else "markers",
        name=title,
        showlegend=legend,
        line={"color": look.color, "dash": look.dash, "width": 1.5},
        marker={
            "color": look.color,
            "symbol": look.symbol,
            "size": 8,
            "opacity": [0.8 if complete else FAINT for complete in rows["complete"]],
        },
        customdata=[[f"{strength:.3g}", int(folds)] for strength, folds in rows[["lambda", "folds"]].to_numpy(float)],
        hovertemplate=f"{title}, λ %{{customdata[0]}} (%{{customdata[1]}} folds)<br>{for_plotly(what)} {shown}<br>"
        f"{for_plotly(metric_name(c.metric))} {score_on_hover(c.metric)}<extra></extra>",
    )


def _baseline(figure: go.Figure, c: Comparison) -> None:
    """λ = 0 as a horizontal band: mean and one standard error."""
    base = None if c.baseline is None else c.baseline.row(0.0)
    if base is None or not math.isfinite(base["validation"]):
        return
    level, error = float(base["validation"]), float(np.nan_to_num(base["validation_se"]))
    figure.add_hrect(y0=level - error, y1=level + error, fillcolor=GREY, opacity=0.15, line_width=0)
    figure.add_hline(y=level, line={"color": GREY, "dash": "dot", "width": 1.5})
    note = {"text": "λ = 0", "font": {"color": GREY}, "showarrow": False, "xanchor": "left", "yanchor": "bottom"}
    figure.add_annotation(note | {"x": 0.005, "xref": "x domain", "y": level, "yref": "y"})
