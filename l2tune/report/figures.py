"""The figures of a report, as plotly's; each is None where nothing is known of what it would show."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from weakref import WeakKeyDictionary

import numpy as np
import plotly.graph_objects as go

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.wording import unit_of_difference
from l2tune.metrics import BUILT_IN
from l2tune.report.canvas import (
    STRENGTH_AXIS,
    Canvas,
    log_ticks,
    named_strength,
    own_number,
    score_heading,
    score_on_hover,
    score_ticks,
    short,
    spans_decades,
)
from l2tune.report.colors import (
    BALANCED,
    BASELINE,
    BIAS,
    NAMES,
    NETWORK,
    OVERFITS,
    UNDERFITS,
    VARIANCE,
)
from l2tune.report.labels import for_plotly, strengths_column
from l2tune.report.over_strength import differences, fold_table, folds_and_line, layer_table, means_and_line
from l2tune.report.replay_figure import replay_figure
from l2tune.report.tradeoff_figure import tradeoff_figure

_CURVES = 60
"""Learning curves drawn at most; a page with thousands would not scroll."""
_LEARNING = 300
"""Pixels."""
_LAYERS = 12
"""Layers drawn at most: those with most weights."""
_READING = "points: folds; circles: all folds, open: expected"


def gap_figure(t: Estimates) -> go.Figure | None:
    """Overfitting (by how much validation is worse than training) and underfitting (training than the best fit) over λ.

    None where no training score is known.
    """
    known = t.strengths[t.strengths["gap"].notna()]
    if t.curve is None or not len(known[known["lambda"] > 0]):
        return None
    table = differences(t)
    unit = unit_of_difference(t.metric)
    scale = 100 if t.metric.unit == "%" else 1
    panels = [
        ("gap", "overfit", _difference(t, "validation", "training"), OVERFITS),
        ("excess", "underfit", _difference(t, "training", "best fit"), UNDERFITS),
    ]
    panels = [panel for panel in panels if table[panel[0]].notna().any()]
    canvas = Canvas(
        [
            (f"{name[:1].upper()}{name[1:]}", f": {what}{f' ({unit.strip()})' if unit else ''}")
            for _, name, what, _ in panels
        ],
        STRENGTH_AXIS,
        heights=(170, 150)[: len(panels)],
        zero=t.row(0.0) is not None,
        colors=[color for *_, color in panels],
        reading=_READING,
    )
    canvas.strengths(t.curve.low, t.curve.high)
    for row, (column, name, what, color) in enumerate(panels, 1):
        table[column] *= scale
        told = "%{y:.4~g}" + (f" {for_plotly(unit)}" if unit else "")
        folds_and_line(canvas, t, table, column, row=row, color=color, name=f"{name}: {what}", value=told)
        view = _view(t, column, scale)
        canvas.y(row, **({} if view is None else {"range": view}))
    _mark_best(canvas, t)
    return canvas.finished()


def bias_variance_figure(t: Estimates) -> go.Figure | None:
    """Bias and variance of the folds' networks on the test images over λ; None if no predictions were kept."""
    table = t.record.predictions.sort_values("folds").drop_duplicates("lambda", keep="last").sort_values("lambda")
    if t.curve is None or (table["lambda"] > 0).sum() < 1 or len(table) < 2:
        return None
    part = "error" if t.metric in (BUILT_IN["error"], BUILT_IN["accuracy"]) else "loss"
    metric = BUILT_IN[part]
    name, rest = score_heading("test", metric)
    canvas = Canvas(
        [(name, rest)],
        STRENGTH_AXIS,
        zero=bool((table["lambda"] == 0).any()),
        reading="of the folds' networks; faint: of fewer folds, not joined",
    )
    canvas.strengths(t.curve.low, t.curve.high)
    for column, name, color, dash in (
        (f"bias_{part}", "bias", BIAS, "solid"),
        (f"variance_{part}", "variance", VARIANCE, "solid"),
        (part, "bias and variance", BASELINE, "dot"),
    ):
        means_and_line(
            canvas,
            t,
            table,
            column,
            color=color,
            name=name,
            value=score_on_hover(metric),
            dash=dash,
        )
    canvas.y(**score_ticks(metric))
    _mark_best(canvas, t)
    return canvas.finished()


