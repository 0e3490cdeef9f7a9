"""Every table in studies/benchmarks/results is a page of the site, and links to the file lead to that page.

A page links to the file where it lies in the repository, so the link also works where the source is read.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from sphinx.application import Sphinx

RESULTS = "studies/benchmarks/results/"
FOLDER = "measurements"


def write_pages(app: Sphinx) -> None:
    """Copy the tables into the folder of the source that Git ignores; only what has changed is written."""
    source = Path(app.srcdir).parent / RESULTS
    target = Path(app.srcdir) / FOLDER
    wanted = {"index.md": index(source)} | {page_name(path, source): page(path) for path in tables(source)}
    for old in target.glob("*.md"):
        if old.name not in wanted:
            old.unlink()
    target.mkdir(exist_ok=True)
    for name, text in wanted.items():
        if not (target / name).is_file() or (target / name).read_text(encoding="utf-8") != text:
            (target / name).write_text(text, encoding="utf-8")


def tables(source: Path) -> list[Path]:
    return sorted(source.rglob("*.md"))


def page_name(path: Path, source: Path) -> str:
    return "-".join(path.relative_to(source).parts)


def page(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return text if text.startswith("# ") else f"# {path.stem.replace('-', ' ').capitalize()}\n\n{text}"


def index(source: Path) -> str:
    listed = "\n".join(page_name(path, source).removesuffix(".md") for path in tables(source))
    return f"""# Measurements

The tables of `studies/benchmarks/results/`, as the programs in `studies/benchmarks/` have written them. Each program
says at its top what it measures, and what its columns are.

```{{toctree}}
:maxdepth: 1

{listed}
```
"""


def to_page(match: re.Match[str], docname: str) -> str:
    """`](../../studies/benchmarks/results/draws/judged-error.md)` → `](../measurements/draws-judged-error.md)`."""
    target = f"{FOLDER}/{match['name'].replace('/', '-')}"
    return f"]({posixpath.relpath(target, posixpath.dirname(docname) or '.')}"


def rewrite_links(app: Sphinx, docname: str, source: list[str]) -> None:
    pattern = rf"\]\((?:\.\./)+{re.escape(RESULTS)}(?P<name>[\w/.-]+\.md)"
    source[0] = re.sub(pattern, lambda match: to_page(match, docname), source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write_pages)
    app.connect("source-read", rewrite_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
