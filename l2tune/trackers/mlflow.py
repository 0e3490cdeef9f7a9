"""MLflow: a run for the study, with the fits' runs as its children."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from l2tune.trackers.runs import FitRun, StudyRun
from l2tune.trackers.tracker import Tracker, library

EXPERIMENT = "l2tune"
_ID, _STUDY = "l2tune.id", "l2tune.study"
_MOST_METRICS, _MOST_PARAMS = 1000, 100
"""That one request to MLflow may bring."""
_LONGEST_NAME, _LONGEST_PARAM = 250, 6000


class MLflowTracker(Tracker):
    """Writes a study to MLflow: `mlflow ui` shows it.

    The metrics of the study's run are over the number of finished trials, its verdict is its description; the fits are
    its child runs, with metrics over the epochs.

    Args:
        uri: Of the tracking server or store; by default MLflow's own, $MLFLOW_TRACKING_URI.
        experiment: That the runs belong to; by default $MLFLOW_EXPERIMENT_NAME, else `l2tune`.
        **given: As `Tracker`.

    Raises:
        UserError: MLflow is not installed, or the server does not answer.
    """

    name = "mlflow"

    def __init__(self, uri: str | None = None, experiment: str | None = None, **given: Any) -> None:
        super().__init__(**given)
        mlflow = library("mlflow", self.name)
        self._entities = library("mlflow.entities", self.name)
        name = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        self._studies: dict[str, str] = {}
        try:
            with _quietly():
                self._client = mlflow.MlflowClient(tracking_uri=uri)
                self._experiment = self._experiment_of(name)
        except Exception as error:
            raise self._unsent(error) from error

    def _experiment_of(self, name: str) -> str:
        """Its id; another process may have created it in this instant."""
        for last in (False, True):
            found = self._client.get_experiment_by_name(name)
            if found is not None:
                return str(found.experiment_id)
            try:
                return str(self._client.create_experiment(name))
            except Exception:
                if last:
                    raise
        raise AssertionError

    def _missing(self, study: StudyRun, fits: Sequence[FitRun]) -> list[FitRun]:
        """A run that nobody finished was given up half way."""
        runs = self._runs(_STUDY, study.id)
        whole = {run.data.tags.get(_ID) for run in runs if run.info.status == "FINISHED"}
        return [fit for fit in fits if fit.id not in whole]

    def _log_fit(self, study: StudyRun, fit: FitRun) -> None:
        for half in self._runs(_ID, fit.id):
            self._client.delete_run(half.info.run_id)
        tags = {_ID: fit.id, _STUDY: study.id, "mlflow.parentRunId": self._parent(study)}
        run = self._client.create_run(self._experiment, tags=tags, run_name=fit.name).info.run_id
        self._log(run, fit.epochs, fit.params)
        self._client.set_terminated(run)

    def _log_study(self, study: StudyRun) -> None:
        run = self._parent(study)
        self._log(run, {study.step: study.numbers})
        if study.verdict:
            self._client.set_tag(run, "mlflow.note.content", study.verdict)
            self._client.set_tag(run, "verdict", study.verdict)
        self._client.set_terminated(run)

    def _parent(self, study: StudyRun) -> str:
        """Id of the study's run; the first where several processes have created one in the same instant."""
        if study.id not in self._studies:
            if not self._runs(_ID, study.id):
                run = self._client.create_run(self._experiment, tags={_ID: study.id}, run_name=study.name)
                self._log(run.info.run_id, {}, study.params)
            found = sorted(self._runs(_ID, study.id), key=lambda run: (run.info.start_time, run.info.run_id))
            self._studies[study.id] = str(found[0].info.run_id)
        return self._studies[study.id]

    def _runs(self, tag: str, value: str) -> list[Any]:
        """All runs with this tag."""
        wanted = f"tags.`{tag}` = '{value}'"
        found: list[Any] = []
        token = None
        while True:
            page = self._client.search_runs([self._experiment], wanted, max_results=1000, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _log(self, run: str, rows: Mapping[int, Mapping[str, float]], params: Mapping[str, Any] | None = None) -> None:
        now = int(1000 * time.time())
        metrics = [
            self._entities.Metric(_name(name), value, now, step)
            for step, row in sorted(rows.items())
            for name, value in row.items()
        ]
        given = [
            self._entities.Param(_name(name), str(value)[:_LONGEST_PARAM]) for name, value in (params or {}).items()
        ]
        for start in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(run, metrics=metrics[start : start + _MOST_METRICS])
        for start in range(0, len(given), _MOST_PARAMS):
            self._client.log_batch(run, params=given[start : start + _MOST_PARAMS])


def _name(name: str) -> str:
    """A name that MLflow takes: word characters, `-`, `.`, space and `/`, and no path that leads elsewhere."""
    plain = re.sub(r"[^\w\-./ ]", "_", name)
    parts = [part if part.strip(".") else "_" for part in plain.split("/")]
    plain = "/".join(parts)
    if plain == name and len(plain) <= _LONGEST_NAME:
        return plain
    return f"{plain[: _LONGEST_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@contextmanager
def _quietly() -> Iterator[None]:
    """Without MLflow's lines on the tables that it creates in a new database."""
    log = logging.getLogger("mlflow")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
