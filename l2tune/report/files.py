"""All files of a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from l2tune.analysis.estimates import Estimates
from l2tune.errors import UserError
from l2tune.report.tables import results_json, trials_csv
from l2tune.whole_files import write_together

_NAMES = {"html": "report.html", "json": "results.json", "csv": "trials.csv", "png": "curve.png"}


def write(tradeoff: Estimates, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write the files of these formats: `html`, `json`, `csv`, `png`; all of them or none.

    Raises:
        UserError: An unknown format, or no browser for `png`.
        OSError: A file cannot be written.
    """
    unknown = [name for name in formats if name not in _NAMES]
    if unknown:
        raise UserError(f"{unknown[0]!r} is no format", "format", f"give some of {', '.join(_NAMES)}")
    contents = {_NAMES[name]: _render(tradeoff, name) for name in formats}
    return write_together(folder, contents)


def _render(tradeoff: Estimates, name: str) -> bytes:
    if name == "json":
        return results_json(tradeoff)
    if name == "csv":
        return trials_csv(tradeoff)
    if name == "html":
        from l2tune.report.html import render

        return render(tradeoff).encode()
    from l2tune.report.tradeoff_figure import tradeoff_figure

    figure = tradeoff_figure(tradeoff)
    if figure is None:
        diverged = tradeoff.curve is None
        raise UserError(
            f"{'every fit diverged' if diverged else 'only λ = 0 was run'}, so there is no curve to draw",
            "--format png",
            "lower the learning rate and search again" if diverged else "search on",
        )
    try:
        image: bytes = figure.to_image(format="png", width=1000, height=600, scale=2)
    except (RuntimeError, ValueError, ImportError, OSError) as error:
        raise UserError(
            f"no picture could be made ({str(error).strip().splitlines()[0]})",
            "--format png",
            "pip install 'l2tune[png]' and install Chromium or Chrome",
        ) from None
    return image
