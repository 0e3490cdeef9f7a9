"""Figures of a report, as plotly figures: what to draw is taken from the tradeoff, how it looks is set here."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go

from l2tune.curve import RegularizationCurve
from l2tune.strength import from_weight_decay, show, weight_decay
from l2tune.tradeoff import Tradeoff, final_folds, fit_curve

# Okabe and Ito's palette, told apart with any colour vision
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
_GREY = "#7f7f7f"
_POINTS = 121
_CURVES = 60
"""Learning curves drawn at most; a page with thousands would not scroll."""


def tradeoff_figure(t: Tradeoff) -> go.Figure | None:
    """Training and validation metric over λ, the regimes, λ_best with its interval, λ_1se and the baseline.

    None if every fit diverged, so that there is no curve.
    """
    metric, curve = t.record.metric, t.curve
    if curve is None:
        return None
    figure = _figure("λ (log scale)", _title(metric))
    strengths = np.geomspace(curve.low, curve.high, _POINTS)
    scored = final_folds(t.record)
    positive = scored[scored["lambda"] > 0]
    _band(figure, strengths, curve, "validation", BLUE)
    train = _train_curve(t)
    if train is not None:
        _band(figure, strengths, train, "training", ORANGE)
    for part, color, symbol in (("val", BLUE, "circle"), ("train", ORANGE, "diamond")):
        values = positive[f"{part}_{metric}"]
        figure.add_scatter(
            x=positive["lambda"],
            y=values,
            mode="markers",
            name="folds, validation" if part == "val" else "folds, training",
            marker={"color": color, "size": 6, "opacity": 0.55, "symbol": symbol},
            customdata=np.stack([positive["fold"] + 1, positive["trial"] + 1, 2 * positive["lambda"]], axis=1),
            hovertemplate=(
                "λ %{x:.3g} (weight decay %{customdata[2]:.3g})<br>fold %{customdata[0]}, trial %{customdata[1]}<br>"
                f"{metric} %{{y:.4g}}<extra>{'validation' if part == 'val' else 'training'}</extra>"
            ),
        )
    low, high = t.band
    edges = (math.log10(curve.low), math.log10(curve.high))
    inner = (math.log10(low) if low > 0 else edges[0], math.log10(high) if high > 0 else edges[0])
    _regime(figure, edges[0], inner[0], "overfits", VERMILION)
    _regime(figure, inner[0], inner[1], "balanced", GREEN)
    _regime(figure, inner[1], edges[1], "underfits", PURPLE)
    if t.baseline_value is not None and np.isfinite(t.baseline_value):
        base = t.strengths[t.strengths["lambda"] == 0].iloc[0]
        error = base["validation_se"] if np.isfinite(base["validation_se"]) else 0.0
        figure.add_hrect(
            y0=t.baseline_value - error, y1=t.baseline_value + error, fillcolor=_GREY, opacity=0.15, line_width=0
        )
        figure.add_hline(
            y=t.baseline_value,
            line={"color": _GREY, "dash": "dot", "width": 1.5},
            annotation={"text": "λ = 0, validation", "font": {"color": _GREY}},
            annotation_position="top right",
        )
    if t.best_lambda > 0:
        _line(figure, t.best_lambda, f"best λ {show(t.best_lambda)}", "solid", 1.0)
        figure.add_scatter(
            x=[t.best_lambda],
            y=[t.best_value],
            mode="markers",
            name="best λ, 95 % interval",
            marker={"color": GREEN, "size": 12, "symbol": "star"},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [max(t.interval[1] - t.best_lambda, 0)],
                "arrayminus": [max(t.best_lambda - max(t.interval[0], curve.low), 0)],
                "color": GREEN,
            },
            error_y={"type": "data", "array": [np.nan_to_num(t.best_standard_error)], "color": GREEN},
            hovertemplate=f"best λ {show(t.best_lambda)}<br>{metric} {t.best_value:.4g}<extra></extra>",
        )
    if t.one_se_lambda > t.best_lambda:
        _line(figure, t.one_se_lambda, f"one-SE λ {show(t.one_se_lambda)}", "dash", 0.93)
    reference = t.record.settings.get("reference_weight_decay")
    if reference:
        _line(figure, from_weight_decay(float(reference)), f"weight decay {float(reference):g}", "dot", 0.86)
    figure.update_xaxes(type="log", range=list(edges))
    _log_where_positive(figure, metric, t.strengths[["train", "validation"]].to_numpy())
    return figure


def gap_figure(t: Tradeoff) -> go.Figure:
    """Generalization gap (validation − training) and training metric over λ, with standard errors of the folds."""
    metric = t.record.metric
    figure = _figure("λ (log scale)", _title(metric))
    table = t.strengths[(t.strengths["lambda"] > 0) & t.strengths["gap"].notna()]
    for column, name, color in (
        ("gap", "overfitting: validation − training", VERMILION),
        ("train", "underfitting: training", PURPLE),
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
        _line(figure, t.best_lambda, f"best λ {show(t.best_lambda)}", "solid", 1.0)
    figure.update_xaxes(type="log")
    return figure


def bias_variance_figure(t: Tradeoff) -> go.Figure | None:
    """Bias and variance of the folds' networks on the test images over λ; None if no predictions were kept."""
    table = t.record.predictions.sort_values("folds").drop_duplicates("lambda", keep="last").sort_values("lambda")
    table = table[table["lambda"] > 0]
    if len(table) < 2:
        return None
    part = t.record.metric
    figure = _figure("λ (log scale)", f"test {_title(part)}")
    for name, color in (("bias", PURPLE), ("variance", VERMILION)):
        figure.add_scatter(
            x=table["lambda"], y=table[f"{name}_{part}"], mode="lines+markers", name=name, line={"color": color}
        )
    figure.add_scatter(
        x=table["lambda"], y=table[part], mode="lines", name="both", line={"color": _GREY, "dash": "dot"}
    )
    figure.update_xaxes(type="log")
    return figure


