"""What a seed decides, apart from a training."""

import threading

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
