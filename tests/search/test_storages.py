"""Searches on every kind of storage, by several processes at once; the servers are the tests' own."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

SEARCH = ("search", "--subset", "120", "--epochs", "1", "--folds", "2", "--sampler", "random", "--pruner", "none")


def run(folder: Path, *words: str, copies: int = 1) -> list["subprocess.CompletedProcess[str]"]:
    """`l2tune`, in several processes at once."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "l2tune", *words]

    def one(_: int) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)

    with ThreadPoolExecutor(copies) as pool:
        return list(pool.map(one, range(copies)))


@pytest.mark.parametrize("kind", ["sqlite", "journal", "postgresql", "psycopg2", "mariadb", "grpc_proxy"])
def test_two_processes_search_one_study(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    match kind:
        case "sqlite" | "journal":
            storage = {"sqlite": "study.db", "journal": "study.log"}[kind]
        case "psycopg2":
            storage = request.getfixturevalue("postgresql").replace("postgresql://", "postgresql+psycopg2://")
        case _:
            storage = request.getfixturevalue(kind)
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
