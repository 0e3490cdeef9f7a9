"""Run the pages of the lesson, and write the pictures and outputs that they show.

    python docs/lesson/pictures.py RUNS [PAGE …]

Each page's code and the tutorial's runs from top to bottom in the folder RUNS, l2tune's commands and Python alike, as a
reader would run it. What a block prints is written to `output/PAGE-N.txt`, N counting the page's blocks, where the
page shows it; a figure that it writes as `NAME.html` is written to `pictures/NAME.svg`, in a browser that kaleido finds
(`$BROWSER_PATH`). `output/versions.txt` says with what. Searches that RUNS holds already are not trained again.
"""

from __future__ import annotations

import contextlib
import io
import os
import platform
import re
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

HERE = Path(__file__).parent
LARGEST = 100_000
"""Bytes of a picture: they are kept in the repository."""
_BLOCK = re.compile(r"(?:^<!-- file: (.*?) -->\n)?^```(python|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PLACES = re.compile(rb' (?:d|x|y|transform)="[^"]*"')
"""Of an SVG: a hundredth of a pixel is enough there."""


def run_commands(code: str) -> str:
    """What the commands print to stdout; what they tell of their progress is not kept."""
    return "".join(
        subprocess.run(line, shell=True, check=True, text=True, stdout=subprocess.PIPE).stdout
        for line in code.replace("\\\n", "").splitlines()
        if line.startswith("l2tune ")
    )


def run_python(code: str, scope: dict[str, Any]) -> str:
    """What the code prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "<page>", "exec"), scope)
    return printed.getvalue()


def draw(figure: go.Figure, name: str, **ignored: Any) -> None:
    """Write a figure as SVG, in place of HTML; on white, for pages that are dark, too."""
    picture = go.Figure(figure).update_layout(paper_bgcolor="white", plot_bgcolor="white")
    width, height = figure.layout.width or 760, figure.layout.height or 440
    svg = picture.to_image("svg", width=width, height=height)
    svg = _PLACES.sub(lambda found: re.sub(rb"(\.\d\d)\d+", rb"\1", found[0]), svg)
    if len(svg) > LARGEST:
        raise SystemExit(f"{name}: {len(svg)} bytes are too many")
    (HERE / "pictures" / Path(name).with_suffix(".svg").name).write_bytes(svg)


def versions() -> str:
    """When, on what and with which versions."""
    names = ("l2tune", "torch", "numpy", "scikit-learn", "optuna", "plotly")
    with_versions = ", ".join(f"{name} {version(name)}" for name in names)
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {threads} thread{'s' * (threads != '1')}"
    return f"{date.today()}: Python {platform.python_version()}, {with_versions},\non {machine}\n"


def run_page(page: Path) -> None:
    """Run the blocks of a page in this folder."""
    text, scope = page.read_text(encoding="utf-8"), {"__name__": "page"}
    for number, (file, language, code) in enumerate(_BLOCK.findall(text), 1):
        print(f"{page.stem}, block {number}", flush=True)
        if file:
            Path(file).write_text(code, encoding="utf-8")
        printed = run_commands(code) if language == "bash" else run_python(code, scope)
        if f"output/{page.stem}-{number}.txt\n" in text:
            (HERE / "output" / f"{page.stem}-{number}.txt").write_text(printed, encoding="utf-8")


def main(runs: str, *names: str) -> None:
    pages = [*sorted(HERE.glob("[1-9]-*.md")), HERE.parent / "tutorial.md"]
    for folder in (HERE / "output", HERE / "pictures", Path(runs)):
        folder.mkdir(parents=True, exist_ok=True)
    os.chdir(runs)
    go.Figure.write_html = draw
    for page in pages:
        if not names or page.stem in names:
            run_page(page)
    (HERE / "output" / "versions.txt").write_text(versions(), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
