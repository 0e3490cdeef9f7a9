"""SGD, Adam and AdamW with the penalty's form, over stacked weights: one step of every member at once."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from l2tune.errors import UserError, is_out_of_memory
from l2tune.penalty.forms import Factor, Form, along, make_form
from l2tune.settings import PenaltySettings, TrainingSettings
from l2tune.training.optimizers import is_adam, momentum_gain
from l2tune.training.schedules import learning_rate

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""torch.optim's defaults."""


class StackedOptimizer:
    """What `RegularizedOptimizer` does to one network, done to all members, each with its own λ and learning rate.

    A form's loss term is applied as what it adds to the gradient.

    Args:
        compiled: Whether to fuse the step with torch.compile; without a compiler it runs unfused, with a warning.

    Raises:
        UserError: There is no such optimizer or form, or the form does not take stacked weights.
    """

    def __init__(self, training: TrainingSettings, penalty: PenaltySettings, *, compiled: bool = False) -> None:
        self._training, self._form = training, make_form(penalty)
        if not self._form.stackable:
            what = f"{self._form.name} does not take stacked networks"
            raise UserError(what, "penalty", "use --engine sequential")
        self.adam = is_adam(training.optimizer)
        self.moments = 2 if self.adam else int(training.momentum > 0)
        # of one piece, so that it fails to compile before anything was changed
        self._fused: Any = torch.compile(_own(_update), fullgraph=True) if compiled else None

    def rates(self, step: int, steps: int) -> tuple[float, float, float]:
        """What a step from 0 to `steps` − 1 needs: learning rate, and what the moments make of it.

        Returns:
            (lr, lr / (1 − β₁ᵗ), √(1 − β₂ᵗ)) with t = step + 1 for Adam, which corrects its moments' bias; for SGD
            (lr, `momentum_gain` times lr, 1).
        """
        lr = learning_rate(self._training.schedule, step, steps, self._training.lr)
        if not self.adam:
            return lr, lr * momentum_gain(self._training.momentum, step + 1), 1.0
        return lr, lr / (1 - BETA1 ** (step + 1)), math.sqrt(1 - BETA2 ** (step + 1))

    def relative_step_sizes(
        self, weights: Sequence[Tensor], second: Sequence[Tensor], steps: Sequence[int]
    ) -> list[Factor]:
        """What a step of learning rate 1 multiplies a gradient by that stays as it is.

        Args:
            weights: Each (M, …).
            second: Adam's second moments, likewise.
            steps: (M,) taken so far.
        """
        if not self.adam:
            gains = weights[0].new_tensor([momentum_gain(self._training.momentum, taken) for taken in steps])
            return [along(gains, weight) for weight in weights]
        roots = weights[0].new_tensor([math.sqrt(1 - BETA2**taken) for taken in steps])
        return [1 / (moment.sqrt() / along(roots, moment) + EPSILON) for moment in second]

    def step(
        self,
        weights: Sequence[Tensor],
        gradients: Sequence[Tensor],
        moments: Sequence[Sequence[Tensor]],
        multipliers: Sequence[float],
        strengths: Tensor,
        rates: Tensor,
        *,
        fused: bool = False,
    ) -> None:
        """One step, in place. Allocates next to nothing: it cannot run out of memory halfway.

        Args:
            weights: Each (M, …) and contiguous.
            gradients: Of the weights; used up.
            moments: Of the optimizer, first and second, each like the weights.
            multipliers: What λ is multiplied by for each weight; 0 for those that the penalty does not take.
            strengths: (M,), λ.
            rates: (3, M), as `rates` gives them.
            fused: Use the compiled step, if there is one: each number of members is compiled for once.
        """
        slopes = _apart(gradients)
        momentum = self._training.momentum
        state = [list(of) for of in moments]
        groups, members = _grouped(multipliers, strengths), len(strengths)
        arguments = (list(weights), slopes, state, groups, members, rates, self._form, self.adam, momentum)
        if fused and self._fused is not None:
            try:
                self._fused(*arguments)
                return
            except Exception as error:  # before anything was changed: it is compiling that fails
                if is_out_of_memory(error):
                    raise
                warnings.warn(
                    f"the optimizer's step is not compiled ({type(error).__name__})", RuntimeWarning, stacklevel=2
                )
                self._fused = None
        _update(*arguments)


