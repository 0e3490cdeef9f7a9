"""Networks by name: our own, torchvision's, or a user's factory."""

from __future__ import annotations

import difflib
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from l2tune.errors import UserError
from l2tune.importing import is_reference, load_callable
from l2tune.models.linear import linear
from l2tune.models.simple_cnn import simple_cnn
from l2tune.models.small_resnet import small_resnet
from l2tune.settings import ModelSettings

ModelFactory = Callable[[tuple[int, int, int], int], nn.Module]
"""(C, H, W) and the number of classes K → a module of (N, C, H, W) → (N, K) logits, with fresh weights.

Weights are drawn from torch's global generator; the caller seeds it, a factory must not."""

_BUILT_IN: dict[str, ModelFactory] = {"simple_cnn": simple_cnn, "small_resnet": small_resnet, "linear": linear}

_WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
"""Built without these heads, whose outputs only a training loop of their own would know."""


def names() -> tuple[str, ...]:
    """The networks of our own."""
    return tuple(_BUILT_IN)


def make_factory(settings: ModelSettings) -> ModelFactory:
    """The factory of the network that the settings name.

    Raises:
        UserError: There is no such network.
    """
    name = settings.name
    if settings.pretrained and (name in _BUILT_IN or is_reference(name)):
        raise UserError(f"{name!r} has no published weights", "--pretrained", "it is for torchvision's models")
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    if is_reference(name):
        return load_callable(name, f"--model {name}")  # type: ignore[no-any-return]
    return _torchvision_factory(name, pretrained=settings.pretrained)


def build_model(factory: ModelFactory, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Call a factory and check that its network takes these images; lazy layers get their weights here.

    Raises:
        UserError: The factory fails, or its network does not map (N, C, H, W) to (N, K).
    """
    where = f"model {getattr(factory, '__qualname__', type(factory).__qualname__)!r}"
    try:
        model = factory(shape, classes)
    except UserError:
        raise
    except Exception as error:
        fix = "it is called as factory((channels, height, width), classes)"
        raise UserError(f"the factory failed with {type(error).__name__}: {error}", where, fix) from None
    if not isinstance(model, nn.Module):
        raise UserError(f"the factory gave a {type(model).__name__}", where, "return a torch.nn.Module")
    training = model.training
    model.eval()  # batch statistics stay as they are, and nothing is drawn for dropout
    try:
        with torch.no_grad():
            output = model(torch.zeros(2, *shape))
    except Exception as error:
        size = "×".join(map(str, shape))
        fix = "choose a network for this size, or another --image-size"
        raise UserError(f"cannot take images of {size} ({_first_line(error)})", where, fix) from None
    if not isinstance(output, torch.Tensor) or output.shape != (2, classes):
        found = f"shape {tuple(output.shape)}" if isinstance(output, torch.Tensor) else f"a {type(output).__name__}"
        raise UserError(f"gave {found} for two images", where, f"return logits of shape (2, {classes})")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError("has no parameters to train", where, "return a network with weights that require gradients")
    return model.train(training)


def _torchvision_factory(name: str, *, pretrained: bool) -> ModelFactory:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        close = difflib.get_close_matches(name, [*_BUILT_IN, *known], n=1)
        others = f"give {', '.join(_BUILT_IN)}, a torchvision model or package.module:factory"
        raise UserError("no such model", f"--model {name}", f"did you mean {close[0]!r}?" if close else others)
    builder = models.get_model_builder(name)

    def factory(shape: tuple[int, int, int], classes: int) -> nn.Module:
        plain = {"aux_logits": False, "init_weights": True} if name in _WITH_AUXILIARY_HEADS else {}
        model = _pretrained(name, builder) if pretrained else builder(num_classes=classes, **plain)
        if pretrained:
            _replace_head(model, classes)
        if shape[0] != 3:
            _replace_first_conv(model, shape[0])
        return model

    factory.__qualname__ = name
    return factory


def _pretrained(name: str, builder: Any) -> nn.Module:
    options = {"aux_logits": False} if name in _WITH_AUXILIARY_HEADS else {}
    try:
        with _only_weights():
            model: nn.Module = builder(weights="DEFAULT", **options)
    except (OSError, RuntimeError, ValueError) as error:
        cause = _first_line(error)
        raise UserError(
            f"has no weights to start from ({cause})", f"--model {name}", "leave out --pretrained"
        ) from None
    except pickle.UnpicklingError:
        fix = "remove it from torch's cache and run again"
        raise UserError("the file of its weights holds more than weights", f"--model {name}", fix) from None
    return model


@contextmanager
def _only_weights() -> Iterator[None]:
    """torchvision reads published weights as pickles; this lets torch load tensors only, no other objects."""
    key = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(key)
    os.environ[key] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before


def _replace_first_conv(model: nn.Module, channels: int) -> None:
    """Let the first convolution take another number of channels; its weights are new."""
    name, conv = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    fresh = nn.Conv2d(
        channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        conv.dilation,  # type: ignore[arg-type]
        conv.groups,
        conv.bias is not None,
    )
    model.set_submodule(name, fresh)


def _replace_head(model: nn.Module, classes: int) -> None:
    """Give the last layer that yields ImageNet's 1,000 classes another number of outputs; its weights are new."""
    heads = [
        (name, module)
        for name, module in model.named_modules()
        if (isinstance(module, nn.Linear) and module.out_features == 1000)
        or (isinstance(module, nn.Conv2d) and module.out_channels == 1000)
    ]
    name, head = heads[-1]
    if isinstance(head, nn.Linear):
        model.set_submodule(name, nn.Linear(head.in_features, classes, head.bias is not None))
    else:
        assert isinstance(head, nn.Conv2d)
        model.set_submodule(name, nn.Conv2d(head.in_channels, classes, head.kernel_size))  # type: ignore[arg-type]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
