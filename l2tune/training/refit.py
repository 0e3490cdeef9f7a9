"""The final network: trained on all training images with the chosen λ."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from l2tune.errors import UserError, innermost, mend
from l2tune.members import NetworkState
from l2tune.training.device import on_device
from l2tune.training.member_training import MemberTraining
from l2tune.training.pixels import DeviceImages
from l2tune.training.problem import Problem


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
        network: What it is like, by all test images.
        parameters: How many it has, all of them; of these, `nonzero` are not exactly zero.
    """

    model: nn.Module
    mean: list[float]
    std: list[float]
    train_loss: float
    train_error: float
    test_loss: float
    test_error: float
    seconds: float
    network: NetworkState
    parameters: int
    nonzero: int


def train_on_all(
    problem: Problem, strength: float, *, seed: int = 0, after_epoch: Callable[[], None] = lambda: None
) -> FinalFit:
    """Train on all training images for the full schedule; score on the test images.

    Args:
        problem: Its folds are not used.
        strength: λ ≥ 0.
        seed: Of the initial weights and the draws.
        after_epoch: Called between epochs; may raise to end the training.

    Raises:
        UserError: Training diverged or raised an error, memory ran out, or the problem cannot be trained.
    """
    try:
        with on_device(problem.device):
            return _train_on_all(problem, strength, seed, after_epoch)
    except UserError:
        raise
    except Exception as error:
        fix = mend(error, "choose another λ, or mend the network")
        raise UserError(f"training failed at λ = {strength:g} ({innermost(error)})", "fit", fix) from error


def _train_on_all(problem: Problem, strength: float, seed: int, after_epoch: Callable[[], None]) -> FinalFit:
    data, device = problem.data, problem.device
    everything = np.arange(len(data.images))
    normalization = problem.normalization_of(everything)
    source = DeviceImages.of(data.images, data.labels, device)
    network = MemberTraining(problem, source, everything, normalization, strength, seed)
    finite = True
    while finite and network.epoch < problem.training.epochs:
        finite = network.train_epoch()
        after_epoch()
    train_loss, train_error = network.scores(network.train)
    test = DeviceImages.of(data.test_images, data.test_labels, device)
    test_loss, test_error = network.scores(torch.arange(len(data.test_labels)), test)
    if not finite or not math.isfinite(train_loss + test_loss):
        raise UserError(f"training diverged at λ = {strength:g}", "fit", "lower the learning rate, or choose another λ")
    state = network.network_state(test)
    parameters = list(network.model.parameters())
    return FinalFit(
        network.model.cpu().eval(),
        normalization.mean.tolist(),
        normalization.std.tolist(),
        train_loss,
        train_error,
        test_loss,
        test_error,
        network.seconds,
        state,
        sum(p.numel() for p in parameters),
        sum(int(p.count_nonzero()) for p in parameters),
    )
