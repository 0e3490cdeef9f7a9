"""The reference engine: one network after another, in lockstep by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2tune.errors import TrialFailed, is_out_of_memory, out_of_memory_line
from l2tune.members import EpochScores, Member, Run
from l2tune.training.device import on_device
from l2tune.training.member_training import MemberTraining
from l2tune.training.pixels import DeviceImages
from l2tune.training.problem import Problem


class SequentialTrainer:
    """Trains members one after another; `Trainer` of `l2tune.members`.

    All training images are kept on the device as uint8.

    Raises:
        UserError: The problem cannot be trained.
    """

    engine = "sequential"

    def __init__(self, problem: Problem) -> None:
        problem.check()
        self.problem = problem
        self.folds, self.epochs = len(problem.folds), problem.training.epochs
        self.test_labels: NDArray[np.int64] | None = problem.test_labels
        self._source = DeviceImages.of(problem.data.images, problem.data.labels, problem.device)
        self._test = problem.test_images()

    def start(self, members: Sequence[Member]) -> Run:
        return SequentialRun(self.problem, self._source, self._test, members)

    def describe(self) -> Mapping[str, Any]:
        return {"engine": self.engine, **self.problem.describe()}


class SequentialRun:
    """Members in training, one after another within each epoch.

    Args:
        source: The problem's training images, on its device.
        test: The test images that networks are described on, there too.
    """

    def __init__(self, problem: Problem, source: DeviceImages, test: DeviceImages, members: Sequence[Member]) -> None:
        self._problem, self._source, self._test = problem, source, test
        self._epochs = problem.training.epochs
        self._active: dict[Member, MemberTraining | None] = dict.fromkeys(members)
        self._lowest: dict[Member, float] = {}
        self._epoch = 0

    def __iter__(self) -> SequentialRun:
        return self

    def __next__(self) -> Sequence[EpochScores]:
        if self._epoch == self._epochs or not self._active:
            raise StopIteration
        self._epoch += 1
        found = []
        for member in list(self._active):
            try:
                with on_device(self._problem.device):
                    scores = self._train(member)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._active.clear()
                raise TrialFailed(out_of_memory_line(error)) from error
            found.append(scores)
            if scores.diverged or self._epoch == self._epochs:
                del self._active[member]
        return found

    def drop(self, members: Sequence[Member]) -> None:
        for member in members:
            self._active.pop(member, None)

    def _train(self, member: Member) -> EpochScores:
        network = self._active[member]
        if network is None:
            network = self._active[member] = self._begin(member)
        estimates: dict[str, float] = {}
        train_loss = train_error = val_loss = val_error = math.nan
        if network.train_epoch():
            fold = self._problem.folds[member.fold]
            val_loss, val_error = network.scores(fold.validation)
            train_loss, train_error = network.scores(fold.train if self._epoch == self._epochs else fold.sample)
            if member.strength == 0 and network.weights and val_loss < self._lowest.get(member, math.inf):
                self._lowest[member] = val_loss  # the gradient is asked for where this is lowest, and costs an epoch
                estimates = network.first_estimates()
        diverged = not (math.isfinite(train_loss) and math.isfinite(val_loss))
        last = self._epoch == self._epochs and not diverged
        return EpochScores(
            member,
            self._epoch,
            train_loss,
            train_error,
            val_loss,
            val_error,
            network.seconds,
            diverged,
            {} if diverged else estimates,
            network.network_state(self._test) if last else None,
        )

    def _begin(self, member: Member) -> MemberTraining:
        normalization = self._problem.normalization(member.fold)
        train = self._problem.folds[member.fold].train
        return MemberTraining(self._problem, self._source, train, normalization, member.strength, member.seed)
