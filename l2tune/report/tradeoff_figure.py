"""The figure that matters: the validation metric over λ, where the network over- and underfits, λ_best and λ_1se."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go

from l2tune.analysis.by_strength import final_fits, observations_by
from l2tune.analysis.estimates import Estimates
from l2tune.curve.observations import fit_curve
from l2tune.curve.regularization_curve import RegularizationCurve
from l2tune.metrics import Metric
from l2tune.penalty.strength import from_weight_decay
from l2tune.report.canvas import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    STRENGTH_AXIS,
    VERMILION,
    canvas,
    named_strength,
    own_number,
    score_axis,
    score_on_hover,
    short,
    spans_decades,
    strength_axis,
    strength_line,
)
from l2tune.report.labels import for_plotly, metric_name

_POINTS = 121


def tradeoff_figure(t: Estimates) -> go.Figure | None:
    """Validation metric over λ, close up, above training: regimes, λ_best with its interval, λ_1se and the baseline.

    The panel of training is left out where no training score is known. None if every fit diverged or no λ above 0 was
    run, so that there is no curve.
    """
    metric, curve = t.record.metric, t.curve
    if curve is None or not len(t.record.observations.tried):
        return None
    trained = observations_by(t.record, metric, "train")
    train = None if trained is None else fit_curve(trained)
    figure = canvas() if train is None else canvas(rows=2, heights=(0.66, 0.34))
    edges = (math.log10(curve.low), math.log10(curve.high))
    _regimes(figure, t, edges, 0.02 if train is None else 0.39)
    strengths = np.geomspace(curve.low, curve.high, _POINTS)
    _band(figure, strengths, curve, metric, "validation", BLUE, row=1)
    _fold_points(figure, t, "val", "validation", BLUE, row=1)
    if train is not None:
        _band(figure, strengths, train, metric, "training", ORANGE, row=2)
        _fold_points(figure, t, "train", "training", ORANGE, row=2)
    _baseline(figure, t, rows=1 if train is None else 2)
    if t.best_lambda > 0:
        _best(figure, t)
    if t.one_se_lambda > t.best_lambda:
        strength_line(figure, t, t.one_se_lambda, named_strength(t, "one-SE λ", t.one_se_lambda), "dash", 0.92)
    reference = t.record.settings.get("reference_weight_decay")
    if reference and t.record.decays:
        decay = float(reference)
        strength_line(figure, t, from_weight_decay(decay), f"weight decay {decay:g}", "dot", 0.84)
    strength_axis(figure, t)
    figure.update_xaxes(title=STRENGTH_AXIS, row=1 if train is None else 2)
    figure.update_layout(legend={"y": -0.2})
    figure.update_yaxes(score_axis("validation", metric) | {"range": _close_up(t, curve)}, row=1)
    if train is not None:
        figure.update_yaxes(score_axis("training", metric) | {"title": "training"} | _training_axis(t), row=2)
    return figure


def _training_axis(t: Estimates) -> dict[str, Any]:
    """As far as there are values: where there are few, the curve's band would go far beyond."""
    values = t.strengths["train"].dropna().to_numpy()
    if not len(values) or t.metric.kind == "real" or t.metric.maximize:
        return {}
    if spans_decades(t.metric, values):
        ends = [math.log10(values.min()) - 0.3, math.log10(values.max()) + 0.3]
        return {"type": "log", "exponentformat": "power", "dtick": 1, "range": ends}
    return {"range": [0.0, 1.15 * float(values.max())]} if values.max() > 0 else {}


def _close_up(t: Estimates, curve: RegularizationCurve) -> list[float]:
    """Validation values from the best to somewhat above λ = 0; where the network learns nothing the curve leaves it."""
    metric, best = t.metric, t.metric.cost(t.best_value)
    costs = final_fits(t.record)["cost"]
    level = float(curve.mean([curve.low])[0]) if t.baseline_value is None else metric.cost(t.baseline_value)
    width = max(level - best, 3 * t.best_standard_error, 0.0)
    top = max(level, best) + 0.5 * width
    measured = metric.kind == "proportion" or (metric.kind == "positive" and not metric.maximize)
    if measured and best > 0:
        top = max(top, 1.25 * level, 1.7 * best)
    low = min([best, *costs[costs <= top]])
    margin = max(0.08 * (top - low), 1e-6 * max(abs(top), abs(low)), 1e-12)  # all may be equal
    low, top = low - margin, top + (margin if top - low < margin else 0.0)
    return sorted([metric.score(max(0.0, low) if measured else low), metric.score(top)])


