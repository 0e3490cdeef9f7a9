"""`l2tune doctor`: what is here, and what is wrong with it."""

import json
from importlib import metadata
from pathlib import Path

import pytest
import torch

from l2tune.cli import main


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, str]]:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--json", *words])
    assert isinstance(ended.value.code, int)
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_it_tells_what_a_report_of_a_bug_needs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, found = told(capsys)
    assert status == 0
    assert f"torch {metadata.version('torch')}" in found["packages"]
    assert found["threads"].startswith(f"{torch.get_num_threads()} within")
    assert found["training"].startswith("training on ")
    assert found["storage"] == "sqlite:///l2tune.db: not there yet"
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_what_is_broken_is_told_and_changes_the_status(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"no database at all, " * 100)
    status, found = told(capsys, "--storage", "s.db")
    assert status == 1
    assert found["storage"].startswith("BROKEN: --storage s.db: ")
    assert not found["packages"].startswith("BROKEN")


def test_passwords_are_hidden(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2TUNE_STORAGE", "postgresql://me:secret@127.0.0.1:1/db")
    status, found = told(capsys)
    assert status == 1
    assert "secret" not in json.dumps(found)
    assert "postgresql://me@127.0.0.1" in found["environment"]


def test_for_people_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("l2tune ")
    assert [line.split("  ")[0].strip() for line in lines][-2:] == ["training", "storage"]