def learning_figure(t: Tradeoff) -> go.Figure | None:
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
            name="λ " + show(strength),
            showlegend=False,
            hovertemplate=f"λ {show(strength)}<br>epoch %{{x}}: %{{y:.4g}}<extra></extra>",
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
    _log_where_positive(figure, metric, epochs[f"val_{metric}"].to_numpy())
    return figure


def weights_figure(t: Tradeoff) -> go.Figure | None:
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
    figure.update_xaxes(type="log")
    figure.update_yaxes(type="log")
    return figure


def network_figure(t: Tradeoff) -> go.Figure | None:
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
    figure.update_xaxes(type="log")
    return figure


def _figure(x: str, y: str) -> go.Figure:
    figure = go.Figure()
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


def _title(metric: str) -> str:
    return "cross-entropy (nats)" if metric == "loss" else "error rate"


def _log_where_positive(figure: go.Figure, metric: str, values: Any) -> None:
    finite = np.asarray(values, float)
    finite = finite[np.isfinite(finite)]
    if metric == "loss" and len(finite) and finite.min() > 0 and finite.max() > 20 * finite.min():
        figure.update_yaxes(type="log")


def _band(figure: go.Figure, strengths: Any, curve: RegularizationCurve, name: str, color: str) -> None:
    low, high = curve.band_of(strengths)
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    figure.add_scatter(
        x=np.concatenate([strengths, strengths[::-1]]),
        y=np.concatenate([high, np.maximum(low, 1e-9)[::-1]]),
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},0.15)",
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )
    figure.add_scatter(
        x=strengths,
        y=curve.mean(strengths),
        mode="lines",
        name=f"{name} (expected, 95 % band)",
        line={"color": color, "width": 2.5},
        hoverinfo="skip",
    )


def _train_curve(t: Tradeoff) -> RegularizationCurve | None:
    return fit_curve(t.record, final_folds(t.record), t.metric, part="train")


def _regime(figure: go.Figure, low: float, high: float, text: str, color: str) -> None:
    if high - low <= 1e-9:
        return
    figure.add_vrect(x0=10**low, x1=10**high, fillcolor=color, opacity=0.07, line_width=0, layer="below")
    if high - low > 0.12:
        figure.add_annotation(
            x=(low + high) / 2, y=0.02, yref="paper", text=text, showarrow=False, font={"color": color, "size": 13}
        )


def _line(figure: go.Figure, strength: float, text: str, dash: str, height: float) -> None:
    figure.add_vline(x=strength, line={"color": GREEN, "dash": dash, "width": 1.5})
    figure.add_annotation(
        x=math.log10(strength),
        y=height,
        yref="paper",
        text=text,
        showarrow=False,
        xanchor="left",
        xshift=4,
        font={"color": GREEN, "size": 12},
        hovertext=f"weight decay {weight_decay(strength):.3g}",
    )


def _viridis(share: float) -> str:
    from plotly.colors import sample_colorscale

    return str(sample_colorscale("Viridis", min(max(share, 0.0), 1.0))[0])
