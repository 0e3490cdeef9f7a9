"""Reference made from the program itself: `{generated} command_line`. Each function gives Markdown."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tomli_w

from l2tune.settings import PLACES, Settings, field_of

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def command_line() -> str:
    """Every command with its arguments and flags, from cyclopts' own account of them."""
    from l2tune.cli import app

    text: str = app.generate_docs()
    start = text.index("## l2tune search")
    return re.sub(r"^## l2tune --", "## --", text[start:], flags=re.MULTILINE)


def commands() -> dict[str, str]:
    """Name → what it does, in one line."""
    from l2tune.cli import app

    return {name: app[name].help for name in app if not name.startswith("-")}


def command_table() -> str:
    """All commands in one table."""
    rows = [f"| [`l2tune {name}`](#l2tune-{name}) | {text} |" for name, text in commands().items()]
    return "\n".join(["| command | what it does |", "|---|---|", *rows])


def settings() -> str:
    """Every setting by section: TOML key, flag, default, what it is."""
    parts = []
    for section in sections():
        model = Settings if not section else type(Settings.model_fields[section].default)
        title = f"\\[{section}\\]" if section else "Top of the file"
        parts += [f"## {title}", inspect.getdoc(model) if section else "Study, storage and output."]
        parts += [_setting(flat) for flat, place in PLACES.items() if section == ".".join(place[:-1])]
    return "\n\n".join(parts)


def sections() -> list[str]:
    """Of a TOML file, in the order of the flags; the top of the file last."""
    found = dict.fromkeys(".".join(place[:-1]) for place in PLACES.values())
    return [*(name for name in found if name), ""]


def _setting(flat: str) -> str:
    field: Any = field_of(flat)
    text = re.sub(r"([*|])", r"\\\1", field.description or "")
    if "(default" not in text and field.default not in (None, "", (), {}, False):
        text += f" (default: `{_as_toml(field.default)}`)"
    return f"`{PLACES[flat][-1]}`, `--{flat.replace('_', '-')}`\n: {text}"


def _as_toml(value: Any) -> str:
    return tomli_w.dumps({"x": list(value) if isinstance(value, tuple) else value}).removeprefix("x = ").strip()


def docstring(module: str) -> str:
    """The docstring of a module, which is written in Markdown, without its first line."""
    text = inspect.getdoc(importlib.import_module(module)) or ""
    return text.split("\n\n", 1)[1]


FUNCTIONS: dict[str, Callable[..., str]] = {
    one.__name__: one for one in (command_line, command_table, settings, docstring)
}


def setup(app: Sphinx) -> dict[str, bool]:
    from docutils import nodes
    from sphinx.util.docutils import SphinxDirective

    class Generated(SphinxDirective):
        """`{generated} FUNCTION [ARGUMENT …]`."""

        required_arguments = 1
        final_argument_whitespace = True

        def run(self) -> list[nodes.Node]:
            name, *arguments = self.arguments[0].split()
            return self.parse_text_to_nodes(FUNCTIONS[name](*arguments), allow_section_headings=True)

    app.add_directive("generated", Generated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
