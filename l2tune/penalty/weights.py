"""Which weights the penalty takes: by default the matrices and kernels of linear maps."""

from __future__ import annotations

from typing import Literal

from torch import nn

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
