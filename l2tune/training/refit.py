"""The final network: trained on all training images with the chosen λ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from l2tune.data.images import ImageData
from l2tune.errors import UserError
from l2tune.models.registry import ModelFactory
from l2tune.settings import PenaltySettings, TrainingSettings
from l2tune.training.device import choose_device
from l2tune.training.member_training import DeviceImages, MemberTraining, Normalization


@dataclass(frozen=True, eq=False)
class FinalFit:
    """A trained network and its scores.

    Attributes:
        model: On the CPU, in evaluation mode.
        mean: Of each channel, pixels in 0..1, to normalize images with.
        std: Of each channel.
        train_loss: Mean cross-entropy over the training images, nats; `test_loss` over the test images.
        train_error: Share of the training images classified wrongly; `test_error` of the test images.
        seconds: Of training.
    """

    model: nn.Module
    mean: list[float]
    std: list[float]
    train_loss: float
    train_error: float
    test_loss: float
    test_error: float
    seconds: float


def train_on_all(
    data: ImageData,
    factory: ModelFactory,
    training: TrainingSettings,
    penalty: PenaltySettings,
    strength: float,
    *,
    seed: int = 0,
    augment: Sequence[str] = (),
    device: str = "auto",
) -> FinalFit:
    """Train on all training images for the full schedule; score on the test images.

    Raises:
        UserError: Training diverged, or bad device or network.
    """
    target = choose_device(device)
    everything = np.arange(len(data.images))
    normalization = Normalization.of(data.images, everything, torch.float32, target)
    bfloat16 = training.precision == "bfloat16" or (training.precision == "auto" and target.type == "cuda")
    network = MemberTraining(
        DeviceImages.of(data.images, data.labels, target),
        everything,
        normalization,
        factory,
        data.classes,
        strength,
        seed,
        training,
        penalty,
        augmentations=augment,
        autocast=bfloat16,
    )
    finite = True
    while finite and network.epoch < training.epochs:
        finite = network.train_epoch()
    train_loss, train_error = network.scores(network.train)
    test = DeviceImages.of(data.test_images, data.test_labels, target)
    test_loss, test_error = network.scores(torch.arange(len(data.test_labels)), test)
    if not finite or not math.isfinite(train_loss + test_loss):
        raise UserError(f"training diverged at λ = {strength:g}", "fit", "lower the learning rate, or choose another λ")
    return FinalFit(
        network.model.cpu().eval(),
        normalization.mean.tolist(),
        normalization.std.tolist(),
        train_loss,
        train_error,
        test_loss,
        test_error,
        network.seconds,
    )