def _own(function: Callable[..., None]) -> Callable[..., None]:
    """A copy with code of its own: torch compiles the same code eight times at most, and each network's shapes and
    each form of the penalty take one or two of these."""
    assert isinstance(function, FunctionType)
    return FunctionType(function.__code__.replace(), function.__globals__, function.__name__)


def _update(
    weights: list[Tensor],
    gradients: list[Tensor],
    moments: list[list[Tensor]],
    groups: list[tuple[list[int], Tensor]],
    members: int,
    rates: Tensor,
    form: Form,
    adam: bool,
    momentum: float,
) -> None:
    """The step on tensors (M, …): what the form does, around what the optimizer does.

    Args:
        groups: Places of weights that the penalty takes, and their strengths (M,).
        members: M.
    """
    lr, first_lr, second_root = rates.unbind()
    for places, strengths in groups:
        taken = [weights[i] for i in places]
        form.add_to_gradient([gradients[i] for i in places], taken, strengths)
        form.before_step(taken, strengths, lr)
    flat = [w.view(members, -1) for w in weights]
    by_row = [g.view(members, -1) for g in gradients]
    state = [[m.view(members, -1) for m in of] for of in moments]
    if adam:
        _adam(flat, by_row, state, first_lr[:, None], second_root[:, None])
    else:
        _sgd(flat, by_row, state, lr[:, None], momentum)
    for places, strengths in groups:
        slopes = [gradients[i] for i in places]
        sizes = partial(_step_sizes, slopes, lr, first_lr, adam)
        form.after_step([weights[i] for i in places], strengths, sizes)


def _grouped(multipliers: Sequence[float], strengths: Tensor) -> list[tuple[list[int], Tensor]]:
    """Places of the weights by multiplier, with λ times it; those with 0 left out."""
    places: dict[float, list[int]] = {}
    for place, multiplier in enumerate(multipliers):
        if multiplier:
            places.setdefault(float(multiplier), []).append(place)
    return [(group, strengths if by == 1 else strengths * by) for by, group in places.items()]


def _adam(
    weights: list[Tensor], gradients: list[Tensor], moments: list[list[Tensor]], first_lr: Tensor, second_root: Tensor
) -> None:
    """Adam on tensors (M, n); vectors over members broadcast from (M, 1). Gradients end as `−(√v̂ + ε) / first_lr`."""
    first, second = moments
    count = len(weights)
    torch._foreach_lerp_(first, gradients, 1 - BETA1)
    torch._foreach_mul_(second, BETA2)
    torch._foreach_addcmul_(second, gradients, gradients, 1 - BETA2)
    torch._foreach_copy_(gradients, second)  # from here on the gradients' memory holds the divisors
    torch._foreach_sqrt_(gradients)
    torch._foreach_div_(gradients, [second_root] * count)
    torch._foreach_add_(gradients, EPSILON)
    torch._foreach_div_(gradients, [-first_lr] * count)
    torch._foreach_addcdiv_(weights, first, gradients)


def _sgd(
    weights: list[Tensor], gradients: list[Tensor], moments: list[list[Tensor]], lr: Tensor, momentum: float
) -> None:
    """SGD with Nesterov momentum, likewise. Gradients are used up."""
    if momentum:
        torch._foreach_mul_(moments[0], momentum)
        torch._foreach_add_(moments[0], gradients)
        torch._foreach_add_(gradients, moments[0], alpha=momentum)  # Nesterov's look ahead
    torch._foreach_mul_(gradients, [lr] * len(weights))
    torch._foreach_sub_(weights, gradients)


def _step_sizes(used: list[Tensor], lr: Tensor, first_lr: Tensor, adam: bool) -> Sequence[Factor]:
    """What the step multiplies a gradient by that stays as it is, from what `_adam` left of the gradients (M, …)."""
    shapes = [(-1, *[1] * (gradient.ndim - 1)) for gradient in used]
    if not adam:
        return [first_lr.view(shape) for shape in shapes]
    torch._foreach_reciprocal_(used)  # in place: here too hardly any memory is taken
    torch._foreach_mul_(used, [(-lr / first_lr).view(shape) for shape in shapes])
    return used


def _apart(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Each in memory of its own: autograd may give one tensor for two weights, or an expanded one."""
    seen: set[int] = set()
    found = []
    for gradient in gradients:
        place = gradient.data_ptr()
        found.append(gradient.clone(memory_format=torch.contiguous_format) if place in seen else gradient.contiguous())
        seen.add(place)
    return found
