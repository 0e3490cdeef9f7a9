"""torch.optim's optimizers with the penalty's form: what one training step does to the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from l2tune.errors import UserError
from l2tune.penalty.forms import Factor, make_form
from l2tune.penalty.strength import weight_decay
from l2tune.penalty.weights import regularized_parameters
from l2tune.settings import PenaltySettings, TrainingSettings

_ADAM = {"sgd": False, "adam": True, "adamw": True}


def is_adam(optimizer: str) -> bool:
    """Whether it is Adam, or SGD. `adamw` is Adam too: what it adds is a form of the penalty.

    Raises:
        UserError: There is no such optimizer.
    """
    if optimizer not in _ADAM:
        raise UserError(f"{optimizer!r} is no optimizer", "optimizer", f"known are {', '.join(_ADAM)}")
    return _ADAM[optimizer]


def momentum_gain(momentum: float, steps: int) -> float:
    """How many times the learning rate a step of torch.optim.SGD with Nesterov momentum μ moves a weight by.

    For a gradient that stays as it is: `(1 − μᵗ⁺¹) / (1 − μ)` at step t ≥ 1, the sum 1 + μ + … + μᵗ.
    """
    return (1 - momentum ** (steps + 1)) / (1 - momentum)


class RegularizedOptimizer:
    """A torch.optim optimizer and the penalty λ on the regularized weights.

    Args:
        model: Whose parameters are trained.
        strength: λ ≥ 0.

    Raises:
        UserError: There is no such optimizer or form.
    """

    def __init__(self, model: nn.Module, strength: float, training: TrainingSettings, penalty: PenaltySettings) -> None:
        self._strength, self._form = strength, make_form(penalty)
        self._weights: list[Tensor] = list(regularized_parameters(model, penalty.regularize).values())
        self._acts = strength > 0 and bool(self._weights)
        taken = {id(weight) for weight in self._weights}
        others = [p for p in model.parameters() if p.requires_grad and id(p) not in taken]
        self._adam = is_adam(training.optimizer)
        self._momentum, self._steps = training.momentum, 0
        # torch.optim's own decay is part of its fused step; SGD has no decoupled one
        self._by_torch = self._form.native == "coupled" or (self._form.native == "decoupled" and self._adam)
        groups = [
            {"params": self._weights, "weight_decay": weight_decay(strength) if self._by_torch else 0.0},
            {"params": others, "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        fused = all(p.is_floating_point() for p in model.parameters())
        self._optimizer: torch.optim.Optimizer
        if not self._adam:
            self._optimizer = torch.optim.SGD(
                groups, lr=training.lr, momentum=training.momentum, nesterov=training.momentum > 0, fused=fused
            )
        elif self._form.native == "decoupled":
            self._optimizer = torch.optim.AdamW(groups, lr=training.lr, fused=fused)
        else:
            self._optimizer = torch.optim.Adam(groups, lr=training.lr, fused=fused)

    def step(self, data_loss: Tensor, lr: float) -> None:
        """One step from the mean cross-entropy of a batch."""
        term = self._form.loss_term(self._weights, self._strength) if self._acts else None
        loss = data_loss if term is None else data_loss + term
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        if self._acts and not self._by_torch:
            with torch.no_grad():
                if term is None:
                    self._add_to_gradient()
                self._form.before_step(self._weights, self._strength, lr)
        self._optimizer.step()
        self._steps += 1
        if self._acts:
            with torch.no_grad():
                self._form.after_step(self._weights, self._strength, lambda: self._step_sizes(lr))

    def _add_to_gradient(self) -> None:
        """A weight that takes no part in the loss has no gradient, and torch.optim leaves it as it is."""
        pairs = [(weight.grad, weight) for weight in self._weights if weight.grad is not None]
        if pairs:
            self._form.add_to_gradient([g for g, _ in pairs], [w for _, w in pairs], self._strength)

    def relative_step_sizes(self) -> Sequence[Factor]:
        """Of each regularized weight at learning rate 1, as the last step's were."""
        return self._step_sizes(1.0)

    def _step_sizes(self, lr: float) -> Sequence[Factor]:
        """What a step multiplies each regularized weight's gradient by, if that stays as it is."""
        if not self._adam:
            size = lr * momentum_gain(self._momentum, self._steps)
            return [0.0 if weight.grad is None else size for weight in self._weights]
        (_, beta), epsilon = (self._optimizer.param_groups[0][name] for name in ("betas", "eps"))
        found: list[Factor] = []
        for weight in self._weights:
            if weight.grad is None:  # it takes no part in the loss, and torch.optim has left it as it is
                found.append(0.0)
                continue
            state = self._optimizer.state[weight]
            second = state["exp_avg_sq"]
            corrected = second / (1 - beta ** state["step"].to(second.device, second.dtype))
            found.append(lr / (corrected.sqrt() + epsilon))
        return found
