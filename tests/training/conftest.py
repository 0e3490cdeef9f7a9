"""Small pictures and networks that train in milliseconds, for every engine."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from l2tune.data.folds import Fold, make_folds
from l2tune.data.images import ImageData
from l2tune.members import EpochScores, Member
from l2tune.settings import PenaltySettings, TrainingSettings
from l2tune.training.problem import Problem
from l2tune.training.sequential import SequentialTrainer


def pictures(count: int = 48, tests: int = 21, *, classes: int = 3, side: int = 6, seed: int = 0) -> ImageData:
    """Noise with a bright bar whose row tells the class; (count, 2, side, side)."""
    rng = np.random.default_rng(seed)

    def make(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = np.arange(number) % classes
        pixels = rng.integers(0, 160, (number, 2, side, side), dtype=np.uint8)
        pixels[np.arange(number), :, labels * side // classes] += 60
        return torch.from_numpy(pixels), torch.from_numpy(labels)

    images, labels = make(count)
    test_images, test_labels = make(tests)
    return ImageData(images, labels, tuple("abcdefgh"[:classes]), test_images, test_labels)


def tiny_network(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Convolution, batch norm and linear layers."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * height * width, classes),
    )


@dataclass(frozen=True)
class Small:
    """A small cross-validation: `small.trainer(epochs=3)` makes a trainer, `small.member(λ, fold)` a member."""

    data: ImageData
    folds: tuple[Fold, ...]

    def problem(
        self,
        factory: Callable[..., nn.Module] = tiny_network,
        *,
        data: ImageData | None = None,
        penalty: str = "l2",
        scale: Mapping[str, float] | None = None,
        augment: Sequence[str] = (),
        dtype: torch.dtype = torch.float32,
        **training: Any,
    ) -> Problem:
        """On the CPU. Settings are not checked, so that a test can ask for what there is not."""
        return Problem(
            data or self.data,
            self.folds,
            factory,
            TrainingSettings().model_copy(update={"epochs": 4, "batch_size": 8, "lr": 0.05} | training),
            PenaltySettings().model_copy(update={"form": penalty, "scale": dict(scale or {})}),
            augment,
            torch.device("cpu"),
            dtype,
        )

    def trainer(
        self,
        factory: Callable[..., nn.Module] = tiny_network,
        engine: Callable[..., Any] = SequentialTrainer,
        **of: Any,
    ) -> Any:
        """An engine on `problem`."""
        return engine(self.problem(factory, **of))

    @staticmethod
    def member(strength: float, fold: int = 0, seed: int | None = None) -> Member:
        return Member(strength, fold, 100 + fold if seed is None else seed)


@pytest.fixture(scope="session")
def small() -> Small:
    data = pictures()
    return Small(data, make_folds(data.labels.numpy(), folds=3))


def history_of(trainer: Any, members: Sequence[Member]) -> dict[Member, list[EpochScores]]:
    """Each member's scores, epoch by epoch."""
    found: dict[Member, list[EpochScores]] = {member: [] for member in members}
    for epoch_scores in trainer.start(members):
        for scores in epoch_scores:
            found[scores.member].append(scores)
    return found


@pytest.fixture(scope="session")
def train() -> Callable[..., dict[Member, list[EpochScores]]]:
    """`train(trainer, members)`: each member's scores, epoch by epoch."""
    return history_of


def numbers_of(scores: EpochScores) -> tuple[Any, ...]:
    """Everything that must be the same when the same member is trained again; not the seconds."""
    network = scores.network
    layers = network and tuple((layer.weight_norm, *layer.counts) for layer in network.layers.values())
    state = network and (layers, network.weight_sum, network.test_loss, network.input_gradient_norm)
    errors = (scores.train_error, scores.val_error)
    return (scores.epoch, scores.train_loss, scores.val_loss, *errors, scores.diverged, scores.first_estimates, state)


@pytest.fixture(scope="session")
def numbers() -> Callable[[Sequence[EpochScores]], list[tuple[Any, ...]]]:
    """`numbers(history)`: all that is the same when a member is trained again, epoch by epoch."""
    return lambda history: [numbers_of(scores) for scores in history]
