"""What the pages of l2tune share: style, script, sections, tables; each page is one file that opens offline."""

from __future__ import annotations

import html
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from l2tune.report.labels import for_html
from l2tune.terminal_text import printable

Columns = list[tuple[str, Sequence[str]]]
"""(head, one cell per row) of each column."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #5a5a5a; --page: #ffffff; --card: #f5f6f8; --line: #d9dce1; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececec; --soft: #a8a8a8; --page: #15171a; --card: #1f2226; --line: #3a3f46; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 64rem; font: 16px/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--page); }
h1 { font-size: 1.3rem; margin: .2rem 0; overflow-wrap: anywhere; } h2 { font-size: 1.05rem; margin: 2rem 0 .3rem; }
li { margin: .3rem 0; }
p.note { color: var(--soft); margin: .2rem 0 .6rem; font-size: .9rem; overflow-wrap: anywhere; }
.verdict { background: var(--card); border-left: 4px solid #009E73; padding: .8rem 1rem; border-radius: 4px; }
.verdict { margin-bottom: .8rem; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); gap: .6rem; }
.numbers div { background: var(--card); padding: .6rem .8rem; border-radius: 4px; }
.numbers b { display: block; font-size: 1.1rem; overflow-wrap: anywhere; }
.numbers span { color: var(--soft); font-size: .85rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
pre { background: var(--card); padding: .7rem; overflow-x: auto; font-size: .85rem; border-radius: 4px; }
@media print { .figure { break-inside: avoid; } }
"""

_SCRIPT = """
const dark = matchMedia("(prefers-color-scheme: dark)");
function merge(into, from) {
  for (const key in from) {
    const inner = from[key] && typeof from[key] === "object" && !Array.isArray(from[key]) && into[key];
    if (inner) merge(into[key], from[key]); else into[key] = from[key];
  }
}
function draw() {
  const ink = dark.matches ? "#dddddd" : "#444444";
  const narrow = innerWidth < 600;
  for (const holder of document.querySelectorAll(".figure")) {
    const figure = JSON.parse(document.getElementById(holder.id + "-data").textContent);
    figure.layout.font.color = ink;
    if (narrow && figure.layout.meta) merge(figure.layout, figure.layout.meta.narrow);
    holder.style.height = figure.layout.height + "px";
    Plotly.react(holder, figure.data, figure.layout, {responsive: true, displaylogo: false});
  }
}
dark.addEventListener("change", draw);
draw();
"""


def page(name: str, title: str, verdict: str, body: str) -> str:
    """The whole page. Scripts come from this package alone, and nothing is loaded.

    Args:
        name: Of the window, escaped.
        title: Of the page, escaped.
        verdict: Plain text; escaped here.
        body: What follows the verdict, as HTML.
    """
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name} – l2tune</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f'<h1>{title}</h1><p class="verdict">{for_html(verdict)}</p>{body}'
        f"<script>{get_plotlyjs()}</script><script>{_SCRIPT}</script></body></html>"
    )


def section(title: str, text: str, figure: go.Figure, name: str, *, small: bool = False) -> str:
    """A figure below its heading and a note on how to read it, both HTML."""
    data = figure.to_json().replace("<", "\\u003c")  # in a script, `<!--` means something even as JSON
    kind = "figure small" if small else "figure"
    return (
        f'<h2>{title}</h2><p class="note">{text}</p><div class="{kind}" id="{name}"></div>'
        f'<script type="application/json" id="{name}-data">{data}</script>'
    )


def numbers(cells: Sequence[tuple[str, str]]) -> str:
    """Numbers to take away: large, with what each is in small."""
    inner = "".join(f"<div><b>{for_html(big)}</b><span>{for_html(small)}</span></div>" for big, small in cells)
    return f'<div class="numbers">{inner}</div>'


def rest(brief: str, texts: Sequence[str]) -> str:
    """What the brief verdict leaves out, as a list."""
    more = [text for text in texts if text not in brief]
    return f"<ul>{''.join(f'<li>{for_html(text)}</li>' for text in more)}</ul>" if more else ""


def table(columns: Columns) -> str:
    """A table that scrolls by itself where it is too wide."""
    top = "".join(f"<th>{for_html(head)}</th>" for head, _ in columns)
    rows = zip(*(cells for _, cells in columns), strict=True)
    body = "".join("<tr>" + "".join(f"<td>{for_html(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def note(text: str) -> str:
    """How to read what follows; nothing for an empty text."""
    return f'<p class="note">{for_html(text)}</p>' if text else ""


def lines(text: str) -> str:
    """A listing: its lines stay lines."""
    return html.escape(printable(text))
