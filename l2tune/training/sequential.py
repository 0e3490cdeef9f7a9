"""The reference engine: one network after another or a few side by side, in lockstep by epoch."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from l2tune.errors import TrialFailed, is_out_of_memory, out_of_memory_line
from l2tune.members import EpochScores, Member, Run
from l2tune.process import give_back
from l2tune.training.device import on_device
from l2tune.training.member_training import MemberTraining
from l2tune.training.pixels import DeviceImages
from l2tune.training.problem import Problem


class SequentialTrainer:
    """Trains members one after another, or a few side by side; `Trainer` of `l2tune.members`.

    All training images are kept on the device as uint8.

    Args:
        side_by_side: Members trained at once, in threads of this process, each with an equal share of torch's threads
            (why: `CpuPlan`). Their scores are those of members trained alone with as many threads.

    Attributes:
        together: Strengths that a search trains side by side.
        at_once: Networks that are trained at once: of all that are in one run, each is in memory to the end.

    Raises:
        UserError: The problem cannot be trained.
    """

    engine = "sequential"

    def __init__(self, problem: Problem, *, side_by_side: int = 1) -> None:
        problem.check()
        self.problem, self.together, self.at_once = problem, side_by_side, side_by_side
        self.folds, self.epochs = len(problem.folds), problem.training.epochs
        self.test_labels: NDArray[np.int64] | None = problem.test_labels
        self._source = DeviceImages.of(problem.data.images, problem.data.labels, problem.device)
        self._test = problem.test_images()

    def start(self, members: Sequence[Member]) -> Run:
        return SequentialRun(self.problem, self._source, self._test, members, self.together)

    def describe(self) -> Mapping[str, Any]:
        told = {"engine": self.engine, **self.problem.describe()}
        if self.together > 1:
            told |= {"side_by_side": self.together, "threads": max(1, torch.get_num_threads() // self.together)}
        return told


class SequentialRun:
    """Members in training, one after another or a few side by side within each epoch.

    Args:
        source: The problem's training images, on its device.
        test: The test images that networks are described on, there too.
        side_by_side: How many at once.
    """

    def __init__(
        self,
        problem: Problem,
        source: DeviceImages,
        test: DeviceImages,
        members: Sequence[Member],
        side_by_side: int = 1,
    ) -> None:
        self._problem, self._source, self._test = problem, source, test
        self._epochs = problem.training.epochs
        self._active: dict[Member, MemberTraining | None] = dict.fromkeys(members)
        self._lowest: dict[Member, float] = {}
        self._seconds: dict[Member, float] = dict.fromkeys(members, 0.0)
        self._side_by_side = side_by_side
        self._halt = threading.Event()
        self._epoch = 0

    def __iter__(self) -> SequentialRun:
        return self

    def __next__(self) -> Sequence[EpochScores]:
        if self._epoch == self._epochs or not self._active:
            raise StopIteration
        self._epoch += 1
        try:
            with on_device(self._problem.device), self._threads():
                found = self._train_all(list(self._active))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._active.clear()
            raise TrialFailed(out_of_memory_line(error)) from error
        ended = [scores.member for scores in found if scores.diverged or self._epoch == self._epochs]
        for member in ended:
            del self._active[member]
        if ended:
            give_back()
        return found

    def drop(self, members: Sequence[Member]) -> None:
        for member in members:
            self._active.pop(member, None)

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """An equal share of the threads for each, however many are left: sums of other numbers round otherwise."""
        if self._side_by_side == 1:
            yield
            return
        threads = torch.get_num_threads()
        torch.set_num_threads(max(1, threads // self._side_by_side))
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def _train_all(self, members: Sequence[Member]) -> list[EpochScores]:
        """Train these for an epoch."""
        beside = min(self._side_by_side, len(members))
        if beside == 1:
            return [self._train(member) for member in members]
        with ThreadPoolExecutor(beside) as pool:
            try:
                return list(pool.map(partial(self._train, beside=beside), members))
            except BaseException:  # an interrupt, or an error of one: the others end with their batch
                self._halt.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _train(self, member: Member, beside: int = 1) -> EpochScores:
        """Args: `beside`: how many are trained at the same time, itself among them."""
        network = self._active[member]
        if network is None:
            network = self._active[member] = self._begin(member)
        before = network.seconds
        train_loss = train_error = val_loss = val_error = math.nan
        if network.train_epoch():
            fold = self._problem.folds[member.fold]
            val_loss, val_error = network.scores(fold.validation)
            train_loss, train_error = network.scores(fold.train if self._epoch == self._epochs else fold.sample)
            if member.strength == 0 and network.weights and val_loss < self._lowest.get(member, math.inf):
                self._lowest[member] = val_loss
                network.remember()
        diverged = not (math.isfinite(train_loss) and math.isfinite(val_loss))
        last = self._epoch == self._epochs and not diverged
        estimates = network.first_estimates() if last or diverged else {}
        self._seconds[member] += (network.seconds - before) / beside
        return EpochScores(
            member,
            self._epoch,
            train_loss,
            train_error,
            val_loss,
            val_error,
            self._seconds[member],
            diverged,
            estimates,
            network.network_state(self._test) if last else None,
        )

    def _begin(self, member: Member) -> MemberTraining:
        normalization = self._problem.normalization(member.fold)
        train = self._problem.folds[member.fold].train
        problem, source = self._problem, self._source
        return MemberTraining(problem, source, train, normalization, member.strength, member.seed, halt=self._halt)
