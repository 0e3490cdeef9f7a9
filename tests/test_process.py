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
    yield before
    gc.set_threshold(*before)


def test_garbage_is_looked_for_seldom_until_training_begins(collector: Any, monkeypatch: Any) -> None:
    gc.set_threshold(700, 10, 10)
    monkeypatch.setattr(process, "_THRESHOLDS", gc.get_threshold())
    process.own_process()
    assert gc.get_threshold()[0] > 10_000
    process.begin_training()
    assert gc.get_threshold() == (700, 10, 10)


def test_nothing_is_changed_in_a_process_of_the_users_own(collector: Any) -> None:
    gc.set_threshold(123, 4, 5)
    process.begin_training()
    assert gc.get_threshold() == (123, 4, 5)
