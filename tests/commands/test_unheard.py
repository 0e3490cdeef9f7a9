"""Messages that nobody can take stop no work."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from l2tune.commands.unheard import write_unheard

QUICK = ("--storage", "s.db", "--subset", "200", "--folds", "3", "--model", "linear", "--epochs", "2", "--trials", "3")


def test_a_search_goes_on_when_nobody_reads_its_messages_any_more(
    tmp_path: Path, check_complete: Callable[..., None]
) -> None:
    words = [sys.executable, "-m", "l2tune", "search", *QUICK, "--sampler", "random", "--pruner", "none"]
    pipe = subprocess.PIPE
    with subprocess.Popen([*words, "--study", "digits"], cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) as search:
        assert search.stderr is not None
        assert search.stdout is not None
        assert search.stderr.readline()
        search.stderr.close()
        assert "λ" in search.stdout.read()
        assert search.wait(300) == 0
    check_complete("digits", trials=3, folds=3)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_a_message_that_finds_no_room_changes_no_exit_status(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        words = [sys.executable, "-m", "l2tune", "list", "--storage", "nowhere.db"]
        ended = subprocess.run(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=full)
    assert ended.returncode == 2
    assert ended.stdout == b""


def test_what_is_written_arrives_as_long_as_somebody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    stream = io.TextIOWrapper(io.FileIO(writer, "wb", closefd=False), encoding="utf-8", errors="backslashreplace")
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "__stderr__", stream)
    write_unheard()
    print("λ = 1", file=sys.stderr)
    assert os.read(reader, 100) == "λ = 1\n".encode()
    os.close(reader)
    print("who hears this?", file=sys.stderr)
    sys.stderr.flush()
    assert sys.stderr.errors == "backslashreplace"
    os.close(writer)


def test_a_stream_of_somebody_elses_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    own = io.StringIO()
    monkeypatch.setattr(sys, "stderr", own)
    write_unheard()
    assert sys.stderr is own
