"""What a member's seed decides: its initial weights, its dropout, and how many batches it draws."""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn

from l2tune.models.registry import ModelFactory, build_model

_GLOBAL_GENERATOR = threading.RLock()
"""Initial weights and dropout come from torch's global generator, which threads share."""


def initial_model(factory: ModelFactory, shape: tuple[int, int, int], classes: int, seed: int) -> nn.Module:
    """A network with the initial weights of this seed, the same on every device."""
    with _GLOBAL_GENERATOR, torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return build_model(factory, shape, classes)


class Seeded:
    """torch's global generators seeded inside, and as they were outside; one thread at a time.

    Attributes:
        drawn: Whether anything was drawn inside; known afterwards.
    """

    drawn = False

    def __init__(self, seed: int, device: torch.device) -> None:
        self._seed, self._device = seed, device
        self._fork = torch.random.fork_rng([device] if device.type == "cuda" else [])

    def __enter__(self) -> Seeded:
        _GLOBAL_GENERATOR.acquire()
        self._fork.__enter__()
        torch.manual_seed(self._seed)
        self._start = self._states()
        return self

    def __exit__(self, *exception: object) -> None:
        self.drawn = not all(map(torch.equal, self._start, self._states()))
        self._fork.__exit__(None, None, None)
        _GLOBAL_GENERATOR.release()

    def _states(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        if self._device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self._device))
        elif self._device.type == "mps":
            states.append(torch.mps.get_rng_state())
        return states


def batch_count(images: int, batch_size: int) -> int:
    """Batches of an epoch. The last may be short, but a single image is left out: batch norm cannot take it."""
    full, rest = divmod(images, batch_size)
    return max(1, full + (rest > 1))
