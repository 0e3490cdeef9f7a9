"""A storage that does not answer for a while: nothing is lost or done twice, and it is said once."""

import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import optuna
import psycopg
import pymysql
import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.storages._base import BaseStorage
from optuna.trial import TrialState, create_trial

from l2tune.commands.interrupts import lasting_interrupts
from l2tune.errors import StorageFailed
from l2tune.search.patience import PUT_DOWN_SECONDS, Patience, PatientStorage, hurry
from l2tune.search.storage import open_storage, open_study
from l2tune.search.storage_faults import is_fault, is_transient, reason
from l2tune.settings import build

WRITES = (
    *("create_new_study", "delete_study", "set_study_user_attr", "set_study_system_attr", "create_new_trial"),
    *("set_trial_param", "set_trial_state_values", "set_trial_intermediate_value", "set_trial_user_attr"),
    "set_trial_system_attr",
)
READS = tuple(sorted(BaseStorage.__abstractmethods__ - set(WRITES)))


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.pauses: list[float] = []

    def now(self) -> float:
        return self.seconds

    def pause(self, seconds: float) -> None:
        self.seconds += seconds
        self.pauses.append(seconds)


class Breaking:
    """Breaks operations of a storage, before they are carried out or so that only the answer is lost.

    Args:
        which: Of the operations that are asked for, from 0, which ones break; each breaks once.
    """

    def __init__(self, storage: PatientStorage, when: str, which: Callable[[int], bool]) -> None:
        self.count = 0
        self._when, self._which = when, which
        for name in (*WRITES, *READS):
            setattr(storage._storage, name, self._breaking(getattr(storage._storage, name)))

    def _breaking(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def broken(*args: Any, **named: Any) -> Any:
            number, self.count = self.count, self.count + 1
            if not self._which(number):
                return operation(*args, **named)
            if self._when == "after":
                operation(*args, **named)
            raise ConnectionResetError(104, "Connection reset by peer")

        return broken


def patient(seconds: float = 60.0, backend: BaseStorage | None = None) -> tuple[PatientStorage, Clock, list[str]]:
    clock, said = Clock(), list[str]()
    patience = Patience(seconds, said.append, clock.now, clock.pause)
    return PatientStorage(backend or InMemoryStorage(), "db://bob:secret@host/x", patience), clock, said


def use(storage: PatientStorage, name: str) -> list[Any]:
    """What a study that uses every operation holds in the end."""
    study = optuna.create_study(study_name=name, storage=storage, load_if_exists=True)
    study.set_user_attr("a", 1)
    study.enqueue_trial({"x": 0.25}, user_attrs={"queued": True})
    for number in range(4):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        trial.report(0.5, step=number)
        trial.set_user_attr("b", number)
        study.tell(trial, float(number))
    study.add_trial(create_trial(state=TrialState.FAIL))
    other = optuna.create_study(study_name="other", storage=storage, load_if_exists=True)
    optuna.delete_study(study_name=other.study_name, storage=storage)
    trials = study.get_trials()
    shown = [(t.number, t.state.name, t.values, t.user_attrs, t.intermediate_values, set(t.params)) for t in trials]
    return [len({"other", name}.intersection(optuna.get_all_study_names(storage))), study.user_attrs, shown]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_no_operation_is_lost_or_done_twice_whichever_answer_is_lost(tmp_path: Path, when: str, kind: str) -> None:
    backend = InMemoryStorage() if kind == "memory" else open_storage(f"{tmp_path}/s.db").backend
    whole, _, _ = patient(backend=backend)
    counting = Breaking(whole, when, lambda number: False)
    expected = use(whole, "whole")
    taken = 0
    for broken in range(0, counting.count, 1 if kind == "memory" else 11):
        tried, _, said = patient(backend=backend)
        for name in (*WRITES, *READS):
            vars(backend).pop(name, None)
        Breaking(tried, when, lambda number, broken=broken: number == broken)  # type: ignore[misc]
        found = use(tried, str(broken))
        assert said == [
            "the storage does not answer (Connection reset by peer); trying again for up to 60 s",
            "the storage answers again",
        ]
        if when == "after" and found[2][0][1] == "RUNNING":  # the queued trial, which another may have taken
            taken += 1
            found[2] = found[2][:1] + found[2][2:]
            continue
        assert found == expected, f"operation {broken}"
    assert taken <= 1


def test_pauses_grow_and_end_with_the_patience() -> None:
    storage, clock, said = patient(30.0)
    Breaking(storage, "before", lambda number: True)
    with pytest.raises(StorageFailed) as caught:
        storage.get_all_studies()
    assert clock.pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5, 5, 3.7])
    assert str(caught.value) == (
        "--storage db://bob@host/x: does not answer (Connection reset by peer); it was asked for 30 s; "
        "what it holds is kept: mend that, then run the same command again"
    )
    assert said == ["the storage does not answer (Connection reset by peer); trying again for up to 30 s"]


