"""The report's figures as the dashboard can show them: on cards that all have one height, whatever their colours."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

HEIGHT = 450
"""Pixels of a card."""

_INK = "#1b1b1b"
_TICKS, _APART = 6, 30
"""Of a vertical axis: at most, and pixels between two."""


def on_card(figure: go.Figure) -> go.Figure:
    """A copy on white that fits.

    The dashboard draws figures as they are: one without a background of its own is black on black in its dark colours,
    and panels that shrink alike with the gaps between them have their headings on each other.
    """
    card = go.Figure(figure)
    card.update_layout(height=None, paper_bgcolor="white", plot_bgcolor="white", font={"color": _INK})
    axes = {tuple(axis.domain): axis for axis in card.select_yaxes() if axis.domain}
    domains = sorted(axes)
    plot = (figure.layout.height or HEIGHT) - (around := (card.layout.margin.t or 0) + (card.layout.margin.b or 0))
    panels = plot * sum(high - low for low, high in domains)
    shrunk = panels - (plot - (HEIGHT - around))
    if len(domains) < 2 or not 0 < shrunk < panels:
        return card
    before = [0.0, *(end for domain in domains for end in domain), 1.0]
    sizes = np.diff(before) * plot
    sizes[1::2] *= shrunk / panels  # the panels shrink, and the gaps between them stay
    after = np.concatenate([[0.0], np.cumsum(sizes)]) / sizes.sum()

    def moved(place: float) -> float:
        return float(np.interp(place, before, after))

    for axis in card.select_yaxes():
        if axis.domain:
            low, high = axis.domain = [moved(end) for end in axis.domain]
            axis.nticks = min(axis.nticks or _TICKS, max(2, int((high - low) * sizes.sum() / _APART)))
    for annotation in card.select_annotations():
        if annotation.yref == "paper":
            annotation.y = moved(annotation.y)
    for shape in card.select_shapes():
        if shape.yref == "paper" and shape.ysizemode == "pixel":
            shape.yanchor = moved(shape.yanchor)
        elif shape.yref == "paper":
            shape.y0, shape.y1 = moved(shape.y0), moved(shape.y1)
    return card
