"""The penalty in a user's own training loop: exactly what the search did, with torch.optim's SGD, Adam or AdamW."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from l2tune.errors import UserError
from l2tune.penalty.forms import make_form
from l2tune.penalty.strength import weight_decay
from l2tune.penalty.weights import taken_parameters
from l2tune.settings import HIGHEST_LAMBDA, PenaltySettings, build
from l2tune.training.optimizers import step_sizes

_STEPS = "l2tune_steps"
"""Key of an SGD's state: the proximal steps so far, for torch counts none. It is saved and loaded with the rest."""


def parameter_groups(
    model: nn.Module,
    strength: float,
    *,
    regularize: str | Sequence[str] = "weights",
    scale: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """Parameter groups with `weight_decay = 2λ` for what a search penalizes, and 0 for the rest: for the L2 forms.

        groups = l2tune.parameter_groups(model, 3.16e-3)
        optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)

    With SGD and Adam that is the form `l2` (and `l2-loss`), with AdamW `l2-decoupled`.

    Args:
        strength: λ ≥ 0, as the search found it.
        regularize: Which weights, as the setting of that name: `weights`, `all`, or patterns of parameter names.
        scale: Pattern → multiplier of λ, as the setting of that name.

    Returns:
        One group for each multiplier, then the rest; tied parameters once, frozen ones left out.

    Raises:
        UserError: λ is none, or a pattern matches nothing.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for taken in taken_parameters(model, _penalty("l2", regularize, scale)):
        if taken.parameter.requires_grad:
            groups.setdefault(taken.multiplier, []).append(taken.parameter)
    decays = {multiplier: weight_decay(_checked(strength) * multiplier) for multiplier in groups}
    ordered = sorted(groups, key=lambda multiplier: multiplier == 0)
    return [{"params": groups[multiplier], "weight_decay": decays[multiplier]} for multiplier in ordered]


def proximal_step(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    strength: float,
    l1_ratio: float = 1.0,
    *,
    regularize: str | Sequence[str] = "weights",
    scale: Mapping[str, float] | None = None,
) -> None:
    """The penalty `λ (ρ Σ |w| + (1 − ρ) Σ w²)`, after each step of an optimizer without weight decay.

        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        ...  # forward and backward
        optimizer.step()
        l2tune.proximal_step(optimizer, model, 1e-4)  # before any scheduler.step()

    Weights become exactly zero. The step size is each weight's own, as `l2tune.penalty.forms.ElasticNet` says. Call it
    after every step from the first on: with momentum, how many there were counts, and gradients must still be there.

    Args:
        optimizer: torch.optim's SGD, Adam or AdamW.
        strength: λ ≥ 0, as the search found it.
        l1_ratio: ρ, above 0 to 1; 1 is the form `l1`.
        regularize: As for `parameter_groups`, with `scale`.

    Raises:
        UserError: Another optimizer, or one whose steps are others; λ or ρ is none; or a pattern matches nothing.
    """
    _check_optimizer(optimizer)
    penalty = _penalty("elastic", regularize, scale, l1_ratio)
    form, checked = make_form(penalty), _checked(strength)
    multipliers = {taken.parameter: taken.multiplier for taken in taken_parameters(model, penalty) if taken.multiplier}
    with torch.no_grad():
        for group in optimizer.param_groups:
            for weight in group["params"]:
                if weight not in multipliers:
                    continue
                steps = 0
                if "betas" not in group and weight.grad is not None:
                    state = optimizer.state[weight]
                    steps = state[_STEPS] = state.get(_STEPS, 0) + 1
                if checked > 0:
                    sizes = step_sizes(group, optimizer.state, [weight], steps, float(group["lr"]))
                    form.after_step([weight], checked * multipliers[weight], partial(list, sizes))


def _penalty(
    form: str, regularize: str | Sequence[str], scale: Mapping[str, float] | None, l1_ratio: float | None = None
) -> PenaltySettings:
    given = {"penalty": form, "regularize": regularize, "scale": scale, "l1_ratio": l1_ratio}
    return build(given).penalty


def _checked(strength: float) -> float:
    try:
        found = float(strength)
    except (TypeError, ValueError):
        found = math.nan
    if not 0 <= found <= HIGHEST_LAMBDA:
        raise UserError(f"{strength!r} is no λ", "strength", "give a number from 0 to 1e6")
    return found


def _check_optimizer(optimizer: torch.optim.Optimizer) -> None:
    where = type(optimizer).__name__
    if not isinstance(optimizer, torch.optim.SGD | torch.optim.Adam):  # AdamW is one, too
        raise UserError("its step sizes are not known", where, "use torch.optim's SGD, Adam or AdamW")
    for group in optimizer.param_groups:
        if group.get("dampening"):
            raise UserError("dampening changes its step sizes", where, "leave dampening out")
        if group.get("maximize"):
            raise UserError("it maximizes", where, "leave maximize out")
