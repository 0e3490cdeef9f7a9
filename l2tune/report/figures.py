"""Figures of a report, as plotly figures: what to draw is taken from the tradeoff, how it looks is set here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from l2tune.analysis.by_strength import final_fits, observations_by
from l2tune.analysis.estimates import Estimates
from l2tune.curve.observations import fit_curve
from l2tune.curve.regularization_curve import RegularizationCurve
from l2tune.metrics import BUILT_IN, Metric
from l2tune.penalty.strength import format_lambda, from_weight_decay, weight_decay

# Okabe and Ito's palette, told apart with any colour vision
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
_GREY = "#7f7f7f"
_POINTS = 121
_CURVES = 60
"""Learning curves drawn at most; a page with thousands would not scroll."""


def tradeoff_figure(t: Estimates) -> go.Figure | None:
    """Validation metric over λ, close up, above training: regimes, λ_best with its interval, λ_1se and the baseline.

    None if every fit diverged, so that there is no curve.
    """
    metric, curve = t.record.metric, t.curve
    if curve is None:
        return None
    figure = _figure(rows=2, heights=(0.66, 0.34))
    edges = (math.log10(curve.low), math.log10(curve.high))
    _regimes(figure, t, edges)
    strengths = np.geomspace(curve.low, curve.high, _POINTS)
    _band(figure, strengths, curve, metric, "validation", BLUE, row=1)
    trained = observations_by(t.record, metric, "train")
    train = None if trained is None else fit_curve(trained)
    if train is not None:
        _band(figure, strengths, train, metric, "training", ORANGE, row=2)
    _fold_points(figure, t)
    _baseline(figure, t)
    if t.best_lambda > 0:
        _best(figure, t)
    if t.one_se_lambda > t.best_lambda:
        _line(figure, t.one_se_lambda, f"one-SE λ {format_lambda(t.one_se_lambda)}", "dash", 0.95)
    reference = t.record.settings.get("reference_weight_decay")
    if reference:
        _line(figure, from_weight_decay(float(reference)), f"weight decay {float(reference):g}", "dot", 0.90)
    figure.update_xaxes(type="log", range=list(edges))
    figure.update_xaxes(title="λ (log scale)", row=2)
    figure.update_yaxes(title=f"validation {_title(metric)}", range=_close_up(t, curve), row=1)
    figure.update_yaxes(title="training", row=2)
    figure.update_yaxes(_training_axis(t), row=2)
    return figure


def gap_figure(t: Estimates) -> go.Figure:
    """Overfitting (validation − training) and underfitting (training above the best fit) over λ ± standard errors."""
    figure = _figure("λ (log scale)", _title(t.metric))
    table = t.strengths[(t.strengths["lambda"] > 0) & t.strengths["gap"].notna()]
    for column, name, color in (
        ("gap", "overfit: validation − training", VERMILION),
        ("excess", "underfit: training − best fit", PURPLE),
    ):
        figure.add_scatter(
            x=table["lambda"],
            y=table[column],
            error_y={"type": "data", "array": table[f"{column}_se"].fillna(0), "thickness": 1},
            mode="lines+markers",
            name=name,
            line={"color": color},
            hovertemplate="λ %{x:.3g}<br>%{y:.4g}<extra>" + name + "</extra>",
        )
    if t.best_lambda > 0:
        _line(figure, t.best_lambda, f"best λ {format_lambda(t.best_lambda)}", "solid", 1.0)
    figure.update_xaxes(type="log", range=_edges(t))
    if t.baseline_value is not None and len(table):
        costs = [t.metric.cost(value) for value in (t.baseline_value, t.best_value)]
        near = 2 * max(abs(cost) for cost in costs) if t.metric.kind != "real" else 2 * abs(costs[0] - costs[1])
        near = near or 1.0
        low = min(0.0, float((table["gap"] - table["gap_se"].fillna(0)).min()))
        if table[["gap", "excess"]].max().max() > near:  # what is far worse than λ = 0 would flatten all else
            figure.update_yaxes(range=[max(low, -near) - 0.05 * near, near])
    return figure


def bias_variance_figure(t: Estimates) -> go.Figure | None:
    """Bias and variance of the folds' networks on the test images over λ; None if no predictions were kept."""
    table = t.record.predictions.sort_values("folds").drop_duplicates("lambda", keep="last").sort_values("lambda")
    table = table[table["lambda"] > 0]
    if len(table) < 2:
        return None
    part = "error" if t.metric.name in ("error", "accuracy") else "loss"
    figure = _figure("λ (log scale)", f"test {_title(BUILT_IN[part])}")
    for name, color in (("bias", PURPLE), ("variance", VERMILION)):
        figure.add_scatter(
            x=table["lambda"], y=table[f"{name}_{part}"], mode="lines+markers", name=name, line={"color": color}
        )
    figure.add_scatter(
        x=table["lambda"], y=table[part], mode="lines", name="both", line={"color": _GREY, "dash": "dot"}
    )
    figure.update_xaxes(type="log", range=_edges(t))
    return figure


