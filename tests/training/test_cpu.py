"""How the CPU trains: which precision, how many side by side, and that neither changes what a member's scores are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import dropout

from l2tune import process
from l2tune.members import Member
from l2tune.training import cpu
from l2tune.training.cpu import CpuPlan, plan_cpu
from l2tune.training.engine import choose_engine
from l2tune.training.member_training import MemberTraining
from l2tune.training.sequential import SequentialTrainer


@pytest.fixture(autouse=True)
def fresh(monkeypatch: Any) -> Iterator[None]:
    """Nothing is known from other tests, the process is a user's own, and torch's threads stay as they were."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(cpu, "_plans", {})
    monkeypatch.setattr(process, "_owned", False)
    yield
    torch.set_num_threads(threads)


def timed(monkeypatch: Any, share: float) -> None:
    monkeypatch.setattr(cpu._Trial, "seconds_beside", lambda self, other: share)


class Drawing(nn.Module):
    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(dropout(x.flatten(1), 0.5, self.training))
        return found


@pytest.mark.parametrize(
    ("share", "precision"), [(0.5, "bfloat16"), (0.8, "bfloat16"), (0.81, "float32"), (2, "float32")]
)
def test_bfloat16_is_taken_where_a_step_is_clearly_faster(
    small: Any, monkeypatch: Any, share: float, precision: str
) -> None:
    timed(monkeypatch, share)
    trainer, line = choose_engine(small.problem())
    assert trainer.describe()["precision"] == trainer.problem.training.precision == precision
    assert line == (
        f"training on cpu, one network at a time in {precision}: a step in bfloat16 takes {share:.2f} of float32's time"
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_precision_that_is_asked_for_is_not_timed(small: Any, monkeypatch: Any, precision: str) -> None:
    monkeypatch.setattr(cpu, "_Trial", None)
    trainer, line = choose_engine(small.problem(precision=precision))
    assert trainer.describe()["precision"] == precision
    assert line == f"training on cpu, one network at a time in {precision}"


def test_float64_stays(small: Any) -> None:
    trainer, _ = choose_engine(small.problem(dtype=torch.float64))
    assert trainer.describe()["precision"] == "float64"


def test_steps_are_timed_in_one_thread_and_nothing_is_left_changed(small: Any, monkeypatch: Any) -> None:
    torch.set_num_threads(2)
    seen = []
    train = MemberTraining.train_epoch
    monkeypatch.setattr(MemberTraining, "train_epoch", lambda self: seen.append(torch.get_num_threads()) or train(self))
    state = torch.get_rng_state()
    plan = plan_cpu(small.problem())
    assert plan.share is not None
    assert 0 < plan.share < 100
    assert set(seen) == {1}
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), state)
    seen.clear()
    assert plan_cpu(small.problem(penalty="l1")) is plan  # of the same network, whatever its penalty
    assert not seen


def test_threads_are_shared_out_in_a_process_of_ours_alone(small: Any, monkeypatch: Any) -> None:
    timed(monkeypatch, 0.5)
    torch.set_num_threads(2)
    assert plan_cpu(small.problem()) == CpuPlan("bfloat16", 1, 0.5)
    process.own_process()
    assert plan_cpu(small.problem()) == CpuPlan("bfloat16", 2, 0.5)
    trainer, line = choose_engine(small.problem())
    assert (trainer.together, trainer.describe()["side_by_side"], trainer.describe()["threads"]) == (2, 2, 1)
    assert line.startswith("training on cpu, 2 networks side by side in bfloat16")
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert plan_cpu(small.problem()) == CpuPlan("bfloat16", 1, 0.5)
    torch.set_num_threads(16)
    assert plan_cpu(small.problem()).side_by_side == cpu.MOST_SIDE_BY_SIDE


def test_networks_that_draw_random_numbers_train_one_at_a_time(small: Any, monkeypatch: Any) -> None:
    timed(monkeypatch, 0.5)
    process.own_process()
    torch.set_num_threads(2)
    assert plan_cpu(small.problem(Drawing)).side_by_side == 1


def test_networks_whose_steps_take_long_train_one_at_a_time(small: Any, monkeypatch: Any) -> None:
    timed(monkeypatch, 0.5)
    monkeypatch.setattr(cpu._Trial, "seconds", lambda self: 1.5)
    process.own_process()
    torch.set_num_threads(2)
    assert plan_cpu(small.problem()).side_by_side == 1


