"""What a network's code can change beyond itself: torch's global settings, and generators of random numbers."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@contextmanager
def kept() -> Iterator[Callable[[], list[str]]]:
    """Put back what is changed inside, torch's generators apart; yields a function that names what has changed."""
    before = [setting.get() for setting in _SETTINGS]

    def changed() -> list[str]:
        return [
            setting.name for setting, value in zip(_SETTINGS, before, strict=True) if not _same(setting.get(), value)
        ]

    try:
        yield changed
    finally:
        for setting, value in zip(_SETTINGS, before, strict=True):
            if not _same(setting.get(), value):
                setting.put(value)


@contextmanager
def forked_generators() -> Iterator[None]:
    """torch's global generators are outside as they were, whatever is seeded and drawn inside."""
    used: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count()) if used else (), device_type="cuda"):
            yield
    finally:
        if mps is not None:
            torch.mps.set_rng_state(mps)
        if not used:  # torch keeps a seed for when CUDA is first used: the one from outside again
            torch.cuda.manual_seed_all(torch.initial_seed())


def set_defaults(*, gradients: bool = True) -> None:
    """torch's settings as networks are built with them, whatever a user's module has set while it was imported."""
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(gradients)
    if torch.get_default_device() != torch.device("cpu"):
        torch.set_default_device(None)


def seed_other_generators() -> None:
    """Seed Python's and numpy's global generators from the state of torch's, which stays as it is."""
    seed = zlib.crc32(torch.get_rng_state().numpy().tobytes())
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the one that a user's code draws from)


@dataclass(frozen=True, slots=True)
class _Setting:
    name: str
    get: Callable[[], Any]
    put: Callable[[Any], object]


def _numpy_state() -> tuple[Any, ...]:
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    return (name, keys.tobytes(), *rest)  # type: ignore[union-attr]


def _put_numpy_state(state: tuple[Any, ...]) -> None:
    name, keys, *rest = state
    np.random.set_state((name, np.frombuffer(keys, np.uint32), *rest))  # noqa: NPY002


def _put_device(device: torch.device) -> None:
    # None takes torch's own default; naming the CPU would put a mode around every call
    torch.set_default_device(None if device == torch.device("cpu") else device)


def _put_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _same(one: Any, other: Any) -> bool:
    return bool(one == other)


_SETTINGS = (
    _Setting("the default data type", torch.get_default_dtype, torch.set_default_dtype),
    _Setting("the gradient mode", torch.is_grad_enabled, torch.set_grad_enabled),
    _Setting("the number of threads", torch.get_num_threads, torch.set_num_threads),
    _Setting("the default device", torch.get_default_device, _put_device),
    _Setting(
        "deterministic algorithms",
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        _put_deterministic,
    ),
    _Setting("anomaly detection", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    _Setting(
        "autocast", lambda: torch.is_autocast_enabled("cpu"), lambda value: torch.set_autocast_enabled("cpu", value)
    ),
    _Setting("the precision of products", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    _Setting("Python's random numbers", random.getstate, random.setstate),
    _Setting("numpy's random numbers", _numpy_state, _put_numpy_state),
)
