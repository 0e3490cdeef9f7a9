"""Networks by name: our own, torchvision's, or a user's factory."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from l2tune.errors import UserError
from l2tune.importing import is_reference, load_callable
from l2tune.models.simple_cnn import linear, simple_cnn
from l2tune.models.small_resnet import small_resnet
from l2tune.settings import ModelSettings

ModelFactory = Callable[[tuple[int, int, int], int], nn.Module]
"""(C, H, W) and the number of classes K → a module of (N, C, H, W) → (N, K) logits, with fresh weights."""

BUILT_IN: dict[str, ModelFactory] = {"simple_cnn": simple_cnn, "small_resnet": small_resnet, "linear": linear}


def make_factory(settings: ModelSettings) -> ModelFactory:
    """The factory of the network that the settings name.

    Raises:
        UserError: There is no such network.
    """
    name = settings.name
    if settings.pretrained and (name in BUILT_IN or is_reference(name)):
        raise UserError(f"{name!r} has no published weights", "--pretrained", "it is for torchvision's models")
    if name in BUILT_IN:
        return BUILT_IN[name]
    if is_reference(name):
        return load_callable(name, f"--model {name}")  # type: ignore[no-any-return]
    return _torchvision_factory(name, pretrained=settings.pretrained)


def build_model(factory: ModelFactory, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Call a factory and check that its network takes these images.

    Raises:
        UserError: The factory fails, or its network does not map (N, C, H, W) to (N, K).
    """
    name = getattr(factory, "__qualname__", type(factory).__qualname__)
    where = f"model {name!r}"
    try:
        model = factory(shape, classes)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the factory failed with {type(error).__name__}: {error}", where, "it is called as factory(shape, classes)"
        ) from None
    if not isinstance(model, nn.Module):
        raise UserError(f"the factory gave a {type(model).__name__}", where, "give a torch.nn.Module")
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            output = model(torch.zeros(2, *shape))
    except Exception as error:
        raise UserError(
            f"cannot take images of {shape[0]}×{shape[1]}×{shape[2]} ({_first_line(error)})",
            where,
            "use a network for this size, or another --image-size",
        ) from None
    if not isinstance(output, torch.Tensor) or output.shape != (2, classes):
        found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise UserError(f"gave {found} for two images", where, f"it must give logits of shape (2, {classes})")
    return model.train(training)


def _torchvision_factory(name: str, *, pretrained: bool) -> ModelFactory:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        close = difflib.get_close_matches(name, [*BUILT_IN, *known], n=1)
        hint = f"did you mean {close[0]!r}?" if close else "give simple_cnn, small_resnet, linear, a torchvision model"
        raise UserError("no such model", f"--model {name}", f"{hint} or package.module:factory" if not close else hint)

    def factory(shape: tuple[int, int, int], classes: int) -> nn.Module:
        options: dict[str, Any] = {"aux_logits": False} if name in ("googlenet", "inception_v3") else {}
        if name in ("googlenet", "inception_v3"):
            options["init_weights"] = True
        try:
            model = models.get_model(name, weights="DEFAULT" if pretrained else None, **({} if pretrained else options))
        except OSError as error:
            raise UserError(f"its weights cannot be downloaded ({error})", f"--model {name}") from None
        if shape[0] != 3:
            _replace_first_conv(model, shape[0])
        _replace_head(model, classes)
        return model

    factory.__qualname__ = name
    return factory


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
    """Give the last layer that yields ImageNet's 1,000 classes another number of outputs."""
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
