"""Memory that runs out, on any device, in training and in evaluation."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from l2tune.errors import TrialFailed, UserError, innermost, is_out_of_memory, out_of_memory_line
from l2tune.training.refit import train_on_all
from l2tune.training.stacked.population import PopulationTrainer

CPU = (
    "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "4000000000000 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(CPU),
        RuntimeError("std::bad_alloc"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"),
        RuntimeError("Invalid buffer size: 40.00 GiB"),
        RuntimeError("Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        MemoryError(),
        OSError(12, os.strerror(12)),
    ],
    ids=str,
)
def test_what_is_out_of_memory(error: BaseException) -> None:
    assert is_out_of_memory(error)
    line = out_of_memory_line(error)
    assert line.startswith("out of memory on the device (")
    assert line.endswith("; give a smaller --batch-size or --image-size or a smaller network, or free memory")
    assert "\n" not in line
    assert "enforce" not in line


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), ValueError("out of memory"), OSError(28, "full"), KeyboardInterrupt()]
)
def test_what_is_not(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def test_pytorch_and_numpy_say_so_themselves() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**13)
    assert is_out_of_memory(caught.value)
    assert innermost(caught.value).startswith("out of memory on the device (DefaultCPUAllocator: can't allocate memory")
    with pytest.raises(MemoryError) as failed:
        np.ones((10**7, 10**7))
    assert is_out_of_memory(failed.value)


class Greedy(nn.Module):
    """A linear network that runs out of memory with more images than `most`, in training or in evaluation."""

    def __init__(self, shape: Any, classes: int, most: int, training: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(math.prod(shape), classes)
        self.most, self.when = most, training
        self.largest = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training == self.when:
            if len(x) > self.most:
                raise RuntimeError(CPU)
            self.largest = max(self.largest, len(x))
        return self.fc(x.flatten(1))  # type: ignore[no-any-return]


def greedy(most: int, *, training: bool) -> Any:
    return lambda shape, classes: Greedy(shape, classes, most, training)


def test_in_evaluation_batches_are_halved(small: Any, train: Any, numbers: Any) -> None:
    member = small.member(0.0)
    found = train(small.trainer(greedy(5, training=False)), [member])[member]
    wanted = train(small.trainer(greedy(999, training=False)), [member])[member]
    assert [s.val_loss for s in found] == pytest.approx([s.val_loss for s in wanted])
    assert [s.first_estimates for s in found if s.first_estimates]
    assert found[-1].network.input_gradient_norm == pytest.approx(wanted[-1].network.input_gradient_norm)


def test_a_network_for_which_one_image_is_too_much_fails_its_trial(small: Any) -> None:
    line = r"out of memory on the device \(DefaultCPUAllocator: .*; give a smaller"
    trainer = small.trainer(greedy(2, training=True))
    with pytest.raises(TrialFailed, match=line):
        next(trainer.start([small.member(0.0)]))
    made = iter([999])  # the first one is looked at, not trained
    trainer = small.trainer(lambda shape, classes: Greedy(shape, classes, next(made, 0), training=False))
    with pytest.raises(TrialFailed, match=line):
        next(trainer.start([small.member(0.0)]))


def test_lambda_max_is_found_in_smaller_batches(small: Any) -> None:
    wanted = small.problem(greedy(999, training=False), penalty="l1").lambda_max
    assert wanted is not None
    assert small.problem(greedy(20, training=False), penalty="l1").lambda_max == pytest.approx(wanted, rel=1e-5)


def test_a_network_that_cannot_do_with_zero_weights_has_no_lambda_max(small: Any) -> None:
    class Picky(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if not self.weight.any():
                raise ValueError("zero")
            return super().forward(x.flatten(1))

    assert small.problem(lambda shape, classes: Picky(math.prod(shape), classes), penalty="l1").lambda_max is None


def test_the_final_fit_says_so_in_one_line(small: Any) -> None:
    with pytest.raises(UserError, match=r"^fit: training failed at λ = 0.1 \(out of memory .*; give a smaller --batch"):
        train_on_all(small.problem(greedy(5, training=True)), 0.1)


def test_the_final_fit_says_what_a_network_raises_in_one_line(small: Any) -> None:
    class Picky(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                raise ValueError("too\nlarge")
            return super().forward(x.flatten(1))

    problem = small.problem(lambda shape, classes: Picky(math.prod(shape), classes))
    with pytest.raises(UserError, match=r"^fit: training failed at λ = 0.1 \(ValueError: too large\); choose another"):
        train_on_all(problem, 0.1)


def test_a_population_on_the_cpu_is_split(small: Any, train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    members = [small.member(strength, fold) for strength in (0.0, 1e-3, 1e-2) for fold in (0, 1)]
    wanted = train(small.trainer(engine=PopulationTrainer), members)
    trainer = small.trainer(engine=PopulationTrainer)
    inner, raised = type(trainer.stacked.model).__call__, []

    def call(model: Any, parameters: Any, buffers: Any, images: Tensor, *, training: bool) -> Any:
        found = inner(model, parameters, buffers, images, training=training)
        if training and len(images) > 3:
            raised.append(len(images))
            raise RuntimeError(CPU)
        return found

    monkeypatch.setattr(type(trainer.stacked.model), "__call__", call)
    found = train(trainer, members)
    assert raised
    for member in members:
        assert found[member][-1].val_loss == pytest.approx(wanted[member][-1].val_loss, rel=1e-4)


def test_a_factory_that_takes_too_much_is_told_how_to_mend_it(small: Any) -> None:
    def factory(shape: Any, classes: int) -> nn.Module:
        raise RuntimeError(CPU)

    with pytest.raises(UserError, match="; give a smaller --batch-size"):
        small.problem(factory).try_out()


def test_images_that_take_too_much_are_told_how_to_mend_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from l2tune.data.sources import load
    from l2tune.settings import build

    np.savez(tmp_path / "data.npz", images=np.zeros((20, 4, 4), np.uint8), labels=np.arange(20) % 2)

    def no_memory(*words: Any, **named: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(np, "load", no_memory)
    with pytest.raises(UserError, match="; give a smaller --batch-size or --image-size"):
        load(build({"data": str(tmp_path / "data.npz")}).data)
