"""The penalty `λ Σ w²`: which weights it takes, and how it acts.

| form | what happens at a step of size lr |
|---|---|
| `l2-loss` | `λ Σ w²` is added to the loss |
| `l2` | `2λw` is added to the gradient, torch.optim's `weight_decay = 2λ`; equal to `l2-loss` step by step |
| `l2-decoupled` | `w ← w − lr·2λ·w` before the step, AdamW's `weight_decay = 2λ` (Loshchilov and Hutter, 2019) |
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

Form = Literal["l2", "l2-loss", "l2-decoupled"]
FORMS: tuple[Form, ...] = ("l2", "l2-loss", "l2-decoupled")

_LINEAR_MAPS = (
    nn.Linear,
    nn.Bilinear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.MultiheadAttention,
)
_NORMALIZATIONS = (
    nn.modules.batchnorm._BatchNorm,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.LocalResponseNorm,
)


def regularized_parameters(model: nn.Module, which: Literal["weights", "all"] = "weights") -> dict[str, nn.Parameter]:
    """Name → parameter that the penalty takes, tied ones once, in the model's order.

    `weights` are the matrices and kernels of linear, convolution and attention layers: parameters of two dimensions
    or more of such a module itself. Biases, normalization and embeddings are left out. `all` takes every parameter
    that is trained.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if which == "all":
        return trained
    weights = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, _LINEAR_MAPS)
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.ndim >= 2 and not name.startswith("bias")
    }
    return {name: parameter for name, parameter in trained.items() if id(parameter) in weights}


def has_normalization(model: nn.Module) -> bool:
    """Whether λ acts through the effective learning rate: the model has a normalization layer."""
    return any(isinstance(module, _NORMALIZATIONS) for module in model.modules())


def penalty_term(parameters: dict[str, nn.Parameter], strength: float) -> torch.Tensor:
    """`λ Σ w²`, a scalar to add to the loss."""
    return strength * torch.stack([parameter.square().sum() for parameter in parameters.values()]).sum()
