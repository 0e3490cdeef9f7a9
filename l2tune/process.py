"""A process that is there to train: commands and workers are, and whoever gives l2tune one of their own may say so.

An import of l2tune changes nothing in a process; `own_process` does.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import os

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8

_IMPORTS = 100_000
"""New objects until the next look for garbage while modules are imported, none of which is: a fifth of the start."""

_KEPT = 256 << 20
"""Bytes of freed memory that are kept from one fit to the next; more would be pieces that fit nothing."""


class _MallocInfo(ctypes.Structure):
    """glibc's `struct mallinfo2`; `fordblks` is what is free of what it holds."""

    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks")),
        *((name, ctypes.c_size_t) for name in ("uordblks", "fordblks", "keepcost")),
    )


_owned = False
_thresholds: tuple[int, int, int] | None = None


def own_process() -> None:
    """Say that this process is there to train: it keeps memory that was freed, and its threads are l2tune's to share.

    glibc returns large buffers to the system after every step, and every step faults them in again; kept, a step at
    32×32 pixels takes 0.6 to 0.8 of the time. All threads take them from one arena, or each would keep its own: of two
    networks side by side at 28×28 pixels a step then holds 0.75 of the memory, and takes no longer. At its end, Python
    does not look for garbage among all that is imported. Call it before anything is trained.
    """
    global _owned
    if not _owned:
        atexit.register(_end)
    _owned = True
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_TOP_PAD, 64 << 20)
    mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Between fits, return to the system what was freed, where it has come to be much; nothing in others' processes."""
    if not _owned:
        return
    try:
        glibc = ctypes.CDLL(None)
        glibc.mallinfo2.restype = _MallocInfo
        if glibc.mallinfo2().fordblks > _KEPT:
            glibc.malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # no glibc, or one before 2.33
        return


def begin_loading() -> None:
    """Look for garbage seldom from now on, until `end_loading`: a command of ours is about to import what it needs.

    NumPy and SciPy take one thread: their matrices here are small, and a second one spins, beside other work at the
    cost of half the decisions' time. torch's threads are its own.
    """
    global _thresholds
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read once, when they are imported
    _thresholds = _thresholds or gc.get_threshold()
    gc.set_threshold(_IMPORTS)


def end_loading() -> None:
    """Look for garbage as before `begin_loading`, but not among what was imported: long work begins."""
    global _thresholds
    if _thresholds is not None:
        if not gc.get_freeze_count():
            gc.freeze()
        gc.set_threshold(*_thresholds)
        _thresholds = None


def _end() -> None:
    """Clear garbage a last time. Python does so several times at its end, among all modules: a second after torch."""
    gc.collect()
    gc.freeze()


def is_own() -> bool:
    """Whether this process is there to train."""
    return _owned
