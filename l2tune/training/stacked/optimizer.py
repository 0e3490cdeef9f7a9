"""SGD, Adam and AdamW with the penalty's form, over stacked weights: one step of every member at once."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from l2tune.settings import PenaltySettings, TrainingSettings
from l2tune.training.schedules import learning_rate

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""torch.optim's defaults."""


class StackedOptimizer:
    """What `RegularizedOptimizer` does to one network, done to all members, each with its own λ and learning rate.

    `l2-loss` is applied as `l2`: the gradient of `λ Σ w²` is `2λw`, which is what `l2` adds.

    Args:
        compiled: Whether to fuse the step with torch.compile; without a compiler it runs unfused, with a warning.
    """

    def __init__(self, training: TrainingSettings, penalty: PenaltySettings, *, compiled: bool = False) -> None:
        self._training, self._decoupled = training, penalty.form == "l2-decoupled"
        self.adam = training.optimizer in ("adam", "adamw")
        self.moments = 2 if self.adam else int(training.momentum > 0)
        self._fused: Any = torch.compile(_update) if compiled else None

    def rates(self, step: int, steps: int) -> tuple[float, float, float]:
        """What a step from 0 to `steps` − 1 needs: learning rate, and Adam's two corrections of its moments' bias.

        Returns:
            (lr, lr / (1 − β₁ᵗ), √(1 − β₂ᵗ)) with t = step + 1.
        """
        lr = learning_rate(self._training.schedule, step, steps, self._training.lr)
        return lr, lr / (1 - BETA1 ** (step + 1)), math.sqrt(1 - BETA2 ** (step + 1))

    def step(
        self,
        weights: Sequence[Tensor],
        gradients: Sequence[Tensor],
        moments: Sequence[Sequence[Tensor]],
        regularized: Sequence[bool],
        decay: Tensor,
        rates: Tensor,
        *,
        fused: bool = False,
    ) -> None:
        """One step, in place. Allocates next to nothing: it cannot run out of memory halfway.

        Args:
            weights: Each (M, …) and contiguous.
            gradients: Of the weights; used up.
            moments: Of the optimizer, first and second, each like the weights.
            regularized: Which weights the penalty takes.
            decay: (M,), 2λ.
            rates: (3, M), as `rates` gives them.
            fused: Use the compiled step, if there is one: each number of members is compiled for once.
        """
        members = len(decay)
        flat = [w.view(members, -1) for w in weights]
        slopes = _own([g.reshape(members, -1) for g in gradients])
        state = [[s.view(members, -1) for s in of] for of in moments]
        momentum = self._training.momentum
        arguments = (flat, slopes, state, list(regularized), decay, rates, self._decoupled, self.adam, momentum)
        if fused and self._fused is not None:
            try:
                self._fused(*arguments)
                return
            except Exception as error:  # before anything was changed: it is compiling that fails
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                warnings.warn(
                    f"the optimizer's step is not compiled ({type(error).__name__})", RuntimeWarning, stacklevel=2
                )
                self._fused = None
        _update(*arguments)


def _update(
    weights: list[Tensor],
    gradients: list[Tensor],
    moments: list[list[Tensor]],
    regularized: list[bool],
    decay: Tensor,
    rates: Tensor,
    decoupled: bool,
    adam: bool,
    momentum: float,
) -> None:
    """The step on (M, n) tensors; vectors over members broadcast from (M, 1)."""
    lr, first_lr, second_root = rates[:, :, None].unbind()
    taken = [w for w, own in zip(weights, regularized, strict=True) if own]
    if taken and decoupled:
        torch._foreach_mul_(taken, [1 - lr * decay[:, None]] * len(taken))
    elif taken:
        slopes = [g for g, own in zip(gradients, regularized, strict=True) if own]
        torch._foreach_addcmul_(slopes, taken, [decay[:, None]] * len(taken))
    count = len(weights)
    if adam:
        first, second = moments
        torch._foreach_lerp_(first, gradients, 1 - BETA1)
        torch._foreach_mul_(second, BETA2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - BETA2)
        torch._foreach_copy_(gradients, second)  # from here on the gradients' memory holds the divisors
        torch._foreach_sqrt_(gradients)
        torch._foreach_div_(gradients, [second_root] * count)
        torch._foreach_add_(gradients, EPSILON)
        torch._foreach_div_(gradients, [-first_lr] * count)
        torch._foreach_addcdiv_(weights, first, gradients)
        return
    if momentum:
        torch._foreach_mul_(moments[0], momentum)
        torch._foreach_add_(moments[0], gradients)
        torch._foreach_add_(gradients, moments[0], alpha=momentum)  # Nesterov's look ahead
    torch._foreach_mul_(gradients, [lr] * count)
    torch._foreach_sub_(weights, gradients)


def _own(gradients: list[Tensor]) -> list[Tensor]:
    """Each in memory of its own: autograd may give one tensor for two weights, or an expanded one."""
    seen: set[int] = set()
    found = []
    for gradient in gradients:
        place = gradient.data_ptr()
        found.append(gradient.clone() if place in seen else gradient.contiguous())
        seen.add(place)
    return found
