"""Many networks of one kind as one: weights and buffers carry a leading member dimension."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import batch_norm, conv2d, linear, pad

Stacked = dict[str, Tensor]
"""Name → (members, …)."""

Convolution = Literal["grouped", "matmul"]
"""How stacked convolutions are computed: as one grouped convolution, or as matrix products of unfolded images."""

_PROBE_IMAGES = 2
_TOLERANCE = 1e-3


class StackedModel:
    """The forward pass of many networks at once, by `torch.func`.

    Dropout draws for every member on its own.

    Args:
        model: One of the networks; its weights are not used. Moved copies of it are made on `device`.
        bfloat16: Whether linear layers and convolutions run in bfloat16.
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        *,
        bfloat16: bool = False,
        convolution: Convolution = "grouped",
    ) -> None:
        self._device, self._bfloat16 = device, bfloat16
        self._skeleton = copy.deepcopy(model).to(device)
        for module in self._skeleton.modules():
            if type(module) is nn.Conv2d and module.padding_mode == "zeros":
                module.__class__ = _StackedConv2d
                assert isinstance(module, _StackedConv2d)
                plain = module.groups == 1 and not isinstance(module.padding, str)
                module.compute = torch.bfloat16 if bfloat16 else None
                module.by_matmul = convolution == "matmul" and plain
            elif type(module) is nn.Linear:
                module.__class__ = _StackedLinear
            elif type(module) is nn.AdaptiveAvgPool2d and module.output_size in (1, (1, 1)):
                module.__class__ = _StackedMean
            elif type(module) in _BATCH_NORMS and getattr(module, "momentum", None) is not None:
                module.__class__ = _StackedBatchNorm

    def __call__(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], images: Tensor, *, training: bool
    ) -> tuple[Tensor, Stacked]:
        """Logits and the buffers as the pass left them.

        Args:
            parameters: Name → (M, …), all of the model's.
            buffers: Name → (M, …). Training changes them, as batch norm does with its running statistics: pass copies.
            images: (M, N, C, H, W), normalized.

        Returns:
            (M, N, K) logits, never in bfloat16, and name → (M, …).
        """
        self._skeleton.train(training)
        with self._casting():
            logits, after = vmap(self._one, randomness="different")(dict(parameters), dict(buffers), images)
        return logits.float() if self._bfloat16 else logits, after

    def _one(self, parameters: Stacked, buffers: Stacked, images: Tensor) -> tuple[Tensor, Stacked]:
        state = parameters | buffers
        logits: Tensor = functional_call(self._skeleton, state, (images,))
        return logits, {name: state[name] for name in buffers}  # functional_call puts replaced buffers back into state

    def _casting(self) -> AbstractContextManager[object]:
        if not self._bfloat16:
            return nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16, cache_enabled=False)  # a captured graph keeps no cache


class _StackedConv2d(nn.Conv2d):
    """A convolution that casts for itself: inside vmap, autocast does not see convolutions."""

    compute: torch.dtype | None = None
    by_matmul: bool = False

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if self.compute is not None:
            input, weight = input.to(self.compute), weight.to(self.compute)
            bias = None if bias is None else bias.to(self.compute)
        if not self.by_matmul:
            return conv2d(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        assert not isinstance(self.padding, str)
        (down, right), (rows, columns) = self.padding, self.kernel_size
        patches = pad(input, (right, right, down, down)) if down or right else input
        for axis in (0, 1):  # (N, C, H', W', rows, columns)
            reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
            patches = patches.unfold(2 + axis, reach, self.stride[axis])[..., :: self.dilation[axis]]
        height, width = patches.shape[2:4]
        patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, input.shape[1] * rows * columns)
        found = patches @ weight.flatten(1).T  # (N·H'·W', out)
        if bias is not None:
            found = found + bias
        return found.view(-1, height, width, self.out_channels).permute(0, 3, 1, 2)


class _StackedLinear(nn.Linear):
    """A linear layer on rows: of more dimensions, vmap would copy the weights for every image."""

    def forward(self, input: Tensor) -> Tensor:
        rows = linear(input.reshape(-1, self.in_features), self.weight, self.bias)
        return rows.view(*input.shape[:-1], self.out_features)


