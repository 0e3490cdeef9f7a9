"""Which engine trains, and the line that says why."""

import math
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from l2tune.errors import UserError
from l2tune.penalty.forms import L2
from l2tune.training import engine
from l2tune.training.engine import choose_engine
from l2tune.training.sequential import SequentialTrainer

ALONE, TOGETHER = "training on cpu, one network at a time", "training on cpu, all networks at once"


@pytest.mark.parametrize(
    ("name", "kind", "line"),
    [
        ("auto", "sequential", f"{ALONE}: stacking them pays on a GPU only"),
        ("sequential", "sequential", ALONE),
        ("population", "population", f"{TOGETHER}: on a CPU that is slower than --engine sequential"),
    ],
)
def test_engine_setting(small, name, kind, line):
    trainer, why = choose_engine(small.problem(engine=name))
    assert (trainer.describe()["engine"], why) == (kind, line)


def test_an_unknown_engine_is_refused(small):
    with pytest.raises(UserError) as refused:
        choose_engine(small.problem(engine="quantum"))
    assert str(refused.value) == "engine: 'quantum' is no engine; known are auto, sequential, population"


class Branching(nn.Module):
    """Goes by its data."""

    def __init__(self, shape, classes):
        super().__init__()
        self.layer = nn.Linear(math.prod(shape), classes)

    def forward(self, x):
        found = self.layer(x.flatten(1))
        return found if found.sum() > 0 else -found


def test_a_network_that_cannot_be_stacked_trains_one_by_one_with_a_line(small):
    trainer, line = choose_engine(small.problem(Branching, engine="population"))
    assert isinstance(trainer, SequentialTrainer)
    assert re.fullmatch(rf"{ALONE}: they cannot be stacked \([^\n]*data-dependent control flow[^\n]*\)", line)
    assert len(next(trainer.start([small.member(0.0), small.member(0.1)]))) == 2


def test_a_penalty_that_does_not_take_stacked_networks_trains_one_by_one_with_a_line(small, monkeypatch):
    monkeypatch.setattr(L2, "stackable", False)
    trainer, line = choose_engine(small.problem(engine="population"))
    assert isinstance(trainer, SequentialTrainer)
    assert line == f"{ALONE}: they cannot be stacked (the penalty l2 does not take stacked networks)"


def test_on_a_gpu_the_faster_engine_is_taken(small, monkeypatch):
    cpu = torch.device("cpu")
    ways = {name: lambda asked, make=make: make(replace(asked, device=cpu)) for name, make in engine.WAYS.items()}
    timed = {}
    monkeypatch.setattr(engine, "WAYS", ways)
    monkeypatch.setattr(engine, "device_name", lambda device: "a GPU")
    monkeypatch.setattr(engine, "_race", lambda problem: timed)

    def chosen(name, *seconds):
        timed.update(zip(("sequential", "grouped", "matmul"), seconds, strict=True))
        trainer, line = choose_engine(replace(small.problem(engine=name), device=torch.device("cuda")))
        described = trainer.describe()
        return described["engine"], described.get("convolution"), line

    together, alone = "training on a GPU, all networks at once", "training on a GPU, one network at a time"
    assert chosen("auto", 3, 2, 1) == ("population", "matmul", f"{together}: timed to be 3.0× as fast")
    assert chosen("auto", 3, 1.5, 2) == ("population", "grouped", f"{together}: timed to be 2.0× as fast")
    slower = f"{alone}: all at once was timed to be 1.5× slower on this device"
    assert chosen("auto", 2, 3, 4) == ("sequential", None, slower)
    failed = f"{alone}: all at once failed on this device"
    assert chosen("auto", 2, math.inf, math.inf) == ("sequential", None, failed)
    assert chosen("population", 2, 3, 4)[:2] == ("population", "grouped")
    assert chosen("sequential", 3, 2, 1) == ("sequential", None, alone)


def test_the_race_times_every_way_of_training(small):
    seconds = engine._race(small.problem(batch_size=4, augment=("flip",)))
    assert list(seconds) == ["sequential", "grouped", "matmul"]
    assert all(0 < value < math.inf for value in seconds.values())
