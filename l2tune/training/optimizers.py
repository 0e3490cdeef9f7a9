"""torch.optim's optimizers with the penalty's form: what one training step does to the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from l2tune.penalty.strength import weight_decay
from l2tune.penalty.weights import penalty_term, regularized_parameters
from l2tune.settings import PenaltySettings, TrainingSettings


class RegularizedOptimizer:
    """A torch.optim optimizer and the penalty λ on the regularized weights.

    Args:
        model: Whose parameters are trained.
        strength: λ ≥ 0.
    """

    def __init__(self, model: nn.Module, strength: float, training: TrainingSettings, penalty: PenaltySettings) -> None:
        self._strength, self._form = strength, penalty.form
        self._regularized = regularized_parameters(model, penalty.regularize)
        taken = {id(parameter) for parameter in self._regularized.values()}
        others = [p for p in model.parameters() if p.requires_grad and id(p) not in taken]
        decay = weight_decay(strength)
        adam = training.optimizer in ("adam", "adamw")
        # SGD has no decoupled decay of its own, and the explicit term replaces the optimizer's.
        own = decay if penalty.form == "l2" or (penalty.form == "l2-decoupled" and adam) else 0.0
        self._shrink = decay if penalty.form == "l2-decoupled" and not adam else 0.0
        groups = [
            {"params": list(self._regularized.values()), "weight_decay": own},
            {"params": others, "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        fused = all(p.is_floating_point() for p in model.parameters())
        self._optimizer: torch.optim.Optimizer
        if not adam:
            self._optimizer = torch.optim.SGD(
                groups, lr=training.lr, momentum=training.momentum, nesterov=training.momentum > 0, fused=fused
            )
        elif penalty.form == "l2-decoupled":
            self._optimizer = torch.optim.AdamW(groups, lr=training.lr, fused=fused)
        else:
            self._optimizer = torch.optim.Adam(groups, lr=training.lr, fused=fused)

    def step(self, data_loss: Tensor, lr: float) -> None:
        """One step from the mean cross-entropy of a batch."""
        loss = data_loss
        if self._form == "l2-loss" and self._strength and self._regularized:
            loss = data_loss + penalty_term(self._regularized, self._strength)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        if self._shrink and self._regularized:
            with torch.no_grad():
                torch._foreach_mul_(list(self._regularized.values()), 1 - lr * self._shrink)
        self._optimizer.step()
