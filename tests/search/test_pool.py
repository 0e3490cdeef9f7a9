"""Worker processes that end, die, or cannot work: small scripts in their place."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from l2tune.errors import SearchAborted
from l2tune.records.workers import Worker
from l2tune.search.pool import DEATHS_IN_A_ROW, Pool

TOKEN = "L2TUNE_TEST_TOKEN"


@contextmanager
def pool(script: str, count: int = 1) -> Iterator[tuple[Pool, list[Worker], list[str]]]:
    lost: list[Worker] = []
    lines: list[str] = []
    places = [{"PLACE": str(place)} for place in range(count)]
    with Pool([sys.executable, "-c", script], places, TOKEN, on_lost=lost.append, say=lines.append) as running:
        yield running, lost, lines


def look_until_done(running: Pool, fits: int = 0) -> None:
    while running.at_work:
        running.look(fits)
        time.sleep(0.01)


def test_workers_that_are_done_are_let_go() -> None:
    with pool("import os; assert os.environ['L2TUNE_TEST_TOKEN'] and os.environ['PLACE']", 2) as (running, lost, lines):
        look_until_done(running)
    assert (lost, lines) == ([], [])


def test_a_worker_that_gives_up_ends_the_search_with_its_last_line() -> None:
    script = "import sys; print('l2tune: no such study', file=sys.stderr); sys.exit(2)"
    with pool(script) as (running, lost, _), pytest.raises(SearchAborted, match="worker 1 gave up: no such study"):
        look_until_done(running)
    assert len(lost) == 1


def test_workers_that_die_one_after_the_other_end_the_search() -> None:
    script = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pool(script) as (running, lost, lines), pytest.raises(SearchAborted, match="3 workers in a row have died"):
        look_until_done(running)
    assert len(lost) == DEATHS_IN_A_ROW
    assert len({worker.token for worker in lost}) == DEATHS_IN_A_ROW
    assert lines == ["worker 1 has died (SIGKILL): another takes its place, and its fit is repeated"] * 2


def test_as_long_as_fits_are_finished_workers_may_die() -> None:
    script = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pool(script) as (running, lost, _):
        for fits in range(1, 500):
            running.look(fits)
            if len(lost) > 2 * DEATHS_IN_A_ROW:
                break
            time.sleep(0.02)
    assert len(lost) > 2 * DEATHS_IN_A_ROW


def test_the_end_of_a_pool_is_the_end_of_its_workers_even_of_those_that_do_not_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("l2tune.search.pool._END_SECONDS", 0.5)
    file = tmp_path / "pid"
    script = f"""
import os, pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path({str(file)!r}).write_text(str(os.getpid()))
time.sleep(60)
"""
    with pool(script) as (running, lost, _):
        while not (file.exists() and file.read_text()):
            time.sleep(0.01)
        pid = int(file.read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert len(lost) == 1
    assert running.at_work == 0
