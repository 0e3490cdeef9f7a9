"""What a network is like at the end of its schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from l2tune.members import MAGNITUDE_EDGES, LayerState, NetworkState
from l2tune.training.evaluate import calibration_error

NEAR_ZERO = 1e-3
"""A weight is near zero below this share of its layer's initial root mean square."""

GRADIENT_IMAGES = 1000
"""Test images that the input gradient is averaged over, at most."""

_BINS = len(MAGNITUDE_EDGES) - 1
_BINS_PER_OCTAVE = _BINS / math.log2(MAGNITUDE_EDGES[-1] / MAGNITUDE_EDGES[0])
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def describe_network(
    weights: Mapping[str, Tensor],
    initial_rms: Mapping[str, Tensor],
    log_p: NDArray[np.float32],
    labels: NDArray[np.int64],
    smoothness: float,
    transposed: Mapping[str, int] | None = None,
) -> NetworkState:
    """The state of a network.

    Args:
        weights: The regularized ones.
        initial_rms: Root mean square of each at the start.
        log_p: (test images, classes) log-probabilities.
        labels: (test images,).
        smoothness: Mean norm of the input gradient.
        transposed: As `transposed_groups` gives it, of the same network.
    """
    groups = transposed or {}
    with torch.no_grad():
        layers = {name.removesuffix(".weight"): _layer(w, groups.get(name)) for name, w in weights.items()}
        small = sum(int((w.abs() < NEAR_ZERO * initial_rms[n]).count_nonzero()) for n, w in weights.items())
        absolute = sum(float(w.abs().sum()) for w in weights.values())
        magnitudes = np.sum([_magnitudes(w) for w in weights.values()] or [[0] * _BINS], axis=0).tolist()
    count = sum(layer.weights for layer in layers.values()) or 1
    return NetworkState(
        layers=layers,
        zero_fraction=sum(layer.zeros for layer in layers.values()) / count,
        near_zero_fraction=small / count,
        weight_sum=absolute,
        magnitudes=magnitudes,
        test_loss=float(-log_p[np.arange(len(labels)), labels].mean(dtype=np.float64)),
        test_error=float((log_p.argmax(1) != labels).mean()),
        calibration_error=calibration_error(log_p, labels),
        input_gradient_norm=smoothness,
        test_log_probabilities=log_p,
    )


def transposed_groups(model: nn.Module) -> dict[str, int]:
    """Name → number of groups of each kernel of a transposed convolution, whose first dimension is its input.

    A parametrized layer's original kernel counts too.
    """
    return {
        f"{prefix}.{name}".lstrip("."): module.groups
        for prefix, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, _TRANSPOSED)
        for name, parameter in module.named_parameters()
        if parameter.shape == (module.in_channels, module.out_channels // module.groups, *module.kernel_size)
    }


def _layer(weight: Tensor, groups: int | None) -> LayerState:
    """What a weight is like.

    Args:
        groups: Of a transposed convolution; None for any other weight.
    """
    zeros = weight.numel() - int(weight.count_nonzero())
    units = dead = 0
    if weight.ndim >= 2:
        alive = (_by_unit(weight, groups) != 0).any(1)  # (units,)
        units, dead = len(alive), len(alive) - int(alive.count_nonzero())
    return LayerState(float(weight.norm()), weight.numel(), zeros, units, dead)


def _by_unit(weight: Tensor, groups: int | None) -> Tensor:
    """(units, weights of each)."""
    if groups is None:
        return weight.flatten(1)
    grouped = weight.reshape(groups, -1, *weight.shape[1:])  # (groups, inputs of each, outputs of each, *kernel)
    return grouped.transpose(1, 2).flatten(0, 1).flatten(1)


def _magnitudes(weight: Tensor) -> list[int]:
    """(bins,) how many of the weights that are not zero lie between each two of `MAGNITUDE_EDGES`.

    By logarithms: a tenth of the time that looking each weight up among the edges takes.
    """
    place = weight.abs().flatten().log2_().mul_(_BINS_PER_OCTAVE).sub_(_BINS_PER_OCTAVE * math.log2(MAGNITUDE_EDGES[0]))
    found: list[int] = place.clamp_(0, _BINS - 1).to(torch.uint8).bincount(minlength=_BINS).tolist()
    found[0] -= weight.numel() - int(weight.count_nonzero())  # the logarithm of zero lies below the lowest
    return found[:_BINS]
