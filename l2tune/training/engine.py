"""Which engine trains: the choice behind `--engine auto`."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from l2tune.data.folds import Fold
from l2tune.data.images import ImageData, take_subset
from l2tune.errors import TrialFailed
from l2tune.members import Member, Trainer
from l2tune.models.registry import ModelFactory
from l2tune.settings import PenaltySettings, TrainingSettings
from l2tune.training.device import choose_device, device_name
from l2tune.training.member_training import initial_model
from l2tune.training.sequential import SequentialTrainer
from l2tune.training.stacked.model import Convolution, obstacle
from l2tune.training.stacked.population import PopulationTrainer

_RACE_STEPS = 12
_RACE_FOLDS, _RACE_STRENGTHS = 5, 2


def choose_engine(
    data: ImageData,
    folds: Sequence[Fold],
    factory: ModelFactory,
    training: TrainingSettings,
    penalty: PenaltySettings,
    *,
    augment: Sequence[str] = (),
    device: str = "auto",
) -> tuple[Trainer, str]:
    """The trainer for these images and network, and a line that says which and why.

    `auto` takes the population on a CUDA device where a few steps of it, timed there and then, are faster than the
    sequential engine's; on the CPU it never is.
    """
    target = choose_device(device)
    line = f"training on {device_name(target)}, one network at a time"

    def sequential() -> Trainer:
        return SequentialTrainer(data, folds, factory, training, penalty, augment=augment, device=device)

    def population(convolution: Convolution) -> Trainer:
        return PopulationTrainer(
            data, folds, factory, training, penalty, augment=augment, device=device, convolution=convolution
        )

    if training.engine == "sequential":
        return sequential(), line
    if training.engine == "auto" and target.type != "cuda":
        return sequential(), line + ": stacking them pays on a GPU only"
    found = obstacle(initial_model(factory, data.shape, data.classes, seed=0), data.shape, data.classes)
    if target.type not in ("cpu", "cuda"):
        found = f"not done on {target.type}"
    if found is not None:
        return sequential(), f"{line}: they cannot be stacked ({found})"
    together = f"training on {device_name(target)}, all networks at once"
    if target.type != "cuda":
        return population("grouped"), f"{together}: on a CPU that is slower than --engine sequential"
    seconds = _race(data, factory, training, penalty, augment, device)
    best = min(("grouped", "matmul"), key=lambda name: seconds[name])
    speedup = seconds["sequential"] / seconds[best]
    if training.engine == "auto" and not speedup > 1:
        why = f"was timed to be {1 / speedup:.1f}× slower" if speedup > 0 else "failed"
        return sequential(), f"{line}: all at once {why} on this device"
    return population("matmul" if best == "matmul" else "grouped"), f"{together}: timed to be {speedup:.1f}× as fast"


def _race(
    data: ImageData,
    factory: ModelFactory,
    training: TrainingSettings,
    penalty: PenaltySettings,
    augment: Sequence[str],
    device: str,
) -> dict[str, float]:
    """Seconds that each way of training takes for a member's epoch of a few steps; infinite where it fails."""
    batch = training.batch_size
    images = take_subset(data, min(len(data.images), max(2 * data.classes, (_RACE_STEPS + 1) * batch)))
    everything = np.arange(len(images.images))
    cut = max(1, min(len(everything) - 1, _RACE_STEPS * batch))
    short = [Fold(everything[:cut], everything[cut:])] * _RACE_FOLDS
    thrice = training.model_copy(update={"epochs": 3})
    members = [
        Member(1e-6 * (1 + n // _RACE_FOLDS), n % _RACE_FOLDS, n % _RACE_FOLDS)
        for n in range(_RACE_FOLDS * _RACE_STRENGTHS)
    ]
    seconds = {}
    for name in ("sequential", "grouped", "matmul"):
        kind: Trainer
        if name == "sequential":
            kind = SequentialTrainer(images, short, factory, thrice, penalty, augment=augment, device=device)
            some = members[:2]
        else:
            convolution: Convolution = "matmul" if name == "matmul" else "grouped"
            kind = PopulationTrainer(
                images, short, factory, thrice, penalty, augment=augment, device=device, convolution=convolution
            )
            some = members
        seconds[name] = _seconds_per_member(kind, some)
        del kind
        torch.cuda.empty_cache()
    return seconds


def _seconds_per_member(trainer: Trainer, members: Sequence[Member]) -> float:
    """Of the second epoch of three: the first warms up, the last describes the networks."""
    run = trainer.start(members)
    try:
        next(run)
        began = time.perf_counter()
        next(run)  # scores are plain numbers: the device has finished
    except (TrialFailed, RuntimeError, StopIteration):  # out of memory; a convolution that this device does not know
        return float("inf")
    return (time.perf_counter() - began) / len(members)
