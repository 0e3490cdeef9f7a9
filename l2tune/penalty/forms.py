"""The penalty's forms: how λ acts on the regularized weights in a training step. One class a form.

| form | what happens at a step of size lr |
|---|---|
| `l2-loss` | `λ Σ w²` is added to the loss |
| `l2` | `2λw` is added to the gradient, torch.optim's `weight_decay = 2λ`; equal to `l2-loss` step by step |
| `l2-decoupled` | `w ← w − lr·2λ·w` before the step, AdamW's `weight_decay = 2λ` (Loshchilov and Hutter, 2019) |
| `l1` | `λ Σ |w|`: after the step every weight moves by its step size times λ towards zero and stays there |
| `elastic` | `λ (ρ Σ |w| + (1 − ρ) Σ w²)`: the same with ρλ, then `w ← w / (1 + 2 (1 − ρ) λ · step size)` |

Both engines ask the form and know none by name. A new form is a subclass of `Form` in `FORMS` and its name in the
settings; each of its hooks is written once, for one network and for stacked ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, overload

import torch
from torch import Tensor

from l2tune.errors import UserError
from l2tune.settings import DEFAULT_L1_RATIO, PenaltySettings

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
            step_sizes: Weight by weight, what the step multiplies a gradient by that stays as it is: the learning rate
                for SGD, with momentum μ `lr (1 − μᵗ⁺¹) / (1 − μ)` after t steps; `lr / (√v̂ + ε)` for Adam.
        """

    def slopes(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """The penalty's gradient at λ = 1, each like its weight; zeros for a form that has none."""
        gradients = [torch.zeros_like(weight) for weight in weights]
        one = weights[0].new_ones(len(weights[0])) if weights else 1.0
        self.add_to_gradient(gradients, weights, one)
        return gradients

    def first_estimate(
        self,
        gradients: Sequence[Tensor],
        weights: Sequence[Tensor],
        sizes: Sequence[Factor],
        multipliers: Sequence[float] | None = None,
    ) -> Tensor:
        """(M,) λ at which the penalty pulls as strongly at the weights as the data loss, were λ = 0 so far.

        Rögnvaldsson, 'A simple trick for estimating the weight decay parameter' (1998): where validation loss is lowest
        in a fit without a penalty, `λ̂ = ‖∇E(W)‖ / ‖∇P(W)‖` for the objective E + λP. Not finite where P has no slope.

        It is rough. Geometric means over five folds beside the best λ recorded: for L2 off by a factor of 1.1 to 4.3;
        for L1 3.4e-5 beside 1e-4 on digits, 2.5e-4 on 1,000 of MNIST, where all λ from 0 to 2e-4 are as good. For AdamW
        0.5 and 1.4 (two seeds) beside 0.46 on 500 digits. Of L1's weights those that it would make zero count, too,
        though their slopes are smaller than λ: λ̂ tends to be low there.

        Args:
            gradients: ∇E(W), each (M, …).
            weights: W, each (M, …).
            sizes: What a step of learning rate 1 multiplies each gradient by, as in `after_step`.
            multipliers: What λ is multiplied by for each weight; 1 without.
        """
        return norms(self.opposed(gradients, sizes)) / norms(_times(self.slopes(weights), multipliers))

    def opposed(self, gradients: Sequence[Tensor], sizes: Sequence[Factor]) -> Sequence[Tensor]:
        """What of the data loss the penalty's slopes balance, each like its weight: its gradients."""
        return gradients


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

    def slopes(self, weights: Sequence[Tensor]) -> list[Tensor]:
        return [2.0 * weight for weight in weights]

    def opposed(self, gradients: Sequence[Tensor], sizes: Sequence[Factor]) -> Sequence[Tensor]:
        """The decay is no part of the gradient, so it balances the step that the optimizer makes of that."""
        return [gradient * size for gradient, size in zip(gradients, sizes, strict=True)]


class ElasticNet(Form):
    """`λ (ρ Σ |w| + (1 − ρ) Σ w²)`, by its proximal operator after the optimizer's step.

    At step size s it is `w ← soft(w, sρλ) / (1 + 2s(1 − ρ)λ)`, `soft(w, t) = sign(w) max(|w| − t, 0)`: weights become
    exactly zero. s is each weight's own, Adam's preconditioned one included, so that what training converges to is a
    minimum of the objective whatever the optimizer: ProxGen of Yun, Lozano and Yang, 'Adaptive Proximal Gradient
    Methods for Structured Neural Networks' (NeurIPS 2021), whose first moment is a mean of gradients. That of
    torch.optim.SGD is a sum, of up to 1/(1 − μ) times the mean, and s is as many times the learning rate; a threshold
    of lr·λ, as many scripts have it, would penalize by (1 − μ)λ.

    Attributes:
        l1_ratio: ρ, 1 for L1 alone.
    """

    name = "elastic"

    def __init__(self, l1_ratio: float) -> None:
        self.l1_ratio = l1_ratio

    @classmethod
    def of(cls, settings: PenaltySettings) -> Form:
        return cls(DEFAULT_L1_RATIO if settings.l1_ratio is None else settings.l1_ratio)

    def after_step(self, weights: Sequence[Tensor], strength: Factor, step_sizes: StepSizes) -> None:
        for weight, size in zip(weights, step_sizes(), strict=True):
            reach = size * along(strength, weight)
            threshold: Any = self.l1_ratio * reach
            # w − clamp(w, −t, t) is soft(w, t), exactly zero where |w| ≤ t and exactly w where t = 0
            weight.sub_(torch.clamp(weight, -threshold, threshold))
            if self.l1_ratio < 1:
                weight.div_(1 + 2.0 * (1 - self.l1_ratio) * reach)

    def slopes(self, weights: Sequence[Tensor]) -> list[Tensor]:
        return [self.l1_ratio * weight.sign() + 2.0 * (1 - self.l1_ratio) * weight for weight in weights]


class L1(ElasticNet):
    """`λ Σ |w|`: `ElasticNet` of ρ = 1."""

    name = "l1"

    def __init__(self) -> None:
        super().__init__(1.0)

    @classmethod
    def of(cls, settings: PenaltySettings) -> Form:
        return cls()


FORMS: dict[str, type[Form]] = {form.name: form for form in (L2, L2Loss, L2Decoupled, L1, ElasticNet)}
"""Name → form. The settings list the same names."""


def first_estimates(
    settings: PenaltySettings,
    gradients: Sequence[Tensor],
    weights: Sequence[Tensor],
    sizes: Sequence[Factor],
    multipliers: Sequence[float] | None = None,
) -> dict[str, Tensor]:
    """Form → (M,) its first estimate of λ; of every form: a fit without a penalty is the same for all.

    Args:
        settings: Of the study; a form with numbers of its own takes them from here.
        gradients: Of the data loss, each (M, …), with the others as `Form.first_estimate` takes them.
    """
    return {
        name: form.of(settings).first_estimate(gradients, weights, sizes, multipliers) for name, form in FORMS.items()
    }


def l1_ratio_of(settings: PenaltySettings) -> float:
    """ρ of the settings' form: how much of its λ is that of Σ |w|; 0 for the L2 forms."""
    form = make_form(settings)
    return form.l1_ratio if isinstance(form, ElasticNet) else 0.0


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


def norms(tensors: Sequence[Tensor]) -> Tensor:
    """(M,) ‖·‖₂ of all tensors (M, …) together."""
    return torch.stack([t.detach().flatten(1).square().sum(1) for t in tensors]).sum(0).sqrt()


def _times(slopes: list[Tensor], multipliers: Sequence[float] | None) -> list[Tensor]:
    if multipliers is None:
        return slopes
    return [s if by == 1 else by * s for s, by in zip(slopes, multipliers, strict=True)]


def _add_scaled(sums: Sequence[Tensor], weights: Sequence[Tensor], factor: Factor) -> None:
    """`sum += factor · weight`, in place."""
    if isinstance(factor, Tensor):
        torch._foreach_addcmul_(list(sums), list(weights), [along(factor, weight) for weight in weights])
    else:
        torch._foreach_add_(list(sums), list(weights), alpha=factor)


def _total(terms: Sequence[Tensor], *, stacked: bool) -> Tensor:
    """The sum over all terms: a scalar, or (M,) of terms (M, …)."""
    return torch.stack([term.flatten(1).sum(1) if stacked else term.sum() for term in terms]).sum(0)
