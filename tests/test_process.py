"""A process that is there to train: what it changes, and what it gives back."""

import gc
import os
import subprocess
import sys
from typing import Any

import pytest

from l2tune import process


@pytest.fixture
def collector(monkeypatch: Any) -> Any:
    """The garbage collector and the environment are put back; the process is not ours yet."""
    before = gc.get_threshold()
    monkeypatch.setattr(process, "_owned", False)
    monkeypatch.setattr(process, "_thresholds", None)
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    frozen = gc.get_freeze_count()
    yield before
    gc.set_threshold(*before)
    if not frozen:
        gc.unfreeze()


def test_garbage_is_looked_for_seldom_while_a_command_loads(collector: Any) -> None:
    gc.set_threshold(700, 10, 10)
    process.begin_loading()
    assert gc.get_threshold()[0] > 10_000
    process.begin_loading()
    process.end_loading()
    assert gc.get_threshold() == (700, 10, 10)


def test_nothing_is_changed_in_a_process_of_the_users_own(collector: Any) -> None:
    gc.set_threshold(123, 4, 5)
    process.own_process()
    process.end_loading()
    assert gc.get_threshold() == (123, 4, 5)


def test_what_was_imported_is_no_garbage_but_what_came_later_may_be(collector: Any) -> None:
    gc.unfreeze()
    process.begin_loading()
    process.end_loading()
    frozen = gc.get_freeze_count()
    assert frozen > 10_000
    later: list[list[int]] = [[] for _ in range(1000)]
    process.begin_loading()
    process.end_loading()
    assert gc.get_freeze_count() <= frozen, len(later)


def test_small_matrices_take_one_thread_unless_told_otherwise(collector: Any, monkeypatch: Any) -> None:
    process.begin_loading()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    process.begin_loading()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"


def test_garbage_is_cleared_at_the_end_and_nothing_is_looked_through_after_it() -> None:
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cleared", "True"]


ENDING = """
import atexit, gc
from l2tune.process import own_process
atexit.register(lambda: print(gc.get_freeze_count() > len(gc.get_objects())))
own_process()
gc.disable()
class Cycle:
    def __init__(self): self.own = self
    def __del__(self): print("cleared")
Cycle()
"""
