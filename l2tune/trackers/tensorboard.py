"""TensorBoard: event files in a folder for each run."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from l2tune.trackers.runs import FitRun, StudyRun
from l2tune.trackers.tracker import Tracker, library

FOLDER = "runs/tensorboard"


class TensorBoardTracker(Tracker):
    """Writes a study for TensorBoard: `tensorboard --logdir FOLDER` shows it.

    The study's own run is the folder STUDY-BEGUN, with scalars over the number of finished trials and the verdict as a
    text; each fit's is a folder in it, with scalars over the epochs, and λ and all else that it was trained with as
    hyperparameters (the HPARAMS tab). A fit's folder appears when it is whole.

    Args:
        folder: For all studies; by default runs/tensorboard.
        **given: As `Tracker`.

    Raises:
        UserError: TensorBoard is not installed, or the folder cannot be made.
    """

    name = "tensorboard"

    def __init__(self, folder: str | Path | None = None, **given: Any) -> None:
        super().__init__(**given)
        self._writer = library("torch.utils.tensorboard", self.name).SummaryWriter
        self._hparams = library("torch.utils.tensorboard.summary", self.name).hparams
        self._folder = Path(folder or FOLDER)
        self._studies: dict[str, Any] = {}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unsent(error) from None

    def close(self) -> None:
        while self._studies:
            self._studies.popitem()[1].close()

    def _missing(self, study: StudyRun, fits: Sequence[FitRun]) -> list[FitRun]:
        return [fit for fit in fits if not (self._home(study) / fit.key).exists()]

    def _log_fit(self, study: StudyRun, fit: FitRun) -> None:
        """Written beside, then moved to its place in one go."""
        home = self._home(study)
        home.mkdir(parents=True, exist_ok=True)
        beside = tempfile.mkdtemp(prefix=".l2tune-", dir=self._folder)
        try:
            with closing(self._writer(beside)) as writer:
                for summary in self._hparams(dict(fit.params), dict(fit.final)):
                    writer.file_writer.add_summary(summary)
                for epoch, scores in sorted(fit.epochs.items()):
                    for name, value in scores.items():
                        writer.add_scalar(name, value, epoch)
            Path(beside).chmod(0o777 & ~_umask())
            with suppress(FileExistsError):
                os.rename(beside, home / fit.key)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _log_study(self, study: StudyRun) -> None:
        home = self._home(study)
        if study.key not in self._studies:
            writer = self._studies[study.key] = self._writer(str(home))
            rows = "".join(
                f"| {name} | {str(value).replace('|', '&#124;')} |\n" for name, value in study.params.items()
            )
            if rows:
                writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}", study.step)
        writer = self._studies[study.key]
        for name, value in study.numbers.items():
            writer.add_scalar(name, value, study.step)
        if study.verdict:
            writer.add_text("verdict", study.verdict, study.step)
        writer.flush()

    def _home(self, study: StudyRun) -> Path:
        """The study's folder, whose name leads nowhere else, whatever the study's is."""
        name = re.sub(r"[^\w.-]", "_", study.key, flags=re.ASCII)
        if name != study.key or name.startswith(".") or len(name) > 200:
            name = f"{name.lstrip('.')[:100]}-{study.id}"
        return self._folder / name


def _umask() -> int:
    """What this process takes away from the rights of new files; it can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
