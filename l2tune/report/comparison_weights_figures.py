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
from l2tune.report.canvas import STRENGTH_AXIS, Canvas, short
from l2tune.report.colors import NAMES
from l2tune.report.comparison_figures import ends_of, estimated, style_of
from l2tune.report.labels import for_plotly
from l2tune.report.over_strength import FAINT

_LEAST_MAGNITUDE, _SEEN = 1e-5, 1e-3
"""Where the axis of |w| begins, unless a bin below it has more than this share of the weights."""
_MOST_LAYERS = 14
"""Layers drawn of a form: those with most weights, in the network's order."""


def forms_with_zeros(c: Comparison) -> list[str]:
    """The forms that make weights exactly zero somewhere."""
    return [form for form, t in estimated(c) if len(rows := _layers(t)) and bool((rows["zeros"] > 0).any())]


def layers_figure(c: Comparison, form: str) -> go.Figure | None:
    """Share of zeros (above) and of units that died (below) of each layer over λ; λs that lack folds are not joined."""
    t = c.estimates[form]
    rows = counted_layers(t)
    if t.curve is None or not (rows["lambda"] > 0).any():
        return None
    means = rows.groupby(["layer", "lambda"], sort=False)[["weights", "zeros", "units", "dead_units"]].mean()
    names = list(dict.fromkeys(rows["layer"]))
    if len(names) > _MOST_LAYERS:
        size = rows.groupby("layer")["weights"].max()
        largest = set(size.sort_values(ascending=False).index[:_MOST_LAYERS])
        names = [name for name in names if name in largest]
    canvas = Canvas(
        [("Weights exactly zero", ", of each layer"), ("Units dead", ", of each layer")],
        STRENGTH_AXIS,
        heights=(180, 180),
        zero=bool((rows["lambda"] == 0).any()),
        reading="faint, not joined: λ that lack folds",
    )
    canvas.strengths(t.curve.low, t.curve.high)
    complete = t.strengths.set_index("lambda")["complete"].astype(bool)
    for place, name in enumerate(names):
        layer = means.loc[name].sort_index()
        look = {"color": NAMES[place % len(NAMES)], "dash": "solid" if place < len(NAMES) else "dash"}
        whole = np.array([bool(complete.get(strength, False)) for strength in layer.index])
        for row, part, count, what in ((1, "zeros", "weights", "zero"), (2, "dead_units", "units", "of units dead")):
            for zero, joined in ((False, True), (False, False), (True, True)):
                shown = layer[((layer.index == 0) == zero) & (zero | (whole == joined))]
                legend = row == 1 and joined and not zero  # of all layers, though none of its λ has all folds
                if not len(shown) and not legend:
                    continue
                total = shown[count].to_numpy(float)
                share = np.divide(shown[part].to_numpy(float), total, out=np.zeros(len(total)), where=total > 0)
                canvas.figure.add_scatter(
                    x=[0.0] if zero else short(shown.index),
                    y=short(share),
                    mode="lines+markers" if joined and not zero else "markers",
                    name=for_plotly(name),
                    legendgroup=name,
                    showlegend=legend,
                    line=look | {"width": 2},
                    marker={"color": look["color"], "opacity": 1 if joined else FAINT},
                    customdata=np.stack([shown[part], total], 1).tolist(),
                    hovertemplate=f"{for_plotly(name)}, λ {'0' if zero else '%{x:.4~g}'}<br>%{{y:.3~%}} {what} "
                    "(%{customdata[0]:,.4~g} of %{customdata[1]:,.4~g})<extra></extra>",
                    **(canvas.zero_at(row) if zero else canvas.panel(row)),
                )
    for row in (1, 2):
        canvas.y(row, tickformat=".0%", range=[-0.03, 1.03])
    return canvas.finished()


