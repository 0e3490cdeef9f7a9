"""Weights & Biases: a group for the study, with a run for the study itself and one for each fit."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from l2tune.trackers.runs import FitRun, StudyRun
from l2tune.trackers.tracker import Tracker, library

PROJECT = "l2tune"
_WHOLE = "l2tune-whole"
"""File in a run's folder, with the run's id: all of it has been logged."""
_HEADER = 7
"""Bytes of a run's file that hold nothing yet."""
_SECONDS_TO_WRITE = 10.0


class WandbTracker(Tracker):
    """Writes a study for Weights & Biases, offline unless $WANDB_MODE says otherwise: nothing is sent before
    `wandb sync FOLDER/wandb/offline-run-*`.

    The runs of a study are a group: that of the job type `study` has the verdict in its summary and metrics over the
    number of finished trials, those of the job type `fit` have metrics over the epochs.

    Args:
        project: By default $WANDB_PROJECT, else `l2tune`.
        folder: That its folder `wandb` is in; by default $WANDB_DIR, else the current one.
        **given: As `Tracker`.

    Raises:
        UserError: wandb is not installed, or the folder cannot be made.
    """

    name = "wandb"

    def __init__(self, project: str | None = None, folder: str | Path | None = None, **given: Any) -> None:
        super().__init__(**given)
        self._wandb = library("wandb", self.name)
        self._project = project or os.environ.get("WANDB_PROJECT") or PROJECT
        # wandb's service may have begun in another folder than the current one
        self._folder = Path(folder or os.environ.get("WANDB_DIR") or ".").absolute()
        self._studies: dict[str, Any] = {}
        try:
            (self._folder / "wandb").mkdir(parents=True, exist_ok=True)  # without it wandb takes the temporary folder
        except OSError as error:
            raise self._unsent(error) from None

    def close(self) -> None:
        while self._studies:
            self._end(self._studies.popitem()[1])

    def _missing(self, study: StudyRun, fits: Sequence[FitRun]) -> list[FitRun]:
        whole = {path.read_text() for path in self._folder.glob(f"wandb/*run-*/{_WHOLE}")}
        return [fit for fit in fits if fit.id not in whole]

    def _log_fit(self, study: StudyRun, fit: FitRun) -> None:
        run = self._begin(fit.id, fit.name, study, "fit", fit.params)
        folder = Path(run.dir).parent
        try:
            for epoch, scores in sorted(fit.epochs.items()):
                run.log(dict(scores), step=epoch)
        finally:
            self._end(run)
        (folder / _WHOLE).write_text(fit.id)

    def _log_study(self, study: StudyRun) -> None:
        if study.id not in self._studies:
            self._studies[study.id] = self._begin(study.id, study.name, study, "study", study.params)
        run = self._studies[study.id]
        if study.numbers:
            run.log(dict(study.numbers), step=study.step)
        if study.verdict:
            run.summary["verdict"] = study.verdict

    def _end(self, run: Any) -> None:
        """Finish a run. Its service says so before it has written the file, and does not tell if it cannot.

        Raises:
            OSError: The file was not written.
        """
        file = Path(run.dir).parent / f"run-{run.id}.wandb"
        run.finish()
        last = time.monotonic() + _SECONDS_TO_WRITE
        while not run.disabled and not (file.is_file() and file.stat().st_size > _HEADER):
            if time.monotonic() > last:
                raise OSError(f"{file} was not written")
            time.sleep(0.005)

    def _begin(self, id: str, name: str, study: StudyRun, kind: str, config: Any) -> Any:
        """A run beside those that the process may have open itself."""
        quiet = {"console": "off", "silent": True, "disable_git": True, "save_code": False}
        quiet |= {"x_disable_stats": True, "x_save_requirements": False}
        return self._wandb.init(
            project=self._project,
            dir=str(self._folder),
            id=id,
            name=name[:128],
            group=study.key[:128],
            job_type=kind,
            config=dict(config),
            mode=os.environ.get("WANDB_MODE") or "offline",
            reinit="create_new",
            settings=self._wandb.Settings(**quiet),
        )