def learning_figure(t: Estimates) -> go.Figure | None:
    """Validation metric over epochs, one line per λ (mean over its folds), pruned ones faint; None without epochs."""
    metric, epochs = t.record.metric, t.record.epochs
    if t.curve is None or not len(epochs) or epochs["epoch"].max() < 2:
        return None
    figure = _figure("epoch", _title(metric))
    done = t.strengths.set_index("lambda")["complete"]
    strengths = np.sort(epochs["lambda"].unique())
    if len(strengths) > _CURVES:
        strengths = strengths[np.unique(np.linspace(0, len(strengths) - 1, _CURVES).round().astype(int))]
    low, high = math.log10(t.curve.low), math.log10(t.curve.high)
    for strength in strengths:
        rows = epochs[epochs["lambda"] == strength]
        means = rows.groupby("epoch")[f"val_{metric}"].mean()
        share = 0.0 if strength == 0 else (math.log10(strength) - low) / (high - low)
        color = _GREY if strength == 0 else _viridis(share)
        figure.add_scatter(
            x=means.index,
            y=means,
            mode="lines",
            line={"color": color, "width": 2.5 if strength == t.best_lambda else 1.5},
            opacity=1.0 if bool(done.get(strength, False)) else 0.4,
            name="λ " + format_lambda(strength),
            showlegend=False,
            hovertemplate=f"λ {format_lambda(strength)}<br>epoch %{{x}}: %{{y:.4g}}<extra></extra>",
        )
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="markers",
        showlegend=False,
        marker={
            "color": [low, high],
            "colorscale": "Viridis",
            "cmin": low,
            "cmax": high,
            "colorbar": {"title": "log10 λ", "thickness": 12},
            "showscale": True,
        },
    )
    if _spans_decades(metric, epochs[f"val_{metric}"]):
        figure.update_yaxes(type="log", exponentformat="power")
    return figure


