"""`--threads` forces how many threads each process computes with: told, stored, and kept by whoever joins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from l2tune.assemble import assemble
from l2tune.records.tables import read_study
from l2tune.search.joining import join_study
from l2tune.search.placement import places
from l2tune.search.storage import load_study, open_storage
from l2tune.settings import build

NAME = "digits-linear"
SEARCH = ("search", "--subset", "200", "--folds", "2", "--epochs", "1", "--storage", "s.db", "--model", "linear")


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    """torch computes with as many threads as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("count", "told"), [(3, "3 threads, as asked"), (1, "1 thread, as asked")])
def test_a_search_computes_with_as_many_as_asked(l2tune: Any, capsys: Any, count: int, told: str) -> None:
    torch.set_num_threads(2)
    assert l2tune(*SEARCH, "--trials", "2", "--threads", str(count)) == 0
    assert torch.get_num_threads() == count
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith("training on cpu")
    assert line.endswith(told)
    record = read_study(load_study(open_storage("s.db"), NAME))
    assert record.settings["threads"] == count
    assert record.trainer["threads"] * record.trainer.get("side_by_side", 1) == count


def test_a_file_of_settings_may_ask_for_them(l2tune: Any, capsys: Any) -> None:
    Path("search.toml").write_text("threads = 2\n")
    assert l2tune("search", "search.toml", *SEARCH[1:], "--trials", "1") == 0
    assert "2 threads, as asked" in capsys.readouterr().err


def test_a_study_may_go_on_with_others(l2tune: Any, capsys: Any) -> None:
    assert l2tune(*SEARCH, "--trials", "1", "--threads", "2") == 0
    assert l2tune(*SEARCH, "--trials", "2", "--threads", "1") == 0
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(("own", "expected"), [(None, 3), (2, 2)])
def test_a_worker_takes_the_studys_or_its_own(l2tune: Any, own: int | None, expected: int) -> None:
    assert l2tune(*SEARCH, "--trials", "1", "--threads", "3") == 0
    torch.set_num_threads(1)
    _, objective, assembled = join_study(open_storage("s.db"), NAME, threads=own)
    assert torch.get_num_threads() == objective.settings.threads == assembled.threads == expected


def test_worker_processes_have_as_many_each() -> None:
    assert [place["OMP_NUM_THREADS"] for place in places(2, "cpu", 3)] == ["3", "3"]


def test_without_it_nothing_is_changed() -> None:
    torch.set_num_threads(2)
    assembled = assemble(build({"subset": 200, "folds": 2, "model": "linear"}))
    assert torch.get_num_threads() == 2
    assert "as asked" not in assembled.engine
    assert "as asked" not in assembled.in_precision("float32").engine


def test_another_precision_or_penalty_still_tells_them() -> None:
    settings = build({"subset": 200, "folds": 2, "model": "linear", "threads": 2})
    assembled = assemble(settings)
    for other in (assembled.in_precision("bfloat16"), assembled.with_penalty(settings.penalty)):
        assert other.engine.endswith("; 2 threads, as asked")


@pytest.mark.parametrize("words", [SEARCH, ("compare", *SEARCH[1:]), ("worker", "some", "--storage", "s.db")])
@pytest.mark.parametrize("count", ["0", "-1", "1025", "two", "1.5", "none"])
def test_what_is_no_number_of_threads_is_refused_in_a_line(
    l2tune: Any, capsys: Any, words: tuple[str, ...], count: str
) -> None:
    assert l2tune(*words, "--threads", count) == 2
    said = capsys.readouterr().err
    assert "--threads" in said
    assert said.count("\n") == 1
    assert not Path("s.db").exists()
