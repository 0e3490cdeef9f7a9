"""The state of stacked members: weights, buffers and optimizer, a row for each member."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import stack_module_state

from l2tune.members import Member
from l2tune.training.stacked.model import Stacked
from l2tune.training.stacked.problem import StackedProblem

State = dict[str, Stacked]
"""`parameters`, `frozen`, `buffers`, the optimizer's `first` and `second` moments, and `initial_rms` of the regularized
weights: name → (members, …). `vectors`: λ (`strength`) and the epochs' `total` loss, name → (members,)."""

MOMENTS = ("first", "second")
"""Of the optimizer, as many as it has."""


def initial_state(problem: StackedProblem, members: Sequence[Member], device: torch.device) -> State:
    """Initial weights by each member's seed, and an optimizer that has not stepped."""
    dtype = problem.whole.dtype
    seeds = list(dict.fromkeys(member.seed for member in members))
    models = [problem.whole.initial_model(seed).to(dtype) for seed in seeds]
    trained = {name for name, p in models[0].named_parameters() if p.requires_grad}
    for model in models:
        model.requires_grad_(False)  # so that all can be stacked alike
    parameters, buffers = stack_module_state(models)
    rows = torch.tensor([seeds.index(member.seed) for member in members], device=device)
    with torch.no_grad():
        weights = {name: p.detach().to(device)[rows] for name, p in parameters.items()}
    state = {
        "parameters": {name: p for name, p in weights.items() if name in trained},
        "frozen": {name: p for name, p in weights.items() if name not in trained},
        "buffers": {name: b.to(device)[rows] for name, b in buffers.items()},
        "initial_rms": {
            name: weights[name].view(len(rows), -1).square().mean(1).sqrt() for name in problem.whole.regularized
        },
        "vectors": {
            "strength": torch.tensor([member.strength for member in members], device=device, dtype=dtype),
            "total": torch.zeros(len(members), device=device, dtype=dtype),
        },
    }
    for moment in MOMENTS[: problem.optimizer.moments]:
        state[moment] = {name: torch.zeros_like(p) for name, p in state["parameters"].items()}
    return state


def moments_of(state: State, rows: slice) -> list[list[Tensor]]:
    """The optimizer's moments of some rows, first and second, each like the parameters; views."""
    return [[moment[rows] for moment in state[name].values()] for name in MOMENTS if name in state]


def rows_of(state: State, rows: Sequence[int]) -> State:
    """A copy of some rows."""
    return {
        kind: {name: t[torch.tensor(rows, dtype=torch.int64, device=t.device)] for name, t in named.items()}
        for kind, named in state.items()
    }


def move(state: State, device: torch.device) -> None:
    """Move to another device, in place and tensor by tensor: two copies need not fit."""
    for named in state.values():
        for name in named:
            named[name] = named[name].to(device)
