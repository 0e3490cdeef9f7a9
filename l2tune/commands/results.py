"""Results on disk and on the terminal, the same after a search as from storage alone."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from l2tune.errors import UserError
from l2tune.given import RESULTS, check_path
from l2tune.terminal_text import printable, readable

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

    from l2tune.comparison import Comparison
    from l2tune.penalty.strength import ScaleName
    from l2tune.tradeoff import Tradeoff

FORMATS = ("html", "json", "csv")


ROOM = 8 << 20
"""Bytes that a disk should have free: a report takes five million."""


def check_folder(folder: str, where: str = "--out", room: int = ROOM) -> Path:
    """A folder that results can be written to; nothing is made yet.

    Args:
        room: Bytes that its disk should have free.

    Raises:
        UserError: It is a file, lies where nothing may be written or on a disk without so much room, or would be
            another study's where the file system takes upper and lower case for one.
    """
    path = Path(check_path(folder, where))
    parent = path
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise UserError(f"{parent} is a file", f"{where} {folder}", "give a folder")
    if not os.access(parent, os.W_OK):
        raise UserError(f"{parent} cannot be written to", f"{where} {folder}", "give another folder")
    names = os.listdir(RESULTS) if path == parent and path.parent == Path(RESULTS) else [path.name]
    if _composed(path.name) not in map(_composed, names):
        what = "is the folder of a study whose name differs in case"
        raise UserError(what, f"{where} {folder}", "give another folder")
    check_room(parent, room, f"{where} {folder}")
    return path


def _composed(name: str) -> str:
    """As names are compared: some file systems keep accents apart from their letters."""
    return unicodedata.normalize("NFC", name)


def check_room(folder: Path, room: int, where: str) -> None:
    """Refuse a disk without so many bytes of room; one that does not tell its size is taken as it is.

    Raises:
        UserError: There is less.
    """
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return
    if usage.total and usage.free < room:
        left = f"{usage.free / 2**20:.1f} of the {room / 2**20:.1f} MiB that are needed"
        raise UserError(f"its disk is full ({left} are free)", where, "free the disk, or give another folder")


def unwritten(error: OSError, where: str, kept: str, again: str) -> UserError:
    """What to tell where results cannot be written.

    Args:
        kept: What is not lost.
        again: The command that writes them once the cause is mended.
    """
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    mended = "free the disk" if full else "mend the folder, or give another --out"
    what = f"the results cannot be written ({error.strerror or error})"
    return UserError(what, where, f"{kept}: {mended}, then {again}")


def write_results(
    study: optuna.Study,
    folder: str,
    formats: Sequence[str] = FORMATS,
    *,
    parameter: str | None = None,
    scale: ScaleName | None = None,
) -> Tradeoff | None:
    """Analyse a study and write its files; None if it has no score yet.

    Where other workers tell results meanwhile it is done again, so that the last to write has seen all.

    Raises:
        UserError: The files cannot be written; what was there before is left.
    """
    from l2tune.records.observations import observations
    from l2tune.records.parameter import parameter_of
    from l2tune.tradeoff import Tradeoff

    if not len(observations(study, parameter_of(study, parameter, scale)).cost):
        return None
    while True:
        finished = _finished(study)
        tradeoff = Tradeoff.from_study(study, parameter=parameter, scale=scale)
        try:
            tradeoff.report(folder, formats=formats)
        except OSError as error:
            raise unwritten(
                error, f"--out {folder}", "the study is kept", f"`l2tune report {study.study_name}`"
            ) from None
        if _finished(study) == finished:
            return tradeoff


def _finished(study: optuna.Study) -> int:
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


def print_verdict(tradeoff: Tradeoff | None, folder: str | None = None) -> None:
    """The verdict and a small curve on standard output."""
    if tradeoff is None:
        print("No fold has been scored yet, so there is nothing to tell.")
        return
    from rich.console import Console

    from l2tune.analysis.code_to_paste import code_to_paste
    from l2tune.report.terminal import render_styled

    shown = render_styled(tradeoff)
    if sys.stdout.isatty():
        Console(highlight=False).print(shown, soft_wrap=True, end="")
    else:
        sys.stdout.write(shown.plain)
    code = code_to_paste(tradeoff.record, tradeoff.best_lambda) if tradeoff.curve is not None else None
    if code is not None:
        listing = "".join(f"    {line}\n" for line in code.with_import.text.splitlines())
        sys.stdout.write(printable(readable(f"\nTo use it:\n{listing}", sys.stdout.encoding)))
    if folder is not None:
        print(printable(f"\nReport: {Path(folder) / 'report.html'}"))


def print_bytes(content: bytes | None, of: str) -> None:
    """What scripts and papers read, JSON or a sentence: in UTF-8 whatever the terminal's encoding.

    Raises:
        UserError: There is none yet.
    """
    if content is None:
        raise UserError("no fold has been scored yet, so there is nothing to tell", of, "search first")
    sys.stdout.flush()
    sys.stdout.buffer.write(content)


def analysed(storage: BaseStorage, name: str) -> Comparison | None:
    """A comparison's analysis; None if nothing of it has a score yet."""
    from l2tune.comparison import Comparison
    from l2tune.records.comparison import comparison_studies
    from l2tune.records.observations import observations

    scored = any(len(observations(study).cost) for study in comparison_studies(storage, name).values())
    return Comparison.from_storage(storage, name) if scored else None


def write_comparison_results(storage: BaseStorage, name: str, folder: str) -> Comparison | None:
    """Analyse a comparison and write its page and tables; None if nothing of it has a score yet.

    Where other processes tell results meanwhile it is done again, so that the last to write has seen all.

    Raises:
        UserError: The files cannot be written; what was there before is left.
    """
    from l2tune.records.comparison import comparison_studies

    while True:
        before = sum(map(_finished, comparison_studies(storage, name).values()))
        comparison = analysed(storage, name)
        if comparison is None:
            return None
        try:
            comparison.report(folder)
        except OSError as error:
            raise unwritten(error, f"--out {folder}", "the studies are kept", f"`l2tune report {name}`") from None
        if sum(map(_finished, comparison_studies(storage, name).values())) == before:
            return comparison


def print_comparison(comparison: Comparison | None, folder: str | None = None) -> None:
    """The forms side by side on standard output."""
    if comparison is None:
        print("No fold has been scored yet, so there is nothing to tell.")
        return
    from l2tune.report.comparison_terminal import render_terminal

    sys.stdout.write(printable(render_terminal(comparison)))
    if folder is not None:
        print(printable(f"\nReport: {Path(folder) / 'compare.html'}"))
