"""The population engine: all members at once, their weights stacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from l2tune.errors import TrialFailed, is_out_of_memory, out_of_memory_line
from l2tune.members import EpochScores, Member
from l2tune.training.device import on_device
from l2tune.training.problem import Problem
from l2tune.training.stacked.capture import collect
from l2tune.training.stacked.members import StackedMembers
from l2tune.training.stacked.model import Convolution
from l2tune.training.stacked.problem import StackedProblem, free_memory

CPU_MEMBERS = 16
"""Members of a population on the CPU: its memory is not ours to fill, and larger ones are no faster there."""

_MEMORY_SHARE = 0.8  # of what is free; the rest is for evaluation and for what the allocator cannot use


class PopulationTrainer:
    """Trains members together; `Trainer` of `l2tune.members`, with the sequential engine's answers.

    Initial weights, batch order, augmentation and arithmetic are those of `SequentialTrainer`; only dropout draws
    other masks. The network must have no `obstacle` to stacking.

    Args:
        size: Members of a population; by default as many as fit the free memory. Several populations train in turn.
        captured: Whether steps are captured as CUDA graphs, and the optimizer compiled.
        convolution: How stacked convolutions are computed.

    Attributes:
        stacked: The problem as its members train on it.

    Raises:
        UserError: The problem cannot be trained, or its penalty does not take stacked weights.
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
        problem: Problem,
        *,
        size: int | None = None,
        captured: bool = True,
        convolution: Convolution = "grouped",
    ) -> None:
        self.problem, self.size, self.convolution = problem, size, convolution
        if size == 1:
            self.together = 1
        self.folds, self.epochs = len(problem.folds), problem.training.epochs
        self.test_labels: NDArray[np.int64] | None = problem.test_labels
        with on_device(problem.device):
            self.stacked = StackedProblem.of(problem, captured=captured, convolution=convolution)

    def start(self, members: Sequence[Member]) -> PopulationRun:
        return PopulationRun(self.stacked, members, self.size)

    def describe(self) -> Mapping[str, Any]:
        how = {"members": self.size, "convolution": self.convolution, "captured": self.stacked.limits.captured}
        return {"engine": self.engine, **self.problem.describe(), **how}


class PopulationRun:
    """Members in training, in as few populations as memory allows."""

    def __init__(self, problem: StackedProblem, members: Sequence[Member], size: int | None = None) -> None:
        self._problem, self._size = problem, size
        self._waiting = list(dict.fromkeys(members))
        self._order = {member: place for place, member in enumerate(self._waiting)}
        self._populations: list[StackedMembers] = []
        self._parking = False
        self._epoch = 0

    def __iter__(self) -> PopulationRun:
        return self

    def __next__(self) -> Sequence[EpochScores]:
        try:
            with on_device(self._problem.device):
                return self._next()
        except Exception as error:  # also where members are begun, left out, or split
            if not is_out_of_memory(error):
                raise
            raise TrialFailed(out_of_memory_line(error)) from error

    def drop(self, members: Sequence[Member]) -> None:
        given_up = set(members)
        self._waiting = [member for member in self._waiting if member not in given_up]
        for population in self._populations:
            population.drop(members)

    def _next(self) -> Sequence[EpochScores]:
        if self._waiting:
            self._populations, self._waiting = populate(self._problem, self._waiting, self._size), []
            self._parking = self._size is None and len(self._populations) > 1
        for population in self._populations:
            population.shrink()
        queue = [population for population in self._populations if population.members]
        if self._epoch == self._problem.epochs or not queue:
            self._populations = []
            raise StopIteration
        self._epoch += 1
        for stream in {id(stream): stream for population in queue for stream in population.streams}.values():
            stream.draw_epoch()
        found: list[EpochScores] = []
        self._populations = []
        while queue:
            population = queue.pop(0)
            scores = self._advance(population, alone=self._parking or not (self._populations or queue))
            if scores is None:  # out of memory: two halves go on where the whole stopped, and the others make room
                for each in (population, *self._populations, *queue):
                    each.park()
                self._parking = True
                queue[:0] = population.split() if len(population.members) > 1 else [population]
                continue
            found += scores
            population.drop([s.member for s in scores if s.diverged])
            self._populations.append(population)
            if self._parking and (self._populations[1:] or queue):
                population.park()
        if self._epoch == self._problem.epochs:
            self._populations = []
        return sorted(found, key=lambda scores: self._order[scores.member])

    def _advance(self, population: StackedMembers, *, alone: bool) -> list[EpochScores] | None:
        """Train and score an epoch; None if the device ran out of memory and something can be done about it.

        Args:
            alone: Whether no other population takes memory of the device.
        """
        try:
            population.unpark()
            population.train_epoch()
            return population.scores(self._epoch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if alone and len(population.members) == 1:
                raise TrialFailed(out_of_memory_line(error)) from error
        return None


def populate(problem: StackedProblem, members: Sequence[Member], size: int | None = None) -> list[StackedMembers]:
    """As few populations as the memory allows, equal in size; members of one fold side by side.

    Args:
        members: All different, at least one.
        size: Members of a population; without it populations that do not fit at once are parked.
    """
    members = sorted(members, key=lambda m: (m.fold, m.seed))
    streams = {key: problem.stream(*key) for key in dict.fromkeys((m.fold, m.seed) for m in members)}
    number = -(-len(members) // (size or _fitting(problem, members[0])))
    found = []
    for part in np.array_split(np.arange(len(members)), number):
        population = StackedMembers.begin(problem, [members[i] for i in part], streams)
        if size is None and number > 1:
            population.park()
        found.append(population)
    return found


def _fitting(problem: StackedProblem, member: Member) -> int:
    """How many members fit the free memory, from what one step of one takes."""
    if problem.device.type != "cuda":
        return CPU_MEMBERS
    limits = problem.limits
    if limits.bytes_per_member is None:
        limits.bytes_per_member = _measure_member(problem, member)
    return max(1, int(_MEMORY_SHARE * free_memory(problem.device) / limits.bytes_per_member))


def _measure_member(problem: StackedProblem, member: Member) -> float:
    """Bytes of weights, optimizer state and a step's activations; infinite if not even one fits.

    Activations count twice where steps are captured: the graph keeps its own, and the short last batch of an epoch is
    not part of it.
    """
    device = problem.device
    collect(device)
    before = torch.cuda.memory_allocated(device)
    stream = problem.stream(member.fold, member.seed)
    probe = StackedMembers.begin(problem, [member], {(member.fold, member.seed): stream}, capturing=False)
    state = torch.cuda.memory_allocated(device) - before
    torch.cuda.reset_peak_memory_stats(device)
    try:
        stream.draw_epoch()
        probe.train_epoch(batches=1)
    except Exception as error:
        if is_out_of_memory(error):
            return float("inf")
        raise
    activations = torch.cuda.max_memory_allocated(device) - before - state
    return float(state + activations * (2 if problem.limits.captured else 1))
