"""`l2tune search --workers` and `l2tune worker`: real processes, which are killed, suspended and started again."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from processes import Process

from l2tune.records.claims import part_of_folds
from l2tune.records.keys import WORKER
from l2tune.search.patience import PatientStorage
from l2tune.search.storage import open_storage

STORAGE = "s.db"
QUICK = ("--storage", STORAGE, "--subset", "200", "--folds", "3", "--model", "linear", "--study", "digits")
SHORT, LONG = ("--epochs", "6"), ("--epochs", "200")
RANDOM = ("--sampler", "random", "--pruner", "none", "--trials", "6")

Start = Callable[..., Process]
CheckComplete = Callable[..., None]


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


@cache
def storage_in(folder: Path) -> PatientStorage:
    """Opened once: each opening costs what the processes that are looked at compute with."""
    return open_storage(str(folder / STORAGE), must_exist=True)


def study_in(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="digits", storage=storage_in(folder))


def wait_for(condition: Callable[[], object], what: str, seconds: float = 120.0) -> None:
    """Wait until something holds; a study that is not there yet does not hold."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(Exception):
            if condition():
                return
        time.sleep(0.05)
    pytest.fail(f"{what} did not come")


def in_training(folder: Path) -> list[FrozenTrial]:
    """Trials that a worker is at."""
    return [t for t in study_in(folder).get_trials(states=(TrialState.RUNNING,)) if WORKER in t.user_attrs]


def suspend(process: Process, folder: Path) -> None:
    """Stop it in training, where it does not hold the storage's file: nobody else could write to that."""
    while process.poll() is None:
        wait_for(lambda: in_training(folder), "a trial in training")
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        if _is_free(folder / STORAGE) and in_training(folder):
            return
        process.send_signal(signal.SIGCONT)
    pytest.fail(f"it ended: {process.output}")


def _is_free(file: Path) -> bool:
    """Whether no process reads or writes a database."""
    with closing(sqlite3.connect(file, timeout=1)) as database:
        try:
            database.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return False
    return True


