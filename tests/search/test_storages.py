"""Searches on every kind of storage, by several processes at once; the servers are the tests' own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import processes
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from l2tune.records.fold_record import fold_records
from l2tune.records.observations import strength_of
from l2tune.search.patience import PatientStorage
from l2tune.search.storage import load_study, open_storage, study_exists

SEARCH = ("search", "--subset", "120", "--epochs", "1", "--folds", "2", "--sampler", "random", "--pruner", "none")


@pytest.mark.parametrize("kind", ["sqlite", "journal", "postgresql", "mariadb", "grpc_proxy"])
def test_two_processes_search_one_study(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    files = {"sqlite": f"{tmp_path}/study.db", "journal": f"{tmp_path}/study.log"}
    storage = files.get(kind) or request.getfixturevalue(kind)
    words = (*SEARCH, "--quiet", "--trials", "6", "--storage", storage)
    both = [processes.begin(tmp_path, *words) for _ in range(2)]
    assert [process.communicate(300)[1] for process in both] == ["", ""]
    assert [process.returncode for process in both] == [0, 0]
    check_whole(storage, trials=6)


def test_a_driver_that_was_named_is_taken(postgresql: str) -> None:
    with opened(postgresql.replace("postgresql://", "postgresql+psycopg2://")) as storage:
        assert isinstance(storage.backend, RDBStorage)
        assert storage.backend.engine.driver == "psycopg2"
        assert not study_exists(storage, "digits")


@contextmanager
def opened(url: str) -> Iterator[PatientStorage]:
    """A storage, with its connections closed in the end: psycopg warns of those that are not."""
    storage = open_storage(url)
    yield storage
    storage.remove_session()
    if isinstance(storage.backend, RDBStorage):
        storage.backend.engine.dispose()


def check_whole(storage: str, *, trials: int) -> None:
    """Every λ once, the baseline too, with both folds."""
    with opened(storage) as found_again:
        told = load_study(found_again, "digits").trials
    found = [trial for trial in told if trial.state != TrialState.FAIL]  # one that was asked for beyond the last
    assert [trial.state.name for trial in found] == ["COMPLETE"] * trials
    assert len({strength_of(trial) for trial in found}) == trials
    assert [sorted(fold_records(trial)) for trial in found] == [[0, 1]] * trials


class Search(processes.Process):
    """`l2tune search` in a process of its own."""

    def __init__(self, folder: Path, *words: str, script: str | None = None) -> None:
        super().__init__((*SEARCH, *words), folder, os.environ | {"OMP_NUM_THREADS": "1"}, script)

    @property
    def said(self) -> str:
        """All that it has told so far."""
        return self.output[1]

    @property
    def fits(self) -> int:
        """How many it says to have done."""
        [number] = re.findall(r"; (\d+) fits in", self.said)
        return int(number)


def test_a_server_that_is_restarted_loses_nothing_and_nothing_is_done_twice(
    tmp_path: Path, postgresql_server: Any, postgresql: str
) -> None:
    words = ("--trials", "40", "--storage", postgresql, "--storage-patience", "120")
    searches = [Search(tmp_path / name, *words) for name in made(tmp_path, "a", "b")]
    for search in searches:
        search.until("trial ")
    postgresql_server.stop()
    for search in searches:
        search.until("the storage does not answer (")
    postgresql_server.start()
    assert [search.wait(300) for search in searches] == [0, 0], [search.said for search in searches]
    for search in searches:
        assert search.said.count("the storage does not answer (") == 1
        assert search.said.count("; trying again for up to 2 min\n") == 1
        assert search.said.count("the storage answers again\n") == 1
    assert sum(search.fits for search in searches) == 80, [search.said for search in searches]
    check_whole(postgresql, trials=40)


def test_a_server_that_stays_away_ends_the_search_in_one_line(
    tmp_path: Path, postgresql_server: Any, postgresql: str
) -> None:
    search = Search(tmp_path, "--trials", "99", "--storage", postgresql, "--storage-patience", "0.5")
    search.until("trial 1: ")
    postgresql_server.stop(at_once=True)
    try:
        assert search.wait(300) == 1
    finally:
        postgresql_server.start()
    assert "the storage does not answer (" in search.said
    last = search.said.splitlines()[-1]
    assert last.startswith(f"the storage failed (--storage {postgresql}: does not answer (")
    assert "); it was asked for 0.5 s); what it holds is kept: mend it, then run the same search again; " in last
    assert "Traceback" not in search.said
    with opened(postgresql) as storage:
        [trial, *_] = load_study(storage, "digits").trials
    assert trial.state.name == "COMPLETE"


@pytest.mark.parametrize(
    ("storage", "reason"), [("study.db", "disk I/O error"), ("study.log", "File too large")], ids=["sqlite", "journal"]
)
def test_a_disk_that_fills_up_ends_the_search_with_the_reason_and_what_was_told_is_kept(
    tmp_path: Path, storage: str, reason: str
) -> None:
    script = """
import resource, sys
from l2tune.cli import main
from l2tune.commands import results

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def on_another_disk(*words, write=results.write_results):
    limit(resource.RLIM_INFINITY)
    return write(*words)

results.write_results = on_another_disk
limit({"study.db": 150_000, "study.log": 30_000}[sys.argv[-1]])
main()
"""
    search = Search(tmp_path, "--trials", "99", "--quiet", "--storage", storage, script=script)
    assert search.wait(300) == 1
    assert search.said.startswith(f"the storage failed (--storage {storage}: cannot be read or written ({reason}")
    assert search.said.count("\n") == 1
    trials = load_study(open_storage(f"{tmp_path}/{storage}", must_exist=True), "digits").trials
    told = [trial for trial in trials if trial.state.name == "COMPLETE"]
    assert told
    assert [sorted(fold_records(trial)) for trial in told] == [[0, 1]] * len(told)


def test_eight_writers_share_a_sqlite_file(tmp_path: Path) -> None:
    script = """
import os
from l2tune.search.storage import open_storage, open_study
from l2tune.settings import build
for worker in range(8):
    if not os.fork():
        study = open_study(open_storage("s.db", patience=120), build({"sampler": "random", "pruner": "none"}))
        for _ in range(5):
            trial = study.ask()
            trial.suggest_float("x", 0, 1)
            trial.report(worker, 0)
            trial.set_user_attr("worker", worker)
            study.tell(trial, worker)
        os._exit(0)
for worker in range(8):
    assert os.wait()[1] == 0
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    trials = load_study(open_storage(f"{tmp_path}/s.db"), "digits").trials
    assert [(trial.number, trial.state.name) for trial in trials] == [(n, "COMPLETE") for n in range(40)]
    by_worker = sorted(trial.user_attrs["worker"] for trial in trials)
    assert by_worker == sorted(list(range(8)) * 5)
    assert all(trial.value == trial.intermediate_values[0] == trial.user_attrs["worker"] for trial in trials)


def made(folder: Path, *names: str) -> tuple[str, ...]:
    """Folders of these names, one for each process, for all write their results there."""
    for name in names:
        (folder / name).mkdir()
    return names


def test_processes_create_one_storage_at_the_same_moment(tmp_path: Path) -> None:
    script = """
import sys, time
from l2tune.search.storage import open_storage, open_study
from l2tune.settings import build
print("ready", flush=True)
sys.stdin.readline()
for number in range(5):
    time.sleep(1 - time.time() % 1)
    open_study(open_storage(f"sqlite:///{number}.db"), build({}))
"""
    command = [sys.executable, "-c", script]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command, cwd=tmp_path, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(4)
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    done = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0], done
