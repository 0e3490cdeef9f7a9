"""Forms of the penalty side by side: their curves, and the validation metric over what λ buys. None where not known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from l2tune.analysis.comparison import BASELINE, CHOICES, Comparison, form_title
from l2tune.analysis.estimates import Estimates
from l2tune.metrics import BUILT_IN
from l2tune.report.canvas import STRENGTH_AXIS, Canvas, score_heading, score_on_hover, score_ticks, short
from l2tune.report.colors import BASELINE as NOT_REGULARIZED
from l2tune.report.colors import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, shade
from l2tune.report.labels import for_plotly, metric_name
from l2tune.report.over_strength import FAINT

_POINTS = 121


@dataclass(frozen=True, slots=True)
class FormStyle:
    """How a form looks in every figure: told apart by colour, by dash and by marker."""

    color: str
    dash: str
    symbol: str


_STYLES = {
    BASELINE: FormStyle(NOT_REGULARIZED, "dot", "x"),
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


def ends_of(forms: Sequence[tuple[str, Estimates]]) -> tuple[float, float]:
    """Lowest and highest λ of all forms' curves."""
    curves = [t.curve for _, t in forms if t.curve is not None]
    return min(curve.low for curve in curves), max(curve.high for curve in curves)


def curves_figure(c: Comparison) -> go.Figure | None:
    """The expected validation metric of every form over λ, with 95 % bands, means over folds, λ_best and λ_1se."""
    forms = estimated(c)
    if not forms:
        return None
    metric = c.metric
    canvas = Canvas(
        [score_heading("validation", metric)],
        STRENGTH_AXIS,
        heights=(340,),
        zero=_level(c) is not None,
        reading="star: best λ; open star: one-SE λ; points: means ± SE",
    )
    canvas.strengths(*ends_of(forms))
    for form, t in forms:
        assert t.curve is not None
        look, title = style_of(form), form_title(form)
        strengths = np.geomspace(t.curve.low, t.curve.high, _POINTS)
        low, high = t.curve.band_of(strengths)
        canvas.figure.add_scatter(
            x=short(np.concatenate([strengths, strengths[::-1]])),
            y=short(np.concatenate([metric.score(high), metric.score(low)[::-1]])),
            fill="toself",
            fillcolor=shade(look.color, 0.12),
            line={"width": 0},
            mode="lines",
            hoverinfo="skip",
            showlegend=False,
            legendgroup=form,
        )
        canvas.figure.add_scatter(
            x=short(strengths),
            y=short(metric.score(t.curve.mean(strengths))),
            mode="lines",
            name=for_plotly(title),
            legendgroup=form,
            showlegend=True,
            line={"color": look.color, "dash": look.dash, "width": 2.5},
            hoverinfo="skip",
        )
        rows = t.strengths[(t.strengths["lambda"] > 0) & t.strengths["validation"].notna()]
        _points(canvas.figure, c, form, rows, rows["lambda"], "λ", legend=False, lines=False)
        for choice in CHOICES:
            chosen, symbol = c.strength(form, choice), "star" if choice == "best" else "star-open"
            if chosen > 0:
                canvas.figure.add_scatter(
                    x=[chosen],
                    y=[metric.score(float(t.curve.mean([chosen])[0]))],
                    mode="markers",
                    showlegend=False,
                    legendgroup=form,
                    marker={
                        "color": look.color,
                        "size": 14,
                        "symbol": symbol,
                        "line": {"color": look.color, "width": 2},
                    },
                    hovertemplate=f"{for_plotly(title)}, {CHOICES[choice]} %{{x:.4~g}}<br>"
                    f"{score_on_hover(metric)}<extra></extra>",
                )
    base = _level(c)
    if base is not None:
        canvas.level(float(base["validation"]))
        rows = pd.DataFrame([base])
        _points(canvas.figure, c, BASELINE, rows, [0.0], "λ", legend=False, lines=False, place=canvas.zero_at())
    canvas.y(**score_ticks(metric) | {"range": close_up(c)})
    return canvas.finished()


def bought_figure(c: Comparison, column: str, title: str, *, percent: bool = False) -> go.Figure | None:
    """The validation metric of every λ with all folds over something that λ buys, in λ's order, with standard errors.

    None where nothing is bought, as no zeros are by L2.

    Args:
        column: Of `Estimates.strengths`.
        title: Of the axis.
        percent: Whether it is a share.
    """
    canvas = Canvas([score_heading("validation", c.metric)], title, reading="each point one λ with all folds, ± SE")
    figure, drawn = canvas.figure, 0
    for form, t in estimated(c):
        whole = t.strengths[(t.strengths["lambda"] > 0) & t.strengths["complete"].astype(bool)]
        rows = whole[whole[column].notna()]  # the mean of a λ that lacks folds has the luck of those that it has
        if len(rows):
            _points(figure, c, form, rows, rows[column], title, percent=percent)
            drawn += bool((rows[column] > 0).any())
    base = _level(c)
    if not drawn:
        return None
    if base is not None and math.isfinite(base[column]):
        _points(figure, c, BASELINE, pd.DataFrame([base]), pd.Series([base[column]]), title, percent=percent)
    figure.update_xaxes(tickformat=".0%" if percent else None, nticks=6)
    canvas.y(**score_ticks(c.metric) | {"range": close_up(c)})
    return canvas.finished()


def size_figure(c: Comparison) -> go.Figure | None:
    """Test loss of the networks refitted on all training data over how many of their numbers are not zero."""
    metric, drawn = BUILT_IN["loss"], 0
    canvas = Canvas(
        [score_heading("test", metric)],
        "numbers left (not zero)",
        reading="filled: at the best λ; open: at the one-SE λ",
    )
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
        canvas.figure.add_scatter(
            x=[point[1] for point in points],
            y=[point[2] for point in points],
            mode="lines+markers",
            name=for_plotly(form_title(str(form))),
            showlegend=True,
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
    numbers = [number for trace in canvas.figure.data for number in trace.x]
    canvas.figure.update_xaxes(
        type="log", tickformat=",.2~r", **({"dtick": 1} if max(numbers) > 30 * min(numbers) else {})
    )
    canvas.y(**score_ticks(metric))
    return canvas.finished()


def close_up(c: Comparison) -> list[float] | None:
    """Validation scores from the best to somewhat above λ = 0; curves of networks that learn nothing leave them."""
    metric = c.metric
    best = [metric.cost(t.best_value) for _, t in estimated(c) if math.isfinite(t.best_value)]
    errors = [t.best_standard_error for _, t in estimated(c) if math.isfinite(t.best_standard_error)]
    base = _level(c)
    level = None if base is None else metric.cost(float(base["validation"]))
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
    place: Mapping[str, Any] | None = None,
) -> None:
    look, title = style_of(form), for_plotly(form_title(form))
    shown = "%{x:.3~%}" if percent else "%{x:.4~g}"
    figure.add_scatter(
        x=short(x),
        y=short(rows["validation"]),
        error_y={"type": "data", "array": short(rows["validation_se"]), "thickness": 1, "width": 3},
        mode="lines+markers" if lines else "markers",
        name=title,
        legendgroup=form,
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
        **(place or {}),
    )


def _level(c: Comparison) -> pd.Series[float] | None:
    """What λ = 0 scored, where that is known."""
    base = None if c.baseline is None else c.baseline.row(0.0)
    return base if base is not None and math.isfinite(base["validation"]) else None
