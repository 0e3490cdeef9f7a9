"""What stacked members are trained on: a `Problem` with its images placed and its network stacked, shared by all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from l2tune.training.device import send
from l2tune.training.pixels import DeviceImages
from l2tune.training.problem import Problem
from l2tune.training.stacked.batches import Stream
from l2tune.training.stacked.capture import collect
from l2tune.training.stacked.model import Convolution, StackedModel
from l2tune.training.stacked.optimizer import StackedOptimizer

EVALUATION_PIXELS = {"cpu": 1 << 17, "cuda": 1 << 24}
"""Pixels of an evaluation batch, over all members."""

FEWEST_IMAGES = 32
"""Of an evaluation batch."""

_RESIDENT_SHARE = 0.5  # images take at most this of the free memory, else they stay with the host


@dataclass
class Limits:
    """What the device turned out to be able to do. Found in training, and kept for all later members.

    Attributes:
        captured: Whether steps are captured as CUDA graphs.
        evaluation_pixels: Pixels of an evaluation batch, over all members.
        bytes_per_member: That a member takes in training; None before it was measured.
    """

    captured: bool
    evaluation_pixels: int
    bytes_per_member: float | None = None


@dataclass(frozen=True, eq=False)
class StackedProblem:
    """A problem as stacked members train on it.

    Attributes:
        whole: The problem itself.
        model: The stacked network.
        optimizer: Of its weights.
        source: Training images; the pixels with the host where they are not resident, the labels on the device.
        test: The test images that networks are described on, on the device.
        resident: Whether the training images lie on the device.
        seen: (images,) indices of all training images that lie in any fold, sorted; on the CPU.
        limits: Of the device.
    """

    whole: Problem
    model: StackedModel
    optimizer: StackedOptimizer
    source: DeviceImages
    test: DeviceImages
    resident: bool
    seen: Tensor
    limits: Limits
    _counted: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)
    _followed: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, problem: Problem, *, captured: bool = True, convolution: Convolution = "grouped") -> StackedProblem:
        """Stack a problem's network and place its images.

        Args:
            captured: Whether steps are captured as CUDA graphs, and the optimizer compiled.
            convolution: How stacked convolutions are computed.

        Raises:
            UserError: The problem cannot be trained, or its penalty does not take stacked weights.
        """
        problem.check()
        device = problem.device
        captured = captured and device.type == "cuda"
        model = StackedModel(problem.network, device, bfloat16=problem.bfloat16, convolution=convolution)
        optimizer = StackedOptimizer(problem.training, problem.penalty, compiled=captured)
        parts = [part for fold in problem.folds for part in (fold.train, fold.validation)]
        source = _place(problem.data.images, problem.data.labels, device)
        return cls(
            problem,
            model,
            optimizer,
            source,
            problem.test_images(),
            source.images.device.type == device.type,
            torch.from_numpy(np.unique(np.concatenate(parts))),
            Limits(captured, EVALUATION_PIXELS.get(device.type, 1 << 22)),
        )

    @property
    def device(self) -> torch.device:
        return self.whole.device

    @property
    def epochs(self) -> int:
        return self.whole.training.epochs

    @property
    def batch_size(self) -> int:
        return self.whole.training.batch_size

    @cached_property
    def capture_stream(self) -> Any:
        """On which steps are captured: one for all, for cuBLAS keeps memory for every stream it has seen."""
        return torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    def pixels(self, indices: Tensor) -> Tensor:
        """Training images (…) → (…, C, H, W) uint8 on the device."""
        images, flat = self.source.images, indices.flatten()
        if self.resident:
            found = images.index_select(0, flat.to(self.device))
        else:  # gathered while the device still computes the step before
            found = torch.empty((len(flat), *images.shape[1:]), dtype=torch.uint8, pin_memory=True)
            torch.index_select(images, 0, flat, out=found)
            found = found.to(self.device, non_blocking=True)
        return found.view(*indices.shape, *images.shape[1:])

    def counts(self, fold: int) -> Tensor:
        """(2, images in any fold): how often each is in the training part and in the validation part."""
        if fold not in self._counted:
            split, length = self.whole.folds[fold], int(self.seen[-1]) + 1
            both = [np.bincount(part, minlength=length) for part in (split.train, split.validation)]
            self._counted[fold] = torch.from_numpy(np.stack(both))[:, self.seen].to(self.device, torch.float32)
        return self._counted[fold]

    def followed(self, fold: int) -> tuple[Tensor, Tensor]:
        """What a learning curve is made of: the sample of the training part and the validation part.

        Returns:
            (n,) indices of the images, where the pixels lie, and (2, n) which part each is of, on the device.
        """
        if fold not in self._followed:
            split = self.whole.folds[fold]
            indices = torch.from_numpy(np.concatenate([split.sample, split.validation]))
            first = torch.arange(len(indices), device=self.device) < len(split.sample)
            place = self.source.images.device
            self._followed[fold] = indices.to(place), torch.stack([first, ~first]).float()
        return self._followed[fold]

    @cached_property
    def seen_on_device(self) -> Tensor:
        return self.seen.to(self.device)

    def stream(self, fold: int, seed: int) -> Stream:
        """What the members of a fold and seed see."""
        whole = self.whole
        train, size = whole.folds[fold].train, whole.data.shape[1:]
        return Stream(fold, seed, train, whole.normalization(fold), self.batch_size, whole.augment, size)

    def evaluation_size(self, members: int) -> int:
        """Images of an evaluation batch of so many members."""
        _, height, width = self.whole.data.shape
        return max(FEWEST_IMAGES, min(2048, self.limits.evaluation_pixels // (height * width * members)))


class Tables:
    """An epoch's batches and rates of some streams, where the device finds them.

    Args:
        streams: That have drawn the epoch.
        epoch: From 0.
    """

    def __init__(self, problem: StackedProblem, streams: Sequence[Stream], epoch: int) -> None:
        self._problem, device = problem, problem.device
        longest = max(len(stream.order) for stream in streams)
        order = torch.zeros(len(streams), longest, dtype=torch.int64)
        draws = torch.zeros(len(streams), longest if problem.whole.augment else 0, 3, dtype=torch.int16)
        batches = max(stream.batches for stream in streams)
        rates = torch.zeros(batches, 3, len(streams), dtype=torch.float64)
        for row, stream in enumerate(streams):
            order[row, : len(stream.order)] = stream.order
            draws[row, : len(stream.draws)] = stream.draws
            for batch in range(stream.batches):
                step = epoch * stream.batches + batch
                rates[batch, :, row] = torch.tensor(
                    problem.optimizer.rates(step, stream.batches * problem.epochs), dtype=torch.float64
                )
        self._rates = send(rates.to(problem.whole.dtype), device)
        self._order = order
        self._device_order = send(order, device)
        self._draws = send(draws, device)

    def batch(self, batch: int, size: int, first: int, last: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pixels (S, N, C, H, W), labels (S, N), draws (S, N, 3) and rates (3, S) of some streams' batch."""
        problem, start = self._problem, batch * self._problem.batch_size
        place = slice(start, start + size)
        indices = (self._device_order if problem.resident else self._order)[first:last, place]
        labels = problem.source.labels[self._device_order[first:last, place]]
        return problem.pixels(indices), labels, self._draws[first:last, place], self._rates[batch, :, first:last]


def free_memory(device: torch.device) -> int:
    """Bytes of a CUDA device that can still be taken."""
    collect(device)
    return int(torch.cuda.mem_get_info(device)[0])


def _place(images: Tensor, labels: Tensor, device: torch.device) -> DeviceImages:
    """On the device, or the pixels in the host's pinned memory where they would take too much of the device's."""
    if device.type == "cuda" and images.numel() > _RESIDENT_SHARE * free_memory(device):
        return DeviceImages(images.pin_memory(), labels.to(device))
    return DeviceImages.of(images, labels, device)
