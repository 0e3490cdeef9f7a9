"""Devices by name, with and without a card."""

import pytest
import torch

from l2tune.errors import UserError
from l2tune.training.device import choose_device, device_name


@pytest.fixture
def cards(monkeypatch):
    """Pretend that there are so many cards, and nothing of Apple's."""

    def pretend(count):
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


@pytest.mark.parametrize(
    ("count", "name", "chosen"), [(0, "auto", "cpu"), (1, "auto", "cuda"), (2, "cuda:1", "cuda:1"), (0, "cpu:0", "cpu")]
)
def test_a_device_that_is_here_is_taken(cards, count, name, chosen):
    cards(count)
    assert choose_device(name) == torch.device(chosen)


@pytest.mark.parametrize(
    ("count", "name", "message"),
    [
        (0, "cuda", "--device: 'cuda' is not here, there is none; give --device cpu, or leave it out"),
        (2, "cuda:2", "--device: 'cuda:2' is not here, there are 2; give --device cpu, or leave it out"),
        (1, "gpu", "--device: 'gpu' is no device; give auto, cpu, cuda or cuda:1"),
        (1, "cuda:1", "--device: 'cuda:1' is not here, there is one; give --device cpu, or leave it out"),
        (2, "cuda:256", "--device: 'cuda:256' is not here, there are 2; give --device cpu, or leave it out"),
        (2, "cuda:128", "--device: 'cuda:128' is not here, there are 2; give --device cpu, or leave it out"),
        (0, "cpu:5", "--device: 'cpu:5' is not here, there is one; give --device cpu"),
        (0, "cpu:256", "--device: 'cpu:256' is not here, there is one; give --device cpu"),
        (0, "mps:3", "--device: 'mps:3' is not here, there is none; give --device cpu, or leave it out"),
        (1, "cuda:", "--device: 'cuda:' is no device; give auto, cpu, cuda or cuda:1"),
        (1, "", "--device: '' is no device; give auto, cpu, cuda or cuda:1"),
        (1, "tpu", "--device: 'tpu' is no device; give auto, cpu, cuda or cuda:1"),
        (1, "meta", "--device: 'meta' is not supported; give auto, cpu, cuda or mps"),
    ],
)
def test_one_that_is_not_is_refused_in_one_line(cards, count, name, message):
    cards(count)
    with pytest.raises(UserError) as refused:
        choose_device(name)
    assert str(refused.value) == message


def test_the_cpu_has_its_name():
    assert device_name(torch.device("cpu")) == "cpu"
