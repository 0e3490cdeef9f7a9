"""torch.optim's optimizers with the penalty's form: what one training step does to the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from l2tune.errors import UserError
from l2tune.penalty.forms import Factor, make_form
from l2tune.penalty.strength import weight_decay
from l2tune.penalty.weights import taken_parameters
from l2tune.settings import PenaltySettings, TrainingSettings
from l2tune.training.torch_update import SGD, Adam, TorchUpdate

_ADAM = {"sgd": False, "adam": True, "adamw": True}


def is_adam(optimizer: str) -> bool:
    """Whether it is Adam, or SGD. `adamw` is Adam too: what it adds is a form of the penalty.

    Raises:
        UserError: There is no such optimizer.
    """
    if optimizer not in _ADAM:
        raise UserError(f"{optimizer!r} is no optimizer", "optimizer", f"known are {', '.join(_ADAM)}")
    return _ADAM[optimizer]


def momentum_gain(momentum: float, steps: int, *, nesterov: bool = True) -> float:
    """How many times the learning rate a step of torch.optim.SGD with Nesterov momentum μ moves a weight by.

    For a gradient that stays as it is: `(1 − μᵗ⁺¹) / (1 − μ)` at step t ≥ 1, the sum 1 + μ + … + μᵗ; without Nesterov's
    look ahead up to μᵗ⁻¹.
    """
    return (1 - momentum ** (steps + nesterov)) / (1 - momentum)


class RegularizedOptimizer:
    """torch.optim's step and the penalty λ on the regularized weights.

    Args:
        model: Whose parameters are trained.
        strength: λ ≥ 0.

    Raises:
        UserError: There is no such optimizer or form.
    """

    def __init__(self, model: nn.Module, strength: float, training: TrainingSettings, penalty: PenaltySettings) -> None:
        self._form = make_form(penalty)
        found = taken_parameters(model, penalty)
        weights: dict[float, list[Tensor]] = {}  # by multiplier
        for taken in found:
            if taken.multiplier:
                weights.setdefault(taken.multiplier, []).append(taken.parameter)
        self._weights = [taken.parameter for taken in found if taken.multiplier]
        self._groups = [(strength * multiplier, group) for multiplier, group in weights.items()]
        self._acts = strength > 0 and bool(self._groups)
        others = [t.parameter for t in found if t.parameter.requires_grad and not t.multiplier]
        self._adam = is_adam(training.optimizer)
        self._steps = 0
        # torch.optim's own decay is part of its fused step; SGD has no decoupled one
        self._by_torch = self._form.native == "coupled" or (self._form.native == "decoupled" and self._adam)
        groups: list[tuple[Sequence[Tensor], float]] = [
            (group, weight_decay(own) if self._by_torch else 0.0) for own, group in self._groups
        ]
        groups.append((others, 0.0))
        fused = all(p.is_floating_point() for p in model.parameters())
        self._update: TorchUpdate
        if self._adam:
            self._update = Adam(groups, decoupled=self._form.native == "decoupled", fused=fused)
        else:
            self._update = SGD(groups, momentum=training.momentum, fused=fused)

    def step(self, data_loss: Tensor, lr: float) -> None:
        """One step from the mean cross-entropy of a batch."""
        term = self._loss_term() if self._acts else None
        loss = data_loss if term is None else data_loss + term
        self._update.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self._acts and not self._by_torch:
            with torch.no_grad():
                if term is None:
                    self._add_to_gradient()
                for own, weights in self._groups:
                    self._form.before_step(weights, own, lr)
        self._update.step(lr)
        self._steps += 1
        if self._acts:
            with torch.no_grad():
                for own, weights in self._groups:
                    self._form.after_step(weights, own, partial(self._step_sizes, weights, lr))

    def _loss_term(self) -> Tensor | None:
        terms = [self._form.loss_term(group, own) for own, group in self._groups]
        found = [term for term in terms if term is not None]
        return sum(found[1:], found[0]) if found else None

    def _add_to_gradient(self) -> None:
        """A weight that takes no part in the loss has no gradient, and torch.optim leaves it as it is."""
        for own, group in self._groups:
            pairs = [(weight.grad, weight) for weight in group if weight.grad is not None]
            if pairs:
                self._form.add_to_gradient([g for g, _ in pairs], [w for _, w in pairs], own)

    def relative_step_sizes(self) -> Sequence[Factor]:
        """Of each regularized weight, in the model's order, at learning rate 1, as the last step's were."""
        return self._step_sizes(self._weights, 1.0)

    def _step_sizes(self, weights: Sequence[Tensor], lr: float) -> Sequence[Factor]:
        return step_sizes(self._update.options, self._update.state, weights, self._steps, lr)


def step_sizes(
    group: Mapping[str, Any], states: Mapping[Any, Mapping[str, Any]], weights: Sequence[Tensor], steps: int, lr: float
) -> list[Factor]:
    """What a step multiplies each weight's gradient by, if that stays as it is.

    Args:
        group: Of the parameters of a torch.optim SGD, Adam or AdamW; tells momentum or betas.
        states: That optimizer's.
        steps: That SGD has taken.
        lr: Learning rate.
    """
    if "betas" not in group:
        size = lr * momentum_gain(group["momentum"], steps, nesterov=group["nesterov"])
        return [0.0 if weight.grad is None else size for weight in weights]
    (_, beta), epsilon = group["betas"], group["eps"]
    found: list[Factor] = []
    for weight in weights:
        if weight.grad is None:  # it takes no part in the loss, and torch.optim has left it as it is
            found.append(0.0)
            continue
        state = states[weight]
        second = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
        corrected = second / (1 - beta ** state["step"].to(second.device, second.dtype))
        found.append(lr / (corrected.sqrt() + epsilon))
    return found
