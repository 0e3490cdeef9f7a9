"""Which engine trains: the choice behind `--engine auto`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from l2tune.data.folds import Fold
from l2tune.data.images import take_subset
from l2tune.errors import UserError
from l2tune.members import Member, Trainer
from l2tune.penalty.forms import make_form
from l2tune.training.cpu import plan_cpu
from l2tune.training.device import device_name
from l2tune.training.problem import Problem
from l2tune.training.sequential import SequentialTrainer
from l2tune.training.stacked.model import obstacle
from l2tune.training.stacked.population import PopulationTrainer

Engine = SequentialTrainer | PopulationTrainer

WAYS: dict[str, Callable[[Problem], Engine]] = {
    "sequential": SequentialTrainer,
    "grouped": partial(PopulationTrainer, convolution="grouped"),
    "matmul": partial(PopulationTrainer, convolution="matmul"),
}
"""Ways of training: one network at a time, and all at once with either kind of convolution."""

_RACE_STEPS = 12
_RACE_FOLDS, _RACE_STRENGTHS = 5, 2


def choose_engine(problem: Problem) -> tuple[Engine, str]:
    """The trainer for a problem, and a line that says which and why.

    `auto` takes the population on a CUDA device where a few steps of it, timed there and then, are faster than the
    sequential engine's; on the CPU it never is.

    Raises:
        UserError: The problem cannot be trained, or there is no such engine.
    """
    asked, device = problem.training.engine, problem.device
    line = f"training on {device_name(device)}, one network at a time"
    if asked not in ("auto", "sequential", "population"):
        raise UserError(f"{asked!r} is no engine", "engine", "known are auto, sequential, population")
    problem.try_out()
    if asked != "population" and device.type == "cpu":
        return _on_cpu(problem)
    if asked == "sequential":
        return WAYS["sequential"](problem), line
    if asked == "auto" and device.type != "cuda":
        return WAYS["sequential"](problem), line + ": stacking them pays on a GPU only"
    found = _obstacle(problem)
    if found is not None:
        return WAYS["sequential"](problem), f"{line}: they cannot be stacked ({found})"
    together = f"training on {device_name(device)}, all networks at once"
    if device.type != "cuda":
        return WAYS["grouped"](problem), f"{together}: on a CPU that is slower than --engine sequential"
    seconds = _race(problem)
    best = min(("grouped", "matmul"), key=lambda name: seconds[name])
    speedup = seconds["sequential"] / seconds[best]
    if asked == "auto" and not speedup > 1:
        why = f"was timed to be {1 / speedup:.1f}× slower" if speedup > 0 else "failed"
        return WAYS["sequential"](problem), f"{line}: all at once {why} on this device"
    return WAYS[best](problem), f"{together}: timed to be {speedup:.1f}× as fast"


def _on_cpu(problem: Problem) -> tuple[Engine, str]:
    """One network at a time, or a few side by side, as is fastest here."""
    plan = plan_cpu(problem)
    precise = problem.training.model_copy(update={"precision": plan.precision})
    trainer = SequentialTrainer(replace(problem, training=precise), side_by_side=plan.side_by_side)
    count = "one network at a time" if plan.side_by_side == 1 else f"{plan.side_by_side} networks side by side"
    line = f"training on cpu, {count} in {trainer.problem.describe()['precision']}"
    return (
        trainer,
        line if plan.share is None else f"{line}: a step in bfloat16 takes {plan.share:.2f} of float32's time",
    )


def _obstacle(problem: Problem) -> str | None:
    """What stands in the way of training all networks at once, in a few words."""
    if problem.device.type not in ("cpu", "cuda"):
        return f"not done on {problem.device.type}"
    if not make_form(problem.penalty).stackable:
        return f"the penalty {problem.penalty.form} does not take stacked networks"
    return obstacle(problem.network, problem.data.shape, problem.data.classes)


def _race(problem: Problem) -> dict[str, float]:
    """Seconds that each way of training takes for a member's epoch of a few steps; infinite where it fails."""
    data, batch = problem.data, problem.training.batch_size
    images = take_subset(data, min(len(data.images), max(2 * data.classes, (_RACE_STEPS + 1) * batch)))
    everything = np.arange(len(images.images))
    cut = max(1, min(len(everything) - 1, _RACE_STEPS * batch))
    short = replace(
        problem,
        data=images,
        folds=[Fold(everything[:cut], everything[cut:])] * _RACE_FOLDS,
        training=problem.training.model_copy(update={"epochs": 3}),
    )
    members = [
        Member(1e-6 * (1 + n // _RACE_FOLDS), n % _RACE_FOLDS, n % _RACE_FOLDS)
        for n in range(_RACE_FOLDS * _RACE_STRENGTHS)
    ]
    seconds = {}
    for name, make in WAYS.items():
        seconds[name] = _seconds_per_member(make(short), members[:2] if name == "sequential" else members)
        torch.cuda.empty_cache()
    return seconds


def _seconds_per_member(trainer: Trainer, members: Sequence[Member]) -> float:
    """Of the second epoch of three: the first warms up, the last describes the networks."""
    run = trainer.start(members)
    try:
        next(run)
        began = time.perf_counter()
        next(run)  # scores are plain numbers: the device has finished
    except Exception:  # out of memory; a convolution that this device does not know
        return float("inf")
    return (time.perf_counter() - began) / len(members)
