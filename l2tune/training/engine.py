"""Which engine trains: the choice behind `--engine auto`."""

from __future__ import annotations

import math
from functools import partial

from l2tune.errors import UserError
from l2tune.penalty.forms import make_form
from l2tune.training.cpu import plan_cpu
from l2tune.training.device import device_name
from l2tune.training.problem import Problem
from l2tune.training.race import TOGETHER, Engine, Times, Ways, race
from l2tune.training.sequential import SequentialTrainer
from l2tune.training.stacked.model import obstacle
from l2tune.training.stacked.population import PopulationTrainer

WAYS: Ways = {
    "sequential": SequentialTrainer,
    "captured": partial(PopulationTrainer, size=1),
    "grouped": partial(PopulationTrainer, convolution="grouped"),
    "matmul": partial(PopulationTrainer, convolution="matmul"),
}
"""Ways of training: one network at a time, the same with its step as a CUDA graph, and all at once with either kind of
convolution."""


def choose_engine(problem: Problem) -> tuple[Engine, str]:
    """The trainer for a problem, and a line that says which and why.

    `auto` takes on a CUDA device what is fastest in a few steps, timed there and then or by an earlier search with
    such a network; on the CPU that is the sequential engine.

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
    times = race(problem, WAYS)
    best = min((name for name in WAYS if asked == "auto" or name in TOGETHER), key=times.seconds.__getitem__)
    if not math.isfinite(times.seconds[best]):
        best = "grouped" if asked == "population" else "sequential"
    how = together if best in TOGETHER else line + (", its steps captured" if best == "captured" else "")
    return WAYS[best](problem), f"{how}: {_comparison(times, best)}"


def _comparison(times: Times, chosen: str) -> str:
    """How the chosen way compares with one network at a time, step by step; that itself with the next best."""
    timed = "timed earlier to be" if times.earlier else "timed to be"
    own, plain = times.seconds[chosen], times.seconds["sequential"]
    other = min(seconds for name, seconds in times.seconds.items() if name != chosen)
    if not math.isfinite(own):
        return "it failed when it was timed"
    if chosen != "sequential" and math.isfinite(plain):
        return f"{timed} {plain / own:.1f}× as fast"
    if math.isfinite(other) and chosen == "sequential":
        return f"all at once was {timed} {other / own:.1f}× slower on this device"
    return "any other way failed on this device"


def _on_cpu(problem: Problem) -> tuple[Engine, str]:
    """One network at a time, or a few side by side, as is fastest here."""
    plan = plan_cpu(problem)
    trainer = SequentialTrainer(problem.in_precision(plan.precision), side_by_side=plan.side_by_side)
    count = "one network at a time" if plan.side_by_side == 1 else f"{plan.side_by_side} networks side by side"
    line = f"training on cpu, {count} in {trainer.problem.describe()['precision']}"
    timed = "" if plan.share is None else f": a step in bfloat16 takes {plan.share:.2f} of float32's time"
    return trainer, line + timed


def _obstacle(problem: Problem) -> str | None:
    """What stands in the way of training all networks at once, in a few words."""
    if problem.device.type not in ("cpu", "cuda"):
        return f"not done on {problem.device.type}"
    if not make_form(problem.penalty).stackable:
        return f"the penalty {problem.penalty.form} does not take stacked networks"
    return obstacle(problem.network, problem.data.shape, problem.data.classes)
