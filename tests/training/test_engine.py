"""Which engine trains, and the line that says why."""

import math
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from l2tune.errors import UserError
from l2tune.penalty.forms import L2
from l2tune.training import engine
from l2tune.training.engine import choose_engine
from l2tune.training.race import Times
from l2tune.training.sequential import SequentialTrainer

ALONE, TOGETHER = "training on cpu, one network at a time", "training on cpu, all networks at once"


@pytest.mark.parametrize(
    ("name", "kind", "line"),
    [
        ("auto", "sequential", f"{ALONE} in float32: a step in bfloat16 takes N of float32's time"),
        ("sequential", "sequential", f"{ALONE} in float32: a step in bfloat16 takes N of float32's time"),
        ("population", "population", f"{TOGETHER}: on a CPU that is slower than --engine sequential"),
    ],
)
def test_engine_setting(small, name, kind, line):
    trainer, why = choose_engine(small.problem(engine=name))
    why = re.sub(r"\d\.\d\d", "N", why)
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


ON_A_CARD = torch.device("cuda")


@pytest.fixture
def card(small, monkeypatch):
    """A card that trains on the CPU: `card(settings…)` is a problem on it, `card.seconds` what the race finds."""
    cpu = torch.device("cpu")
    ways = {name: lambda asked, make=make: make(replace(asked, device=cpu)) for name, make in engine.WAYS.items()}
    found = SimpleNamespace(seconds={}, earlier=False)
    monkeypatch.setattr(engine, "WAYS", ways)
    monkeypatch.setattr(engine, "device_name", lambda device: "a GPU")
    monkeypatch.setattr(engine, "race", lambda problem, ways: Times(found.seconds, found.earlier))

    def chosen(name, *seconds, earlier=False):
        found.seconds, found.earlier = dict(zip(ways, seconds, strict=True)), earlier
        trainer, line = choose_engine(replace(small.problem(engine=name), device=ON_A_CARD))
        described = trainer.describe()
        return described["engine"], described.get("members"), described.get("convolution"), line

    return chosen


def test_on_a_gpu_the_fastest_way_is_taken(card):
    together, alone = "training on a GPU, all networks at once", "training on a GPU, one network at a time"
    assert card("auto", 3, 2, 2, 1) == ("population", None, "matmul", f"{together}: timed to be 3.0× as fast")
    assert card("auto", 3, 2, 1.5, 2) == ("population", None, "grouped", f"{together}: timed to be 2.0× as fast")
    captured = f"{alone}, its steps captured: timed to be 3.0× as fast"
    assert card("auto", 3, 1, 1.5, 2) == ("population", 1, "grouped", captured)
    slower = f"{alone}: all at once was timed to be 1.5× slower on this device"
    assert card("auto", 2, 5, 3, 4) == ("sequential", None, None, slower)
    assert card("sequential", 3, 2, 2, 1) == ("sequential", None, None, alone)
    earlier = f"{together}: timed earlier to be 3.0× as fast"
    assert card("auto", 3, 2, 2, 1, earlier=True) == ("population", None, "matmul", earlier)


def test_on_a_gpu_a_population_is_what_was_asked_for_though_it_is_slower(card):
    line = "training on a GPU, all networks at once: timed to be 0.7× as fast"
    assert card("population", 2, 1, 3, 4) == ("population", None, "grouped", line)


def test_ways_that_fail_when_they_are_timed_are_not_taken(card):
    inf = math.inf
    alone = "training on a GPU, one network at a time"
    assert card("auto", 2, inf, inf, inf)[0::3] == ("sequential", f"{alone}: any other way failed on this device")
    assert card("auto", inf, inf, inf, inf)[0::3] == ("sequential", f"{alone}: it failed when it was timed")
    line = "training on a GPU, all networks at once: any other way failed on this device"
    assert card("auto", inf, inf, inf, 1)[0::3] == ("population", line)
    assert card("population", 2, 1, inf, inf)[3].endswith("all networks at once: it failed when it was timed")
