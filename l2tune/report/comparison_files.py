"""The files of a comparison: a stand-in that writes its table, until the page is there."""

from __future__ import annotations

from pathlib import Path

from l2tune.analysis.comparison import Comparison
from l2tune.report.files import write_atomically


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write `compare.html`, `compare.json` and `compare.csv`.

    Raises:
        OSError: A file cannot be written; the old one is left.
    """
    table = comparison.table
    contents = {"html": table.to_html(), "json": table.to_json(orient="records"), "csv": table.to_csv(index=False)}
    folder.mkdir(parents=True, exist_ok=True)
    paths = {folder / f"compare.{name}": str(content) for name, content in contents.items()}
    for path, content in paths.items():
        write_atomically(path, content.encode())
    return list(paths)
