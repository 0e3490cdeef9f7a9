"""Gain against fits spent, drawn."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from strategies import STRATEGIES
from tables import COSTS

DRAWN = (
    *("l2tune", "tpe, median", "tpe, hyperband", "tpe, wilcoxon", "gp, none"),
    *("grid, none", "grid, anova race", "grid, successive halving"),
)
"""In the picture, which has room for eight."""


def draw(table: pd.DataFrame, metric: str, file: Path) -> None:
    """Mean gain against fits spent, one panel per recording where λ > 0 beats λ = 0; needs kaleido and a Chromium."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    names = [name for name, rows in table.groupby("recording", sort=False) if rows["gain"].notna().all()]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = make_subplots(rows, columns, subplot_titles=names, shared_yaxes=True, horizontal_spacing=0.03)
    shown = [s for s in STRATEGIES if s in set(table["strategy"]) and s in DRAWN]
    palette = ["#d62728", "#1f77b4", "#17becf", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22"]
    for index, name in enumerate(names):
        for color, strategy in zip(palette, shown, strict=False):
            row = table[(table["recording"] == name) & (table["strategy"] == strategy)].iloc[0]
            spent = [cost for cost in COSTS if cost <= row["most fits"]] or [COSTS[0]]
            line = {"color": color, "width": 4 if strategy == "l2tune" else 1.5}
            gains = [row[f"gain at {cost}"] for cost in spent]
            trace = go.Scatter(x=spent, y=gains, name=strategy, line=line, showlegend=index == 0, legendgroup=strategy)
            figure.add_trace(trace, row=index // columns + 1, col=index % columns + 1)
    figure.update_yaxes(range=[-0.05, 1.05])
    figure.update_xaxes(range=[5, 80])
    figure.update_layout(
        template="simple_white",
        width=1000,
        height=90 + 260 * rows,
        title=f"Share of the attainable fall in validation {metric} that is found, against fits spent",
        legend={"orientation": "h", "y": -0.1},
    )
    figure.write_image(file)
