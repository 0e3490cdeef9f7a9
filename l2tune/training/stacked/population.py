"""The population engine: all members at once, their weights stacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from l2tune.data.folds import Fold
from l2tune.data.images import ImageData
from l2tune.errors import TrialFailed
from l2tune.members import EpochScores, Member
from l2tune.models.registry import ModelFactory
from l2tune.penalty.weights import regularized_parameters
from l2tune.settings import PenaltySettings, TrainingSettings
from l2tune.training.member_training import DeviceImages
from l2tune.training.sequential import SequentialTrainer
from l2tune.training.stacked.batches import Stream
from l2tune.training.stacked.members import EVALUATION_PIXELS, StackedMembers, collect
from l2tune.training.stacked.model import Convolution, StackedModel
from l2tune.training.stacked.optimizer import StackedOptimizer

CPU_MEMBERS = 16
"""Members of a population on the CPU: its memory is not ours to fill, and larger ones are no faster there."""

_MEMORY_SHARE = 0.8  # of what is free; the rest is for evaluation and for what the allocator cannot use
_RESIDENT_SHARE = 0.5  # images take at most this of the free memory, else they stay with the host


class PopulationTrainer(SequentialTrainer):
    """Trains members together; `Trainer` of `l2tune.members`, with the sequential engine's answers.

    Initial weights, batch order, augmentation and arithmetic are those of `SequentialTrainer`; only dropout draws
    other masks. The network must have no `obstacle` to stacking.

    Args:
        size: Members of a population; by default as many as fit the free memory. Several populations train in turn.
        captured: Whether steps are captured as CUDA graphs, and the optimizer compiled.
        convolution: How stacked convolutions are computed.

    Others as of `SequentialTrainer`.
    """

    engine = "population"
    together = 4
    """Strengths that a search trains side by side.

    Replaying three recorded searches (digits: SGD, Adam on 500 images, a linear network on 600; 3 seeds each), 4 side
    by side took 8, 11 and 8 rounds of training where one after another took 25, 32 and 21, for 1.4 to 1.6 times the
    fits; 8 took 7, 13 and 6 rounds for 2 to 3.3 times the fits.
    """

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
        size: int | None = None,
        captured: bool = True,
        convolution: Convolution = "grouped",
    ) -> None:
        super().__init__(data, folds, factory, training, penalty, augment=augment, device=device, dtype=dtype)
        self.size, self.convolution = size, convolution
        self.captured = captured and self.device.type == "cuda"
        self._stacked = StackedModel(
            self._model.to(dtype), self.device, bfloat16=self._autocast, convolution=convolution
        )
        self._optimizer = StackedOptimizer(training, penalty, compiled=self.captured)
        self._regularized = set(regularized_parameters(self._model, penalty.regularize))
        self._everything = torch.from_numpy(
            np.unique(np.concatenate([part for fold in folds for part in (fold.train, fold.validation)]))
        )
        self.resident = self._source.images.device.type == self.device.type
        self._counted: dict[tuple[int, bool], Tensor] = {}
        self._evaluation_pixels = EVALUATION_PIXELS.get(self.device.type, 1 << 22)
        self._bytes_per_member: float | None = None

    def start(self, members: Sequence[Member]) -> PopulationRun:
        return PopulationRun(self, members)

    def describe(self) -> Mapping[str, Any]:
        return {**super().describe(), "convolution": self.convolution, "captured": self.captured}

    def _place(self, images: Tensor, labels: Tensor) -> DeviceImages:
        """On the device, or the pixels in the host's pinned memory where they would take too much of the device's."""
        if self.device.type == "cuda" and images.numel() > _RESIDENT_SHARE * _free_memory(self.device):
            return DeviceImages(images.pin_memory(), labels.to(self.device))
        return super()._place(images, labels)

    def _pixels(self, indices: Tensor) -> Tensor:
        """Training images (…) → (…, C, H, W) uint8 on the device."""
        images, flat = self._source.images, indices.flatten()
        if self.resident:
            found = images.index_select(0, flat.to(self.device))
        else:  # gathered while the device still computes the step before
            found = torch.empty((len(flat), *images.shape[1:]), dtype=torch.uint8, pin_memory=True)
            torch.index_select(images, 0, flat, out=found)
            found = found.to(self.device, non_blocking=True)
        return found.view(*indices.shape, *images.shape[1:])

    def _counts(self, fold: int, sample: bool) -> Tensor:
        """(2, images in any fold): how often each is in the training part (or its sample) and the validation part."""
        key = fold, sample
        if key not in self._counted:
            split = self._splits[fold]
            length = int(self._everything[-1]) + 1
            train = split.sample if sample else split.train
            both = [np.bincount(part, minlength=length) for part in (train, split.validation)]
            self._counted[key] = torch.from_numpy(np.stack(both))[:, self._everything].to(self.device, torch.float32)
        return self._counted[key]

    def _stream(self, fold: int, seed: int) -> Stream:
        return Stream(
            fold,
            seed,
            self._splits[fold].train,
            self._normalization(fold),
            self._training.batch_size,
            self._augment,
            self._data.shape[1:],
        )


class PopulationRun:
    """Members in training, in as few populations as memory allows."""

    def __init__(self, trainer: PopulationTrainer, members: Sequence[Member]) -> None:
        self._trainer = trainer
        self._waiting = list(dict.fromkeys(members))
        self._order = {member: place for place, member in enumerate(self._waiting)}
        self._populations: list[StackedMembers] = []
        self._parking = False
        self._epoch = 0

    def __iter__(self) -> PopulationRun:
        return self

    def __next__(self) -> Sequence[EpochScores]:
        if self._waiting:
            self._populate()
        for population in self._populations:
            population.shrink()
        queue = [population for population in self._populations if population.members]
        if self._epoch == self._trainer.epochs or not queue:
            self._populations = []
            raise StopIteration
        self._epoch += 1
        for stream in {id(stream): stream for population in queue for stream in population.streams}.values():
            stream.draw_epoch()
        found: list[EpochScores] = []
        self._populations = []
        while queue:
            population = queue.pop(0)
            scores = self._advance(population)
            if scores is None:  # out of memory: two halves go on where the whole stopped
                queue[:0] = population.split()
                self._parking = True
                continue
            found += scores
            population.drop([s.member for s in scores if s.diverged])
            self._populations.append(population)
            if self._parking and (self._populations[1:] or queue):
                population.park()
        if self._epoch == self._trainer.epochs:
            self._populations = []
        return sorted(found, key=lambda scores: self._order[scores.member])

    def drop(self, members: Sequence[Member]) -> None:
        given_up = set(members)
        self._waiting = [member for member in self._waiting if member not in given_up]
        for population in self._populations:
            population.drop(members)

    def _advance(self, population: StackedMembers) -> list[EpochScores] | None:
        """Train and score an epoch; None if the device ran out of memory."""
        try:
            population.unpark()
            population.train_epoch()
            return population.scores(self._epoch)
        except torch.OutOfMemoryError as error:
            if len(population.members) == 1:
                first = (str(error).splitlines() or [""])[0]
                raise TrialFailed(f"out of memory on the device ({first})") from error
        return None

    def _populate(self) -> None:
        """As few populations as the memory allows, equal in size; members of one fold side by side."""
        trainer, members = self._trainer, sorted(self._waiting, key=lambda m: (m.fold, m.seed))
        self._waiting = []
        streams = {key: trainer._stream(*key) for key in dict.fromkeys((m.fold, m.seed) for m in members)}
        number = -(-len(members) // (trainer.size or _fitting(trainer, members[0])))
        self._parking = trainer.size is None and number > 1
        for part in np.array_split(np.arange(len(members)), number):
            population = StackedMembers(trainer, [members[i] for i in part], streams)
            if self._parking:
                population.park()
            self._populations.append(population)


def _fitting(trainer: PopulationTrainer, member: Member) -> int:
    """How many members fit the free memory, from what one step of one takes."""
    if trainer.device.type != "cuda":
        return CPU_MEMBERS
    if trainer._bytes_per_member is None:
        trainer._bytes_per_member = _measure_member(trainer, member)
    return max(1, int(_MEMORY_SHARE * _free_memory(trainer.device) / trainer._bytes_per_member))


def _measure_member(trainer: PopulationTrainer, member: Member) -> float:
    """Bytes of weights, optimizer state and a step's activations; infinite if not even one fits.

    Activations count twice where steps are captured: the graph keeps its own, and the short last batch of an epoch is
    not part of it.
    """
    device = trainer.device
    collect(device)
    before = torch.cuda.memory_allocated(device)
    stream = trainer._stream(member.fold, member.seed)
    probe = StackedMembers(trainer, [member], {(member.fold, member.seed): stream}, capturing=False)
    state = torch.cuda.memory_allocated(device) - before
    torch.cuda.reset_peak_memory_stats(device)
    try:
        stream.draw_epoch()
        probe.train_epoch(batches=1)
    except torch.OutOfMemoryError:
        return float("inf")
    activations = torch.cuda.max_memory_allocated(device) - before - state
    return float(state + activations * (2 if trainer.captured else 1))


def _free_memory(device: torch.device) -> int:
    """Bytes of a CUDA device that can still be taken."""
    collect(device)
    return int(torch.cuda.mem_get_info(device)[0])
