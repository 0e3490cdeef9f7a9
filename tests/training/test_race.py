"""Timing ways of training, and remembering the times."""

import json
import math
from types import SimpleNamespace

import pytest
from torch import nn

from l2tune.errors import UserError
from l2tune.training import engine, race


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The file that times are kept in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "l2tune" / race.FILE


@pytest.fixture
def clock(monkeypatch):
    """Ways that take this long, and how often they were timed."""
    found = SimpleNamespace(times=0, seconds={"one": 2.0, "other": 1.0})

    def timed(problem, ways):
        found.times += 1
        return dict(found.seconds)

    monkeypatch.setattr(race, "timed", timed)
    return found


WAYS = {"one": None, "other": None}


def test_every_way_of_training_is_timed(small):
    seconds = race.timed(small.problem(batch_size=4, augment=("flip",)), engine.WAYS)
    assert list(seconds) == ["sequential", "captured", "grouped", "matmul"]
    assert all(0 < value < math.inf for value in seconds.values())


def test_a_way_that_fails_before_it_trains_takes_for_ever_and_the_others_are_timed(small):
    def refuse(problem):
        raise UserError("does not fit", "engine", "take another")

    seconds = race.timed(small.problem(batch_size=4), {"grouped": refuse, "sequential": engine.WAYS["sequential"]})
    assert seconds["grouped"] == math.inf
    assert seconds["sequential"] < math.inf


def test_a_network_is_timed_once(small, clock, cache):
    problem = small.problem()
    assert race.race(problem, WAYS) == race.Times(clock.seconds)
    assert race.race(small.problem(), WAYS) == race.Times(clock.seconds, earlier=True)
    assert clock.times == 1
    (key,) = json.loads(cache.read_text())
    assert key.startswith("cpu, torch ")


def test_what_changes_the_times_has_them_taken_anew(small, clock, monkeypatch):
    others = [
        small.problem(),
        small.problem(batch_size=16),
        small.problem(optimizer="adam"),
        small.problem(penalty="l1"),
        small.problem(augment=("flip",)),
        small.problem(precision="bfloat16"),
        small.problem(scale={"0.weight": 2.0}),
        small.problem(lambda shape, classes: nn.Sequential(nn.Flatten(), nn.Linear(72, classes))),
    ]
    assert not any(race.race(problem, WAYS).earlier for problem in others)
    monkeypatch.setattr(race, "device_name", lambda device: "another card")
    assert not race.race(small.problem(), WAYS).earlier
    assert not race.race(small.problem(), {**WAYS, "third": None}).earlier


def test_settings_that_change_no_step_do_not(small, clock):
    race.race(small.problem(), WAYS)
    assert race.race(small.problem(epochs=9, lr=0.5), WAYS).earlier


def test_a_way_that_failed_is_timed_again(small, clock):
    clock.seconds["one"] = math.inf
    race.race(small.problem(), WAYS)
    assert not race.race(small.problem(), WAYS).earlier


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[1]", "null", "\xff", "[" * 100_000, '{"KEY": 1}', '{"KEY": {"one": 1.0}}'),
        *(
            f'{{"KEY": {{"one": 1.0, "other": {wrong}}}}}'
            for wrong in ("-1.0", "NaN", "Infinity", "true", '"1"', "0.0")
        ),
    ],
)
def test_a_damaged_file_is_ignored_and_replaced(small, clock, cache, content):
    race.race(small.problem(), WAYS)
    (key,) = json.loads(cache.read_text())
    cache.write_bytes(content.replace("KEY", json.dumps(key)[1:-1]).encode("latin-1"))
    assert not race.race(small.problem(), WAYS).earlier
    assert race.race(small.problem(), WAYS).earlier


def test_a_folder_that_cannot_be_written_is_ignored(small, clock, cache):
    cache.parent.parent.mkdir()
    cache.parent.write_text("no folder")
    for _ in range(2):
        assert race.race(small.problem(), WAYS) == race.Times(clock.seconds)


def test_only_the_newest_networks_are_kept(small, clock, cache, monkeypatch):
    monkeypatch.setattr(race, "_KEPT", 2)
    for size in (4, 8, 16):
        race.race(small.problem(batch_size=size), WAYS)
    assert len(json.loads(cache.read_text())) == 2
    assert race.race(small.problem(batch_size=16), WAYS).earlier
    assert not race.race(small.problem(batch_size=4), WAYS).earlier
