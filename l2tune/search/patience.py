"""A storage that waits for its server: what passes by itself is tried again, all else is told in one line.

Nothing is done twice for it. An operation whose answer was lost may have been carried out: a trial is created under a
name of its own, which is looked for first; a result that is there already counts as told; and a queued trial that is
running already counts as another's, so that nobody trains what another worker may be training. (Where it was this one
that took it, the trial has no worker, and is taken over as lost.)
"""

from __future__ import annotations

import copy
import math
import threading
import time
import uuid
from collections.abc import Callable, Container, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, get_storage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from l2tune.errors import StorageFailed
from l2tune.optuna_internals import CREATED, storage_of
from l2tune.records.one_reading import forget_readings, read_once
from l2tune.search.storage_faults import fix_of, is_fault, is_transient, reason
from l2tune.search.undisturbed import undisturbed
from l2tune.storage_url import hide_password, without_password

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two attempts; each pause is twice the one before."""

PUT_DOWN_SECONDS = 5.0
"""So long a storage is waited for after Ctrl-C, all operations together until it answers: a lock is gone by then, a
server not back."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for a storage that does not answer.

    Attributes:
        seconds: From the first operation that failed; 0 for not at all.
        say: Told, once each time, that the storage does not answer, and that it answers again.
        now: Seconds of a clock that only runs forward.
        pause: Waits so many seconds.
        quiet: Seconds until it is told: so long another's lock may last.
        whole: Whether a signal waits for the end of an operation, of which none takes longer than a second.
    """

    seconds: float = 0.0
    say: Callable[[str], None] = lambda line: None
    now: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    quiet: float = 0.0
    whole: bool = False


class PatientStorage(BaseStorage):
    """A storage of Optuna's whose faults are `StorageFailed`, after as much patience as was asked for.

    Args:
        backend: The storage itself.
        url: Where it is, for messages.
        patience: How long to wait.

    Attributes:
        backend: As it was given; Optuna's cache lies between.
        hurried: Whether what was interrupted is being put in order: then nobody waits for long.
    """

    def __init__(self, backend: BaseStorage, url: str, patience: Patience) -> None:
        self.backend = backend
        self.hurried = False
        self._storage = get_storage(backend)
        self._url, self._patience = url, patience
        self._lock = threading.Lock()
        self._silent = False  # it was said that the storage does not answer
        self._given_up = False  # nobody waits any more until it answers
        self._end = math.inf  # nobody waits longer than to this reading of the clock
        self._written = False

    # Studies

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        return self._write(lambda: self._storage.create_new_study(directions, study_name))

    def delete_study(self, study_id: int) -> None:
        def again() -> None:
            with suppress(KeyError):  # it is gone
                self._storage.delete_study(study_id)

        self._write(lambda: self._storage.delete_study(study_id), again)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._write(lambda: self._storage.set_study_user_attr(study_id, key, value))

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._write(lambda: self._storage.set_study_system_attr(study_id, key, value))

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._read(lambda: self._storage.get_study_id_from_name(study_name))

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._read(lambda: self._storage.get_study_name_from_id(study_id))

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._read(lambda: self._storage.get_study_directions(study_id))

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        read = partial(self._storage.get_study_user_attrs, study_id)
        return read_once((id(self), study_id, "attributes"), lambda: self._read(read))

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._read(lambda: self._storage.get_study_system_attrs(study_id))

    def get_all_studies(self) -> list[Any]:
        return self._read(self._storage.get_all_studies)

    # Trials

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        if not self._patience.seconds:
            return self._write(lambda: self._storage.create_new_trial(study_id, template_trial))
        name = uuid.uuid4().hex
        template = copy.copy(template_trial) if template_trial else create_trial(state=TrialState.RUNNING)
        template.system_attrs = template.system_attrs | {CREATED: name}

        def again() -> int:
            for trial in self._storage.get_all_trials(study_id, deepcopy=False):
                if trial.system_attrs.get(CREATED) == name:
                    return self._storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
            return self._storage.create_new_trial(study_id, template)

        return self._write(lambda: self._storage.create_new_trial(study_id, template), again)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self._write(lambda: self._storage.set_trial_param(trial_id, param_name, param_value_internal, distribution))

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        def again() -> bool:
            try:
                return self._storage.set_trial_state_values(trial_id, state, values)
            except UpdateFinishedTrialError:
                trial = self._storage.get_trial(trial_id)
                if trial.state == state and _alike(trial.values, values):
                    return True
                raise

        return self._write(lambda: self._storage.set_trial_state_values(trial_id, state, values), again)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._write(lambda: self._storage.set_trial_intermediate_value(trial_id, step, intermediate_value))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._write(lambda: self._storage.set_trial_user_attr(trial_id, key, value))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._write(lambda: self._storage.set_trial_system_attr(trial_id, key, value))

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        return self._read(lambda: self._storage.get_trial_id_from_study_id_trial_number(study_id, trial_number))

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._read(lambda: self._storage.get_trial(trial_id))

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        read = partial(self._storage.get_all_trials, study_id, deepcopy=False)
        trials = read_once((id(self), study_id, "trials"), lambda: self._read(read))
        trials = [trial for trial in trials if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def remove_session(self) -> None:
        self._storage.remove_session()

    # Patience

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def _read(self, operation: Callable[[], T]) -> T:
        return self._ask(operation, operation, reading=True)

    def _write(self, operation: Callable[[], T], again: Callable[[], T] | None = None) -> T:
        """Args: `again` does what is left to be done where an earlier attempt may have been carried out."""
        try:
            answer = self._ask(operation, again or operation, reading=False)
        finally:
            forget_readings()
        self._written = True
        return answer

    def _ask(self, operation: Callable[[], T], again: Callable[[], T], *, reading: bool) -> T:
        attempt, pause = operation, FIRST_PAUSE
        began: float | None = None
        waited = False
        whole = undisturbed if self._patience.whole else nullcontext
        while True:
            try:
                with whole():
                    answer = attempt()
            except Exception as error:
                if not is_fault(error, reading=reading):
                    raise
                if self.hurried:
                    self._put_down_soon()
                now = self._patience.now()
                began = now if began is None else began
                left = min(began + self._seconds, self._end) - now
                if self._given_up or left <= 0 or not is_transient(error):
                    raise self._failed(error, waited) from error
                waited = True
                if now - began >= self._patience.quiet:
                    self._note_silence(error)
                self._wait(min(pause, left))
                attempt, pause = again, min(2 * pause, LONGEST_PAUSE)
            except BaseException:
                self._put_down_soon()
                raise
            else:
                self._note_answer()
                return answer

    @property
    def _seconds(self) -> float:
        """How long to wait for it now."""
        return PUT_DOWN_SECONDS if self.hurried else self._patience.seconds

    def _wait(self, seconds: float) -> None:
        try:
            self._patience.pause(seconds)
        except BaseException:
            self._put_down_soon()
            raise

    def _put_down_soon(self) -> None:
        """After Ctrl-C: what is to be put in order must not wait as long again."""
        self._end = min(self._end, self._patience.now() + PUT_DOWN_SECONDS)

    def _note_silence(self, error: Exception) -> None:
        with self._lock:
            told, self._silent = self._silent, True
        if not told:
            within = _duration(self._seconds)
            self._patience.say(f"the storage does not answer ({self._reason(error)}); trying again for up to {within}")

    def _note_answer(self) -> None:
        self._given_up, self._end = False, math.inf
        if self._silent:
            with self._lock:
                told, self._silent = self._silent, False
            if told:
                self._patience.say("the storage answers again")

    def _failed(self, error: Exception, waited: bool) -> StorageFailed:
        if isinstance(error, StorageFailed):
            return StorageFailed(error.what, error.where, error.fix, under_way=self._written)
        what = f"cannot be read or written ({self._reason(error)})"
        if is_transient(error):
            waited = waited and not self._given_up
            what = f"does not answer ({self._reason(error)})"
            what += f"; it was asked for {_duration(self._seconds)}" if waited else ""
            self._given_up = True
        fix = f"what it holds is kept: {fix_of(error) or 'mend that'}, then run the same command again"
        return StorageFailed(what, f"--storage {without_password(self._url)}", fix, under_way=self._written)

    def _reason(self, error: Exception) -> str:
        return hide_password(reason(error), self._url)


def hurry(study: optuna.Study, wanted: bool) -> None:
    """Say whether what was interrupted is being put in order from now on, so that its storage is not waited for."""
    storage = storage_of(study)
    if isinstance(storage, PatientStorage):
        storage.hurried = wanted


def _alike(stored: Sequence[float] | None, told: Sequence[float] | None) -> bool:
    """Whether these are the same values; where none were told, any may have been stored before."""
    return told is None or (stored is not None and list(stored) == [float(value) for value in told])


def _duration(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:g} min"
