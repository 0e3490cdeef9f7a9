"""Devices by name, with and without a card."""

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from l2tune.errors import UserError
from l2tune.training.device import choose_device, device_name, has_native_bfloat16, on_device, send


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


@pytest.fixture
def current(monkeypatch):
    """The current device of a machine with cards."""
    found = SimpleNamespace(device=torch.device("cuda:0"))

    @contextmanager
    def enter(device):
        before, found.device = found.device, device
        yield
        found.device = before

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device", enter)
    return found


def test_work_on_a_second_card_has_it_as_the_current_one(current):
    second = torch.device("cuda:1")
    with on_device(second):
        assert current.device == second
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert current.device == torch.device("cuda:0")


def test_work_on_the_cpu_leaves_cards_alone(current):
    with on_device(torch.device("cpu")):
        assert current.device == torch.device("cuda:0")


def test_bfloat16_is_native_where_the_asked_card_does_not_emulate_it(current, monkeypatch):
    def supported(including_emulation=True):
        return including_emulation or current.device.index == 1

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert [has_native_bfloat16(torch.device(name)) for name in ("cpu", "cuda:0", "cuda:1")] == [False, False, True]


def test_precision_auto_on_a_card_that_emulates_bfloat16_is_float32_and_the_study_says_how(small, current, monkeypatch):
    problem = replace(small.problem(), device=torch.device("cuda:0"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a Turing card")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    described = problem.describe()
    assert (described["device"], described["precision"]) == ("a Turing card", "float32")
    assert described["arithmetic"] == {"tf32": False, "reduced_precision_reductions": False}
    assert small.problem().describe()["arithmetic"] is None


def test_what_is_sent_to_a_card_is_pinned_and_not_waited_for():
    sent = []
    pinned = SimpleNamespace(to=lambda device, non_blocking: sent.append((device, non_blocking)) or "there")
    host = SimpleNamespace(device=torch.device("cpu"), pin_memory=lambda: pinned)
    assert send(host, torch.device("cuda:1")) == "there"
    assert sent == [(torch.device("cuda:1"), True)]
    tensor = torch.zeros(2)
    assert send(tensor, torch.device("cpu")) is tensor
