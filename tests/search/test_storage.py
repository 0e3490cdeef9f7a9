import os
import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from optuna._imports import _LazyImport
from optuna.storages import RDBStorage

from l2tune.errors import StorageFailed, UserError
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
        ("broken.log", "line 2 is no entry of a journal (Invalid control character); bring back a copy of the file"),
        ("strange.log", "line 1 is no entry of a journal (unknown operation 'twelve'); bring back a copy of the file"),
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
            "postgresql+psycopg://bob:{hunter2}@db/l2",
            "--storage postgresql+psycopg://bob@db/l2: cannot be opened (no route to postgresql+psycopg://bob@db/l2 …)",
        ),
        (
            "postgresql://bob:hunter2@db/l2",
            "--storage postgresql://bob@db/l2: cannot be opened (no route to postgresql://bob@db/l2 …)",
        ),
        (
            "postgresql+psycopg://bob:hun@ter2@db/l2",
            "--storage postgresql+psycopg://bob@db/l2: cannot be opened (OperationalError); "
            "write an @ inside the password or a name as %40",
        ),
        ("nothing://bob:hunter2@db/l2", "--storage nothing://bob@db/l2: is no storage URL; give sqlite:///FILE.db or "),
        ("grpc://bob:hunter2@db:13000", "--storage grpc://bob@db:13000: names no server; write grpc://HOST:PORT"),
        ("bob:hunter2@db/l2", "--storage bob@db/l2: is no storage URL; give a path ending in .db or .log, or a URL"),
    ],
)
def test_no_password_is_printed(url: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*words: object, **named: object) -> None:
        raise psycopg.OperationalError(f"no route to {url} {url.split(':')[2].rpartition('@')[0]}")

    monkeypatch.setattr(psycopg, "connect", connect)
    assert refusal(url).startswith(line)


@pytest.mark.parametrize(
    ("url", "package", "fix"),
    [
        ("postgres://bob:hunter2@db/l2", "psycopg", "pip install 'l2tune[postgresql]'"),
        ("postgresql://bob:hunter2@db/l2", "psycopg", "pip install 'l2tune[postgresql]'"),
        ("postgresql+psycopg2://bob:hunter2@db/l2", "psycopg2", "install it with pip"),
        ("mysql://bob:hunter2@db/l2", "pymysql", "pip install 'l2tune[mysql]'"),
        ("mariadb://bob:hunter2@db/l2", "pymysql", "pip install 'l2tune[mysql]'"),
        ("mysql+mysqldb://bob:hunter2@db/l2", "MySQLdb", "install it with pip"),
        ("grpc://db:13000", "grpc", "pip install 'l2tune[grpc]'"),
    ],
)
def test_a_package_that_is_not_installed_is_named(
    url: str, package: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    if package == "grpc":
        monkeypatch.setattr("optuna.storages._grpc.client.grpc", _LazyImport("grpc"))
        monkeypatch.delitem(sys.modules, "optuna.storages._grpc.auto_generated.api_pb2_grpc", raising=False)
        monkeypatch.setattr(
            "optuna.storages._grpc.client.api_pb2_grpc",
            _LazyImport("optuna.storages._grpc.auto_generated.api_pb2_grpc"),
        )
    line = refusal(url)
    assert "needs a package that is not installed (" in line
    assert package in line
    assert line.endswith(f"; {fix}")
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "url", ["grpc://", "grpc://db", "grpc://db:x", "grpc://db:13000/studies", "grpc://db:13000?a=b", "grpc://db:99999"]
)
def test_a_proxy_is_a_host_and_a_port(url: str) -> None:
    assert refusal(url).endswith(": names no server; write grpc://HOST:PORT")


@pytest.mark.parametrize("url", ["postgresql://bob@127.0.0.1:1/l2", "mysql://bob@127.0.0.1:1/l2"])
def test_a_server_that_is_not_there_is_one_line(url: str) -> None:
    line = refusal(url)
    assert line.startswith(f"--storage {url}: cannot be opened (")
    assert "Connection refused" in line
    assert "\n" not in line


def test_a_proxy_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2tune.search.storage._ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never says a word
        for port in (1, silent.getsockname()[1]):
            assert refusal(f"grpc://127.0.0.1:{port}") == (
                f"--storage grpc://127.0.0.1:{port}: no gRPC server has answered for 0.2 s; "
                "start the proxy there (optuna.storages.run_grpc_proxy_server)"
            )


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("UPDATE trial_user_attributes SET value_json = '{x'", "(JSONDecodeError: Expecting property name enclosed in"),
        ("UPDATE trials SET state = 'DONE'", "(LookupError: 'DONE' is not among the defined enum values."),
        ("UPDATE trial_params SET distribution_json = '{}'", "(KeyError: 'type')"),
        ("UPDATE trial_user_attributes SET value_json = CAST(x'ff' AS TEXT)", "(Could not decode to UTF-8 column"),
    ],
)
def test_what_another_program_has_spoiled_in_a_database_is_one_line(tmp_path: Path, statement: str, line: str) -> None:
    study = open_study(open_storage(f"{tmp_path}/s.db"), build({"study": "mine"}))
    trial = study.ask()
    trial.set_user_attr("attribute", 1)
    trial.suggest_float("x", 0, 1)
    study.tell(trial, 1.0)
    with closing(sqlite3.connect(tmp_path / "s.db")) as other:
        other.execute(statement)
        other.commit()
    with pytest.raises(StorageFailed) as caught:
        load_study(open_storage(f"{tmp_path}/s.db", must_exist=True), "mine").get_trials()
    assert str(caught.value).startswith(f"--storage {tmp_path}/s.db: cannot be read or written {line}")
    assert not caught.value.under_way


def test_a_database_that_was_removed_is_missed_by_its_name(tmp_path: Path) -> None:
    study = open_study(open_storage(f"{tmp_path}/s.db"), build({"study": "mine"}))
    (tmp_path / "s.db").unlink()
    with pytest.raises(
        StorageFailed, match=r"\(the file was removed or renamed\); what it holds is kept: bring it back"
    ):
        study.set_user_attr("a", 1)


def test_a_database_on_a_full_disk_keeps_what_it_holds(tmp_path: Path) -> None:
    storage = open_storage(f"{tmp_path}/s.db")
    study = open_study(storage, build({"study": "mine"}))
    assert isinstance(storage.backend, RDBStorage)

    @sqlalchemy.event.listens_for(storage.backend.engine, "checkout")
    def fill(connection: sqlite3.Connection, *others: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # no more than there are

    with pytest.raises(
        StorageFailed, match=r"\(database or disk is full\); what it holds is kept: free the disk, then"
    ):
        study.set_user_attr("long", "x" * 10**6)
    assert load_study(open_storage(f"{tmp_path}/s.db"), "mine").user_attrs == {}


def test_reading_commands_do_not_create_a_storage(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such storage; give the --storage that the search used"):
        open_storage(f"sqlite:///{tmp_path}/s.db", must_exist=True)
    assert not list(tmp_path.iterdir())


def test_an_unknown_study_names_those_there_are(tmp_path: Path) -> None:
    storage = open_storage(url(tmp_path, "sqlite"))
    open_study(storage, build({"study": "mine"}))
    with pytest.raises(UserError, match=r"^'other': no such study in this storage; it holds 'mine'$"):
        load_study(storage, "other")
