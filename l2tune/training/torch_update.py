"""torch.optim's SGD, Adam and AdamW by their functional API.

The classes do the same with more around it: the first that is made imports torch's compiler, which takes as long as the
import of torch itself, and hooks and profiling are as long as the step of a small network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

_BETAS, _EPSILON = (0.9, 0.999), 1e-8
"""Adam's, as torch.optim has them."""


class TorchUpdate(ABC):
    """One optimizer's step over groups of parameters; one without a gradient is left as it is.

    Args:
        groups: Parameters, and the weight decay of each group.
        fused: By torch's fused kernels, which take floating point only.

    Attributes:
        options: What torch.optim keeps in a group: `momentum` and `nesterov`, or `betas`, `eps` and `amsgrad`.
        state: Of each parameter that had a gradient, under torch.optim's names.
    """

    def __init__(self, groups: Sequence[tuple[Sequence[Tensor], float]], *, fused: bool) -> None:
        self._groups, self._fused = [(list(parameters), decay) for parameters, decay in groups if parameters], fused
        self.options: Mapping[str, Any] = {}
        self.state: dict[Tensor, dict[str, Any]] = {p: {} for parameters, _ in self._groups for p in parameters}

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter in self.state:
            parameter.grad = None

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move the parameters along their gradients."""
        for group, decay in self._groups:
            parameters = [parameter for parameter in group if parameter.grad is not None]
            if parameters:
                gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
                self._move(parameters, gradients, decay, lr)

    @abstractmethod
    def _move(self, parameters: list[Tensor], gradients: list[Tensor], decay: float, lr: float) -> None:
        """Move these along their gradients."""


class SGD(TorchUpdate):
    """torch.optim.SGD; with Nesterov's momentum where there is any."""

    def __init__(
        self, groups: Sequence[tuple[Sequence[Tensor], float]], *, momentum: float, fused: bool = True
    ) -> None:
        super().__init__(groups, fused=fused)
        self._momentum = momentum
        self.options = {"momentum": momentum, "nesterov": momentum > 0}

    def _move(self, parameters: list[Tensor], gradients: list[Tensor], decay: float, lr: float) -> None:
        buffers = [self.state[parameter].get("momentum_buffer") for parameter in parameters] if self._momentum else []
        sgd(
            parameters,
            gradients,
            buffers,
            has_sparse_grad=any(gradient.is_sparse for gradient in gradients),
            fused=self._fused,
            weight_decay=decay,
            momentum=self._momentum,
            lr=lr,
            dampening=0.0,
            nesterov=self._momentum > 0,
            maximize=False,
        )
        for parameter, buffer in zip(parameters, buffers, strict=False):
            self.state[parameter]["momentum_buffer"] = buffer


class Adam(TorchUpdate):
    """torch.optim.Adam, or AdamW, whose decay is decoupled."""

    def __init__(
        self, groups: Sequence[tuple[Sequence[Tensor], float]], *, decoupled: bool = False, fused: bool = True
    ) -> None:
        super().__init__(groups, fused=fused)
        self._decoupled = decoupled
        self.options = {"betas": _BETAS, "eps": _EPSILON, "amsgrad": False}

    def _move(self, parameters: list[Tensor], gradients: list[Tensor], decay: float, lr: float) -> None:
        if any(gradient.is_sparse for gradient in gradients):
            raise RuntimeError("Adam does not support sparse gradients")
        states = [self.state[parameter] or self._begin(parameter) for parameter in parameters]
        adam(
            parameters,
            gradients,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=self._fused,
            has_complex=any(torch.is_complex(parameter) for parameter in parameters),
            decoupled_weight_decay=self._decoupled,
            amsgrad=False,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=lr,
            weight_decay=decay,
            eps=_EPSILON,
            maximize=False,
        )

    def _begin(self, parameter: Tensor) -> dict[str, Any]:
        count = torch.zeros((), dtype=torch.float32, device=parameter.device if self._fused else "cpu")
        first, second = (torch.zeros_like(parameter, memory_format=torch.preserve_format) for _ in range(2))
        self.state[parameter] |= {"step": count, "exp_avg": first, "exp_avg_sq": second}
        return self.state[parameter]