def magnitudes_figure(c: Comparison, choice: Choice) -> go.Figure | None:
    """How large the weights are: share of all penalized weights in each bin of |w|; exact zeros told in the legend."""
    centers = np.sqrt(np.array(MAGNITUDE_EDGES[:-1]) * np.array(MAGNITUDE_EDGES[1:]))
    canvas, drawn = Canvas([("Share of the weights", "")], "|w| (log scale)"), 0
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
        canvas.figure.add_scatter(
            x=short(centers),
            y=short(shares),
            mode="lines",
            name=f"{for_plotly(title)}<br>{for_plotly(zero)}",
            showlegend=True,
            line={"color": look.color, "dash": look.dash, "width": 2.5, "shape": "hvh"},
            hovertemplate=f"{for_plotly(form_title(form))}: %{{y:.3~%}} about |w| = %{{x:.2~g}}<extra></extra>",
        )
    if not drawn:
        return None
    canvas.figure.update_xaxes(type="log", range=[float(np.log10(lowest)), 1], dtick=1)
    canvas.y(tickformat=".3~%", range=[0, 1.08 * highest if highest else 1])
    return canvas.finished()


def smoothness_figure(c: Comparison) -> go.Figure | None:
    """Input gradient and calibration error of every form over λ, a panel each."""
    return _over_strength(
        c, {"input_gradient_norm": "Input gradient", "calibration_error": "Expected calibration error"}
    )


def bias_figure(c: Comparison) -> go.Figure | None:
    """Bias and variance of every form over λ, a panel each: of the error where λ is chosen by it, else of the loss."""
    part = "error" if c.metric in (BUILT_IN["error"], BUILT_IN["accuracy"]) else "loss"
    return _over_strength(c, {f"bias_{part}": f"Bias ({part})", f"variance_{part}": f"Variance ({part})"})


def _over_strength(c: Comparison, panels: Mapping[str, str]) -> go.Figure | None:
    """Columns of `Estimates.strengths` over λ, a panel each; λs that lack folds are faint and not joined."""
    tables = {form: t.strengths[t.strengths["lambda"] > 0] for form, t in estimated(c)}
    known = [name for name in panels if any(table[name].notna().any() for table in tables.values())]
    if not known:
        return None
    base = None if c.baseline is None else c.baseline.row(0.0)
    canvas = Canvas(
        [(panels[name], "") for name in known],
        STRENGTH_AXIS,
        heights=[180] * len(known),
        zero=base is not None,
        reading="faint, not joined: λ that lack folds",
    )
    canvas.strengths(*ends_of(estimated(c)))
    named: set[str] = set()
    for place, name in enumerate(known, 1):
        ends: list[float] = []
        for form, table in tables.items():
            rows = table[table[name].notna()]
            ends += rows.loc[rows["regime"] != "underfit", name].tolist()
            complete = rows["complete"].astype(bool)
            for part, joined in ((rows[complete], True), (rows[~complete], False)):
                if len(part):
                    _of_form(canvas, form, part, name, place, joined=joined, legend=form not in named)
                    named.add(form)
        if base is not None and np.isfinite(base[name]):
            ends.append(float(base[name]))
            canvas.level(float(base[name]), place)
            _of_form(canvas, BASELINE, pd.DataFrame([base]), name, place, joined=False, legend=False)
        if ends and max(ends) > 0:  # far too strong a penalty would squeeze the rest
            canvas.y(place, range=[0, 1.15 * max(ends)])
    return canvas.finished()


def _of_form(
    canvas: Canvas, form: str, rows: pd.DataFrame, column: str, place: int, *, joined: bool, legend: bool
) -> None:
    look, title, zero = style_of(form), for_plotly(form_title(form)), form == BASELINE
    named = title if zero else f"{title}, λ %{{x:.4~g}}"
    canvas.figure.add_scatter(
        x=[0.0] if zero else short(rows["lambda"]),
        y=short(rows[column]),
        mode="lines+markers" if joined else "markers",
        name=title,
        legendgroup=form,
        showlegend=legend,
        line={"color": look.color, "dash": look.dash, "width": 1.5},
        marker={"color": look.color, "symbol": look.symbol, "size": 7, "opacity": 1 if joined or zero else FAINT},
        customdata=rows["folds"].astype(int).tolist(),
        hovertemplate=f"{named} (%{{customdata}} folds)<br>%{{y:.4~g}}<extra></extra>",
        **(canvas.zero_at(place) if zero else canvas.panel(place)),
    )


def _layers(t: Estimates) -> pd.DataFrame:
    """One row per λ > 0, fold and layer whose zeros were counted."""
    rows = counted_layers(t)
    return rows[rows["lambda"] > 0]
