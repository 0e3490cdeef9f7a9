"""Which engine trains: the choice behind `--engine auto`."""

from __future__ import annotations

from collections.abc import Sequence

from l2tune.data.folds import Fold
from l2tune.data.images import ImageData
from l2tune.members import Trainer
from l2tune.models.registry import ModelFactory
from l2tune.settings import PenaltySettings, TrainingSettings
from l2tune.training.device import device_name
from l2tune.training.sequential import SequentialTrainer


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
    """The trainer for these images and network, and a line that says which and why."""
    trainer = SequentialTrainer(data, folds, factory, training, penalty, augment=augment, device=device)
    return trainer, f"training on {device_name(trainer.device)}, one network at a time"
