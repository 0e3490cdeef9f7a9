import os
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from l2tune.errors import UserError
from l2tune.search.storage import delete_study, load_study, open_storage, open_study, study_exists
from l2tune.settings import build


def url(folder: Path, kind: str) -> str:
    return {"sqlite": f"sqlite:///{folder}/s.db", "path": f"{folder}/s.db", "journal": f"{folder}/s.log"}[kind]


@pytest.mark.parametrize("kind", ["sqlite", "path", "journal"])
def test_a_study_is_created_resumed_and_deleted(tmp_path: Path, kind: str) -> None:
    settings = build({"study": "mine"})
    study = open_study(open_storage(url(tmp_path, kind)), settings)
    study.tell(study.ask(), 1.0)
    again = open_storage(url(tmp_path, kind))
    assert len(open_study(again, settings).trials) == 1
    assert study_exists(again, "mine")
    delete_study(again, "mine")
    assert not study_exists(again, "mine")


def refusal(url: str, **named: bool) -> str:
    with pytest.raises(UserError) as caught:
        open_storage(url, **named)
    return str(caught.value)


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        ("sqlite:///{}/no/s.db", "--storage sqlite:///{0}/no/s.db: the folder {0}/no does not exist; make it first"),
        (
            "nonsense",
            "--storage nonsense: is no storage URL; give a path ending in .db or .log, or a URL",
        ),
        (
            "postgresql://db:12a/x",
            "--storage postgresql://db/x: its port is no number; write USER:PASSWORD@HOST:PORT/DATABASE after the ://",
        ),
        ("what?.db", "--storage what?.db: holds a `?`, where options would begin; give the file another name"),
        ("a\0.db", "--storage a\\x00.db: holds a control character or is not UTF-8 text; write it anew"),
        ("\udcff.db", "--storage \\udcff.db: holds a control character or is not UTF-8 text; write it anew"),
        (
            f"{'x' * 300}.db",
            f"--storage {'x' * 300}.db: '{'x' * 59}… (305 characters) is too long; give a shorter path",
        ),
        (
            "{}/text.log",
            "--storage {0}/text.log: is not a journal; give a file that Optuna's journal wrote, or a new name",
        ),
        ("sqlite:///{}/text.db", "--storage sqlite:///{0}/text.db: cannot be opened (file is not a database)"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_refused(tmp_path: Path, bad: str, line: str) -> None:
    for name in ("text.log", "text.db"):
        (tmp_path / name).write_text("this is a text, and long enough not to be an empty file" * 40)
    assert refusal(bad.format(tmp_path)) == line.format(tmp_path)


def write_strange_files(folder: Path) -> None:
    """Files that look like storages and are none."""
    with closing(sqlite3.connect(folder / "other.db")) as other:
        other.execute("CREATE TABLE people (name)")
    with closing(sqlite3.connect(folder / "school.db")) as other:
        other.execute("CREATE TABLE studies (title)")
    open_study(open_storage(f"{folder}/broken.db"), build({"study": "mine"}))
    pages = bytearray((folder / "broken.db").read_bytes())
    pages[4096:20000] = bytes(range(256)) * 63
    (folder / "broken.db").write_bytes(pages[:40960])
    entry = '{"op_code":0,"worker_id":"x","study_name":"a","directions":[1]}\n'
    (folder / "broken.log").write_text(f'{entry}{{"op_co\n{entry}')
    (folder / "strange.log").write_text('{"op_code":"twelve"}\n')
    (folder / "other.log").write_text('{"level": "info"}\n')
    (folder / "dir.db").mkdir()
    for name in ("pipe.db", "pipe.log"):
        os.mkfifo(folder / name)


@pytest.mark.parametrize("must_exist", [False, True])
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("other.db", "is another program's database; give a file that a search wrote, or a new name"),
        ("school.db", "is another program's database; give a file that a search wrote, or a new name"),
        ("broken.db", ""),
        ("broken.log", "cannot be opened ("),
        ("strange.log", "cannot be opened ("),
        ("other.log", "is not a journal; give a file that Optuna's journal wrote, or a new name"),
        ("dir.db", "is a folder; give a file in it"),
        ("pipe.db", "is no ordinary file; give a file"),
        ("pipe.log", "is no ordinary file; give a file"),
    ],
)
def test_a_file_that_is_no_storage_is_left_alone(tmp_path: Path, name: str, what: str, must_exist: bool) -> None:
    write_strange_files(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert refusal(f"{tmp_path}/{name}", must_exist=must_exist).startswith(f"--storage {tmp_path}/{name}: {what}")
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("kind", ["path", "journal"])
def test_an_empty_file_is_a_new_storage_and_holds_nothing_to_read(tmp_path: Path, kind: str) -> None:
    file = Path(url(tmp_path, kind))
    file.touch()
    assert refusal(str(file), must_exist=True).endswith(": is an empty file; give the --storage that the search used")
    assert file.stat().st_size == 0
    open_study(open_storage(str(file)), build({"study": "mine"}))


@pytest.mark.parametrize("kind", ["path", "journal"])
def test_a_storage_that_cannot_be_written_can_be_read(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_study(open_storage(url(tmp_path, kind)), build({"study": "mine"}))
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    assert refusal(url(tmp_path, kind)).endswith(" cannot be written to; give another file")
    assert load_study(open_storage(url(tmp_path, kind), must_exist=True), "mine").trials == []


def test_names_with_braces_and_sqlite_options_are_taken_as_they_are(tmp_path: Path) -> None:
    open_storage(f"sqlite:///{tmp_path}/a{{b}}.db")
    assert [path.name for path in tmp_path.iterdir()] == ["a{b}.db"]
    options = "mode=ro&uri=true"
    assert study_exists(open_storage(f"sqlite:///file:{tmp_path}/a{{b}}.db?{options}", must_exist=True), "x") is False
    assert "no such storage" in refusal(f"sqlite:///file:{tmp_path}/b.db?{options}", must_exist=True)


@pytest.mark.parametrize(
    ("url", "line"),
    [
        (
            "postgresql+psycopg2://bob:{hunter2}@db/l2",
            "--storage postgresql+psycopg2://bob@db/l2: cannot be opened (no route to "
            "postgresql+psycopg2://bob@db/l2 …)",
        ),
        (
            "postgresql+psycopg2://bob:hun@ter2@db/l2",
            "--storage postgresql+psycopg2://bob@db/l2: cannot be opened (OperationalError); "
            "write an @ inside the password or a name as %40",
        ),
        ("nothing://bob:hunter2@db/l2", "--storage nothing://bob@db/l2: is no storage URL; give sqlite:///FILE.db or "),
        ("bob:hunter2@db/l2", "--storage bob@db/l2: is no storage URL; give a path ending in .db or .log, or a URL"),
    ],
)
def test_no_password_is_printed(url: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*words: object, **named: object) -> None:
        raise psycopg2.OperationalError(f"no route to {url} {url.split(':')[2].rpartition('@')[0]}")

    monkeypatch.setattr(psycopg2, "connect", connect)
    assert refusal(url).startswith(line)


def test_a_driver_that_is_not_installed_is_named() -> None:
    line = refusal("mysql+nothing://bob:hunter2@db/l2") + refusal("mysql://bob:hunter2@db/l2")
    assert "needs a package that is not installed (No module named 'MySQLdb'); install it with pip" in line
    assert "hunter2" not in line


def test_reading_commands_do_not_create_a_storage(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such storage; give the --storage that the search used"):
        open_storage(f"sqlite:///{tmp_path}/s.db", must_exist=True)
    assert not list(tmp_path.iterdir())


def test_an_unknown_study_names_those_there_are(tmp_path: Path) -> None:
    storage = open_storage(url(tmp_path, "sqlite"))
    open_study(storage, build({"study": "mine"}))
    with pytest.raises(UserError, match=r"^'other': no such study in this storage; it holds 'mine'$"):
        load_study(storage, "other")