def weights_figure(t: Estimates) -> go.Figure | None:
    """‖w‖² of each layer over λ, mean over folds; None if no trainer told."""
    layers = t.record.layers
    layers = layers[layers["lambda"] > 0]
    if not len(layers):
        return None
    figure = _figure("λ (log scale)", "‖w‖² of the layer")
    colors = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, _GREY)
    for index, (layer, rows) in enumerate(layers.groupby("layer", sort=False)):
        means = (rows["weight_norm"] ** 2).groupby(rows["lambda"]).mean()
        figure.add_scatter(
            x=means.index,
            y=means,
            mode="lines+markers",
            name=str(layer),
            line={"color": colors[index % len(colors)], "dash": ("solid", "dash", "dot")[index // len(colors) % 3]},
        )
    figure.update_xaxes(type="log", range=_edges(t))
    top = float((layers["weight_norm"] ** 2).max())
    figure.update_yaxes(type="log", exponentformat="power")
    if top > 0:  # what decays to nothing would flatten all else
        figure.update_yaxes(range=[math.log10(top) - 6, math.log10(top) + 0.3])
    return figure


def network_figure(t: Estimates) -> go.Figure | None:
    """How smooth and how well calibrated the networks are over λ; None if no trainer told."""
    positive = t.strengths[t.strengths["lambda"] > 0]
    figure = _figure("λ (log scale)", "mean over folds")
    for column, name, color in (
        ("input_gradient_norm", "input-gradient norm (nats per unit of the normalized image)", BLUE),
        ("calibration_error", "expected calibration error", ORANGE),
        ("near_zero_fraction", "share of weights near zero", GREEN),
        ("zero_fraction", "share of weights exactly zero", PURPLE),
    ):
        known = positive.dropna(subset=[column])
        if len(known) > 1:
            figure.add_scatter(
                x=known["lambda"], y=known[column], mode="lines+markers", name=name, line={"color": color}
            )
    if not figure.data:
        return None
    figure.update_xaxes(type="log", range=_edges(t))
    return figure


def _figure(x: str = "", y: str = "", *, rows: int = 1, heights: Sequence[float] | None = None) -> go.Figure:
    figure = make_subplots(rows=rows, shared_xaxes=True, vertical_spacing=0.06, row_heights=heights)
    grid = {"gridcolor": "rgba(127,127,127,0.2)", "zeroline": False, "linecolor": _GREY, "ticks": "outside"}
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"size": 13, "color": "#444"},
        margin={"l": 64, "r": 16, "t": 36, "b": 48},
        legend={"orientation": "h", "y": -0.2, "x": 0},
        hovermode="closest",
    )
    figure.update_xaxes(title=x, exponentformat="power", **grid)
    figure.update_yaxes(title=y, **grid)
    return figure


def _title(metric: Metric) -> str:
    named = {"loss": "cross-entropy", "error": "error rate"} if metric == BUILT_IN.get(metric.name) else {}
    unit = f" ({metric.unit})" if metric.unit and metric.unit != "%" else ""
    return named.get(metric.name, metric.name) + unit


def _edges(t: Estimates) -> list[float] | None:
    """Ends of the λ axis, as logarithms."""
    return None if t.curve is None else [math.log10(t.curve.low), math.log10(t.curve.high)]


def _spans_decades(metric: Metric, values: Any) -> bool:
    finite = np.asarray(values, float)
    finite = finite[np.isfinite(finite)]
    return metric.kind == "positive" and len(finite) > 0 and finite.min() > 0 and finite.max() > 20 * finite.min()


def _training_axis(t: Estimates) -> dict[str, Any]:
    """As far as there are values: where there are few, the curve's band would go far beyond."""
    values = t.strengths["train"].dropna().to_numpy()
    if not len(values):
        return {}
    if _spans_decades(t.metric, values):
        ends = [math.log10(values.min()) - 0.3, math.log10(values.max()) + 0.3]
        return {"type": "log", "exponentformat": "power", "dtick": 1, "range": ends}
    if t.metric.kind == "real" or t.metric.maximize:
        return {}
    return {"range": [0.0, 1.15 * float(values.max())]}


def _close_up(t: Estimates, curve: RegularizationCurve) -> list[float]:
    """Validation values from the best to somewhat above λ = 0; where the network learns nothing the curve leaves it."""
    metric, best = t.metric, t.metric.cost(t.best_value)
    costs = final_fits(t.record)["cost"]
    level = float(curve.mean([curve.low])[0]) if t.baseline_value is None else metric.cost(t.baseline_value)
    width = max(level - best, 3 * t.best_standard_error, 0.0)
    top = level + 0.5 * width
    if metric.kind != "real" and best > 0:
        top = max(top, 1.25 * level, 1.7 * best)
    low = min([best, *costs[costs <= top]])
    low -= 0.08 * (top - low)
    return sorted([metric.score(max(0.0, low) if metric.kind != "real" else low), metric.score(top)])


