"""Docstrings as Sphinx reads them: ours write examples and tables as Markdown does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from sphinx.application import Sphinx

SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields|Note):")


def from_markdown(lines: list[str]) -> Iterator[str]:
    """An indented block after an empty line is code, a run of lines that begin with a bar a table."""
    in_section = after_empty = False
    for kind, run in groupby(enumerate(lines), key=lambda one: _kind(lines, one[0])):
        block = [line for _, line in run]
        if kind == "table":
            yield from table(block)
        elif kind == "indented" and after_empty and not in_section:
            yield from (".. code-block:: python", "", *block, "")
        else:
            yield from block
        if kind == "text":
            in_section = SECTION.match(block[-1]) is not None
        after_empty = not block[-1]


def _kind(lines: list[str], number: int) -> str:
    """An empty line within indented ones is one of them."""
    following = next((line for line in lines[number:] if line), "")
    before = next((line for line in reversed(lines[:number]) if line), "")
    if not lines[number] and not (before.startswith("    ") and following.startswith("    ")):
        return "empty"
    if following.startswith("    "):
        return "indented"
    return "table" if following.startswith("|") else "text"


def table(rows: list[str]) -> Iterator[str]:
    """A Markdown table as a list table."""
    yield from (".. list-table::", "   :header-rows: 1", "")
    for row in (row for row in rows if not re.fullmatch(r"[|\s:-]+", row)):
        for number, cell in enumerate(re.split(r"(?<!\\)\|", row.strip().strip("|"))):
            yield f"   {'* -' if number == 0 else '  -'} {cell.strip()}"
    yield ""


def convert(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    lines[:] = from_markdown(list(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", convert, priority=100)  # before napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
