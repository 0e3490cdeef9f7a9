"""How the CPU trains fastest: in bfloat16 or in float32, by timing a few steps; and how many networks side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from l2tune.data.folds import Fold
from l2tune.data.images import take_subset
from l2tune.process import is_own
from l2tune.training.member_training import MemberTraining
from l2tune.training.pixels import DeviceImages
from l2tune.training.problem import Problem

Precision = Literal["float32", "bfloat16"]

WORTH = 0.8
"""bfloat16 is taken where a step takes at most this share of the time: by a choice on the brink, the same search would
be another one next time."""

MOST_SIDE_BY_SIDE = 4
"""Strengths that a search tries side by side at most, as for populations: more are asked for than one after another."""

LONGEST_STEP = 1.0
"""Seconds of a step in one thread from which on networks train one at a time: such a step's activations take gigabytes,
and a system that has no memory left kills without a word."""

_SECONDS = 0.04
"""To time steps for, three times each."""


@dataclass(frozen=True)
class CpuPlan:
    """How to train on a CPU.

    Attributes:
        precision: Of the forward and backward passes.
        side_by_side: Networks trained at once, with an equal share of the threads each. Two with a thread each do as
            much as one with two on an idle machine, and many times as much beside other work, for which threads that
            wait for each other wait. A network that draws random numbers draws from a generator that they share.
        share: Of float32's time that a step in bfloat16 took; None where that was not timed.
    """

    precision: Precision
    side_by_side: int = 1
    share: float | None = None


def plan_cpu(problem: Problem) -> CpuPlan:
    """Choose as far as the problem's settings leave it open, and share out threads where the process is ours.

    Args:
        problem: On a CPU; its network and images can be trained.
    """
    asked = problem.training.precision
    precision: Precision = "bfloat16" if asked == "bfloat16" else "float32"
    open_precision = asked == "auto" and problem.dtype == torch.float32
    threads = torch.get_num_threads() if is_own() else 1
    if threads == 1 and not open_precision:
        return CpuPlan(precision)
    sizes = tuple(tuple(p.shape) for p in problem.network.parameters())
    key = (type(problem.network), sizes, problem.data.shape, problem.training.batch_size, asked, threads)
    if key not in _plans:
        try:
            _plans[key] = _timed_plan(problem, precision, threads, open_precision=open_precision)
        except Exception:  # the network fails now and then: the search tells where, and what it costs
            return CpuPlan(precision)
    return _plans[key]


def _timed_plan(problem: Problem, precision: Precision, threads: int, *, open_precision: bool) -> CpuPlan:
    trial = _Trial(problem, precision)
    share = _Trial(problem, "bfloat16").seconds_beside(trial) if open_precision else None
    if share is not None and share <= WORTH:
        precision = "bfloat16"
    alone = trial.draws or trial.seconds() >= LONGEST_STEP
    return CpuPlan(precision, 1 if alone else min(threads, MOST_SIDE_BY_SIDE), share)


_plans: dict[Hashable, CpuPlan] = {}
"""Of this process: a network is timed once, whatever the form of its penalty."""


class _Trial:
    """A few steps of a problem's network in one thread, to be timed by the CPU time that they take.

    What else the machine does changes it little, and other threads of the process nothing.
    """

    def __init__(self, problem: Problem, precision: Precision) -> None:
        batch, classes = problem.training.batch_size, problem.data.classes
        some = take_subset(problem.data, min(len(problem.data.images), max(2 * classes, batch)))
        everything = np.arange(len(some.images))
        given = {"epochs": 10**9, "schedule": "constant", "precision": precision}
        training = problem.training.model_copy(update=given)
        short = replace(problem, data=some, folds=[Fold(everything, everything)], training=training)
        source = DeviceImages.of(some.images, some.labels, problem.device)
        self._problem = short
        self._network = MemberTraining(short, source, everything, short.normalization(0), 0.0, seed=0)
        self._in_one_thread(lambda: self.take(1))  # warms up

    @property
    def draws(self) -> bool:
        """Whether the network draws random numbers in training."""
        return self._problem.draws

    def seconds(self) -> float:
        """Of a step."""
        return self._in_one_thread(lambda: self.take(1))

    def seconds_beside(self, other: _Trial) -> float:
        """Of a step, as a share of the other's: the least of three turns."""

        def turns() -> float:
            steps = max(1, min(50, int(_SECONDS / max(1e-6, self.take(1), other.take(1)))))
            taken = [(self.take(steps), other.take(steps)) for _ in range(3)]
            return min(own for own, _ in taken) / min(others for _, others in taken)

        return self._in_one_thread(turns)

    def take(self, steps: int) -> float:
        """Take so many steps, each an epoch of one batch; returns the CPU seconds of one."""
        began = time.thread_time()
        for _ in range(steps):
            self._network.train_epoch()
        return (time.thread_time() - began) / steps

    @staticmethod
    def _in_one_thread(run: Callable[[], float]) -> float:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return run()
        finally:
            torch.set_num_threads(threads)
