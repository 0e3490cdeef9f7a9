"""Warn of pages that would load something from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

LOADED = re.compile(
    r"""(?:<(?:script|img|iframe|source|link)\b[^>]*\b(?:src|href)=["']?|url\(["']?)((?:https?:)?//[^"'\s)>]+)"""
)


def warn_of_loads(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None:
        return
    for path in sorted(Path(app.outdir).rglob("*")):
        if path.suffix in (".html", ".css"):
            for address in set(LOADED.findall(path.read_text(encoding="utf-8"))):
                logging.getLogger(__name__).warning("%s loads %s", path, address)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", warn_of_loads)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
