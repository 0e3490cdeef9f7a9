"""What a notebook shows while something goes on: the newest lines, drawn anew in one place."""

from __future__ import annotations

import html
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_LINES = 12


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook. IPython is not loaded for the question."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


class NotebookLines:
    """The newest lines below the cell that runs, and below them what is going on, in an output that is drawn anew."""

    live = True

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._going_on: Sequence[str] = ()
        self._share = 0.0
        self._handle: Any = None

    def say(self, line: str) -> None:
        """Show a line below the others."""
        self._lines.append(line)
        self._draw()

    def show(self, lines: Sequence[str], share: float) -> None:
        """Draw the lines that tell what is going on anew, below a bar.

        Args:
            share: How much is done, 0 to 1.
        """
        self._going_on, self._share = lines, share
        self._draw()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """What is going on is shown inside, and away afterwards."""
        try:
            yield
        finally:
            if self._going_on:
                self._going_on = ()
                self._draw()

    def _draw(self) -> None:
        from IPython.display import HTML, display

        text = _pre(self._lines)
        if self._going_on:
            bar = f'<progress value="{self._share:.3f}" max="1" style="width: 16em"></progress>'
            text += bar + _pre(self._going_on)
        shown = HTML(text)  # type: ignore[no-untyped-call]
        if self._handle is None:
            self._handle = display(shown, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(shown)


def _pre(lines: Iterable[str]) -> str:
    return f"<pre>{html.escape(chr(10).join(lines))}</pre>"
