"""What each parameter of a network is, as far as a penalty cares: a weight, or what speaks against penalizing it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrizations, parametrize

from l2tune.errors import UserError

LINEAR_MAPS = (
    nn.Linear,
    nn.Bilinear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RNNCellBase,
)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_NORMALIZATIONS = (
    nn.modules.batchnorm._BatchNorm,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.LocalResponseNorm,
)
_WEIGHT_NORMS = (parametrizations._WeightNorm,)
_SPECTRAL_NORMS = (parametrizations._SpectralNorm,)
DIRECTION = "direction of weight_norm"
_OWN_NORMALIZATION = re.compile(r"(Norm([1-3]d)?|^GRN)$")
_OWN_EMBEDDING = re.compile(r"embed|token", re.IGNORECASE)


@dataclass(frozen=True, eq=False, slots=True)
class Role:
    """What a parameter is.

    Attributes:
        name: In the network; a tied one has the first of its names.
        aliases: Its other names.
        kind: Class of the module that holds it; for a parametrized one, of the layer.
        why_not: What speaks against penalizing it, in a word or two: `bias`, `normalization`, `embedding`,
            `one-dimensional`, `direction of weight_norm`, `frozen`; empty for a weight.
    """

    name: str
    parameter: nn.Parameter
    kind: str
    why_not: str
    aliases: tuple[str, ...] = ()


def roles(model: nn.Module) -> list[Role]:
    """Every parameter once, in the model's order; a tied one is a weight if any of its uses is.

    Weights are the matrices and kernels of torch.nn's linear, bilinear, convolution, attention and recurrent layers,
    and parameters of other layers with two or more dimensions larger than 1; never biases (`bias` as a word of the
    name: Swin's `relative_position_bias_table`, too), what belongs to a normalization or an embedding (also by name:
    `pos_embedding`, `class_token`), or what is frozen. Of a layer whose weight is computed from others:

    - under weight normalization, w = g v / ‖v‖, the magnitude g: ‖w‖² = ‖g‖², and the length of v does nothing, so
      decaying it would only raise the learning rate of the direction (Salimans and Kingma, 2016; van Laarhoven, 2017).
      L1 on g takes whole rows away, those with g = 0, rather than single weights: a decision, for Σ |w| itself
      has no proximal step in g and v;
    - under spectral normalization, any other parametrization, and pruning, the tensor that is trained, as torch.optim's
      weight_decay would. Under spectral normalization the length of that does nothing either, so there λ acts through
      the effective learning rate alone.

    Raises:
        UserError: A parameter has no shape yet.
    """
    uses: dict[int, list[tuple[str, str, str]]] = {}
    found: dict[int, nn.Parameter] = {}
    for path, module in model.named_modules():
        if isinstance(module, parametrize.ParametrizationList):
            continue  # its parameters come with the layer
        for name, parameter, kind, why_not in _uses_of(path, module):
            found[id(parameter)] = parameter
            uses.setdefault(id(parameter), []).append((f"{path}.{name}" if path else name, kind, why_not))
    order = {name: id(parameter) for name, parameter in model.named_parameters()}
    made = []
    for name, key in order.items():
        kind, why_not = next(((k, why) for _, k, why in uses[key] if not why), uses[key][0][1:])
        aliases = tuple(alias for alias, _, _ in uses[key] if alias != name)
        frozen = "" if found[key].requires_grad else "frozen"
        made.append(Role(name, found[key], kind, frozen or why_not, aliases))
    return made


def is_normalization(module: nn.Module) -> bool:
    """Whether a layer normalizes: one of torch's, or one that is called so (`RMSNorm`, `LayerNorm2d`)."""
    return isinstance(module, _NORMALIZATIONS) or (_is_own(module) and bool(_OWN_NORMALIZATION.search(_kind(module))))