def _band(
    figure: go.Figure, strengths: Any, curve: RegularizationCurve, metric: Metric, name: str, color: str, row: int
) -> None:
    low, high = sorted((metric.score(end) for end in curve.band_of(strengths)), key=lambda end: float(end[0]))
    low = np.maximum(low, 1e-9) if metric.kind == "positive" else low
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    figure.add_scatter(
        x=short(np.concatenate([strengths, strengths[::-1]])),
        y=short(np.concatenate([high, low[::-1]])),
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},0.15)",
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        row=row,
        col=1,
    )
    figure.add_scatter(
        x=short(strengths),
        y=short(metric.score(curve.mean(strengths))),
        mode="lines",
        name=f"{name} (expected, 95 % band)",
        line={"color": color, "width": 2.5},
        hoverinfo="skip",
        row=row,
        col=1,
    )


def _fold_points(figure: go.Figure, t: Estimates, part: str, name: str, color: str, row: int) -> None:
    scored = final_fits(t.record)
    positive = scored[(scored["lambda"] > 0) & scored[f"{part}_{t.metric}"].notna()]
    figure.add_scatter(
        x=short(positive["lambda"]),
        y=short(positive[f"{part}_{t.metric}"]),
        mode="markers",
        name=f"folds, {name}",
        showlegend=row == 1,
        marker={"color": color, "size": 6, "opacity": 0.55},
        customdata=[
            [int(fold) + 1, int(trial) + 1, own_number(t.record.parameter, strength)]
            for fold, trial, strength in positive[["fold", "trial", "lambda"]].to_numpy()
        ],
        hovertemplate=(
            "λ %{x:.4~g} (%{customdata[2]})<br>fold %{customdata[0]}, trial %{customdata[1]}<br>"
            f"{for_plotly(metric_name(t.metric))} {score_on_hover(t.metric)}<extra>{name}</extra>"
        ),
        row=row,
        col=1,
    )


def _baseline(figure: go.Figure, t: Estimates, rows: int) -> None:
    """λ = 0 as a horizontal band: mean and one standard error of validation, and the mean of training."""
    base = t.row(0.0)
    if base is None or not math.isfinite(base["validation"]):
        return
    error = base["validation_se"] if math.isfinite(base["validation_se"]) else 0.0
    level = base["validation"]
    figure.add_hrect(y0=level - error, y1=level + error, fillcolor=GREY, opacity=0.15, line_width=0, row=1, col=1)
    for row, value in ((1, level), (2, base["train"]))[:rows]:
        if math.isfinite(value):
            line = {"color": GREY, "dash": "dot", "width": 1.5}
            figure.add_hline(y=value, line=line, row=row, col=1)
    note = {"text": "λ = 0", "font": {"color": GREY}, "showarrow": False, "xanchor": "left", "yanchor": "bottom"}
    figure.add_annotation(note | {"x": 0.005, "xref": "x domain", "y": level, "yref": "y"})


def _best(figure: go.Figure, t: Estimates) -> None:
    low, high = t.interval
    named = named_strength(t, "best λ", t.best_lambda)
    strength_line(figure, t, t.best_lambda, named, "solid", 1.0)
    figure.add_scatter(
        x=[t.best_lambda],
        y=[t.best_value],
        mode="markers",
        name="best λ, 95 % interval",
        marker={"color": GREEN, "size": 12, "symbol": "star"},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [max(high - t.best_lambda, 0.0)],
            "arrayminus": [min(max(t.best_lambda - low, 0.0), t.best_lambda * (1 - 1e-9))],
            "color": GREEN,
        },
        error_y={"type": "data", "array": [float(np.nan_to_num(t.best_standard_error))], "color": GREEN},
        hovertemplate=(
            f"{for_plotly(named)} ({own_number(t.record.parameter, t.best_lambda)})<br>"
            f"{for_plotly(metric_name(t.metric))} {score_on_hover(t.metric)}<extra></extra>"
        ),
        row=1,
        col=1,
    )


def _regimes(figure: go.Figure, t: Estimates, edges: tuple[float, float], height: float) -> None:
    """Shaded: where the network overfits, is balanced, underfits."""
    inner = [math.log10(end) if end > 0 else edges[0] for end in t.band]
    low, high = np.clip(inner, *edges)
    for left, right, text, color in (
        (edges[0], low, "overfits", VERMILION),
        (low, high, "balanced", GREEN),
        (high, edges[1], "underfits", PURPLE),
    ):
        if right - left <= 1e-9:
            continue
        figure.add_shape(
            type="rect",
            x0=10**left,
            x1=10**right,
            xref="x",
            y0=0,
            y1=1,
            yref="paper",
            fillcolor=color,
            opacity=0.07,
            line_width=0,
            layer="below",
        )
        if right - left > 0.12:
            figure.add_annotation(
                x=(left + right) / 2,
                y=height,
                yref="paper",
                yanchor="bottom",
                text=text,
                showarrow=False,
                font={"color": color, "size": 13},
            )
