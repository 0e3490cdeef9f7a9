"""Files that are written whole, all of them or none."""

import os
from pathlib import Path

import pytest

from l2tune import whole_files
from l2tune.whole_files import write_together


def test_files_are_replaced_with_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    umask = os.umask(0o022)
    try:
        assert write_together(tmp_path, {"a": b"new", "b": b"more"}) == [tmp_path / "a", tmp_path / "b"]
    finally:
        os.umask(umask)
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == [b"new", b"more"]
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o644


def test_where_one_cannot_be_written_none_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "b").mkdir()
    with pytest.raises(IsADirectoryError):
        write_together(tmp_path, {"a": b"new", "b": b"more"})
    assert (tmp_path / "a").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_folder_that_goes_meanwhile_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "results"
    fsync = os.fsync

    def sync_and_remove(handle: int) -> None:
        fsync(handle)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()

    monkeypatch.setattr(whole_files.os, "fsync", sync_and_remove)
    with pytest.raises(FileNotFoundError):
        write_together(folder, {"a": b"new"})


def test_a_process_that_ends_at_once_leaves_no_half_written_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(handle: int) -> None:
        whole_files.remove_unfinished()
        assert not list(tmp_path.iterdir())
        raise OSError(5, "ended")

    monkeypatch.setattr(whole_files.os, "fsync", end)
    with pytest.raises(OSError, match="ended"):
        write_together(tmp_path, {"a": b"new"})
