"""The reference engine: one network after another, in lockstep by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2tune.data.folds import Fold
from l2tune.data.images import ImageData
from l2tune.errors import TrialFailed, UserError
from l2tune.members import EpochScores, Member, Run
from l2tune.models.registry import ModelFactory
from l2tune.penalty.forms import make_form
from l2tune.penalty.weights import has_normalization, regularized_parameters
from l2tune.settings import PenaltySettings, TrainingSettings
from l2tune.training.device import choose_device, device_name
from l2tune.training.member_training import DeviceImages, MemberTraining, Normalization, initial_model

TEST_IMAGES = 2000
"""A fold's network is described on at most this many test images, evenly spaced: all of them would cost a small search
more than its training. The final fit is scored on all."""


class SequentialTrainer:
    """Trains members one after another; `Trainer` of `l2tune.members`.

    Args:
        data: The images; they are kept on the device as uint8.
        folds: Indices into its training part.
        factory: Makes a network for (C, H, W) and K classes.
        augment: Names for `l2tune.data.augment`.
        device: `auto`, `cpu`, `cuda`, ….
        dtype: Of weights and normalized images; float64 is for checking other engines against this one.

    Raises:
        UserError: There is no such device, or the network does not take these images.
    """

    engine = "sequential"

    def __init__(
        self,
        data: ImageData,
        folds: Sequence[Fold],
        factory: ModelFactory,
        training: TrainingSettings,
        penalty: PenaltySettings,
        *,
        augment: Sequence[str] = (),
        device: str = "auto",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device = choose_device(device)
        self._model = initial_model(factory, data.shape, data.classes, seed=0)
        if not regularized_parameters(self._model, penalty.regularize):
            fix = "penalize all with --regularize all, or use layers of torch.nn"
            raise UserError("has no convolution or linear layer whose weights λ could act on", "model", fix)
        make_form(penalty)
        self._data, self._splits, self._factory = data, folds, factory
        self._training, self._penalty, self._augment, self._dtype = training, penalty, augment, dtype
        self.folds, self.epochs = len(folds), training.epochs
        every = math.ceil(len(data.test_labels) / TEST_IMAGES)
        self.test_labels: NDArray[np.int64] | None = data.test_labels[::every].numpy()
        bfloat16 = training.precision == "bfloat16" or (training.precision == "auto" and self.device.type == "cuda")
        self._autocast = bfloat16 and dtype == torch.float32
        self._source = self._place(data.images, data.labels)
        self._test = DeviceImages.of(data.test_images[::every], data.test_labels[::every], self.device)
        self._normalizations: dict[int, Normalization] = {}

    def start(self, members: Sequence[Member]) -> Run:
        return SequentialRun(self, members)

    def describe(self) -> Mapping[str, Any]:
        regularized = regularized_parameters(self._model, self._penalty.regularize)
        return {
            "engine": self.engine,
            "device": device_name(self.device),
            "precision": "bfloat16" if self._autocast else str(self._dtype).removeprefix("torch."),
            "threads": torch.get_num_threads() if self.device.type == "cpu" else None,
            "parameters": sum(p.numel() for p in self._model.parameters()),
            "regularized_parameters": sum(p.numel() for p in regularized.values()),
            "layers": [name.removesuffix(".weight") for name in regularized],
            "normalization": has_normalization(self._model),
            "train_sizes": [len(fold.train) for fold in self._splits],
            "validation_sizes": [len(fold.validation) for fold in self._splits],
        }

    def _place(self, images: Tensor, labels: Tensor) -> DeviceImages:
        return DeviceImages.of(images, labels, self.device)

    def _normalization(self, fold: int) -> Normalization:
        """Of a fold's training images."""
        if fold not in self._normalizations:
            self._normalizations[fold] = Normalization.of(
                self._data.images, self._splits[fold].train, self._dtype, self.device
            )
        return self._normalizations[fold]

    def _begin(self, member: Member) -> MemberTraining:
        fold = self._splits[member.fold]
        return MemberTraining(
            self._source,
            fold.train,
            self._normalization(member.fold),
            self._factory,
            self._data.classes,
            member.strength,
            member.seed,
            self._training,
            self._penalty,
            augmentations=self._augment,
            autocast=self._autocast,
        )


class SequentialRun:
    """Members in training, one after another within each epoch."""

    def __init__(self, trainer: SequentialTrainer, members: Sequence[Member]) -> None:
        self._trainer = trainer
        self._active: dict[Member, MemberTraining | None] = dict.fromkeys(members)
        self._lowest: dict[Member, float] = {}
        self._epoch = 0

    def __iter__(self) -> SequentialRun:
        return self

    def __next__(self) -> Sequence[EpochScores]:
        if self._epoch == self._trainer.epochs or not self._active:
            raise StopIteration
        self._epoch += 1
        found = []
        for member in list(self._active):
            try:
                scores = self._train(member)
            except torch.OutOfMemoryError as error:
                raise TrialFailed(f"out of memory on the device ({str(error).splitlines()[0]})") from error
            found.append(scores)
            if scores.diverged or self._epoch == self._trainer.epochs:
                del self._active[member]
        return found

    def drop(self, members: Sequence[Member]) -> None:
        for member in members:
            self._active.pop(member, None)

    def _train(self, member: Member) -> EpochScores:
        trainer = self._trainer
        network = self._active[member]
        if network is None:
            network = self._active[member] = trainer._begin(member)
        ratio = None
        train_loss = train_error = val_loss = val_error = math.nan
        if network.train_epoch():
            fold = trainer._splits[member.fold]
            val_loss, val_error = network.scores(fold.validation)
            train_loss, train_error = network.scores(fold.train if self._epoch == trainer.epochs else fold.sample)
            if member.strength == 0 and network.weights and val_loss < self._lowest.get(member, math.inf):
                self._lowest[member] = val_loss  # the gradient is asked for where this is lowest, and costs an epoch
                ratio = network.gradient_ratio()
        diverged = not (math.isfinite(train_loss) and math.isfinite(val_loss))
        last = self._epoch == trainer.epochs and not diverged
        return EpochScores(
            member,
            self._epoch,
            train_loss,
            train_error,
            val_loss,
            val_error,
            network.seconds,
            diverged,
            None if diverged else ratio,
            network.network_state(trainer._test) if last else None,
        )
