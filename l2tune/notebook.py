"""What a notebook shows while something goes on: the newest lines, drawn anew in one place."""

from __future__ import annotations

import html
import sys
from collections import deque
from typing import Any

_LINES = 12


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook. IPython is not loaded for the question."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


class NotebookLines:
    """The newest lines below the cell that runs, in an output that each line renews."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._handle: Any = None

    def say(self, line: str) -> None:
        """Show a line below the others."""
        from IPython.display import HTML, display

        self._lines.append(line)
        shown = HTML(f"<pre>{html.escape(chr(10).join(self._lines))}</pre>")  # type: ignore[no-untyped-call]
        if self._handle is None:
            self._handle = display(shown, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(shown)
