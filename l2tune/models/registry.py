"""Networks by name: our own, torchvision's, or a user's factory."""

from __future__ import annotations

import difflib
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from l2tune.errors import UserError, is_out_of_memory
from l2tune.importing import is_reference, load_callable
from l2tune.models.global_state import kept, seed_other_generators, set_defaults
from l2tune.models.linear import linear
from l2tune.models.sharing import check_fresh, parts_of
from l2tune.models.simple_cnn import simple_cnn
from l2tune.models.small_resnet import small_resnet
from l2tune.settings import ModelSettings

ModelFactory = Callable[[tuple[int, int, int], int], nn.Module]
"""(C, H, W) and the number of classes K → a module of (N, C, H, W) → (N, K) logits, with fresh weights.

Weights are drawn from a global generator, torch's, numpy's or Python's; the caller seeds them, a factory must not.
Networks share nothing that training changes."""

_BUILT_IN: dict[str, ModelFactory] = {"simple_cnn": simple_cnn, "small_resnet": small_resnet, "linear": linear}

_TIMM = "timm:"

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
    of_timm = name.startswith(_TIMM)
    if settings.pretrained and (name in _BUILT_IN or (is_reference(name) and not of_timm)):
        fix = "it is for torchvision's and timm's models"
        raise UserError(f"{name!r} has no published weights", "--pretrained", fix)
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    if of_timm:
        return _timm_factory(name.removeprefix(_TIMM), pretrained=settings.pretrained)
    if is_reference(name):
        return load_callable(name, f"--model {name}")  # type: ignore[no-any-return]
    return _torchvision_factory(name, pretrained=settings.pretrained)


