"""All files of a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from l2tune.errors import UserError
from l2tune.report.tables import results_json, trials_csv, write_atomically
from l2tune.tradeoff import Tradeoff

_NAMES = {"html": "report.html", "json": "results.json", "csv": "trials.csv", "png": "curve.png"}


def write(tradeoff: Tradeoff, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write the files of these formats: `html`, `json`, `csv`, `png`; each whole or not at all.

    Raises:
        UserError: An unknown format, or no browser for `png`.
        OSError: A file cannot be written.
    """
    unknown = [name for name in formats if name not in _NAMES]
    if unknown:
        raise UserError(f"{unknown[0]!r} is no format", "format", f"give some of {', '.join(_NAMES)}")
    contents = {_NAMES[name]: _render(tradeoff, name) for name in formats}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]


def _render(tradeoff: Tradeoff, name: str) -> bytes:
    if name == "json":
        return results_json(tradeoff)
    if name == "csv":
        return trials_csv(tradeoff)
    if name == "html":
        from l2tune.report.html import render

        return render(tradeoff).encode()
    from l2tune.report.figures import tradeoff_figure

    figure = tradeoff_figure(tradeoff)
    if figure is None:
        raise UserError(
            "every fit diverged, so there is no curve to draw", "--format png", "lower --lr and search again"
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
