"""What all trackers share: whose fits are sent when, each once, and what a failure does."""

from __future__ import annotations

import importlib
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import optuna
from optuna.trial import FrozenTrial

from l2tune.errors import UserError, innermost
from l2tune.penalty.strength import ScaleName
from l2tune.records.one_reading import one_reading
from l2tune.records.parameter import parameter_of
from l2tune.storage_url import without_passwords
from l2tune.trackers.runs import FitRun, StudyRun, fit_runs, study_run


class Tracker(ABC):
    """Sends a study to another tool: a run for each fit, with λ, fold, hyperparameters and learning curves, and one for
    the study, with its settings, λ_best, the interval, λ_1se and the verdict, kept up to date.

    It is a callback of Optuna's, `study.optimize(objective, callbacks=[tracker])`, which sends what each trial has
    trained once it has ended; and `tracker.track(study)` sends all that is not there yet. It reads the study only, and
    knows a fit that is there by the names of study, trial and fold, so none is sent twice, also by other processes.

    What goes wrong in the callback (a full disk, a server that is gone) ends no search: it is said once, nothing more
    is sent, and `track` makes up for it later.

    Args:
        parameter: Name of the strength in a study that does not keep it; by default its one log-scaled float.
        scale: Of its numbers; by default what the name tells.
        say: Called with the line that tells of a failure; by default it is a warning.
    """

    name: ClassVar[str]
    """As `--tracker` has it; the extra that installs its library is called so, too."""

    def __init__(
        self, *, parameter: str | None = None, scale: ScaleName | None = None, say: Callable[[str], None] | None = None
    ) -> None:
        self._parameter, self._scale, self._say = parameter, scale, say or _warn
        self._lock = threading.Lock()  # with n_jobs Optuna calls from several threads
        self._failed = False
        self._sent: dict[str, StudyRun] = {}

    def __call__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Send what a trial that has ended has trained; never raises an error."""
        self._try(study, [trial])

    def finish(self, study: optuna.Study) -> None:
        """Send all that is not there yet, and close; never raises an error."""
        self._try(study, None)
        self._guarded(self.close)

    def track(self, study: optuna.Study) -> int:
        """Send all that is not there yet.

        Returns:
            How many fits were sent.

        Raises:
            UserError: Which parameter is the strength is not known, or the tool cannot take it.
        """
        try:
            return self._send(study, None)
        except UserError:
            raise
        except Exception as error:
            raise self._unsent(error) from error

    def close(self) -> None:  # noqa: B027
        """End what is open; a later call opens it again."""

    def _try(self, study: optuna.Study, trials: Sequence[FrozenTrial] | None) -> None:
        self._guarded(lambda: self._send(study, trials))

    def _guarded(self, act: Callable[[], Any]) -> None:
        """Do it unless something has failed before; a failure is said."""
        if self._failed:
            return
        try:
            act()
        except Exception as error:
            self._failed = True
            why = without_passwords(innermost(error))
            self._say(
                f"the tracker {self.name} failed ({why}): the search goes on without it, l2tune track sends it later"
            )

    @one_reading()
    def _send(self, study: optuna.Study, trials: Sequence[FrozenTrial] | None) -> int:
        with self._lock:
            parameter = parameter_of(study, self._parameter, self._scale)
            run = study_run(study, parameter)
            fits = self._missing(run, fit_runs(study, trials, parameter))
            for fit in fits:
                self._log_fit(run, fit)
            if self._sent.get(run.key) != run:
                self._log_study(run)
                self._sent[run.key] = run
            return len(fits)

    def _unsent(self, error: Exception) -> UserError:
        """What to tell where the tool cannot take anything."""
        return UserError(
            f"cannot be written to ({without_passwords(innermost(error))})",
            f"the tracker {self.name}",
            "nothing of the study is lost: mend it, then try again",
        )

    @abstractmethod
    def _missing(self, study: StudyRun, fits: Sequence[FitRun]) -> list[FitRun]:
        """Those of the study's fits that are not there, or not wholly."""

    @abstractmethod
    def _log_fit(self, study: StudyRun, fit: FitRun) -> None:
        """Log a fit that is not there, or only in part: wholly, or so that it is still missing."""

    @abstractmethod
    def _log_study(self, study: StudyRun) -> None:
        """Log the study as it stands now."""


def library(module: str, extra: str) -> Any:
    """A tracker's library.

    Raises:
        UserError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        what = f"needs a package that is not there ({error})"
        raise UserError(what, f"the tracker {extra}", f"pip install 'l2tune[{extra}]'") from None


def _warn(line: str) -> None:
    warnings.warn(line, UserWarning, stacklevel=2)