@pytest.mark.parametrize("augment", [(), ("flip",)])
def test_scores_are_those_of_members_trained_alone_with_as_many_threads(
    small: Any, train: Any, numbers: Any, augment: tuple[str, ...]
) -> None:
    members = [Member(strength, fold, 100 + fold) for strength in (0.0, 1e-2) for fold in range(3)]
    torch.set_num_threads(2)
    beside = train(small.trainer(engine=partial(SequentialTrainer, side_by_side=2), augment=augment), members)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    alone = train(small.trainer(augment=augment), members)
    for member in members:
        assert numbers(beside[member]) == numbers(alone[member])


class Waiting(nn.Module):
    """Its forward pass waits to be let go, for members beyond the first one."""

    begun, go_on = threading.Semaphore(0), threading.Event()

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.layer = nn.Linear(channels * height * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and threading.current_thread() is not threading.main_thread():
            Waiting.begun.release()
            Waiting.go_on.wait(60)
        found: torch.Tensor = self.layer(x.flatten(1))
        return found


def test_an_interrupt_ends_all_of_them_between_two_batches(small: Any, monkeypatch: Any) -> None:
    """Raised in the main thread while two networks are in the middle of an epoch."""
    Waiting.begun, Waiting.go_on = threading.Semaphore(0), threading.Event()
    batches = []
    batch = MemberTraining._batch

    def noting(self: MemberTraining, *words: Any, **more: Any) -> Any:
        batches.append(threading.current_thread())
        return batch(self, *words, **more)

    monkeypatch.setattr(MemberTraining, "_batch", noting)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process ignores it
    trainer = small.trainer(Waiting, engine=partial(SequentialTrainer, side_by_side=2), batch_size=2)
    next(trainer.start([small.member(0.0)]))  # until it is known that they do not draw they train in turn
    batches.clear()
    run = trainer.start([small.member(0.0), small.member(1e-3), small.member(1e-2)])

    def interrupt() -> None:
        for _ in range(2):
            Waiting.begun.acquire()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        Waiting.go_on.set()

    threading.Thread(target=interrupt, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(run)
    finally:
        signal.signal(signal.SIGINT, before)
    assert 2 <= len(batches) <= 4  # of 16 in an epoch: the first two, and those at which they learn of it
    for thread in batches:  # the pool joins them, but for one that the interrupt found just starting
        thread.join(30)
    assert not [thread for thread in batches if thread.is_alive()]


def test_each_has_its_share_of_the_seconds(small: Any, train: Any, monkeypatch: Any) -> None:
    epochs = []

    def train_epoch(self: MemberTraining) -> bool:
        epochs.append(self)
        self.seconds += 6.0
        return False

    monkeypatch.setattr(MemberTraining, "train_epoch", train_epoch)
    trainer = small.trainer(engine=partial(SequentialTrainer, side_by_side=2))
    members = [small.member(0.0), small.member(1e-3), small.member(1e-2)]
    assert [train(trainer, members)[member][-1].seconds for member in members] == [3.0, 3.0, 3.0]
    assert train(trainer, members[:1])[members[0]][-1].seconds == 6.0


def test_an_error_of_one_is_raised_and_ends_the_others(small: Any) -> None:
    class Failing(nn.Module):
        def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
            super().__init__()
            channels, height, width = shape
            self.layer = nn.Linear(channels * height * width, classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if threading.current_thread() is not threading.main_thread():
                raise ValueError("not here")
            found: torch.Tensor = self.layer(x.flatten(1))
            return found

    trainer = small.trainer(Failing, engine=partial(SequentialTrainer, side_by_side=2))
    with pytest.raises(ValueError, match="not here"):
        next(trainer.start([small.member(0.0), small.member(1e-3)]))


IMPORTED = """
import ctypes, os, torch
called = []
class Library:
    def __init__(self, name): pass
    def mallopt(self, *words): called.append(words)
ctypes.CDLL, before = Library, dict(os.environ)
import l2tune, l2tune.objectives.cross_validation, l2tune.training.cpu, l2tune.cli
assert not called and dict(os.environ) == before and not l2tune.training.cpu.is_own()
l2tune.own_process()
assert len(called) == 4 and (-8, 1) in called, called
"""


FREED = """
import numpy as np
import l2tune.process as process
def held(): return int(open("/proc/self/statm").read().split()[1]) * 4 / 1024
def made():
    buffers = [np.ones(1 << 20) for _ in range(64)]
    return buffers[::8]
before, kept = held(), made()
process.give_back()
assert not process.is_own() and held() - before < 300, "another's process returns it by itself"
process.own_process()
kept = made()
freed = held() - before
process.give_back()
assert freed > 500 and held() - before < 300, (freed, held() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's way of keeping memory")
def test_between_fits_memory_that_was_freed_is_given_back() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FREED], check=True, timeout=120)


def test_an_import_changes_nothing_and_a_call_keeps_memory() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", IMPORTED], check=True, timeout=120)
