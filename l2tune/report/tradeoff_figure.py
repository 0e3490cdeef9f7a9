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
    STRENGTH_AXIS,
    Canvas,
    beside_each_other,
    log_ticks,
    named_strength,
    own_number,
    score_heading,
    score_on_hover,
    score_ticks,
    short,
    spans_decades,
)
from l2tune.report.colors import BALANCED, BASELINE, BEST, OVERFITS, TRAINING, UNDERFITS, VALIDATION, shade
from l2tune.report.labels import for_plotly, metric_name

_POINTS = 121
_HEIGHTS = (260, 120)


def tradeoff_figure(t: Estimates) -> go.Figure | None:
    """Validation metric over λ, close up, above training: regimes, λ_best with its interval, λ_1se and λ = 0.

    The panel of training is left out where no training score is known. None if every fit diverged or no λ above 0 was
    run, so that there is no curve.
    """
    metric, curve = t.record.metric, t.curve
    if curve is None or not len(t.record.observations.tried):
        return None
    trained = observations_by(t.record, metric, "train")
    train = None if trained is None else fit_curve(trained)
    parts = [("val", "validation", VALIDATION, curve)] + (
        [] if train is None else [("train", "training", TRAINING, train)]
    )
    canvas = Canvas(
        [score_heading("validation", metric), ("Training", "")][: len(parts)],
        STRENGTH_AXIS,
        heights=_HEIGHTS[: len(parts)],
        zero=t.row(0.0) is not None,
        colors=[color for *_, color, _ in parts],
        reading="line: expected, with 95 % band; points: folds",
    )
    canvas.strengths(curve.low, curve.high)
    strengths = np.geomspace(curve.low, curve.high, _POINTS)
    for row, (part, name, color, fitted) in enumerate(parts, 1):
        _band(canvas, strengths, fitted, metric, name, color, row)
        _fold_points(canvas, t, part, name, color, row)
    _baseline(canvas, t, len(parts))
    marks = []
    if t.best_lambda > 0:
        _best(canvas, t)
        marks.append((t.best_lambda, named_strength(t, "best λ", t.best_lambda), "solid"))
    if t.one_se_lambda > t.best_lambda:
        marks.append((t.one_se_lambda, named_strength(t, "one-SE λ", t.one_se_lambda), "dash"))
    reference = t.record.settings.get("reference_weight_decay")
    if reference and t.record.decays and curve.low <= from_weight_decay(float(reference)) <= curve.high:
        marks.append((from_weight_decay(float(reference)), f"weight decay {float(reference):g}", "dot"))
    canvas.mark(t, marks)
    _regimes(canvas, t, (math.log10(curve.low), math.log10(curve.high)))
    canvas.y(1, range=_close_up(t, curve), **score_ticks(metric))
    if train is not None:
        canvas.y(2, **score_ticks(metric) | _training_axis(t))
    return canvas.finished()


def _training_axis(t: Estimates) -> dict[str, Any]:
    """As far as there are values: where there are few, the curve's band would go far beyond."""
    values = t.strengths["train"].dropna().to_numpy()
    if not len(values) or t.metric.kind == "real" or t.metric.maximize:
        return {}
    if spans_decades(t.metric, values):
        return log_ticks(values.min() / 2, values.max() * 2, _HEIGHTS[1])
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
    canvas: Canvas, strengths: Any, curve: RegularizationCurve, metric: Metric, name: str, color: str, row: int
) -> None:
    low, high = sorted((metric.score(end) for end in curve.band_of(strengths)), key=lambda end: float(end[0]))
    low = np.maximum(low, 1e-9) if metric.kind == "positive" else low
    canvas.figure.add_scatter(
        x=short(np.concatenate([strengths, strengths[::-1]])),
        y=short(np.concatenate([high, low[::-1]])),
        fill="toself",
        fillcolor=shade(color, 0.15),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        **canvas.panel(row),
    )
    canvas.figure.add_scatter(
        x=short(strengths),
        y=short(metric.score(curve.mean(strengths))),
        mode="lines",
        name=f"{name} (expected, 95 % band)",
        showlegend=False,
        line={"color": color, "width": 2.5},
        hoverinfo="skip",
        **canvas.panel(row),
    )


