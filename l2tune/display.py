"""Lines that stay and, below them in a terminal, a few that are drawn anew; in a pipe or a file the former alone."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from l2tune.terminal_text import one_line, readable

_BAR_WIDTH = 16


class Display:
    """What is shown while something goes on.

    Args:
        console: Where to.
        quiet: Show nothing.
        redirect_stdout: What is printed meanwhile goes above the live lines, for it would be drawn over.
    """

    def __init__(self, console: Console, *, quiet: bool = False, redirect_stdout: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self.live = console.is_terminal and not quiet
        self._area = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=redirect_stdout)
        self._sections: dict[str, Sequence[RenderableType]] = {}

    def __enter__(self) -> Self:
        if self.live:
            self._area.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sections.clear()
        if self.live:
            self._area.update(Text(), refresh=True)
            self._area.stop()

    def say(self, line: str, part: str = "", *, always: bool = False) -> None:
        """Print a line that stays; in a terminal it is broken between words.

        Args:
            part: Which part of the whole it is about.
            always: Even if quiet.
        """
        if line and (always or not self._quiet):
            line = f"{part}: {line}" if part else line
            console = Console(stderr=self._console.stderr, highlight=False) if self._quiet else self._console
            console.print(self.shown(line), markup=False, emoji=False, soft_wrap=not console.is_terminal)

    def show(self, lines: Sequence[RenderableType], part: str = "") -> None:
        """Draw a part's lines anew; those of the other parts stay as they are. Each is cut where the terminal ends."""
        if not self.live:
            return
        self._sections[part] = [self.cut(line) if isinstance(line, str) else line for line in lines]
        self._area.update(Group(*(line for section in self._sections.values() for line in section)), refresh=True)

    def cut(self, line: str) -> Text:
        """The line as one that does not wrap."""
        return Text(self.shown(line), no_wrap=True, overflow="ellipsis")

    def shown(self, line: str) -> str:
        """The line on one line, as the console can show it."""
        return readable(one_line(line), self._console.encoding)

    def bar(self, line: str, share: float) -> RenderableType:
        """The line behind a bar of which so much is done."""
        row = Table.grid(padding=(0, 1))
        row.add_column(width=_BAR_WIDTH)
        row.add_column(no_wrap=True, overflow="ellipsis")
        row.add_row(ProgressBar(total=1.0, completed=share, width=_BAR_WIDTH), self.cut(line))
        return row