class _StackedMean(nn.AdaptiveAvgPool2d):
    """Average pooling to one pixel: vmap would loop over the members where channels lie last in memory."""

    def forward(self, input: Tensor) -> Tensor:
        return input.mean((-2, -1), keepdim=True)


_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _StackedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm of all members as one with members × channels: vmap's own falls apart into float32 products."""

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        use_batch = self.training or self.running_mean is None
        mean, var = (self.running_mean, self.running_var) if self.track_running_stats else (None, None)
        found: Tensor = _ManyBatchNorms.apply(
            input, self.weight, self.bias, mean, var, use_batch, self.momentum, self.eps
        )
        return found

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch norm takes (N, C, …), not {input.ndim} dimensions")


class _ManyBatchNorms(torch.autograd.Function):
    """`batch_norm` with a rule for vmap, and called inside it alone: torch wants the other two but never runs them."""

    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        raise NotImplementedError

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        raise NotImplementedError

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor | None,
        var: Tensor | None,
        use_batch: bool,
        momentum: float,
        eps: float,
    ) -> tuple[Tensor, int]:
        members = info.batch_size
        # (N, M·C, …)
        images = _with_members(input, in_dims[0], members, 1).flatten(1, 2)
        per_channel = [
            None if tensor is None else _with_members(tensor, dim, members, 0).reshape(-1)
            for tensor, dim in zip((weight, bias, mean, var), in_dims[1:5], strict=True)
        ]
        scale, shift, running_mean, running_var = per_channel
        found = batch_norm(images, running_mean, running_var, scale, shift, use_batch, momentum, eps)
        return found.reshape(len(found), members, -1, *found.shape[2:]), 1


def _with_members(tensor: Tensor, dim: int | None, members: int, place: int) -> Tensor:
    """The member dimension moved to a place; a copy for each member where there is none."""
    if dim is None:
        return tensor.unsqueeze(place).expand(*tensor.shape[:place], members, *tensor.shape[place:])
    return tensor.movedim(dim, place)


def obstacle(model: nn.Module, shape: Sequence[int], classes: int) -> str | None:
    """What stands in the way of stacking a network, in a few words; None if nothing does.

    Two copies are trained for one step and compared with the network itself.

    Args:
        model: On the CPU; left as it is.
        shape: (C, H, W).
        classes: K.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, _PROBE_IMAGES, *shape, generator=generator)
    alone = copy.deepcopy(model)
    if any(not p.is_floating_point() for p in alone.parameters()):
        return "some weights are not real numbers"
    if any(isinstance(module, nn.MultiheadAttention) for module in alone.modules()):
        # ViT-B/16: more than 15 GB for two networks and two images each
        return "multi-head attention would copy its weights for every token"
    try:
        with torch.random.fork_rng([]):
            parameters, buffers = stack_module_state([alone, alone])
            stacked = StackedModel(alone, torch.device("cpu"))
            copies = {name: b.clone() for name, b in buffers.items()}
            logits, after = stacked(parameters, copies, images, training=True)
            if logits.shape != (2, _PROBE_IMAGES, classes):
                return f"two stacked networks give shape {tuple(logits.shape)}"
            trained = {name: p for name, p in parameters.items() if p.requires_grad}
            gradients: Sequence[Tensor | None] = torch.autograd.grad(
                logits.square().sum(), list(trained.values()), allow_unused=True
            )
            for name, gradient in zip(trained, gradients, strict=True):
                if gradient is None:
                    return f"{name} takes no part in the training"
            if any(after[name].shape != b.shape for name, b in buffers.items()):
                return "its buffers change shape"
            with torch.no_grad():
                logits, _ = stacked(parameters, buffers, images, training=False)
                alone.eval()
                expected = torch.stack([alone(part) for part in images])
    except Exception as error:
        return _reason(error)
    scale = float(expected.abs().max()) or 1.0
    if not float((logits - expected).abs().max()) <= _TOLERANCE * scale:
        return "stacked networks give other outputs"
    return None


def _reason(error: Exception) -> str:
    """The first sentence of what torch says, without its advice."""
    text = " ".join(str(error).split())
    for end in (". ", "; ", " Please ", " (see "):
        text = text.split(end)[0]
    return (text or type(error).__name__)[:160].rstrip(".")
