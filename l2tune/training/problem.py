"""What is trained on what: the one thing that every engine and the final fit are given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from l2tune.data.folds import Fold
from l2tune.data.images import ImageData
from l2tune.errors import UserError, is_out_of_memory
from l2tune.models.check import check_factory
from l2tune.models.registry import ModelFactory
from l2tune.penalty.forms import l1_ratio_of, make_form
from l2tune.penalty.weights import Taken, coverage, has_normalization, taken_parameters
from l2tune.settings import PenaltySettings, TrainingSettings
from l2tune.training.arithmetic import CUDA_ARITHMETIC
from l2tune.training.device import choose_device, device_name, has_native_bfloat16, on_device
from l2tune.training.draws import initial_model
from l2tune.training.lambda_max import lambda_max
from l2tune.training.optimizers import is_adam
from l2tune.training.pixels import DeviceImages, Normalization

LAMBDA_MAX_IMAGES = 2000
"""Training images that λ_max is found on, at most."""

TEST_IMAGES = 2000
"""A fold's network is described on at most this many test images, evenly spaced: all of them would cost a small search
more than its training. The final fit is scored on all."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Images, folds, network, training and penalty, on a device.

    Attributes:
        data: The images.
        folds: Indices into its training part; none where all of it is trained on.
        factory: Makes a network for (C, H, W) and K classes.
        augment: Names for `l2tune.data.augment`.
        device: As `choose_device` gives it; by default its `auto`.
        dtype: Of weights and normalized images; float64 is for checking engines against each other.
    """

    data: ImageData
    folds: Sequence[Fold]
    factory: ModelFactory
    training: TrainingSettings
    penalty: PenaltySettings
    augment: Sequence[str] = ()
    device: torch.device = field(default_factory=lambda: choose_device("auto"))
    dtype: torch.dtype = torch.float32
    _drew: set[bool] = field(default_factory=set, init=False, repr=False)
    _normalizations: dict[int, Normalization] = field(default_factory=dict, init=False, repr=False)

    def check(self) -> None:
        """Refuse what cannot be trained before anything is.

        Raises:
            UserError: The network does not take these images or has no weights for the penalty, a pattern of the
                penalty matches none of its parameters, or there is no such optimizer, form or precision.
        """
        make_form(self.penalty)
        is_adam(self.training.optimizer)
        if not self.regularized:
            if any(taken.why_not == "multiplier 0" for taken in self.taken):
                fix = "give some a multiplier above 0"
                raise UserError("leaves no parameter for λ to act on: all multipliers are 0", "scale", fix)
            fix = "penalize all with --regularize all, or give patterns; `l2tune layers` lists its parameters"
            raise UserError("has no weights that λ could act on", "model", fix)
        _ = self.bfloat16

    def in_precision(self, precision: str) -> Problem:
        """The same, trained in this precision (of `TrainingSettings.precision`)."""
        return replace(self, training=self.training.model_copy(update={"precision": precision}))

    def try_out(self) -> None:
        """Train a few throw-away networks for a step, so that whatever is wrong with the factory shows at once.

        Raises:
            UserError: What is wrong with it.
        """
        fewest = min((len(fold.train) for fold in self.folds), default=len(self.data.images))
        check_factory(self.factory, self.data.shape, self.data.classes, min(self.training.batch_size, fewest))

    @property
    def bfloat16(self) -> bool:
        """Whether forward passes run in bfloat16; weights and optimizer stay as they are.

        Raises:
            UserError: There is no such precision.
        """
        asked = {"auto": has_native_bfloat16(self.device), "float32": False, "bfloat16": True}
        precision = self.training.precision
        if precision not in asked:
            raise UserError(f"{precision!r} is no precision", "precision", f"known are {', '.join(asked)}")
        return asked[precision] and self.dtype == torch.float32

    @property
    def draws(self) -> bool:
        """Whether the network draws random numbers in training, or may: a member's first epoch tells."""
        return self._drew != {False}

    def note_draws(self, drew: bool) -> None:
        """Note whether a member drew any in an epoch."""
        self._drew.add(drew)

    @cached_property
    def network(self) -> nn.Module:
        """One of the networks, on the CPU, to look at: it is not trained.

        Raises:
            UserError: The network does not take these images.
        """
        return self.initial_model(seed=0)

    @cached_property
    def taken(self) -> list[Taken]:
        """Every parameter of `network`, and whether and how strongly the penalty takes it.

        Raises:
            UserError: A pattern of the penalty matches nothing.
        """
        return taken_parameters(self.network, self.penalty)

    @cached_property
    def regularized(self) -> dict[str, nn.Parameter]:
        """Name → parameter of `network` that the penalty takes."""
        return {taken.name: taken.parameter for taken in self.taken if taken.multiplier}

    @cached_property
    def multipliers(self) -> dict[str, float]:
        """Name → what λ is multiplied by, of every regularized parameter."""
        return {taken.name: taken.multiplier for taken in self.taken if taken.multiplier}

    def initial_model(self, seed: int) -> nn.Module:
        """A network with the initial weights of this seed, float32 on the CPU."""
        return initial_model(self.factory, self.data.shape, self.data.classes, seed)

    def normalization(self, fold: int) -> Normalization:
        """By the statistics of a fold's training images."""
        if fold not in self._normalizations:
            self._normalizations[fold] = self.normalization_of(self.folds[fold].train)
        return self._normalizations[fold]

    def normalization_of(self, indices: NDArray[np.int64]) -> Normalization:
        """By the statistics of some training images."""
        return Normalization.of(self.data.images, indices, self.dtype, self.device)

    @property
    def test_labels(self) -> NDArray[np.int64]:
        """(test images,) of those that a fold's network is described on."""
        return self.data.test_labels[:: self._test_step].numpy()

    def test_images(self) -> DeviceImages:
        """Those images, on the device."""
        step = self._test_step
        return DeviceImages.of(self.data.test_images[::step], self.data.test_labels[::step], self.device)

    @property
    def _test_step(self) -> int:
        return math.ceil(len(self.data.test_labels) / TEST_IMAGES)

    @cached_property
    def lambda_max(self) -> float | None:
        """Strength from which on all penalized weights are zero, by some of the training images; None where none is."""
        l1_ratio = l1_ratio_of(self.penalty)
        if not l1_ratio or not self.regularized:
            return None
        step = math.ceil(len(self.data.labels) / LAMBDA_MAX_IMAGES)
        some = torch.arange(0, len(self.data.labels), step)
        images = self.normalization_of(some.numpy()).apply(self.data.images[some].to(self.device))
        labels = self.data.labels[some].to(self.device)
        network = deepcopy(self.network).to(self.device, self.dtype)
        size = 256
        while True:
            batches = zip(torch.split(images, size), torch.split(labels, size), strict=True)
            try:
                with on_device(self.device):
                    return lambda_max(network, self.multipliers, l1_ratio, batches)
            except Exception as error:
                if not is_out_of_memory(error):
                    return None  # the network cannot do with zero weights
                if size == 1:
                    raise
            size //= 4

    def describe(self) -> Mapping[str, Any]:
        """Plain values worth storing with a study, whatever engine trains.

        The same seed gives the same bits on the same kind of CPU with the same number of `threads`, which is torch's
        affair; sums of another number round otherwise.
        """
        return {
            "device": device_name(self.device),
            "precision": "bfloat16" if self.bfloat16 else str(self.dtype).removeprefix("torch."),
            "arithmetic": dict(CUDA_ARITHMETIC) if self.device.type == "cuda" else None,
            "threads": torch.get_num_threads() if self.device.type == "cpu" else None,
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "regularized_parameters": sum(p.numel() for p in self.regularized.values()),
            "regularization": coverage(self.taken),
            "layers": [name.removesuffix(".weight") for name in self.regularized],
            "normalization": has_normalization(self.network),
            "lambda_max": self.lambda_max,
            "train_sizes": [len(fold.train) for fold in self.folds],
            "validation_sizes": [len(fold.validation) for fold in self.folds],
        }
