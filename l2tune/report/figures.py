"""The figures of a report, as plotly's; each is None where nothing is known of what it would show."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import plotly.graph_objects as go

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.wording import unit_of_difference
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
    named_strength,
    own_numbers,
    score_axis,
    score_on_hover,
    spans_decades,
    strength_axis,
    strength_line,
)
from l2tune.report.labels import for_plotly, strengths_column
from l2tune.report.tradeoff_figure import tradeoff_figure

_CURVES = 60
"""Learning curves drawn at most; a page with thousands would not scroll."""


def gap_figure(t: Estimates) -> go.Figure | None:
    """Overfitting (by how much validation is worse than training) and underfitting (training than the best fit) over λ.

    With standard errors. None where no training score is known.
    """
    table = t.strengths[(t.strengths["lambda"] > 0) & t.strengths["gap"].notna()]
    if not len(table):
        return None
    unit = unit_of_difference(t.metric)
    scale = 100 if t.metric.unit == "%" else 1
    figure = canvas(STRENGTH_AXIS, f"difference{f' ({unit.strip()})' if unit else ''}")
    for column, name, color in (
        ("gap", "overfit: " + _difference(t, "validation", "training"), VERMILION),
        ("excess", "underfit: " + _difference(t, "training", "best fit"), PURPLE),
    ):
        figure.add_scatter(
            x=table["lambda"],
            y=scale * table[column],
            error_y={"type": "data", "array": scale * table[f"{column}_se"].fillna(0), "thickness": 1},
            mode="lines+markers",
            name=name,
            line={"color": color},
            customdata=own_numbers(t.record.parameter, table["lambda"]),
            hovertemplate=(f"λ %{{x:.4~g}} (%{{customdata[0]}})<br>%{{y:.4~g}}{for_plotly(unit)}<extra>{name}</extra>"),
        )
    if t.best_lambda > 0:
        strength_line(figure, t, t.best_lambda, named_strength(t, "best λ", t.best_lambda), "solid", 1.0)
    strength_axis(figure, t)
    view = _view(t, scale)
    if view is not None:
        figure.update_yaxes(range=view)
    return figure


def bias_variance_figure(t: Estimates) -> go.Figure | None:
    """Bias and variance of the folds' networks on the test images over λ; None if no predictions were kept."""
    table = t.record.predictions.sort_values("folds").drop_duplicates("lambda", keep="last").sort_values("lambda")
    table = table[table["lambda"] > 0]
    if len(table) < 2:
        return None
    part = "error" if t.metric in (BUILT_IN["error"], BUILT_IN["accuracy"]) else "loss"
    metric = BUILT_IN[part]
    figure = canvas(STRENGTH_AXIS)
    for column, name, color, mode in (
        (f"bias_{part}", "bias", PURPLE, "lines+markers"),
        (f"variance_{part}", "variance", VERMILION, "lines+markers"),
        (part, "both", GREY, "lines"),
    ):
        figure.add_scatter(
            x=table["lambda"],
            y=table[column],
            mode=mode,
            name=name,
            line={"color": color, "dash": "dot" if mode == "lines" else "solid"},
            customdata=own_numbers(t.record.parameter, table["lambda"]),
            hovertemplate=(f"λ %{{x:.4~g}} (%{{customdata[0]}})<br>{score_on_hover(metric)}<extra>{name}</extra>"),
        )
    strength_axis(figure, t)
    figure.update_yaxes(score_axis("test", metric))
    return figure