def learning_figure(t: Estimates) -> go.Figure | None:
    """Validation metric over epochs, one line per λ, those that lack folds faint; None without epochs.

    A line is the mean over the folds of its λ that were trained longest, so that all its points are of the same folds.
    """
    metric, epochs = t.record.metric, t.record.epochs
    column = f"val_{metric}"
    if t.curve is None or not len(epochs) or epochs["epoch"].max() < 2 or not epochs[column].notna().any():
        return None
    canvas = Canvas(
        [score_heading("validation", metric)],
        "epoch",
        heights=(_LEARNING,),
        reading="one line per λ; faint: of few folds, which may be easy ones",
    )
    table = t.strengths.set_index("lambda")
    strengths = np.sort(epochs["lambda"].unique())
    if len(strengths) > _CURVES:
        strengths = strengths[np.unique(np.linspace(0, len(strengths) - 1, _CURVES).round().astype(int))]
    looks = {
        "baseline": ("λ = 0", BASELINE, "dot"),
        "overfit": ("overfits", OVERFITS, "solid"),
        "balanced": ("balanced", BALANCED, "solid"),
        "underfit": ("underfits", UNDERFITS, "solid"),
        "diverged": ("diverged", BASELINE, "dash"),
    }
    regimes = set()
    for strength, written in zip(strengths, strengths_column(strengths.tolist()), strict=True):
        row = table.loc[strength] if strength in table.index else None
        regime = "baseline" if strength == 0 else "diverged" if row is None else str(row["regime"])
        regimes.add(regime)
        _, color, dash = looks[regime]
        rows = epochs[epochs["lambda"] == strength]
        longest = rows.groupby(["trial", "fold"])["epoch"].transform("max")
        means = rows[longest == longest.max()].groupby("epoch")[column].mean()
        own = own_number(t.record.parameter, float(strength))
        canvas.figure.add_scatter(
            x=means.index,
            y=short(means),
            mode="lines",
            line={"color": color, "width": 3.5 if strength == t.best_lambda else 1.5, "dash": dash},
            opacity=1.0 if row is not None and bool(row["complete"]) else 0.4,
            name=f"λ {written}",
            showlegend=False,
            hovertemplate=f"λ {written} ({own})<br>epoch %{{x}}: {score_on_hover(metric)}<extra></extra>",
        )
    for regime in looks:
        if regime in regimes:
            name, color, dash = looks[regime]
            line = {"color": color, "dash": dash, "width": 2.5}
            canvas.figure.add_scatter(x=[None], y=[None], mode="lines", name=name, line=line, showlegend=True)
    shown = np.concatenate([np.asarray(trace.y, float) for trace in canvas.figure.data])
    shown = shown[np.isfinite(shown)]
    log = spans_decades(metric, shown)
    canvas.y(**log_ticks(shown.min() / 1.2, shown.max() * 1.2, _LEARNING) if log else score_ticks(metric))
    return canvas.finished()


