"""Networks must not share what training changes: it would carry over from one member to the next.

Everything that was handed out is remembered by weak references, so nothing is kept alive: by its memory for as long as
that memory is in use (another tensor at the same address later is none of it), and by its tensor and module, because a
network that moves to another device takes other memory.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from l2tune.errors import UserError
from l2tune.models.global_state import forked_generators, kept


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """A parameter or buffer of a network.

    Attributes:
        name: In the network, as `state_dict` writes it.
        owner: The module that holds it, under the name `attribute`.
    """

    name: str
    tensor: Tensor
    owner: nn.Module
    attribute: str

    @property
    def trained(self) -> bool:
        return self.tensor.requires_grad


def parts_of(model: nn.Module) -> list[Part]:
    """All parameters and buffers, those that are not saved too; a tied one stands for each of its names."""
    return [
        Part(f"{path}.{name}" if path else name, tensor, module, name)
        for path, module in model.named_modules()
        for tensors in (module.named_parameters, module.named_buffers)
        for name, tensor in tensors(recurse=False, remove_duplicate=False)
    ]


def same_values(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors agree in shape, type and every value; NaN equals NaN."""
    if one.shape != other.shape or one.dtype != other.dtype or one.layout != other.layout:
        return False
    if one.layout != torch.strided:
        return same_values(one.to_dense(), other.to_dense())
    return torch.equal(one, other) or bool(((one == other) | ((one != one) & (other != other))).all())


def check_fresh(model: nn.Module, images: Tensor, where: str) -> None:
    """Remember a network's parts; refuse a network with a part that was handed out before and that training changes.

    Shared parts that stay as they are do no harm: frozen weights, constants.

    Args:
        images: (N, C, H, W) that a pass in training mode shows changes of buffers with, where any are shared.
        where: Of messages.

    Raises:
        UserError: Another network has a part of this one.
    """
    parts = parts_of(model)
    with _LOCK:
        _HANDED_OUT[:] = [note for note in _HANDED_OUT if note.alive]
        known = _known(parts)
        shared = [part.name for part, notes in known if part.trained or any(note.trains_apart(part) for note in notes)]
        if known and not shared:
            shared = _changed_by_training(model, [part for part, _ in known], images)
        if shared:
            more = f" and {len(shared) - 1} more" if shared[1:] else ""
            what = f"shares {shared[0]!r}{more} with an earlier network, and training changes it"
            raise UserError(what, where, "make all layers anew in every call; copy.deepcopy keeps their values")
        noted = {id(part.tensor) for part, notes in known if any(note.is_of(part) for note in notes)}
        _HANDED_OUT.extend(_Note.of(part) for part in parts if id(part.tensor) not in noted)


@dataclass(frozen=True, eq=False, slots=True)
class _Note:
    """What is known of a part that was handed out; keeps nothing alive."""

    tensor: weakref.ref[Tensor]
    owner: weakref.ref[nn.Module]
    attribute: str
    storage: StorageWeakRef | None
    start: int  # address
    stop: int

    @classmethod
    def of(cls, part: Part) -> _Note:
        start, stop = _addresses(part.tensor)
        storage = StorageWeakRef(part.tensor.untyped_storage()) if stop > start else None  # type: ignore[no-untyped-call]
        return cls(weakref.ref(part.tensor), weakref.ref(part.owner), part.attribute, storage, start, stop)

    @property
    def alive(self) -> bool:
        return self.owner() is not None or self.tensor() is not None or self.holds_memory

    @property
    def holds_memory(self) -> bool:
        return self.storage is not None and not self.storage.expired()  # type: ignore[no-untyped-call]

    def is_of(self, part: Part) -> bool:
        """Whether the part is the same tensor, in the same module."""
        return self.tensor() is part.tensor and self.owner() is part.owner

    def trains_apart(self, part: Part) -> bool:
        """Whether the earlier network trains the part's memory through a tensor of its own."""
        tensor = self.tensor()
        return tensor is not None and tensor is not part.tensor and tensor.requires_grad


_HANDED_OUT: list[_Note] = []
_LOCK = threading.RLock()


def _known(parts: Sequence[Part]) -> list[tuple[Part, list[_Note]]]:
    """The parts that were handed out before, with what is known of them."""
    by_tensor: dict[int, list[_Note]] = {}
    by_place: dict[tuple[int, str], list[_Note]] = {}
    for note in _HANDED_OUT:
        if (tensor := note.tensor()) is not None:
            by_tensor.setdefault(id(tensor), []).append(note)
        if (owner := note.owner()) is not None:
            by_place.setdefault((id(owner), note.attribute), []).append(note)
    in_memory = [note for note in _HANDED_OUT if note.holds_memory]
    starts = np.array([note.start for note in in_memory], np.uint64)
    stops = np.array([note.stop for note in in_memory], np.uint64)
    found = []
    for part in parts:
        notes = by_tensor.get(id(part.tensor), []) + by_place.get((id(part.owner), part.attribute), [])
        start, stop = _addresses(part.tensor)
        if stop > start:
            notes += [in_memory[index] for index in np.flatnonzero((starts < stop) & (stops > start))]
        if notes:
            found.append((part, notes))
    return found


def _addresses(tensor: Tensor) -> tuple[int, int]:
    """First address and the one past the last; equal where there is no memory to share."""
    try:
        start = tensor.data_ptr() if tensor.untyped_storage().nbytes() else 0
    except (NotImplementedError, RuntimeError):  # sparse, or a subclass that wraps other tensors
        return 0, 0
    if not start or not tensor.numel():
        return 0, 0
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return start, start + (reach + 1) * tensor.element_size()


def _changed_by_training(model: nn.Module, parts: Sequence[Part], images: Tensor) -> list[str]:
    """Names of the parts that a pass in training mode changes; all are put back."""
    fixed = [part for part in parts_of(model) if not part.trained]
    before = [part.tensor.detach().clone() for part in fixed]
    with kept(), forked_generators(), torch.no_grad():
        try:
            model.train()(images)
        except Exception:  # told by whoever trains it
            return []
        asked = {part.name for part in parts}
        changed = []
        for part, values in zip(fixed, before, strict=True):
            now = getattr(part.owner, part.attribute)
            if now is not part.tensor or not same_values(now, values):
                changed += [part.name] if part.name in asked else []
                if not same_values(part.tensor, values):
                    part.tensor.copy_(values)
                setattr(part.owner, part.attribute, part.tensor)
    return changed
