"""Searches on every kind of storage, by several processes at once; PostgreSQL is a server of the test's own."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

SEARCH = ("search", "--subset", "120", "--epochs", "1", "--folds", "2", "--sampler", "random", "--pruner", "none")


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URL of an empty database on a server that lives as long as these tests."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), *map(Path, filter(None, [shutil.which("initdb")]))]
    if not found:
        assert not os.environ.get("L2TUNE_CI"), "PostgreSQL is not installed"
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="l2tune-postgresql-"))
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def call(program: str, *words: str) -> None:
        user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []  # it refuses to run as root
        command = [*user, str(found[0].with_name(program)), *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=120, cwd="/")

    data = str(folder / "data")
    call("initdb", "-D", data, "-U", "tester", "-A", "trust")
    options = f"-p {port} -k {folder} -h 127.0.0.1"
    call("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
    call("createdb", "-h", "127.0.0.1", "-p", port, "-U", "tester", "l2tune")
    yield f"postgresql+psycopg2://tester@127.0.0.1:{port}/l2tune"
    call("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    shutil.rmtree(folder)


def run(folder: Path, *words: str, copies: int = 1) -> list["subprocess.CompletedProcess[str]"]:
    """`l2tune`, in several processes at once."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "l2tune", *words]

    def one(_: int) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)

    with ThreadPoolExecutor(copies) as pool:
        return list(pool.map(one, range(copies)))


@pytest.mark.parametrize("kind", ["postgresql", "journal"])
def test_two_processes_search_one_study(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    storage = request.getfixturevalue("postgresql") if kind == "postgresql" else "study.log"
    done = run(tmp_path, *SEARCH, "--quiet", "--trials", "6", "--storage", storage, copies=2)
    done += run(tmp_path, "report", "digits", "--storage", storage, "--format", "json", "csv")
    assert [process.returncode for process in done] == [0, 0, 0], [process.stderr for process in done]
    assert [process.stderr for process in done] == ["", "", ""]
    assert json.loads((tmp_path / "runs/digits/results.json").read_text())["trials"] == 6
    rows = [row.split(",") for row in (tmp_path / "runs/digits/trials.csv").read_text().splitlines()[1:]]
    assert len({row[1] for row in rows}) == 6, "every λ once, the baseline too"
    assert len(rows) == 12
    assert "digits" in run(tmp_path, "list", "--storage", storage)[0].stdout


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


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    url = "postgresql+psycopg2://tester@127.0.0.1:1/l2tune"
    [done] = run(tmp_path, *SEARCH, "--storage", url)
    assert done.returncode == 2
    assert done.stderr.startswith(f"l2tune: --storage {url}: cannot be opened (")
    assert done.stderr.count("\n") == 1