def weights_figure(t: Estimates) -> go.Figure | None:
    """‖w‖² of each layer over λ; None if no trainer told. Of many layers, those with most weights."""
    layers = layer_table(t)
    if t.curve is None or not np.isfinite(layers.loc[layers["lambda"] > 0, "size"]).any():
        return None
    names = list(dict.fromkeys(layers["layer"]))
    rest = ""
    if len(names) > _LAYERS:
        largest = set(layers.groupby("layer")["weights"].max().nlargest(_LAYERS).index)
        rest = f", the {_LAYERS} largest of {len(names)} layers"
        names = [name for name in names if name in largest]
    canvas = Canvas(
        [("‖w‖²", f" of each layer{rest}")],
        STRENGTH_AXIS,
        zero=bool((layers["lambda"] == 0).any()),
        reading="mean over all folds; open circles: expected",
    )
    canvas.strengths(t.curve.low, t.curve.high)
    lines = [
        folds_and_line(
            canvas,
            t,
            layers[layers["layer"] == layer],
            "size",
            row=1,
            color=NAMES[place % len(NAMES)],
            name=for_plotly(layer),
            value="‖w‖² %{y:.4~g}",
            log=True,
            dash=("solid", "dash", "dot")[place // len(NAMES) % 3],
            points=False,
            legend=True,
        )
        for place, layer in enumerate(names)
    ]
    tops = [float(np.log10(line[np.isfinite(line) & (line > 0)].max())) for line in lines]
    tops = [top for top in tops if math.isfinite(top)]
    if not tops:
        return None
    high = max(tops) + 0.3  # what decays to nothing, or grows without end in one fold, would flatten all else
    low = max(high - 13, min(high - 4.3, min(tops) - 0.3))
    decades = math.ceil((high - low) / 7)
    canvas.y(type="log", exponentformat="power", range=[low, high], dtick=decades, tickfont={"size": 10})
    _mark_best(canvas, t)
    return canvas.finished()


def network_figure(t: Estimates) -> go.Figure | None:
    """How smooth, how well calibrated and how sparse the networks are over λ, a panel each; None if no trainer told.

    What is the same at every λ has no panel.
    """
    panels = [
        ("input_gradient_norm", "Input gradient", " (nats per image unit)", False),
        ("calibration_error", "Expected calibration error", "", True),
        ("near_zero_fraction", "Weights near zero", "", True),
        ("zero_fraction", "Weights exactly zero", "", True),
    ]
    table = fold_table(t, [column for column, *_ in panels])
    panels = [panel for panel in panels if table[panel[0]].nunique() > 1 and t.strengths[panel[0]].notna().sum() > 1]
    if t.curve is None or not panels or not (table["lambda"] > 0).any():
        return None
    canvas = Canvas(
        [(name, unit) for _, name, unit, *_ in panels],
        STRENGTH_AXIS,
        heights=[130] * len(panels),
        zero=t.row(0.0) is not None,
        reading=_READING,
    )
    canvas.strengths(t.curve.low, t.curve.high)
    for row, (column, name, _, share) in enumerate(panels, 1):
        value = "%{y:.3~%}" if share else "%{y:.4~g}"
        folds_and_line(canvas, t, table, column, row=row, color=NETWORK, name=name.lower(), value=value)
        canvas.y(row, rangemode="tozero", nticks=5, **({"tickformat": ".3~%"} if share else {}))
    _mark_best(canvas, t)
    return canvas.finished()


def _mark_best(canvas: Canvas, t: Estimates) -> None:
    if t.best_lambda > 0:
        canvas.mark(t, [(t.best_lambda, named_strength(t, "best λ", t.best_lambda), "solid")])


def _difference(t: Estimates, worse: str, better: str) -> str:
    """What is subtracted from what, so that the difference counts how much worse the first is."""
    return f"{better} − {worse}" if t.metric.maximize else f"{worse} − {better}"


def _view(t: Estimates, column: str, scale: float) -> list[float] | None:
    """Ends of an axis of differences where some λ are so far off that they would flatten what matters; else None."""
    table = t.strengths[t.strengths[column].notna()]
    near = 2 * float(table.loc[table["lambda"] <= t.one_se_lambda, column].abs().max())
    if not (math.isfinite(near) and near > 0 and table[column].abs().max() > near):
        return None
    low = min(0.0, float((table[column] - table[f"{column}_se"].fillna(0)).min()))
    return [scale * (max(low, -near) - 0.05 * near), scale * near]


FIGURES: Mapping[str, Callable[[Estimates], go.Figure | None]] = {
    "tradeoff": tradeoff_figure,
    "gap": gap_figure,
    "bias_variance": bias_variance_figure,
    "learning": learning_figure,
    "weights": weights_figure,
    "network": network_figure,
    "replay": replay_figure,
}
"""By name."""

_DRAWN: WeakKeyDictionary[Estimates, dict[str, go.Figure | None]] = WeakKeyDictionary()


def drawn(t: Estimates, name: str) -> go.Figure | None:
    """A figure for page, pictures and dashboard alike, which draw it once: not to be changed."""
    known = _DRAWN.setdefault(t, {})
    if name not in known:
        known[name] = FIGURES[name](t)
    return known[name]