def build_model(factory: ModelFactory, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Call a factory and check that its network takes these images; lazy layers get their weights here.

    Python's and numpy's global generators are seeded from the state of torch's, so that weights drawn from them follow
    the same seed. They and torch's settings are afterwards as they were.

    Returns:
        The network, on the CPU and in float32.

    Raises:
        UserError: The factory fails, its network does not map (N, C, H, W) to (N, K), or it shares with an earlier
            network what training changes.
    """
    where = place_of(factory)
    with kept():
        set_defaults()
        seed_other_generators()
        model = _call(factory, shape, classes, where)
    training = model.training
    _check_weights(model, where)
    if any(t.device.type != "cpu" or (t.is_floating_point() and t.dtype != torch.float32) for t in _tensors(model)):
        model.to("cpu", torch.float32)  # as training has it
    model.eval()  # batch statistics stay as they are, and nothing is drawn for dropout
    try:
        with kept(), torch.no_grad():
            set_defaults(gradients=False)
            seed_other_generators()
            output = model(torch.zeros(2, *shape, dtype=torch.float32, device="cpu"))
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):  # which says nothing of the network: whoever trains knows what to do
            raise
        size = "×".join(map(str, shape))
        fix = "choose a network for this size, or another --image-size"
        raise UserError(f"cannot take images of {size} ({first_line(error)})", where, fix) from None
    check_logits(output, 2, classes, where)
    _check_weights(model, where)
    unused = [part.name for part in parts_of(model) if is_lazy(part.tensor)]
    if unused:
        raise UserError(f"{unused[0]!r} is lazy, and no forward pass reaches it", where, "remove the layer, or use it")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError("has no parameters to train", where, "return a network with weights that require gradients")
    check_fresh(model, sample_images(2, shape), where)
    return model.train(training)


def place_of(factory: ModelFactory) -> str:
    """The factory's name, for messages."""
    return f"model {getattr(factory, '__qualname__', type(factory).__qualname__)!r}"


def sample_images(count: int, shape: tuple[int, int, int]) -> Tensor:
    """(count, C, H, W) as training would give: normalized; the same in every call."""
    generator = torch.Generator("cpu").manual_seed(0)
    return torch.randn(count, *shape, generator=generator, dtype=torch.float32, device="cpu")


def check_logits(output: object, images: int, classes: int, where: str, when: str = "") -> Tensor:
    """A network's output, if it is real numbers of shape (N, K).

    Raises:
        UserError: It is something else.
    """
    number = {1: "one image", 2: "two images"}.get(images, f"{images} images")
    fix = f"return logits of shape ({images}, {classes})"
    if not isinstance(output, Tensor):
        raise UserError(f"gave a {type(output).__name__} for {number}{when}", where, fix)
    if output.is_nested or output.layout != torch.strided:
        kind = "nested" if output.is_nested else str(output.layout).removeprefix("torch.").removesuffix("_coo")
        raise UserError(f"gave a {kind} tensor for {number}{when}", where, fix)
    if output.shape != (images, classes):
        raise UserError(f"gave shape {tuple(output.shape)} for {number}{when}", where, fix)
    if not output.is_floating_point():
        kind = str(output.dtype).removeprefix("torch.")
        raise UserError(f"gave numbers of type {kind} for {number}{when}", where, f"{fix}, in float32")
    if output.device.type != "cpu":
        what = f"gave an output on {output.device} for {number} on the CPU{when}"
        raise UserError(what, where, "compute where the images are")
    return output


def first_line(error: BaseException) -> str:
    """What an error says first, or its kind where it says nothing."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _call(factory: ModelFactory, shape: tuple[int, int, int], classes: int, where: str) -> nn.Module:
    try:
        model = factory(shape, classes)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise
        fix = "it is called as factory((channels, height, width), classes)"
        raise UserError(f"the factory failed with {type(error).__name__}: {error}", where, fix) from None
    if not isinstance(model, nn.Module):
        raise UserError(f"the factory gave a {type(model).__name__}", where, "return a torch.nn.Module")
    return model


def _check_weights(model: nn.Module, where: str) -> None:
    """Refuse numbers that training in float32 would lose, and weights without numbers."""
    for part in parts_of(model):
        tensor = part.tensor
        if tensor.is_meta:
            what = f"{part.name!r} is on the meta device, without values"
            raise UserError(what, where, "build the network on the CPU")
        weight = isinstance(tensor, nn.Parameter) and tensor.is_floating_point() and tensor.dtype != torch.float32
        if weight or tensor.is_complex():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise UserError(f"{part.name!r} is {kind}", where, "build the network in float32, as it is trained")


def _tensors(model: nn.Module) -> list[Tensor]:
    return [part.tensor for part in parts_of(model)]


def _torchvision_factory(name: str, *, pretrained: bool) -> ModelFactory:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        close = difflib.get_close_matches(name, [*_BUILT_IN, *known], n=1)
        others = f"give {', '.join(_BUILT_IN)}, a torchvision model, timm:NAME or package.module:factory"
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


def _timm_factory(name: str, *, pretrained: bool) -> ModelFactory:
    """A network of timm, which knows other channels and classes itself."""
    where = f"--model {_TIMM}{name}"
    try:
        import timm
    except ImportError:
        raise UserError("needs a package that is not installed", where, "pip install 'l2tune[timm]'") from None
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=1)
        fix = f"did you mean '{_TIMM}{close[0]}'?" if close else "timm.list_models() lists all"
        raise UserError("timm has no such model", where, fix)

    def factory(shape: tuple[int, int, int], classes: int) -> nn.Module:
        wanted: dict[str, Any] = {"pretrained": pretrained, "in_chans": shape[0], "num_classes": classes}
        try:
            try:  # transformers are built for one size, the others take any
                model: nn.Module = timm.create_model(name, img_size=shape[1:], **wanted)
            except TypeError as error:
                if "img_size" not in str(error):
                    raise
                model = timm.create_model(name, **wanted)
        except (OSError, RuntimeError, ValueError) as error:
            if not pretrained:
                raise
            what = f"has no weights to start from ({first_line(error)})"
            raise UserError(what, where, "leave out --pretrained") from None
        return model

    factory.__qualname__ = f"{_TIMM}{name}"
    return factory


def _pretrained(name: str, builder: Any) -> nn.Module:
    options = {"aux_logits": False} if name in _WITH_AUXILIARY_HEADS else {}
    try:
        with _only_weights():
            model: nn.Module = builder(weights="DEFAULT", **options)
    except (OSError, RuntimeError, ValueError) as error:
        cause = first_line(error)
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