def learning_figure(t: Estimates) -> go.Figure | None:
    """Validation metric over epochs, one line per λ (mean over its folds), pruned ones faint; None without epochs."""
    metric, epochs = t.record.metric, t.record.epochs
    column = f"val_{metric}"
    if t.curve is None or not len(epochs) or epochs["epoch"].max() < 2 or not epochs[column].notna().any():
        return None
    figure = canvas("epoch")
    done = t.strengths.set_index("lambda")["complete"]
    strengths = np.sort(epochs["lambda"].unique())
    if len(strengths) > _CURVES:
        strengths = strengths[np.unique(np.linspace(0, len(strengths) - 1, _CURVES).round().astype(int))]
    low, high = math.log10(t.curve.low), math.log10(t.curve.high)
    named = zip(
        strengths, strengths_column(strengths.tolist()), own_numbers(t.record.parameter, strengths), strict=True
    )
    for strength, written, [own] in named:
        rows = epochs[epochs["lambda"] == strength]
        means = rows.groupby("epoch")[column].mean()
        share = 0.0 if strength == 0 else (math.log10(strength) - low) / (high - low)
        color = GREY if strength == 0 else _viridis(share)
        figure.add_scatter(
            x=means.index,
            y=means,
            mode="lines",
            line={"color": color, "width": 2.5 if strength == t.best_lambda else 1.5},
            opacity=1.0 if bool(done.get(strength, False)) else 0.4,
            name=f"λ {written}",
            showlegend=False,
            hovertemplate=(f"λ {written} ({own})<br>epoch %{{x}}: {score_on_hover(metric)}<extra></extra>"),
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
    figure.update_yaxes(score_axis("validation", metric))
    if spans_decades(metric, epochs[column]):
        figure.update_yaxes(type="log", exponentformat="power")
    return figure


def weights_figure(t: Estimates) -> go.Figure | None:
    """‖w‖² of each layer over λ, mean over folds; None if no trainer told."""
    layers = t.record.layers
    layers = layers[layers["lambda"] > 0]
    if not len(layers):
        return None
    figure = canvas(STRENGTH_AXIS, "‖w‖² of the layer")
    colors = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY)
    for index, (layer, rows) in enumerate(layers.groupby("layer", sort=False)):
        means = (rows["weight_norm"] ** 2).groupby(rows["lambda"]).mean()
        name = for_plotly(layer)
        figure.add_scatter(
            x=means.index,
            y=means,
            mode="lines+markers",
            name=name,
            line={"color": colors[index % len(colors)], "dash": ("solid", "dash", "dot")[index // len(colors) % 3]},
            customdata=own_numbers(t.record.parameter, means.index),
            hovertemplate=f"λ %{{x:.4~g}} (%{{customdata[0]}})<br>‖w‖² %{{y:.4~g}}<extra>{name}</extra>",
        )
    strength_axis(figure, t)
    top = float((layers["weight_norm"] ** 2).max())
    figure.update_yaxes(type="log", exponentformat="power")
    if 0 < top < math.inf:  # what decays to nothing would flatten all else
        figure.update_yaxes(range=[math.log10(top) - 6, math.log10(top) + 0.3])
    return figure


def network_figure(t: Estimates) -> go.Figure | None:
    """How smooth and how well calibrated the networks are over λ; None if no trainer told."""
    positive = t.strengths[t.strengths["lambda"] > 0]
    figure = canvas(STRENGTH_AXIS, "mean over folds")
    for column, name, color in (
        ("input_gradient_norm", "input-gradient norm (nats per unit of the normalized image)", BLUE),
        ("calibration_error", "expected calibration error", ORANGE),
        ("near_zero_fraction", "share of weights near zero", GREEN),
        ("zero_fraction", "share of weights exactly zero", PURPLE),
    ):
        known = positive.dropna(subset=[column])
        if len(known) > 1:
            figure.add_scatter(
                x=known["lambda"],
                y=known[column],
                mode="lines+markers",
                name=name,
                line={"color": color},
                customdata=own_numbers(t.record.parameter, known["lambda"]),
                hovertemplate=f"λ %{{x:.4~g}} (%{{customdata[0]}})<br>%{{y:.4~g}}<extra>{name}</extra>",
            )
    if not figure.data:
        return None
    strength_axis(figure, t)
    return figure


def _difference(t: Estimates, worse: str, better: str) -> str:
    """What is subtracted from what, so that the difference counts how much worse the first is."""
    return f"{better} − {worse}" if t.metric.maximize else f"{worse} − {better}"


def _view(t: Estimates, scale: float) -> list[float] | None:
    """Ends of the gap's axis where some λ are so far off that they would flatten all that matters; else None."""
    parts = t.strengths[["gap", "excess"]].abs().max(axis=1)
    near = 2 * float(parts[t.strengths["lambda"] <= t.one_se_lambda].max())
    table = t.strengths[t.strengths["lambda"] > 0]
    if not (math.isfinite(near) and near > 0 and parts[t.strengths["lambda"] > 0].max() > near):
        return None
    low = min(0.0, float((table["gap"] - table["gap_se"].fillna(0)).min()))
    return [scale * (max(low, -near) - 0.05 * near), scale * near]


def _viridis(share: float) -> str:
    from plotly.colors import sample_colorscale

    return str(sample_colorscale("Viridis", min(max(share, 0.0), 1.0))[0])


FIGURES: Mapping[str, Callable[[Estimates], go.Figure | None]] = {
    "tradeoff": tradeoff_figure,
    "gap": gap_figure,
    "bias_variance": bias_variance_figure,
    "learning": learning_figure,
    "weights": weights_figure,
    "network": network_figure,
}
"""By name."""
