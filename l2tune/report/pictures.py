"""The figures of a report as files, SVG and PNG, for papers; a Chromium or Chrome that kaleido runs draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import plotly.graph_objects as go

from l2tune.analysis.estimates import Estimates
from l2tune.errors import UserError
from l2tune.report.figures import FIGURES, drawn

PictureFormat = Literal["svg", "png"]

STILL = tuple(name for name in FIGURES if name != "replay")
"""All figures but the one that moves: what it shows in the end, the tradeoff shows too."""

_WIDTH, _HEIGHT = 760, 420
"""Pixels, where a figure does not say: so wide that its letters are of a paper's size on the width of a page."""

_FONT = "Helvetica, Arial, Liberation Sans, sans-serif"
_SCALE: Mapping[str, float] = {"svg": 1.0, "png": 3.0}
_INK = "#1b1b1b"


def pictures(t: Estimates, formats: Sequence[PictureFormat]) -> dict[str, bytes]:
    """File name → content of each figure that the study has data for, `tradeoff.svg` and so on.

    The browser is started once, and loads nothing from elsewhere.

    Raises:
        UserError: No figure can be drawn yet; kaleido or a browser for it is missing.
    """
    figures = {name: figure for name in STILL if (figure := drawn(t, name)) is not None}
    if not figures:
        diverged = t.curve is None
        raise UserError(
            f"{'every fit diverged' if diverged else 'only λ = 0 was run'}, so there is no figure to draw",
            f"--format {formats[0]}",
            "lower the learning rate and search again" if diverged else "search on",
        )
    whole = {name: on_paper(figure) for name, figure in figures.items()}
    try:
        with TemporaryDirectory(prefix="l2tune-") as folder:
            return _draw(whole, formats, Path(folder))
    except (RuntimeError, ValueError, ImportError, OSError, TimeoutError) as error:
        why = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise UserError(
            f"no picture could be made ({why.rstrip('.')})",
            f"--format {formats[0]}",
            "pip install 'l2tune[png]' and install Chromium or Chrome",
        ) from None


def on_paper(figure: go.Figure) -> go.Figure:
    """A copy on white, in black."""
    paper = go.Figure(figure)
    paper.update_layout(paper_bgcolor="white", plot_bgcolor="white", font={"color": _INK, "family": _FONT})
    return paper


def _draw(figures: Mapping[str, go.Figure], formats: Sequence[PictureFormat], folder: Path) -> dict[str, bytes]:
    import kaleido

    wanted: list[dict[str, Any]] = [
        {
            "fig": figure.to_dict(),
            "path": folder / f"{name}.{format}",
            "opts": {
                "format": format,
                "width": figure.layout.width or _WIDTH,
                "height": figure.layout.height or _HEIGHT,
                "scale": _SCALE[format],
            },
        }
        for name, figure in figures.items()
        for format in formats
    ]
    failed = kaleido.write_fig_from_object_sync(wanted, kopts={"mathjax": False})
    if failed:  # newer versions tell so, older ones raise
        raise failed[0]
    return {picture["path"].name: picture["path"].read_bytes() for picture in wanted}
