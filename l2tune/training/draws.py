"""What a member's seed decides: its initial weights, its dropout, and how many batches it draws."""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn

from l2tune.models.global_state import forked_generators
from l2tune.models.registry import ModelFactory, build_model

_GLOBAL_GENERATOR = threading.RLock()
"""Initial weights and dropout come from torch's global generator, which threads share."""


def initial_model(factory: ModelFactory, shape: tuple[int, int, int], classes: int, seed: int) -> nn.Module:
    """A network with the initial weights of this seed, the same on every device."""
    with _GLOBAL_GENERATOR, forked_generators():
        torch.manual_seed(seed)  # all of them: a factory may draw on any device
        return build_model(factory, shape, classes)


class Seeded:
    """torch's global generators of the CPU and a device seeded inside, and as they were outside; one thread at a time.

    Those of other devices are left alone: another training, or the user, may draw there.

    Attributes:
        drawn: Whether anything was drawn inside; known afterwards.
    """

    drawn = False

    def __init__(self, seed: int, device: torch.device) -> None:
        self._seed, self._device = seed, device

    def __enter__(self) -> Seeded:
        _GLOBAL_GENERATOR.acquire()
        try:
            self._outside = self._states()
            self._put_seed()
            self._start = self._states()
        except BaseException:
            _GLOBAL_GENERATOR.release()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self.drawn = not all(map(torch.equal, self._start, self._states()))
        finally:
            self._put_states(self._outside)
            _GLOBAL_GENERATOR.release()

    def _put_seed(self) -> None:
        torch.default_generator.manual_seed(self._seed)  # torch.manual_seed would touch every device
        if self._device.type == "cuda":
            with torch.cuda.device(self._device):
                torch.cuda.manual_seed(self._seed)
        elif self._device.type == "mps":
            torch.mps.manual_seed(self._seed)

    def _states(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        if self._device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self._device))
        elif self._device.type == "mps":
            states.append(torch.mps.get_rng_state())
        return states

    def _put_states(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(states[1], self._device)
        elif self._device.type == "mps":
            torch.mps.set_rng_state(states[1])


def batch_count(images: int, batch_size: int) -> int:
    """Batches of an epoch. The last may be short, but a single image is left out: batch norm cannot take it."""
    full, rest = divmod(images, batch_size)
    return max(1, full + (rest > 1))
