"""What a seed decides, apart from a training."""

import threading
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from l2tune.training.draws import Seeded, batch_count, initial_model

SHAPE, CLASSES = (1, 2, 2), 3
CPU = torch.device("cpu")


def factory(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(4, classes))


def test_initial_weights_are_the_seeds_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    one, again, other = (initial_model(factory, SHAPE, CLASSES, seed)[1].weight for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_inside_are_the_seeds_and_those_outside_go_on_as_before():
    torch.manual_seed(5)
    torch.rand(1)
    expected = torch.rand(1)
    torch.manual_seed(5)
    torch.rand(1)
    found = []
    for _ in range(2):
        with Seeded(7, CPU) as randomness:
            found.append(torch.rand(1))
        assert randomness.drawn
    assert torch.equal(*found)
    assert torch.equal(torch.rand(1), expected)


@pytest.fixture
def cards(monkeypatch):
    """Seeds of the cards' generators, in the order in which they were given, before CUDA is used for the first time."""
    seeds = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    return seeds


def test_initial_weights_leave_the_cards_generators_as_a_user_had_seeded_them(cards):
    torch.manual_seed(42)
    initial_model(factory, SHAPE, CLASSES, 7)
    assert cards == [42, 7, 42]


def test_draws_inside_seed_no_device_but_their_own(cards):
    with Seeded(7, CPU):
        pass
    assert cards == []


def test_draws_on_a_card_leave_its_generator_as_it_was(monkeypatch):
    states, current = {0: torch.tensor([1]), 1: torch.tensor([2])}, []

    @contextmanager
    def enter(device):
        current.append(device.index)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "device", enter)
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: states.update({current[-1]: torch.tensor([seed])}))
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states[device.index])
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: states.update({device.index: state}))
    with Seeded(7, torch.device("cuda:1")):
        assert [int(states[card]) for card in (0, 1)] == [1, 7]
    assert [int(states[card]) for card in (0, 1)] == [1, 2]


def test_it_tells_when_nothing_was_drawn():
    with Seeded(7, CPU) as randomness:
        pass
    assert not randomness.drawn


def test_one_thread_at_a_time_has_the_global_generator():
    with Seeded(7, CPU):
        built = threading.Event()
        other = threading.Thread(target=lambda: (initial_model(factory, SHAPE, CLASSES, 0), built.set()))
        other.start()
        other.join(0.05)
        assert not built.is_set()
    other.join()
    assert built.is_set()


@pytest.mark.parametrize(("images", "size", "count"), [(32, 8, 4), (33, 8, 4), (34, 8, 5), (1, 8, 1), (7, 8, 1)])
def test_batch_count(images, size, count):
    assert batch_count(images, size) == count
