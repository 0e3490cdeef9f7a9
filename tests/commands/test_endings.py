"""How commands end: after signals, on full disks, with networks that fail or hang."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from l2tune.cli import main
from l2tune.records.failures import failed_trials, failure_of
from l2tune.records.keys import FAILURE

QUICK = ("--subset", "60", "--epochs", "2", "--folds", "2", "--trials", "4", "--sampler", "random", "--pruner", "none")
QUICK = (*QUICK, "--precision", "float32")  # these networks count their steps: none is to be timed before

NETS = '''
import ctypes, os, signal, time
import torch
from torch import nn


class Net(nn.Module):
    """Linear; does something at every training step, or at one."""

    steps = 0

    def __init__(self, act, at=None):
        super().__init__()
        self.fc = nn.Linear(64, 10)
        self.act, self.at = act, at

    def forward(self, x):
        if self.training and len(x) > 3:
            Net.steps += 1
            if self.at is None or Net.steps == self.at:
                self.act(self)
        return self.fc(x.flatten(1))


def signals(shape, classes):
    return Net(lambda net: signal.raise_signal(int(os.environ["NUMBER"])), at=10)


def twice(shape, classes):
    def act(net):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            began = time.monotonic()
            while time.monotonic() < began + 0.2:
                pass
            signal.raise_signal(signal.SIGINT)

    return Net(act, at=10)


def picky(shape, classes):
    def act(net):
        raise ValueError("the weights are too small")

    return Net(act, at=6)


def broken(shape, classes):
    def act(net):
        raise LookupError("nothing\\nthere")

    return Net(act)


def greedy(shape, classes):
    return Net(lambda net: torch.empty(10**13))


def deaf(shape, classes):
    def act(net):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])  # as code in C that never comes back
        ctypes.CDLL(None).sleep(300)

    return Net(act, at=10)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with networks to search, and signals as a command in the foreground has them."""
    (tmp_path / "endings_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.modules.pop("endings_nets", None)
    yield tmp_path
    sys.modules.pop("endings_nets", None)
    for number, handler in before.items():
        signal.signal(number, handler)


def ended(*words: str) -> int:
    """The exit status of a command run in this process."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def search(name: str, *words: str) -> int:
    return ended("search", "--model", f"endings_nets:{name}", "--study", "mine", *QUICK, *words)


def search_digits() -> int:
    return ended("search", "--study", "mine", *QUICK)


def study_in(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="mine", storage=f"sqlite:///{folder}/l2tune.db")


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.suffix in (".html", ".json", ".csv"))


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 129, "hung up")],
)
def test_a_signal_ends_a_search_in_good_order(
    folder: Path,
    number: int,
    status: int,
    word: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("NUMBER", str(number))
    assert search("signals") == status
    errors = capfd.readouterr().err
    assert f"\n{word}; " in errors
    assert "Traceback" not in errors
    assert left_in(folder) == ["curve.csv", "report.html", "results.json", "trials.csv"]
    states = [trial.state for trial in study_in(folder).trials]
    assert TrialState.RUNNING not in states
    assert TrialState.WAITING in states, "what was in training is queued again"
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_final_fit_without_files(
    folder: Path, number: int, status: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NUMBER", "0")
    sys.modules.pop("endings_nets", None)
    import endings_nets  # type: ignore[import-not-found]

    endings_nets.Net.steps = 100
    assert search("signals") == 0
    monkeypatch.setenv("NUMBER", str(number))
    endings_nets.Net.steps = 9
    capfd.readouterr()
    assert ended("fit", "mine", "--out", "final") == status
    assert capfd.readouterr().err.count("\n") == 1
    assert not (folder / "final").exists()


def in_a_process(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "l2tune", "search", "--study", "mine", *QUICK, *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a background job ignores it
    )


def test_ctrl_c_twice_ends_at_once(folder: Path) -> None:
    done = in_a_process(folder, "--model", "endings_nets:twice")
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "l2tune: interrupted again: ended at once, without a report"
    assert not left_in(folder)
    assert study_in(folder).trials


def test_an_ignored_signal_stays_ignored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBER", str(int(signal.SIGHUP)))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    assert search("signals") == 0
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_some_failed_trials_are_told_and_end_with_three(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert search("picky") == 3
    told = capfd.readouterr()
    failed = failed_trials(study_in(folder).trials)
    assert failed
    last = told.err.splitlines()[-1]
    assert (
        f"trials failed: {'the last with ' if len(failed) > 1 else ''}ValueError: the weights are too small at" in last
    )
    assert f"study.trials[{failed[-1].number}].user_attrs['{FAILURE}']" in last
    assert "failed, at λ" in told.out.replace("\n", " ")
    assert "<td>failed</td>" in (folder / "runs/mine/report.html").read_text()


def test_a_comparison_goes_on_after_a_failed_trial(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ("--model", "endings_nets:picky", "--study", "mine", "--penalties", "l2,l1")
    assert ended("compare", *words, *QUICK) == 3
    told = capfd.readouterr()
    assert "l2 (1 of 2): 1 of 5 trials failed: ValueError" in told.err
    assert "L2: 1 of 5 trials failed" in told.out.replace("\n", " ")
    assert (folder / "runs/mine/compare.html").is_file()


@pytest.mark.parametrize(
    ("name", "line"),
    [("broken", "LookupError: nothing there at λ"), ("greedy", "out of memory on the device (Default")],
)
def test_failing_everywhere_ends_with_one(
    folder: Path, name: str, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert search(name) == 1
    lines = [text for text in capfd.readouterr().err.splitlines() if not text.startswith("trial")]
    assert lines[-1].startswith(f"3 times in a row training failed: {line}")
    assert not left_in(folder)
    assert ended("estimate", "--model", f"endings_nets:{name}", *QUICK[:6]) == 1
    assert capfd.readouterr().err.startswith(f"l2tune: {line}")


def test_a_fit_that_cannot_be_stopped_ends_the_process(folder: Path) -> None:
    done = in_a_process(folder, "--model", "endings_nets:deaf", "--fit-timeout", "4")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("l2tune: a fit took longer than 4 s at λ = ")
    assert last.endswith("and cannot be stopped; its trial is failed and the process ends")
    trial = failed_trials(study_in(folder).trials)[-1]
    failure = failure_of(trial)
    assert failure is not None
    assert ", in act\n" in failure.traceback
    assert TrialState.RUNNING not in [t.state for t in study_in(folder).trials]


def full(*words: object, **named: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_when_the_report_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("l2tune.whole_files.os.fsync", full)
    monkeypatch.setenv("NUMBER", "0")
    assert search_digits() == 2
    assert capfd.readouterr().err.splitlines()[-1] == (
        "l2tune: --out runs/mine: the results cannot be written (No space left on device); "
        "the study is kept: free the disk, then `l2tune report mine`"
    )
    assert not left_in(folder)
    assert ended("fit", "mine", "--out", "final") == 2
    assert capfd.readouterr().err == (
        "l2tune: --out final: the results cannot be written (No space left on device); "
        "nothing was written, the study is kept: free the disk, then `l2tune fit mine` again\n"
    )
    assert not list((folder / "final").iterdir())
    monkeypatch.undo()
    os.chdir(folder)
    assert ended("report", "mine") == 0
    assert json.loads((folder / "runs/mine/results.json").read_text())["trials"] == 4


def test_a_disk_without_room_is_refused_before_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import shutil

    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1 << 20))
    assert search_digits() == 2
    assert capfd.readouterr().err == (
        "l2tune: --out runs/mine: its disk is full (1.0 of the 8.0 MiB that are needed are free); "
        "free the disk, or give another folder\n"
    )
    assert not (folder / "l2tune.db").exists()


def test_a_folder_that_becomes_a_file_meanwhile(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from l2tune.search import runner

    def search_and_spoil(*words: object, **named: object) -> str:
        why = run_search(*words, **named)  # type: ignore[arg-type]
        (folder / "runs").write_text("a file")
        return why

    run_search = runner.run_search
    monkeypatch.setattr(runner, "run_search", search_and_spoil)
    assert search_digits() == 2
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("l2tune: --out runs/mine: the results cannot be written (")
    assert last.endswith("the study is kept: mend the folder, or give another --out, then `l2tune report mine`")


def test_the_traceback_of_an_interrupted_cursor_is_not_shown(tmp_path: Path) -> None:
    code = """
import logging, sqlite3
from l2tune import cli
def interrupted(argv):
    try:
        sqlite3.connect(":memory:").execute("nothing")
    except sqlite3.Error:  # as SQLAlchemy does when it cannot close a cursor
        logging.getLogger("sqlalchemy.pool.impl.QueuePool").error("Error closing cursor", exc_info=True)
    raise KeyboardInterrupt
cli.app = interrupted
cli.main(["list"])
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (130, "l2tune: interrupted\n")
