"""The errors a user can meet. Formatted in one place: the command line prints `str(error)` and exits with 2."""

from __future__ import annotations

import errno
import re

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


class FitFailed(TrialFailed):
    """The network or function raised an error, which may be its strength's doing: that is not tried again at once.

    Args:
        line: What was wrong, without where; by default what `innermost` tells.
    """

    def __init__(self, message: str, line: str = "") -> None:
        super().__init__(message)
        self.line = line


class TookTooLong(FitFailed):
    """A fit took longer than `fit_timeout` allows."""


class SearchAborted(RuntimeError):
    """The search cannot go on at all; what was told so far is kept."""


MEMORY_FIX = "give a smaller --batch-size or --image-size or a smaller network, or free memory"
LONGEST_MESSAGE = 300

_NO_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|not enough memory|unable to allocate"
    r"|insufficient memory|invalid buffer size"
    r"|bad_alloc|bad allocation|_STATUS_ALLOC_FAILED|could not create a memory object|unable to mmap",
    re.IGNORECASE,
)
"""What PyTorch, its libraries, Metal, NumPy and C++ say; PyTorch's allocators for the CPU and MPS raise a plain
RuntimeError, MPS with `Invalid buffer size` where one tensor is larger than all memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: the CPU's, CUDA's or MPS's."""
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(message_of(error)))


def out_of_memory_line(error: BaseException, fix: str = MEMORY_FIX) -> str:
    """What ran out of memory and how to mend it, in one line."""
    return f"{_out_of_memory(error)}; {fix}"


def _out_of_memory(error: BaseException) -> str:
    said = re.sub(r"^\[enforce fail at .*?(?=DefaultCPUAllocator)", "", message_of(error).strip())
    first = one_line((said.splitlines() or [""])[0])[:LONGEST_MESSAGE]
    return f"out of memory on the device ({first or type(error).__name__})"


def mend(error: BaseException, fix: str) -> str:
    """How to mend an error: as told, unless memory ran out."""
    return MEMORY_FIX if is_out_of_memory(error) else fix


def message_of(error: BaseException) -> str:
    """An error's message, even where it cannot be had."""
    try:
        return str(error)
    except Exception:
        return ""


def _is_remote(error: BaseException) -> bool:
    """Whether an error is no cause, but the traceback of another process as text."""
    return type(error).__name__ == "_RemoteTraceback"


def innermost(error: BaseException) -> str:
    """Kind and message of the error that began it, in one line of bounded length."""
    seen = {id(error)}
    while error.__cause__ is not None and id(error.__cause__) not in seen and not _is_remote(error.__cause__):
        error = error.__cause__
        seen.add(id(error))
    if isinstance(error, FitFailed) and error.line:
        return error.line
    if is_out_of_memory(error):
        return _out_of_memory(error)
    kind = "" if isinstance(error, TrialFailed) else f"{type(error).__name__}: "
    line = one_line(f"{kind}{message_of(error)}".removesuffix(": "))
    return line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 1] + "…"
