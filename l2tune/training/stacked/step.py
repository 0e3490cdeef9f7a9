"""One training step of stacked members."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from l2tune.data.augment import move
from l2tune.training.stacked import evaluate
from l2tune.training.stacked.layout import Layout
from l2tune.training.stacked.problem import StackedProblem
from l2tune.training.stacked.state import State, moments_of


def training_step(
    problem: StackedProblem,
    state: State,
    layout: Layout,
    inputs: Sequence[Tensor],
    first: int,
    last: int,
    *,
    fused: bool = False,
) -> None:
    """One step of the members of the streams from `first` to before `last`; changes their rows of the state.

    Until the gradients are there nothing is changed, and afterwards hardly any memory is taken: a step that runs
    out of memory can be taken again.

    Args:
        inputs: Pixels (S, N, C, H, W), labels (S, N), draws (S, N, 3) and rates (3, S) of the streams.
        fused: Use the compiled optimizer, if there is one.
    """
    pixels, labels, draws, rates = inputs
    rows = layout.rows(first, last)
    which = layout.stream_of[rows] - first
    if problem.whole.augment:
        pixels = move(pixels.flatten(0, 1), draws.flatten(0, 1), problem.whole.augment).view_as(pixels)
    images = layout.normalized(pixels, first, last)[which]
    targets = labels[which]  # (M, N)
    parameters = {n: p[rows].detach().requires_grad_() for n, p in state["parameters"].items()}
    frozen = {n: p[rows] for n, p in state["frozen"].items()}
    buffers = {n: b[rows].clone() for n, b in state["buffers"].items()}
    logits, after = problem.model(parameters | frozen, buffers, images, training=True)
    losses = evaluate.cross_entropies(logits, targets).mean(1)
    gradients = torch.autograd.grad(losses.sum(), list(parameters.values()))
    with torch.no_grad():
        problem.optimizer.step(
            [p.detach() for p in parameters.values()],
            gradients,
            moments_of(state, rows),
            [problem.whole.multipliers.get(name, 0.0) for name in parameters],
            state["vectors"]["strength"][rows],
            rates[:, which],
            fused=fused,
        )
        for name, buffer in state["buffers"].items():
            buffer[rows].copy_(after[name])
        state["vectors"]["total"][rows] += losses.detach()
