"""The penalty's forms: how λ acts on the regularized weights in a training step. One class a form.

| form | what happens at a step of size lr |
|---|---|
| `l2-loss` | `λ Σ w²` is added to the loss |
| `l2` | `2λw` is added to the gradient, torch.optim's `weight_decay = 2λ`; equal to `l2-loss` step by step |
| `l2-decoupled` | `w ← w − lr·2λ·w` before the step, AdamW's `weight_decay = 2λ` (Loshchilov and Hutter, 2019) |

Both engines ask the form and know none by name. A new form is a subclass of `Form` in `FORMS` and its name in the
settings; each of its hooks is written once, for one network and for stacked ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, overload

import torch
from torch import Tensor

from l2tune.errors import UserError
from l2tune.settings import PenaltySettings

Factor = float | Tensor
"""A number for one network; (M,) for M stacked ones, one for each."""

StepSizes = Callable[[], Sequence[Factor]]
"""What a step multiplied each weight's gradient by; each broadcasts against its weight. Made only when called."""


class Form:
    """How a penalty acts. A form overrides the hooks by which it does.

    In every hook `weights` are the regularized ones, one network's (…) or M stacked networks' (M, …), and `strength` is
    λ, a number or (M,): `along` makes it fit. λ = 0 must leave everything as it is. Hooks change tensors in place,
    without gradients being recorded; a step calls them in the order in which they stand here.

    Attributes:
        name: As `--penalty` takes it.
        native: The kind of weight decay `2λ` that does all of it before and in the step: `coupled` is that of
            torch.optim's SGD and Adam, `decoupled` AdamW's. An engine whose optimizer has it may leave the hooks up to
            `before_step` out. Not inherited: a subclass may do something else.
        stackable: Whether the hooks take stacked weights. Where not, the population engine refuses the form.
    """

    name: ClassVar[str]
    native: ClassVar[Literal["coupled", "decoupled"] | None] = None
    stackable: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        cls.native = cls.__dict__.get("native")
        hooks = ("loss_term", "add_to_gradient", "before_step", "after_step")
        if all(getattr(cls, hook) is getattr(Form, hook) for hook in hooks):
            raise TypeError(f"the form {cls.__name__} does nothing: override one of {', '.join(hooks)}")

    @classmethod
    def of(cls, settings: PenaltySettings) -> Form:
        """The form as the settings have it; a form with numbers of its own reads them here."""
        return cls()

    def loss_term(self, weights: Sequence[Tensor], strength: Factor) -> Tensor | None:
        """What is added to the loss, differentiable: a scalar, or (M,). None for a form that is no term of a loss."""
        return None

    def add_to_gradient(self, gradients: Sequence[Tensor], weights: Sequence[Tensor], strength: Factor) -> None:
        """Add what the form does to the data loss's gradients, each like its weight.

        Of a form with a loss term, this is the term's gradient. An engine adds the term or this, never both. What
        stands here differentiates the term, which torch.compile cannot fuse with the step: better write the gradient.
        """
        with torch.enable_grad():
            leaves = [weight.detach().requires_grad_() for weight in weights]
            term = self.loss_term(leaves, strength)
            if term is None:
                return
            slopes = torch.autograd.grad(term.sum(), leaves)
        torch._foreach_add_(list(gradients), list(slopes))

    def before_step(self, weights: Sequence[Tensor], strength: Factor, lr: Factor) -> None:
        """Change the weights before the optimizer's step; `lr` is the learning rate, a number or (M,)."""

    def after_step(self, weights: Sequence[Tensor], strength: Factor, step_sizes: StepSizes) -> None:
        """Change the weights after the optimizer's step, as a proximal operator does.

        Args:
            step_sizes: The learning rate for SGD, and `lr / (√v̂ + ε)` for Adam, weight by weight.
        """


class L2(Form):
    """Coupled weight decay: `2λw` is added to the gradient, and goes through momentum and Adam's scaling with it."""

    name = "l2"
    native = "coupled"

    def add_to_gradient(self, gradients: Sequence[Tensor], weights: Sequence[Tensor], strength: Factor) -> None:
        _add_scaled(gradients, weights, 2.0 * strength)


class L2Loss(Form):
    """The explicit term `λ Σ w²` in the loss."""

    name = "l2-loss"

    def loss_term(self, weights: Sequence[Tensor], strength: Factor) -> Tensor:
        return strength * _total([weight.square() for weight in weights], stacked=isinstance(strength, Tensor))

    def add_to_gradient(self, gradients: Sequence[Tensor], weights: Sequence[Tensor], strength: Factor) -> None:
        _add_scaled(gradients, weights, 2.0 * strength)


class L2Decoupled(Form):
    """Decoupled weight decay: `w ← w − lr·2λ·w` before the step, outside of momentum and Adam's scaling.

    I. Loshchilov and F. Hutter, 'Decoupled Weight Decay Regularization', ICLR 2019, algorithms 1 (SGDW) and 2 (AdamW),
    as torch.optim.AdamW has it: multiplied by the learning rate.
    """

    name = "l2-decoupled"
    native = "decoupled"

    def before_step(self, weights: Sequence[Tensor], strength: Factor, lr: Factor) -> None:
        shares = [along(1 - lr * (2.0 * strength), weight) for weight in weights]
        torch._foreach_mul_(list(weights), shares)  # type: ignore[arg-type]  # all numbers, or all tensors


FORMS: dict[str, type[Form]] = {form.name: form for form in (L2, L2Loss, L2Decoupled)}
"""Name → form. The settings list the same names."""


def make_form(settings: PenaltySettings) -> Form:
    """The form that the settings name.

    Raises:
        UserError: There is no such form.
    """
    if settings.form not in FORMS:
        raise UserError(f"{settings.form!r} is no form of the penalty", "penalty", f"known are {', '.join(FORMS)}")
    return FORMS[settings.form].of(settings)


@overload
def along(factor: Tensor, weight: Tensor) -> Tensor: ...


@overload
def along(factor: Factor, weight: Tensor) -> Factor: ...


def along(factor: Factor, weight: Tensor) -> Factor:
    """A factor as it multiplies a weight: a number as it is; (M,) as (M, 1, …) for a stacked weight (M, …)."""
    return factor.view(-1, *[1] * (weight.ndim - 1)) if isinstance(factor, Tensor) else factor


def _add_scaled(sums: Sequence[Tensor], weights: Sequence[Tensor], factor: Factor) -> None:
    """`sum += factor · weight`, in place."""
    if isinstance(factor, Tensor):
        torch._foreach_addcmul_(list(sums), list(weights), [along(factor, weight) for weight in weights])
    else:
        torch._foreach_add_(list(sums), list(weights), alpha=factor)


def _total(terms: Sequence[Tensor], *, stacked: bool) -> Tensor:
    """The sum over all terms: a scalar, or (M,) of terms (M, …)."""
    return torch.stack([term.flatten(1).sum(1) if stacked else term.sum() for term in terms]).sum(0)
