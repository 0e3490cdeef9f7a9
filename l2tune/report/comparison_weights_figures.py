"""What each form of the penalty does to the weights and to the network, side by side. None where it is not known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from l2tune.analysis.comparison import BASELINE, Choice, Comparison, form_title
from l2tune.analysis.estimates import Estimates
from l2tune.analysis.weight_counts import counted_layers, counted_weights
from l2tune.analysis.wording import percentage
from l2tune.members import MAGNITUDE_EDGES
from l2tune.metrics import BUILT_IN
from l2tune.penalty.strength import format_lambda
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
    short,
)
from l2tune.report.comparison_figures import FAINT, estimated, style_of
from l2tune.report.labels import for_plotly

_LAYER_COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY)
_LEAST_MAGNITUDE, _SEEN = 1e-5, 1e-3
"""Where the axis of |w| begins, unless a bin below it has more than this share of the weights."""
_MOST_LAYERS = 14
"""Layers drawn of a form: those with most weights, in the network's order."""


def forms_with_zeros(c: Comparison) -> list[str]:
    """The forms that make weights exactly zero somewhere."""
    return [form for form, t in estimated(c) if len(rows := _layers(t)) and bool((rows["zeros"] > 0).any())]


def layers_figure(c: Comparison, form: str) -> go.Figure | None:
    """Share of zeros (above) and of units that died (below) of each layer over λ, means over folds."""
    rows = _layers(c.estimates[form])
    if not len(rows):
        return None
    means = rows.groupby(["layer", "lambda"], sort=False)[["weights", "zeros", "units", "dead_units"]].mean()
    names = list(dict.fromkeys(rows["layer"]))
    if len(names) > _MOST_LAYERS:
        size = rows.groupby("layer")["weights"].max()
        largest = set(size.sort_values(ascending=False).index[:_MOST_LAYERS])
        names = [name for name in names if name in largest]
    figure = canvas(rows=2, heights=(0.5, 0.5))
    for place, name in enumerate(names):
        layer = means.loc[name].sort_index()
        color = _LAYER_COLORS[place % len(_LAYER_COLORS)]
        dash = "solid" if place < len(_LAYER_COLORS) else "dash"
        for row, part, whole, what in ((1, "zeros", "weights", "zero"), (2, "dead_units", "units", "of units dead")):
            count = layer[whole].to_numpy(float)
            share = np.divide(layer[part].to_numpy(float), count, out=np.zeros(len(count)), where=count > 0)
            figure.add_scatter(
                x=short(layer.index),
                y=short(share),
                mode="lines+markers",
                name=for_plotly(name),
                legendgroup=name,
                showlegend=row == 1,
                line={"color": color, "dash": dash, "width": 2},
                customdata=np.stack([layer[part], count], 1).tolist(),
                hovertemplate=f"{for_plotly(name)}, λ %{{x:.4~g}}<br>%{{y:.3~%}} {what} (%{{customdata[0]:,.4~g}} of "
                "%{customdata[1]:,.4~g})<extra></extra>",
                row=row,
                col=1,
            )
    figure.update_xaxes(type="log", dtick=1)
    figure.update_xaxes(title=STRENGTH_AXIS, row=2)
    figure.update_layout(legend={"y": -0.2})
    figure.update_yaxes(tickformat=".0%", range=[-0.03, 1.03], automargin=True)
    figure.update_yaxes(title="weights exactly zero", row=1)
    figure.update_yaxes(title="units dead", row=2)
    return figure


