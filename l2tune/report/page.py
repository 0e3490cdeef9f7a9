"""What the pages of l2tune share: templates, style, script, plotly.js; each page is one file that opens offline."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from l2tune.analysis.finding import Finding
from l2tune.report.colors import NAMES, on_dark, shade
from l2tune.report.columns import Column
from l2tune.terminal_text import one_line, printable

_NUMBER = re.compile(r"\d[\d.]*e-\d+")

_DIGITS = 6
"""Of the coordinates in a figure: no screen shows more."""


@dataclass(frozen=True, slots=True)
class FigurePart:
    """A figure with what is told of it. All texts are plain.

    Attributes:
        name: By which scripts and links find it.
        title: Its heading.
        figure: Plotly's; frames, if it has any, are shown one after another.
        note: How to read such a figure.
        caption: What it shows of this study.
    """

    name: str
    title: str
    figure: go.Figure
    note: str = ""
    caption: str = ""

    @property
    def pixels(self) -> int:
        """How high it is drawn; each figure tells its own height."""
        return int(self.figure.layout.height)

    @property
    def data(self) -> Markup:
        """The figure as JSON that can stand in a page's script."""
        shown = _rounded(json.loads(self.figure.to_json()))
        for name in ("template", "width"):  # the page has its own
            shown["layout"].pop(name, None)
        text = json.dumps(shown, separators=(",", ":"), allow_nan=False)
        return Markup(text.replace("<", "\\u003c"))  # in a script, `<!--` means something even as JSON


@dataclass(frozen=True, slots=True)
class TablePart:
    """A table with what is told of it. All texts are plain."""

    name: str
    title: str
    columns: Sequence[Column]
    note: str = ""
    paragraphs: Sequence[str] = ()

    @property
    def rows(self) -> list[tuple[tuple[str, bool, int], ...]]:
        """Of each row the cells: text, whether it is a number, characters to leave free behind it."""
        columns = [
            [
                (text, column.is_numeric, after)
                for text, after in zip(column.cells, column.after or [0] * len(column.cells), strict=True)
            ]
            for column in self.columns
        ]
        return list(zip(*columns, strict=True))


@dataclass(frozen=True, slots=True)
class Fact:
    """A number to take away: what it is, the number, and what is to be known of it."""

    title: str
    value: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A question that a reader asks, and what answers it; one without any answer is not shown."""

    name: str
    title: str
    findings: Sequence[Finding] = ()
    figures: Sequence[FigurePart] = ()
    tables: Sequence[TablePart] = ()


def render_page(template: str, *, sections: Sequence[Section], **parts: Any) -> str:
    """A page. Whatever a template shows is escaped, on one line, and without signs that steer.

    Args:
        template: Its name in `templates`.
        sections: What follows the first screen.
        parts: What else it shows.
    """
    made = _environment().get_template(template)
    parts["sections"] = [one for one in sections if one.findings or one.figures or one.tables]
    return made.render(
        dark=_on_dark(), style=_text("templates/page.css"), script=_text("templates/page.js"), plotly=_plotly(), **parts
    )


def _on_dark() -> Markup:
    """What the figures' colours are on a dark page, as they stand in a figure's JSON."""
    pairs = {color: on_dark(color) for color in NAMES}
    pairs |= {_start(color): _start(lit) for color, lit in pairs.items()}
    return Markup(json.dumps(pairs))


def _start(color: str) -> str:
    """`rgba(0,114,178,`, whatever the opacity."""
    return shade(color, 1).removesuffix("1)")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("l2tune.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = _prose
    environment.filters["listing"] = lambda text: Markup(html.escape(printable(str(text))))
    return environment


def _shown(value: Any) -> Any:
    return value if isinstance(value, Markup) else one_line(str(value))


def _prose(text: str) -> Markup:
    """A sentence whose numbers are not broken at their minus sign."""
    return Markup(_NUMBER.sub(r'<span class="whole">\g<0></span>', html.escape(one_line(text))))


def _text(path: str) -> Markup:
    return Markup(files("l2tune.report").joinpath(path).read_text(encoding="utf-8"))


@cache
def _plotly() -> Markup:
    """Plotly's basic bundle (npm's plotly.js-basic-dist-min): scatter, bar and pie, a quarter of the whole."""
    return _text("vendor/plotly-basic.min.js")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value