def test_what_is_put_in_order_after_the_patience_does_not_wait_again() -> None:
    storage, clock, _ = patient(30.0)
    broken = True
    Breaking(storage, "before", lambda number: broken)
    with pytest.raises(StorageFailed):
        storage.get_all_studies()
    before = clock.seconds
    with pytest.raises(StorageFailed, match="does not answer"):
        storage.get_all_studies()
    assert clock.seconds == before
    broken = False
    assert storage.get_all_studies() == []


def test_after_an_interrupt_a_lock_is_waited_for_but_no_server() -> None:
    storage, clock, _ = patient(300.0)
    broken = True
    Breaking(storage, "before", lambda number: broken)

    def interrupt(seconds: float) -> None:
        object.__setattr__(storage._patience, "pause", clock.pause)
        raise KeyboardInterrupt

    object.__setattr__(storage._patience, "pause", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.get_all_studies()
    for _ in range(3):
        with pytest.raises(StorageFailed, match="does not answer"):
            storage.get_all_studies()
    assert clock.seconds == pytest.approx(PUT_DOWN_SECONDS), "all three together"

    object.__setattr__(storage._patience, "pause", interrupt)
    broken = False
    assert storage.get_all_studies() == []
    broken = True
    with pytest.raises(KeyboardInterrupt):
        storage.get_all_studies()

    def unlock(seconds: float) -> None:
        nonlocal broken
        broken = False

    object.__setattr__(storage._patience, "pause", unlock)
    assert storage.get_all_studies() == [], "the other worker has let go of its lock"


def test_what_is_put_in_order_waits_no_longer_wherever_the_interrupt_came() -> None:
    storage, clock, _ = patient(300.0)
    study = optuna.create_study(storage=storage)
    broken = True
    Breaking(storage, "before", lambda number: broken)
    hurry(study, True)
    for _ in range(3):
        with pytest.raises(StorageFailed, match="does not answer"):
            study.set_user_attr("a", 1)
    assert clock.seconds == pytest.approx(PUT_DOWN_SECONDS), "all three together"
    broken = False
    study.set_user_attr("a", 1)
    broken = True
    hurry(study, False)
    with pytest.raises(StorageFailed, match="it was asked for 5 min"):
        study.set_user_attr("a", 2)


def test_a_lock_that_another_process_holds_keeps_no_signal_waiting(tmp_path: Path) -> None:
    said: list[str] = []
    storage = open_storage(str(tmp_path / "s.db"), say=said.append)
    optuna.create_study(study_name="first", storage=storage)
    with closing(sqlite3.connect(tmp_path / "s.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt), lasting_interrupts():
            optuna.create_study(study_name="second", storage=storage)
        other.execute("COMMIT")
    timer.join()
    assert optuna.get_all_study_names(storage) == ["first"]
    optuna.create_study(study_name="second", storage=storage)
    assert said == [], "so short a lock is not worth a line"


def test_without_patience_nothing_is_tried_again_and_nothing_is_marked() -> None:
    storage, clock, said = patient(0.0)
    counting = Breaking(storage, "before", lambda number: number == 0)
    with pytest.raises(StorageFailed, match=r"does not answer \(Connection reset by peer\); what it holds is kept"):
        storage.get_all_studies()
    assert (counting.count, clock.pauses, said) == (1, [], [])
    study = optuna.create_study(storage=storage)
    study.ask()
    assert study.trials[0].system_attrs == {}


def test_a_fault_knows_whether_work_was_under_way() -> None:
    storage, _, _ = patient(0.0)
    broken = True
    Breaking(storage, "before", lambda number: broken)
    for under_way in (False, True):
        with pytest.raises(StorageFailed) as caught:
            storage.get_all_studies()
        assert caught.value.under_way == under_way
        broken = False
        optuna.create_study(storage=storage)
        broken = True


def test_a_trial_of_another_is_no_fault() -> None:
    storage, clock, _ = patient()
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    study.tell(trial, 1.0)
    with pytest.raises(UpdateFinishedTrialError):
        trial.set_user_attr("a", 1)
    with pytest.raises(KeyError):
        storage.get_trial(99)
    with pytest.raises(optuna.exceptions.DuplicatedStudyError):
        optuna.create_study(study_name=study.study_name, storage=storage)
    assert clock.pauses == []


def test_a_result_that_another_told_is_not_taken_for_the_lost_one() -> None:
    storage, _, _ = patient()
    study = optuna.create_study(storage=storage)
    study.ask()
    state = storage._storage.set_trial_state_values
    calls: Iterator[int] = iter(range(9))

    def taken(trial_id: int, told: TrialState, values: Any = None) -> bool:
        if next(calls) == 0:
            state(trial_id, TrialState.FAIL, None)
            raise ConnectionResetError
        return state(trial_id, told, values)

    storage._storage.set_trial_state_values = taken  # type: ignore[method-assign]
    with pytest.raises(UpdateFinishedTrialError):
        storage.set_trial_state_values(0, TrialState.COMPLETE, [1.0])


def test_optuna_takes_it_for_a_storage_of_its_own(tmp_path: Path) -> None:
    storage = open_storage(f"{tmp_path}/s.db", patience=5)
    assert optuna.storages.get_storage(storage) is storage
    assert isinstance(storage.backend, RDBStorage), "what the dashboard is given"
    study = optuna.create_study(storage=storage)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    assert len(optuna.load_study(study_name=study.study_name, storage=storage).trials) == 3
    assert isinstance(study.best_value, float)


def test_a_database_creates_a_trial_that_was_asked_for_twice_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna asks again by itself when the commit fails."""
    storage = open_storage(f"{tmp_path}/s.db", patience=5)
    study = optuna.create_study(storage=storage)
    assert isinstance(storage.backend, RDBStorage)
    dialect, lost = storage.backend.engine.dialect, iter([True])
    commit = dialect.do_commit

    def lose_the_answer(connection: Any) -> None:
        commit(connection)
        if next(lost, False):
            raise sqlite3.OperationalError("the answer is lost")

    monkeypatch.setattr(dialect, "do_commit", lose_the_answer)
    monkeypatch.setattr("optuna.storages._rdb.storage.time.sleep", lambda seconds: None)
    study.enqueue_trial({"x": 1.0})
    assert next(lost, None) is None
    assert [trial.state.name for trial in study.trials] == ["WAITING"]


def of_sqlite(code: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("of SQLite")
    error.sqlite_errorcode, error.sqlite_errorname = getattr(sqlite3, code), code
    return error


class OfGrpc(grpc.RpcError):  # type: ignore[misc]
    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "of\n gRPC"


@pytest.mark.parametrize(
    ("error", "transient", "line"),
    [
        (ConnectionRefusedError(111, "Connection refused"), True, "Connection refused"),
        (TimeoutError(), True, "TimeoutError"),
        (OSError(28, "No space left on device"), False, "No space left on device"),
        (OSError(2, "No such file", "s.log"), False, "No such file: s.log"),
        (of_sqlite("SQLITE_BUSY"), True, "of SQLite"),
        (of_sqlite("SQLITE_BUSY_SNAPSHOT"), True, "of SQLite"),
        (of_sqlite("SQLITE_LOCKED"), True, "of SQLite"),
        (of_sqlite("SQLITE_FULL"), False, "of SQLite"),
        (of_sqlite("SQLITE_READONLY_DBMOVED"), False, "the file was removed or renamed"),
        (psycopg.errors.AdminShutdown("shut\n down"), True, "shut down"),
        (psycopg.errors.CannotConnectNow("starting"), True, "starting"),
        (psycopg.errors.DeadlockDetected("deadlock"), True, "deadlock"),
        (psycopg.errors.DiskFull("full"), False, "full"),
        (psycopg.errors.ReadOnlySqlTransaction("read only"), False, "read only"),
        (psycopg.OperationalError("connection refused"), True, "connection refused"),
        (psycopg.OperationalError('password authentication failed for user "bob"'), False, "password authentication"),
        (pymysql.err.OperationalError(2003, "Can't connect"), True, "Can't connect"),
        (pymysql.err.OperationalError(2013, "Lost connection"), True, "Lost connection"),
        (pymysql.err.OperationalError(1213, "Deadlock found"), True, "Deadlock found"),
        (pymysql.err.OperationalError(1045, "Access denied"), False, "Access denied"),
        (pymysql.err.DataError(1406, "Data too long"), False, "Data too long"),
        (OfGrpc(grpc.StatusCode.UNAVAILABLE), True, "of gRPC"),
        (OfGrpc(grpc.StatusCode.UNKNOWN), False, "of gRPC"),
    ],
    ids=repr,
)
def test_what_passes_by_itself_is_told_apart(error: Exception, transient: bool, line: str) -> None:
    wrapped = StorageInternalError("An exception is raised during the commit.")
    wrapped.__cause__ = sqlalchemy.exc.OperationalError("SELECT", {}, error)
    assert is_fault(wrapped, reading=False)
    assert is_transient(wrapped) == transient
    assert reason(wrapped).startswith(line)


@pytest.mark.parametrize(
    "error", [KeyError("no study"), UpdateFinishedTrialError(), ValueError("incompatible"), TypeError("no JSON")]
)
def test_what_was_asked_wrongly_is_no_fault(error: Exception) -> None:
    assert not is_fault(error, reading=False)


def test_a_broken_connection_is_known_whatever_the_driver() -> None:
    error = sqlalchemy.exc.DBAPIError("SELECT", {}, Exception("gone"), connection_invalidated=True)
    assert is_transient(error)


def test_a_connection_that_breaks_in_the_middle_of_a_reading_is_tried_again(tmp_path: Path) -> None:
    database = RDBStorage(f"sqlite:///{tmp_path}/s.db")
    storage = PatientStorage(database, "", Patience(5, pause=lambda seconds: None))
    study = optuna.create_study(storage=storage)
    study.add_trial(create_trial(value=1.0))
    broken: list[str] = []

    @sqlalchemy.event.listens_for(database.engine, "before_cursor_execute")
    def break_once(connection: sqlalchemy.Connection, cursor: Any, statement: str, *words: Any) -> None:
        if statement.startswith("SELECT trials.") and not broken:
            broken.append(statement)
            connection.invalidate()  # as SQLAlchemy does where a server has closed it
            raise sqlalchemy.exc.OperationalError(statement, {}, Exception("gone"), connection_invalidated=True)

    assert [trial.value for trial in study.get_trials()] == [1.0]
    assert broken


def test_a_study_of_ours_is_searched_through_it(tmp_path: Path) -> None:
    study = open_study(open_storage(f"{tmp_path}/s.db", patience=1), build({"study": "mine"}))
    study.tell(study.ask(), 1.0)
    assert [trial.value for trial in study.trials] == [1.0]