def _band(
    figure: go.Figure, strengths: Any, curve: RegularizationCurve, metric: Metric, name: str, color: str, row: int
) -> None:
    low, high = sorted((metric.score(end) for end in curve.band_of(strengths)), key=lambda end: float(end[0]))
    low = np.maximum(low, 1e-9) if metric.kind == "positive" else low
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    figure.add_scatter(
        x=_short(np.concatenate([strengths, strengths[::-1]])),
        y=_short(np.concatenate([high, low[::-1]])),
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
        x=_short(strengths),
        y=_short(metric.score(curve.mean(strengths))),
        mode="lines",
        name=f"{name} (expected, 95 % band)",
        line={"color": color, "width": 2.5},
        hoverinfo="skip",
        row=row,
        col=1,
    )


def _short(values: Any) -> list[float]:
    """Four digits: a figure in the dashboard is sent with every page."""
    return [float(f"{value:.4g}") for value in values]


def _fold_points(figure: go.Figure, t: Estimates) -> None:
    scored = final_fits(t.record)
    positive = scored[scored["lambda"] > 0]
    for row, part, name, color in ((1, "val", "validation", BLUE), (2, "train", "training", ORANGE)):
        figure.add_scatter(
            x=_short(positive["lambda"]),
            y=_short(positive[f"{part}_{t.metric}"]),
            mode="markers",
            name=f"folds, {name}",
            showlegend=row == 1,
            marker={"color": color, "size": 6, "opacity": 0.55},
            customdata=[
                [int(fold) + 1, int(trial) + 1, float(f"{weight_decay(strength):.3g}")]
                for fold, trial, strength in positive[["fold", "trial", "lambda"]].to_numpy()
            ],
            hovertemplate=(
                "λ %{x:.3g} (weight decay %{customdata[2]})<br>fold %{customdata[0]}, trial %{customdata[1]}<br>"
                f"{t.metric} %{{y:.4g}}<extra>{name}</extra>"
            ),
            row=row,
            col=1,
        )


def _baseline(figure: go.Figure, t: Estimates) -> None:
    """λ = 0 as a horizontal band: mean and one standard error of validation, and the mean of training."""
    base = t.row(0.0)
    if base is None or not math.isfinite(base["validation"]):
        return
    error = base["validation_se"] if math.isfinite(base["validation_se"]) else 0.0
    level = base["validation"]
    figure.add_hrect(y0=level - error, y1=level + error, fillcolor=_GREY, opacity=0.15, line_width=0, row=1, col=1)
    for row, value in ((1, level), (2, base["train"])):
        if math.isfinite(value):
            line = {"color": _GREY, "dash": "dot", "width": 1.5}
            figure.add_hline(y=value, line=line, row=row, col=1)
    note = {"text": "λ = 0", "font": {"color": _GREY}, "showarrow": False, "xanchor": "left", "yanchor": "bottom"}
    figure.add_annotation(note | {"x": 0.005, "xref": "x domain", "y": level, "yref": "y"})


def _best(figure: go.Figure, t: Estimates) -> None:
    low, high = t.interval
    _line(figure, t.best_lambda, f"best λ {format_lambda(t.best_lambda)}", "solid", 1.0)
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
        hovertemplate=f"best λ {format_lambda(t.best_lambda)}<br>{t.metric} {t.best_value:.4g}<extra></extra>",
        row=1,
        col=1,
    )


def _regimes(figure: go.Figure, t: Estimates, edges: tuple[float, float]) -> None:
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
                y=0.39,
                yref="paper",
                yanchor="bottom",
                text=text,
                showarrow=False,
                font={"color": color, "size": 13},
            )


def _line(figure: go.Figure, strength: float, text: str, dash: str, height: float) -> None:
    """A vertical line through all panels, with its name."""
    line = {"color": GREEN, "dash": dash, "width": 1.5}
    figure.add_shape(type="line", x0=strength, x1=strength, xref="x", y0=0, y1=1, yref="paper", line=line)
    figure.add_annotation(
        x=math.log10(strength),
        y=height,
        yref="paper",
        text=text,
        showarrow=False,
        xanchor="left",
        yanchor="top",
        xshift=4,
        font={"color": GREEN, "size": 12},
        hovertext=f"weight decay {weight_decay(strength):.3g}",
    )


def _viridis(share: float) -> str:
    from plotly.colors import sample_colorscale

    return str(sample_colorscale("Viridis", min(max(share, 0.0), 1.0))[0])
