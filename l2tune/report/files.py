"""All files of a report.

| format | files |
|---|---|
| `html` | `report.html` |
| `json` | `results.json` |
| `csv` | `trials.csv`, and `curve.csv` where there is a curve |
| `svg`, `png` | a picture of each figure that the study has data for: `tradeoff.svg`, `gap.svg`, … |
| `md`, `tex` | `sentence.md`, `sentence.tex`: the result for a paper |
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from l2tune.analysis.estimates import Estimates
from l2tune.errors import UserError
from l2tune.report.export import curve_table, table_bytes
from l2tune.report.tables import results_json, trials_csv
from l2tune.whole_files import write_together

if TYPE_CHECKING:
    from l2tune.report.pictures import PictureFormat

FORMATS = ("html", "json", "csv", "svg", "png", "md", "tex")


def write(tradeoff: Estimates, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write the files of these formats; all of them or none.

    Raises:
        UserError: An unknown format; for `svg` and `png` also nothing to draw, or no browser that draws.
        OSError: A file cannot be written.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise UserError(f"{unknown[0]!r} is no format", "format", f"give some of {', '.join(FORMATS)}")
    contents: dict[str, bytes] = {}
    for name in dict.fromkeys(formats):
        contents |= _render(tradeoff, name)
    drawn: list[PictureFormat] = [name for name in ("svg", "png") if name in formats]
    if drawn:
        from l2tune.report.pictures import pictures

        contents |= pictures(tradeoff, drawn)
    return write_together(folder, contents)


def _render(t: Estimates, format: str) -> dict[str, bytes]:
    """File name → content, of all formats but pictures."""
    match format:
        case "json":
            return {"results.json": results_json(t)}
        case "csv":
            curve = curve_table(t)
            return {"trials.csv": trials_csv(t)} | ({"curve.csv": table_bytes(curve, "csv")} if len(curve) else {})
        case "html":
            from l2tune.report.html import render

            return {"report.html": render(t).encode()}
        case "md" | "tex":
            from l2tune.report.sentence import sentence_file

            return {f"sentence.{format}": sentence_file(t, format)}
    return {}
