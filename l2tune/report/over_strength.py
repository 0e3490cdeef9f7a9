"""Traces over λ: folds as points, and what is expected over all folds as a line; λ = 0 in its own place."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from l2tune.analysis.by_strength import final_fits
from l2tune.analysis.estimates import Estimates
from l2tune.analysis.paired_curve import over_all_folds
from l2tune.report.canvas import Canvas, beside_each_other, own_number, short

FAINT = 0.35
"""Opacity of what lacks folds."""


def folds_and_line(
    canvas: Canvas,
    t: Estimates,
    table: pd.DataFrame,
    column: str,
    *,
    row: int,
    color: str,
    name: str,
    value: str = "%{y:.4~g}",
    log: bool = False,
    dash: str = "solid",
    points: bool = True,
    legend: bool = False,
) -> pd.Series[float]:
    """Draw one number of the folds' networks: each fold as a point, joined by nothing, and the line over all folds.

    Args:
        canvas: Where to.
        t: The study.
        table: `lambda`, `fold` and the column; one row per (λ, fold), NaN where it is not known.
        column: Which number.
        row: Of the panel.
        color: Of its meaning.
        name: Of the number, escaped.
        value: How a hover text writes it.
        log: Whether the axis is logarithmic.
        dash: Of the line.
        points: Whether the folds are shown.
        legend: Whether the legend names it.

    Returns:
        λ, rising → expected value over all folds.
    """
    values = table[column].to_numpy(float)
    strength, fold = table["lambda"].to_numpy(float), table["fold"].to_numpy(np.int64)
    line = over_all_folds(t.record.observations, strength, fold, values, log=log)
    known = np.isfinite(values) & ((values > 0) if log else True)
    marker = {"color": color, "size": 5, "opacity": 0.65}
    hover = f"λ %{{customdata[0]}}, fold %{{customdata[1]}}<br>{value}<extra>{name}</extra>"
    for zero in (False, True) if points else ():
        here = known & ((strength == 0) == zero)
        if here.any():
            canvas.figure.add_scatter(
                x=beside_each_other(int(here.sum())) if zero else short(strength[here]),
                y=short(values[here]),
                mode="markers",
                name=name,
                showlegend=False,
                marker=marker,
                customdata=_told(t, strength[here], fold[here]),
                hovertemplate=hover,
                **(canvas.zero_at(row) if zero else canvas.panel(row)),
            )
    whole = t.strengths.set_index("lambda")["complete"].astype(bool)
    hover = f"λ %{{customdata[0]}}, %{{customdata[1]}} all folds<br>{value}<extra>{name}</extra>"
    for zero in (False, True):
        part = line[line.index == 0] if zero else _broken(line[line.index > 0], strength)
        if not len(part):
            continue
        measured = [bool(whole.get(at, False)) for at in part.index]
        filled = [color if all_folds else "rgba(0,0,0,0)" for all_folds in measured]
        how = ["mean of" if all_folds else "expected over" for all_folds in measured]
        canvas.figure.add_scatter(
            x=[0.0] if zero else short(part.index),
            y=short(part),
            mode="markers" if zero else "lines+markers",
            name=name,
            showlegend=legend and not zero,
            legendgroup=name,
            line={"color": color, "dash": dash, "width": 2},
            marker={"color": filled, "size": 8, "line": {"color": color, "width": 1.5}},
            customdata=[[*told, said] for told, said in zip(_told(t, part.index), how, strict=True)],
            hovertemplate=hover,
            **(canvas.zero_at(row) if zero else canvas.panel(row)),
        )
    return line


def means_and_line(
    canvas: Canvas,
    t: Estimates,
    table: pd.DataFrame,
    column: str,
    *,
    row: int = 1,
    color: str,
    name: str,
    value: str,
    dash: str = "solid",
) -> None:
    """Draw a number that the folds have together: joined where it is of all folds, faint and alone where it is not.

    Args:
        canvas: Where to.
        t: The study.
        table: `lambda`, rising, `folds` and the column, NaN where it is not known.
        column: Which number.
        row: Of the panel.
        color: Of its meaning.
        name: Of the number, escaped.
        value: How a hover text writes it.
        dash: Of the line.
    """
    known = table[table[column].notna()]
    whole = known["folds"] >= t.record.folds
    named = False
    for zero, complete in ((False, True), (False, False), (True, True), (True, False)):
        part = known[((known["lambda"] == 0) == zero) & (whole == complete)]
        if not len(part):
            continue
        joined = complete and not zero
        told = [[*named, int(folds)] for named, folds in zip(_told(t, part["lambda"]), part["folds"], strict=True)]
        canvas.figure.add_scatter(
            x=[0.0] * len(part) if zero else short(part["lambda"]),
            y=short(part[column]),
            mode="lines+markers" if joined else "markers",
            name=name,
            legendgroup=name,
            showlegend=not named,
            line={"color": color, "dash": dash, "width": 2},
            marker={"color": color, "size": 7, "opacity": 1.0 if complete else FAINT},
            customdata=told,
            hovertemplate=f"λ %{{customdata[0]}}, %{{customdata[1]}} folds<br>{value}<extra>{name}</extra>",
            **(canvas.zero_at(row) if zero else canvas.panel(row)),
        )
        named = True


def fold_table(t: Estimates, columns: Any) -> pd.DataFrame:
    """`lambda`, `fold`, `trial` and these numbers of every finished fit; NaN where the fold diverged."""
    fits = final_fits(t.record)
    table = fits[["lambda", "fold", "trial"]].copy()
    for column in columns:
        table[column] = np.where(fits["diverged"], np.nan, fits.get(column, np.nan))
    return table


def layer_table(t: Estimates) -> pd.DataFrame:
    """`lambda`, `fold`, `layer`, `weights` and `size` (‖w‖²) of every finished fit; NaN where the fold diverged."""
    fits = final_fits(t.record)[["trial", "fold", "diverged"]]
    layers = t.record.layers.merge(fits, on=["trial", "fold"])
    layers["size"] = np.where(layers["diverged"], np.nan, layers["weight_norm"] ** 2)
    return layers


def differences(t: Estimates) -> pd.DataFrame:
    """`gap` and `excess` of every fold: what `Estimates.strengths` has the means of."""
    metric = t.metric
    table = fold_table(t, [f"val_{metric}", f"train_{metric}"])
    validation, training = (metric.cost(table[f"{part}_{metric}"].to_numpy(float)) for part in ("val", "train"))
    table["gap"] = validation - training
    best = t.strengths.loc[t.strengths["excess"] == 0, "lambda"]  # it fits the training images best
    fits = table[table["lambda"] == (best.iloc[0] if len(best) else math.nan)].set_index("fold")[f"train_{metric}"]
    table["excess"] = training - metric.cost(fits.reindex(table["fold"]).to_numpy(float))
    return table


def _told(t: Estimates, strengths: Any, folds: Any = None) -> list[list[Any]]:
    """What hover texts say of points: λ with the study's own number, and the fold as people count."""
    named = [f"{strength:.4g} ({own_number(t.record.parameter, float(strength))})" for strength in strengths]
    return [[name] if folds is None else [name, int(folds[place]) + 1] for place, name in enumerate(named)]


def _broken(line: pd.Series[float], strengths: Any) -> pd.Series[float]:
    """With a gap wherever a λ was run of which the line knows nothing."""
    every = np.unique(strengths)
    return line.reindex(every[every > 0])
