"""The dashboard kept up to date while a search runs. What draws is imported with the first update, not before it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import optuna

from l2tune.records.tables import read_study
from l2tune.storage_url import without_passwords

if TYPE_CHECKING:
    from l2tune.analysis.estimates import Estimates


_WHILE_IT_RUNS = ("tradeoff", "gap")
_ARTIFACTS = ("report.html", "results.json", "trials.csv", "curve.csv")


class DashboardPublisher:
    """Keeps a study's verdict and figures in the dashboard up to date. A failure to do so never ends a search.

    Args:
        seconds: At least between two updates: each costs about half a second, the first with its imports two.
    """

    def __init__(self, study: optuna.Study, seconds: float = 60.0) -> None:
        self._study, self._seconds = study, seconds
        self._last = time.monotonic()

    def trial(self) -> None:
        """Note a finished trial."""
        if time.monotonic() - self._last >= self._seconds:
            with contextlib.suppress(Exception):
                from l2tune.analysis.estimates import Estimates

                self.publish(Estimates.from_record(read_study(self._study)), brief=True)
            self._last = time.monotonic()

    def publish(self, tradeoff: Estimates, *, brief: bool = False) -> None:
        """Show this now.

        Args:
            brief: Only the figures that matter while it runs.
        """
        from l2tune.report.dashboard import publish

        publish(self._study, tradeoff, _WHILE_IT_RUNS) if brief else publish(self._study, tradeoff)

    def finish(self, tradeoff: Estimates, folder: str | None = None) -> str:
        """Publish the final verdict, with a folder's report as artifacts; returns what went wrong, if anything."""
        try:
            self.publish(tradeoff)
            if folder is not None:
                from l2tune.report.dashboard import artifacts_beside, keep_artifacts

                files = [path for name in _ARTIFACTS if (path := Path(folder) / name).is_file()]
                keep_artifacts(self._study, files, artifacts_beside(folder))
        except Exception as error:
            why = without_passwords(f"{type(error).__name__}: {error}")
            return f"the dashboard could not be brought up to date ({why})"
        return ""