def magnitudes_figure(c: Comparison, choice: Choice) -> go.Figure | None:
    """How large the weights are: share of all penalized weights in each bin of |w|; exact zeros told in the legend."""
    centers = np.sqrt(np.array(MAGNITUDE_EDGES[:-1]) * np.array(MAGNITUDE_EDGES[1:]))
    figure, drawn = canvas("|w| (log scale)", "share of the weights"), 0
    highest, lowest = 0.0, _LEAST_MAGNITUDE
    for form in (BASELINE, *c.forms):
        counted = counted_weights(c.of(form), c.strength(form, choice))
        if counted is None:
            continue
        shares, zeros = counted.shares, counted.zeros / counted.weights
        look, drawn = style_of(form), drawn + 1
        highest = max(highest, float(shares.max()))
        lowest = min(lowest, *(edge for edge, share in zip(MAGNITUDE_EDGES, shares, strict=False) if share > _SEEN), 1)
        strength = c.strength(form, choice)
        title = form_title(form) if form == BASELINE else f"{form_title(form)}, λ {format_lambda(strength)}"
        zero = "none exactly zero" if zeros == 0 else f"{percentage(zeros)} exactly zero"
        figure.add_scatter(
            x=short(centers),
            y=short(shares),
            mode="lines",
            name=for_plotly(f"{title}: {zero}"),
            line={"color": look.color, "dash": look.dash, "width": 2.5, "shape": "hvh"},
            hovertemplate=f"{for_plotly(form_title(form))}: %{{y:.3~%}} about |w| = %{{x:.2~g}}<extra></extra>",
        )
    if not drawn:
        return None
    figure.update_xaxes(type="log", range=[float(np.log10(lowest)), 1], dtick=1)
    figure.update_yaxes(tickformat=".3~%", range=[0, 1.08 * highest if highest else 1], automargin=True)
    return figure


def smoothness_figure(c: Comparison) -> go.Figure | None:
    """Input gradient and calibration error of every form over λ, a panel each."""
    return _over_strength(c, {"input_gradient_norm": "input gradient", "calibration_error": "calibration error"})


def bias_figure(c: Comparison) -> go.Figure | None:
    """Bias and variance of every form over λ, a panel each: of the error where λ is chosen by it, else of the loss."""
    part = "error" if c.metric in (BUILT_IN["error"], BUILT_IN["accuracy"]) else "loss"
    return _over_strength(c, {f"bias_{part}": f"bias ({part})", f"variance_{part}": f"variance ({part})"})


def _over_strength(c: Comparison, panels: Mapping[str, str]) -> go.Figure | None:
    """Columns of `Estimates.strengths` over λ, a panel each; λs that lack folds are faint and not joined."""
    tables = {form: t.strengths[t.strengths["lambda"] > 0] for form, t in estimated(c)}
    known = [name for name in panels if any(table[name].notna().any() for table in tables.values())]
    if not known:
        return None
    figure = canvas(rows=len(known), heights=[1 / len(known)] * len(known))
    named: set[str] = set()
    for place, name in enumerate(known, 1):
        ends: list[float] = []
        for form, table in tables.items():
            rows = table[table[name].notna()]
            ends += rows.loc[rows["regime"] != "underfit", name].tolist()
            complete = rows["complete"].astype(bool)
            for part, joined in ((rows[complete], True), (rows[~complete], False)):
                if len(part):
                    _of_form(figure, form, part, name, place, joined=joined, legend=form not in named)
                    named.add(form)
        base = None if c.baseline is None else c.baseline.row(0.0)
        if base is not None and np.isfinite(base[name]):
            ends.append(float(base[name]))
            figure.add_hline(y=float(base[name]), line={"color": GREY, "dash": "dot", "width": 1.5}, row=place, col=1)
        figure.update_yaxes(title=panels[name], automargin=True, row=place)
        if ends and max(ends) > 0:  # far too strong a penalty would squeeze the rest
            figure.update_yaxes(range=[0, 1.15 * max(ends)], row=place)
    figure.update_xaxes(type="log", dtick=1)
    figure.update_xaxes(title=STRENGTH_AXIS, row=len(known))
    figure.update_layout(legend={"y": -0.2})
    return figure


def _of_form(
    figure: go.Figure, form: str, rows: pd.DataFrame, column: str, place: int, *, joined: bool, legend: bool
) -> None:
    look, title = style_of(form), for_plotly(form_title(form))
    figure.add_scatter(
        x=short(rows["lambda"]),
        y=short(rows[column]),
        mode="lines+markers" if joined else "markers",
        name=title,
        legendgroup=form,
        showlegend=legend,
        line={"color": look.color, "dash": look.dash, "width": 1.5},
        marker={"color": look.color, "symbol": look.symbol, "size": 7, "opacity": 1 if joined else FAINT},
        customdata=rows["folds"].astype(int).tolist(),
        hovertemplate=f"{title}, λ %{{x:.4~g}} (%{{customdata}} folds)<br>%{{y:.4~g}}<extra></extra>",
        row=place,
        col=1,
    )


def _layers(t: Estimates) -> pd.DataFrame:
    """One row per λ > 0, fold and layer whose zeros were counted."""
    rows = counted_layers(t)
    return rows[rows["lambda"] > 0]
