"""CUDA's float32 and bfloat16 products as a study records them, whatever a user's process has set."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

CUDA_ARITHMETIC = {"tf32": False, "reduced_precision_reductions": False}
"""What holds while a network is trained or scored on a CUDA device: float32 is not rounded to TF32's ten bits (whoever
wants to be faster takes bfloat16), and products of bfloat16 are summed in float32."""

_matmul: Any = torch.backends.cuda.matmul
_cudnn: Any = torch.backends.cudnn


def _reduction(kind: str) -> tuple[bool, bool]:
    name = f"allow_{kind}_reduced_precision_reduction"
    return getattr(_matmul, name), getattr(_matmul, f"{name}_split_k", True)


def _set_reduction(kind: str, value: tuple[bool, bool]) -> None:
    # torch before 2.10 takes one value alone, and later ones take one where the second is as it always was
    setattr(_matmul, f"allow_{kind}_reduced_precision_reduction", value if value[1] is False else value[0])


def _set_tf32(value: bool) -> None:
    _cudnn.allow_tf32 = value


def _precision_of(part: Any) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    return lambda: part.fp32_precision, lambda value: setattr(part, "fp32_precision", value)


_SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], None], Any], ...] = (
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
    (lambda: _cudnn.allow_tf32, _set_tf32, False),
    (*_precision_of(_matmul), "ieee"),
    (*_precision_of(_cudnn.conv), "ieee"),
    (*_precision_of(_cudnn.rnn), "ieee"),
    (lambda: _reduction("bf16"), lambda value: _set_reduction("bf16", value), (False, True)),
    (lambda: _reduction("fp16"), lambda value: _set_reduction("fp16", value), (False, True)),
)
"""How each is read and set, and what it is set to. TF32 has an old and a new name, which torch wants to agree: setting
the old sets the new too, so the old come first, and what a user has set by the new is put back after them."""

_lock = threading.Lock()
_holders = 0
_before: list[tuple[Callable[[Any], None], Any]] = []


@contextmanager
def cuda_arithmetic() -> Iterator[None]:
    """`CUDA_ARITHMETIC` holds inside, in every thread; the settings are as they were when the last has left."""
    global _holders
    with _lock:
        if _holders == 0:
            _before[:] = [(put, value) for get, put, _ in _SETTINGS for value in _read(get)]
            known = {id(put) for put, _ in _before}
            for _, put, wanted in _SETTINGS:
                if id(put) in known:
                    put(wanted)
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if _holders == 0:
                for put, value in _before:
                    put(value)


def _read(get: Callable[[], Any]) -> list[Any]:
    """The value; nothing where a user has mixed old and new names, so that torch refuses to tell the old."""
    with suppress(RuntimeError):
        return [get()]
    return []