def _fold_points(canvas: Canvas, t: Estimates, part: str, name: str, color: str, row: int) -> None:
    scored = final_fits(t.record)
    scored = scored[scored[f"{part}_{t.metric}"].notna()]
    for zero in (False, True):
        found = scored[(scored["lambda"] == 0) == zero]
        if not len(found):
            continue
        canvas.figure.add_scatter(
            x=beside_each_other(len(found)) if zero else short(found["lambda"]),
            y=short(found[f"{part}_{t.metric}"]),
            mode="markers",
            name=f"folds, {name}",
            showlegend=False,
            marker={"color": color, "size": 6, "opacity": 0.7},
            customdata=[
                [int(fold) + 1, int(trial) + 1, f"{strength:.4g} ({own_number(t.record.parameter, strength)})"]
                for fold, trial, strength in found[["fold", "trial", "lambda"]].to_numpy()
            ],
            hovertemplate=(
                "λ %{customdata[2]}<br>fold %{customdata[0]}, trial %{customdata[1]}<br>"
                f"{for_plotly(metric_name(t.metric))} {score_on_hover(t.metric)}<extra>{name}</extra>"
            ),
            **(canvas.zero_at(row) if zero else canvas.panel(row)),
        )


def _baseline(canvas: Canvas, t: Estimates, rows: int) -> None:
    """λ = 0: mean and one standard error in each panel, with lines to compare the rest with."""
    base = t.row(0.0)
    if base is None or not math.isfinite(base["validation"]):
        return
    for row, part in ((1, "validation"), (2, "train"))[:rows]:
        value, error = float(base[part]), float(np.nan_to_num(base[f"{part}_se"]))
        if not math.isfinite(value):
            continue
        canvas.level(value, row)
        canvas.figure.add_scatter(
            x=[0.0],
            y=[value],
            error_y={"type": "data", "array": [error], "color": BASELINE, "thickness": 1.5},
            mode="markers",
            marker={"color": BASELINE, "size": 9, "symbol": "diamond"},
            name="λ = 0",
            showlegend=False,
            hovertemplate=(
                f"λ = 0, mean ± one standard error<br>{for_plotly(metric_name(t.metric))} "
                f"{score_on_hover(t.metric)}<extra></extra>"
            ),
            **canvas.zero_at(row),
        )


def _best(canvas: Canvas, t: Estimates) -> None:
    low, high = t.interval
    named = named_strength(t, "best λ", t.best_lambda)
    canvas.figure.add_scatter(
        x=[t.best_lambda],
        y=[t.best_value],
        mode="markers",
        name="best λ, 95 % interval",
        showlegend=False,
        marker={"color": BEST, "size": 12, "symbol": "star"},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [max(high - t.best_lambda, 0.0)],
            "arrayminus": [min(max(t.best_lambda - low, 0.0), t.best_lambda * (1 - 1e-9))],
            "color": BEST,
        },
        error_y={"type": "data", "array": [float(np.nan_to_num(t.best_standard_error))], "color": BEST},
        hovertemplate=(
            f"{for_plotly(named)} ({own_number(t.record.parameter, t.best_lambda)})<br>"
            f"{for_plotly(metric_name(t.metric))} {score_on_hover(t.metric)}<extra></extra>"
        ),
        **canvas.panel(),
    )


def _regimes(canvas: Canvas, t: Estimates, edges: tuple[float, float]) -> None:
    """Shaded: where the network overfits, is balanced, underfits."""
    inner = [math.log10(end) if end > 0 else edges[0] for end in t.band]
    low, high = np.clip(inner, *edges)
    regions = (
        (edges[0], low, "overfits", OVERFITS),
        (low, high, "balanced", BALANCED),
        (high, edges[1], "underfits", UNDERFITS),
    )
    canvas.regimes([region for region in regions if region[1] - region[0] > 1e-9])
