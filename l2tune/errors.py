"""The errors a user can meet. Formatted in one place: the command line prints `str(error)` and exits with 2."""

from __future__ import annotations

from l2tune.terminal_text import one_line


class UserError(ValueError):
    """Bad input, told in the user's words.

    Args:
        what: What is wrong, with the offending value.
        where: The flag, TOML key, file or argument that brought it in; may be empty.
        fix: How to mend it; may be empty.
    """

    def __init__(self, what: str, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        line = f"{where}: {what}" if where else what
        super().__init__(one_line(f"{line}; {fix}" if fix else line))

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, str]]:
        return type(self), (self.what, self.where, self.fix)


class StorageFailed(RuntimeError):
    """A storage cannot be read or written; what it holds is kept.

    Args:
        what: What is wrong.
        where: Which storage, without its password; may be empty.
        fix: How to mend it; may be empty.
        under_way: Whether something had been written to it before, so that work was under way.
    """

    def __init__(self, what: str, where: str = "", fix: str = "", *, under_way: bool = False) -> None:
        self.what, self.where, self.fix, self.under_way = what, where, fix, under_way
        super().__init__(one_line(f"{self.place_and_fault}; {fix}" if fix else self.place_and_fault))

    @property
    def place_and_fault(self) -> str:
        """The line without how to mend it."""
        return f"{self.where}: {self.what}" if self.where else self.what


class TrialFailed(RuntimeError):
    """A trial could not be trained for a reason that says nothing about its strength, such as memory."""


class SearchAborted(RuntimeError):
    """The search cannot go on at all; what was told so far is kept."""
