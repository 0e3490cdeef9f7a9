"""Journals that a killed writer, a full disk or another program has left in disorder."""

import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from l2tune.errors import StorageFailed, UserError
from l2tune.search.patience import PatientStorage
from l2tune.search.storage import load_study, open_storage, open_study
from l2tune.settings import build

MEND = "; bring back a copy of the file, or mend that line"


def begun(path: Path) -> PatientStorage:
    """A journal of seven lines: one study with a trial."""
    storage = open_storage(str(path))
    study = open_study(storage, build({"study": "mine"}))
    trial = study.ask()
    trial.suggest_float("lambda", 1e-6, 1, log=True)
    for number in range(3):
        trial.set_user_attr(str(number), "é")
    study.tell(trial, 0.5)
    return storage


def refusal(path: Path, must_exist: bool) -> str:
    with pytest.raises(UserError) as caught:
        open_storage(str(path), must_exist=must_exist)
    return str(caught.value)


@pytest.mark.parametrize("must_exist", [False, True])
@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (b'{"op_code":8,"wor\n', "line 4 is no entry of a journal (Invalid control character)"),
        (b"\0" * 50 + b"\n", "line 4 is no entry of a journal (Expecting value)"),
        (b'{"op_code":8,"wor{"op_code":1}\n', "line 4 is no entry of a journal (Expecting ':' delimiter)"),
        (b'{"op_code":77,"worker_id":"x"}\n', "line 4 is no entry of a journal (unknown operation 77)"),
        (b'{"op_code":true,"worker_id":"x"}\n', "line 4 is no entry of a journal (unknown operation True)"),
        (b'{"op_code":[],"worker_id":"x"}\n', "line 4 is no entry of a journal (unknown operation [])"),
        (b'{"op_code":5,"worker_id":"x"}\n', "line 4 is no entry of a journal (it lacks trial_id)"),
        (b"[1]\n", "line 4 is no entry of a journal (no object)"),
        (b"\n", "line 4 is no entry of a journal (Expecting value)"),
        (b"[" * 100_000 + b"\n", "line 4 is no entry of a journal ("),
        ('{"op_code":8,"worker_id":"é"}\n'.encode("latin-1"), "line 4 is no entry of a journal (not UTF-8 text)"),
        ('{"op_code":8}\n'.encode("utf-16-le"), "line 4 is no entry of a journal ("),
        (
            b'{"op_code":6,"worker_id":"x","trial_id":0,"state":99,"values":null}\n',
            "line 4 is no entry of a journal (ValueError: 99 is not a valid TrialState)",
        ),
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_a_damaged_line_is_named_and_nothing_is_written(
    tmp_path: Path, damage: bytes, line: str, must_exist: bool, last: bool
) -> None:
    path = tmp_path / "s.log"
    begun(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], damage, *([] if last else lines[3:])]))
    before = path.read_bytes()
    said = refusal(path, must_exist)
    assert said.startswith(f"--storage {path}: {line}")
    assert said.endswith(MEND)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["s.log"]


@pytest.mark.parametrize("rest", [b'{"op_code":8,"worker_id":"x","trial', b"\0" * 50, b'{"op_code":8'], ids=repr)
def test_what_a_killed_writer_left_unfinished_is_no_damage_and_is_not_joined_to_the_next_line(
    tmp_path: Path, rest: bytes
) -> None:
    path = tmp_path / "s.log"
    begun(path)
    whole = path.read_bytes()
    path.write_bytes(whole + rest)
    study = load_study(open_storage(str(path), must_exist=True), "mine")
    assert len(study.trials) == 1
    assert path.read_bytes() == whole + rest, "reading writes nothing"
    study.tell(study.ask(), 1.0)
    assert path.read_bytes().startswith(whole + b'{"op_code":4')
    theirs = optuna.load_study(study_name="mine", storage=JournalStorage(JournalFileBackend(str(path))))
    assert [trial.value for trial in theirs.trials] == [0.5, 1.0]


def test_a_reader_takes_an_unfinished_line_for_none_until_it_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "s.log"
    storage = begun(path)
    study = load_study(storage, "mine")
    open_study(open_storage(str(path)), build({"study": "mine"})).set_user_attr("of", "another")
    *lines, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines) + last[:-5])
    assert "of" not in study.user_attrs
    path.write_bytes(b"".join(lines) + last)
    assert study.user_attrs["of"] == "another"


def test_damage_that_comes_under_way_is_told_and_nothing_more_is_written(tmp_path: Path) -> None:
    path = tmp_path / "s.log"
    study = load_study(begun(path), "mine")
    path.write_bytes(path.read_bytes() + b"nonsense\n{}\n")
    before = path.read_bytes()
    with pytest.raises(StorageFailed, match=r"s.log: line 8 is no entry of a journal \(Expecting value\); bring back"):
        _ = study.trials
    assert path.read_bytes() == before


@pytest.mark.parametrize("size", [0, 40])
def test_a_journal_that_became_shorter_is_not_gone_on_with(tmp_path: Path, size: int) -> None:
    path = tmp_path / "s.log"
    study = load_study(begun(path), "mine")
    os.truncate(path, size)
    with pytest.raises(StorageFailed, match="the journal has become shorter than it was; bring back its copy"):
        _ = study.trials


def test_a_journal_that_was_removed_is_not_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "s.log"
    study = load_study(begun(path), "mine")
    path.unlink()
    with pytest.raises(StorageFailed, match=r"\(No such file or directory: .*s.log\); what it holds is kept: bring it"):
        study.set_user_attr("a", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "s.log"
    begun(path)
    script = f"""
import resource
from l2tune.errors import StorageFailed
from l2tune.search.storage import load_study, open_storage
study = load_study(open_storage("{path}"), "mine")
resource.setrlimit(resource.RLIMIT_FSIZE, ({path.stat().st_size + 100}, resource.RLIM_INFINITY))
try:
    study.set_user_attr("long", "x" * 1000)
except StorageFailed as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
study.set_user_attr("short", "y")
"""
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    line = "cannot be read or written (File too large); what it holds is kept: free the disk, then run the same command"
    assert done.stdout == f"--storage {path}: {line} again\n"
    assert path.read_bytes().startswith(before + b'{"op_code":2')
    assert load_study(open_storage(str(path)), "mine").user_attrs == {"short": "y"}


def test_a_link_to_a_pipe_is_no_journal(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "s.log").symlink_to("pipe")
    assert refusal(tmp_path / "s.log", must_exist=True).endswith(": is no ordinary file; give a file")