def finished(process: Process, status: int = 0) -> tuple[str, str]:
    """What an ended process has printed."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    assert "Traceback" not in err
    return out, err


def check_put_down(folder: Path) -> None:
    """No worker has left anything under way; what was interrupted as it was asked for, nobody has begun."""
    left = study_in(folder).get_trials(states=(TrialState.RUNNING,))
    assert not [(trial.number, trial.user_attrs) for trial in left if WORKER in trial.user_attrs]


def test_two_workers_search_what_one_would_have(tmp_path: Path, start: Start, check_complete: CheckComplete) -> None:
    _, err = finished(start("search", *QUICK, *RANDOM, *SHORT, "--workers", "2"))
    assert "2 workers" in err
    check_complete("digits", trials=6, folds=3)


def test_workers_follow_what_a_later_call_asks_for(tmp_path: Path, start: Start) -> None:
    finished(start("search", *QUICK, *SHORT, "--sampler", "random", "--pruner", "racing", "--trials", "6"))
    _, err = finished(
        start("search", *QUICK, *SHORT, "--sampler", "random", "--trials", "8", "--audit", "1", "--workers", "2")
    )
    assert "all 8 trials are done" in err
    pruned = [t for t in study_in(tmp_path).trials if t.state == TrialState.PRUNED and part_of_folds(t) is None]
    assert ("audit: pruning was" in err) == bool(pruned)


def test_a_worker_that_is_killed_is_replaced_and_its_fit_repeated(
    tmp_path: Path, start: Start, check_complete: CheckComplete
) -> None:
    search = start("search", *QUICK, *RANDOM, *LONG, "--workers", "2")
    wait_for(lambda: in_training(tmp_path), "a trial in training")
    wait_for(lambda: len(children(search.pid)) == 2, "two workers")
    os.kill(children(search.pid)[0], signal.SIGKILL)
    _, err = finished(search)
    assert "has died (SIGKILL): another takes its place" in err
    check_complete("digits", trials=6, folds=3)


def test_ctrl_c_ends_all_workers_in_good_order(tmp_path: Path, start: Start, check_complete: CheckComplete) -> None:
    search = start("search", *QUICK, *RANDOM, "--workers", "2", *LONG)
    wait_for(lambda: in_training(tmp_path), "a trial in training")
    workers = children(search.pid)
    search.send_signal(signal.SIGINT)
    _, err = finished(search, 130)
    assert "interrupted" in err
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)
    check_put_down(tmp_path)
    finished(start("search", *QUICK, *RANDOM, "--workers", "2", *LONG))
    check_complete("digits", trials=6, folds=3)


def test_a_coordinator_that_is_killed_leaves_no_worker_and_can_be_started_again(
    tmp_path: Path, start: Start, check_complete: CheckComplete
) -> None:
    search = start("search", *QUICK, *RANDOM, "--workers", "2", *LONG)
    wait_for(lambda: in_training(tmp_path), "a trial in training")
    workers = children(search.pid)
    search.kill()

    def gone() -> bool:
        return not any(Path(f"/proc/{worker}").exists() for worker in workers)

    wait_for(gone, "the end of the workers")
    check_put_down(tmp_path)
    finished(start("search", *QUICK, *RANDOM, "--workers", "2", *LONG))
    check_complete("digits", trials=6, folds=3)


def test_a_restarted_container_takes_up_the_trial_that_it_left(
    tmp_path: Path, start: Start, check_complete: CheckComplete
) -> None:
    """The same host, and in a name space of its own the same process number."""
    container = ("unshare", "-pf", "--mount-proc", "--kill-child")
    probe = subprocess.run([*container, "true"], capture_output=True)
    if probe.returncode:
        assert not os.environ.get("L2TUNE_CI"), "unshare does not work here"
        pytest.skip("unshare does not work here")
    words = [*container, sys.executable, "-m", "l2tune", "search", *QUICK, *RANDOM, *LONG]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: in_training(tmp_path), "a trial in training")
    first.kill()
    first.communicate(timeout=60)
    wait_for(lambda: study_in(tmp_path).trials, "the storage")
    assert study_in(tmp_path).get_trials(states=(TrialState.RUNNING,))
    again = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert "under way: waiting for a sign of life" in again.stderr
    check_complete("digits", trials=6, folds=3)


def test_a_suspended_worker_that_wakes_drops_what_another_has_taken_over(
    tmp_path: Path, start: Start, check_complete: CheckComplete
) -> None:
    slow = start("search", *QUICK, *RANDOM, *LONG)
    suspend(slow, tmp_path)
    _, err = finished(start("worker", "digits", "--storage", STORAGE))
    assert "waiting for a sign of life" in err
    assert all(t.state.is_finished() for t in study_in(tmp_path).trials)
    slow.send_signal(signal.SIGCONT)
    _, err = finished(slow)
    assert "was taken over by another worker" in err
    check_complete("digits", trials=6, folds=3)


def test_workers_join_a_search_that_trains_nothing_itself(
    tmp_path: Path, start: Start, check_complete: CheckComplete
) -> None:
    search = start("search", *QUICK, *RANDOM, *SHORT, "--workers", "0")
    wait_for(lambda: study_in(tmp_path).trials, "the study")
    workers = [start("worker", "digits", L2TUNE_STORAGE=STORAGE) for _ in range(2)]
    for process in (*workers, search):
        finished(process)
    check_complete("digits", trials=6, folds=3)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("worker", "nobody"), "l2tune: 'nobody': no such study in this storage; it holds 'digits'"),
        (("search", "--workers", "few"), "l2tune: --workers: 'few' is no number of workers; give auto, or 0 to 1024"),
        (("search", "--workers", "-1"), "l2tune: --workers: '-1' is no number of workers; give auto, or 0 to 1024"),
    ],
)
def test_what_cannot_work_is_one_line(tmp_path: Path, start: Start, words: tuple[str, ...], line: str) -> None:
    finished(start("search", *QUICK, "--trials", "1", "--epochs", "1", "--quiet"))
    _, err = finished(start(*words, "--storage", STORAGE), 2)
    assert err.strip() == line


def test_a_worker_refuses_other_images_and_another_version(tmp_path: Path, start: Start) -> None:
    finished(start("search", *QUICK, "--trials", "1", "--epochs", "1", "--quiet"))
    study = study_in(tmp_path)
    data = study.user_attrs["l2tune:data"]
    study.set_user_attr("l2tune:data", data | {"fingerprint": "0" * 64})
    _, err = finished(start("worker", "digits", "--storage", STORAGE), 2)
    assert err.strip() == ("l2tune: study 'digits': the images have changed since the search; search again on these")
    study.set_user_attr("l2tune:data", data)
    study.set_user_attr("l2tune:versions", study.user_attrs["l2tune:versions"] | {"l2tune": "0.0.1"})
    _, err = finished(start("worker", "digits", "--storage", STORAGE), 2)
    assert err.startswith("l2tune: study 'digits': was begun with l2tune 0.0.1, this is ")


def test_clocks_that_differ_by_hours_mislead_nobody(
    tmp_path: Path, start: Start, check_complete: CheckComplete
) -> None:
    if shutil.which("faketime") is None:
        assert not os.environ.get("L2TUNE_CI"), "faketime is not installed"
        pytest.skip("faketime is not installed")
    search = start("search", *QUICK, *RANDOM, *LONG, "--workers", "0")
    wait_for(lambda: study_in(tmp_path).trials, "the study")
    words = [sys.executable, "-m", "l2tune", "worker", "digits", "--storage", STORAGE]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(["faketime", "-f", shift, *words], cwd=tmp_path, env=environment) for shift in ("+3h", "-5h")
    ]
    assert [worker.wait(300) for worker in workers] == [0, 0]
    _, err = finished(search)
    assert "taken over" not in err
    assert "its worker ended" not in err
    check_complete("digits", trials=6, folds=3)
    begun = [t.datetime_start for t in study_in(tmp_path).trials if t.datetime_start is not None]
    assert max(begun) - min(begun) > timedelta(hours=7), "both have worked"
