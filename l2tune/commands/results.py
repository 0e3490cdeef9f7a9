"""Results on disk and on the terminal, the same after a search as from storage alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from l2tune.errors import UserError
from l2tune.given import check_path
from l2tune.terminal_text import printable, readable

if TYPE_CHECKING:
    import optuna

    from l2tune.penalty.strength import ScaleName
    from l2tune.tradeoff import Tradeoff

FORMATS = ("html", "json", "csv")


def check_folder(folder: str, where: str = "--out") -> Path:
    """A folder that results can be written to; nothing is made yet.

    Raises:
        UserError: It is a file, or lies where nothing may be written.
    """
    path = Path(check_path(folder, where))
    parent = path
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise UserError(f"{parent} is a file", f"{where} {folder}", "give a folder")
    if not os.access(parent, os.W_OK):
        raise UserError(f"{parent} cannot be written to", f"{where} {folder}", "give another folder")
    return path


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
            raise UserError(
                f"the results cannot be written ({error.strerror})",
                f"--out {folder}",
                f"the study is kept: free the disk, then `l2tune report {study.study_name}`",
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
    from l2tune.analysis.code_to_paste import code_to_paste
    from l2tune.report.terminal import render

    sys.stdout.write(printable(render(tradeoff)))
    code = code_to_paste(tradeoff.record, tradeoff.best_lambda) if tradeoff.curve is not None else None
    if code is not None:
        listing = "".join(f"    {line}\n" for line in code.with_import.text.splitlines())
        sys.stdout.write(printable(readable(f"\nTo use it:\n{listing}", sys.stdout.encoding)))
    if folder is not None:
        print(printable(f"\nReport: {Path(folder) / 'report.html'}"))
