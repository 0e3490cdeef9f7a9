"""A process that is there to train: what it changes, and what it gives back."""

import gc
from typing import Any

import pytest

from l2tune import process


@pytest.fixture
def collector(monkeypatch: Any) -> Any:
    """The garbage collector's thresholds are put back; the process is not ours yet."""
    before = gc.get_threshold()
    monkeypatch.setattr(process, "_owned", False)
    monkeypatch.setattr(process, "_thresholds", None)
    yield before
    gc.set_threshold(*before)


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