def has_normalization(model: nn.Module) -> bool:
    """Whether λ acts through the effective learning rate: a layer's activations or spectral norm are normalized."""
    return any(
        is_normalization(module)
        or isinstance(module, _SPECTRAL_NORMS)
        or any(kind == "spectral" for _, kind in _computed(module).values())
        for module in model.modules()
    )


def _uses_of(path: str, module: nn.Module) -> Iterator[tuple[str, nn.Parameter, str, str]]:
    """Name inside the module, parameter, kind of the module, and why not, of all that is its own."""
    kind, computed = _kind(module), _computed(module)
    own = dict(module.named_parameters(recurse=False, remove_duplicate=False))
    for name, parameter in own.items():
        target, part = computed.get(name, (name, ""))
        shape = own[f"{target}_v"] if part == "magnitude" else parameter
        yield name, parameter, kind, _why_not(path, module, target, shape, part)
    lists = getattr(module, "parametrizations", None)
    if not isinstance(lists, nn.ModuleDict):
        return
    for target, one in lists.items():
        if not isinstance(one, parametrize.ParametrizationList):
            continue  # a user's own, called so
        normed_here = any(isinstance(step, _WEIGHT_NORMS) for step in one.children())
        originals = dict(one.named_parameters(recurse=False, remove_duplicate=False))
        for name, parameter in originals.items():
            part = {"original0": "magnitude", "original1": "direction"}.get(name, "") if normed_here else ""
            shape = originals["original1"] if part == "magnitude" else parameter
            why_not = _why_not(path, module, target, shape, part)
            yield f"parametrizations.{target}.{name}", parameter, kind, why_not


def _why_not(path: str, module: nn.Module, name: str, shaped: nn.Parameter, part: str) -> str:
    """What speaks against penalizing a module's parameter, or the one that it is computed from."""
    lazy: bool = is_lazy(shaped)
    if lazy:
        where = f"parameter {f'{path}.{name}' if path else name!r}"
        raise UserError("is lazy: it has no shape yet", where, "pass a batch through the network once before")
    if "bias" in re.split(r"[_\d]+", name):
        return "bias"
    if is_normalization(module):
        return "normalization"
    if isinstance(module, _EMBEDDINGS):
        return "embedding"
    if isinstance(module, LINEAR_MAPS):
        if shaped.ndim < 2:
            return "one-dimensional"
    else:
        full = f"{path}.{name}" if isinstance(module, nn.ParameterList | nn.ParameterDict) else name
        if _OWN_EMBEDDING.search(full) or re.search(r"Embeddings?$", _kind(module)):
            return "embedding"
        if sum(size > 1 for size in shaped.shape) < 2:
            return "one-dimensional"
    return DIRECTION if part == "direction" else ""


def _computed(module: nn.Module) -> dict[str, tuple[str, str]]:
    """Parameter → the tensor that is computed from it before each forward pass, and which part of that it is.

    As torch's older weight_norm, spectral_norm and its pruning leave them: `weight_g` and `weight_v`, `weight_orig` and
    the buffer `weight_u` or `weight_mask`, beside a `weight` that is no parameter.
    """
    own = dict(module.named_parameters(recurse=False, remove_duplicate=False))
    buffers = dict(module.named_buffers(recurse=False, remove_duplicate=False))
    found = {}
    for name in own:
        target, _, ending = name.rpartition("_")
        if not target or target in own or not isinstance(getattr(module, target, None), Tensor):
            continue
        if ending in ("g", "v") and {f"{target}_g", f"{target}_v"} <= own.keys():
            found[name] = target, "magnitude" if ending == "g" else "direction"
        elif ending == "orig" and f"{target}_u" in buffers:
            found[name] = target, "spectral"
        elif ending == "orig" and f"{target}_mask" in buffers:
            found[name] = target, "pruned"
    return found


def _is_own(module: nn.Module) -> bool:
    """Whether a layer is none of torch's."""
    return not parametrize.type_before_parametrizations(module).__module__.startswith("torch.")


def _kind(module: nn.Module) -> str:
    return parametrize.type_before_parametrizations(module).__name__
