"""The device that a training runs on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from l2tune.errors import UserError
from l2tune.training.arithmetic import cuda_arithmetic


def choose_device(name: str) -> torch.device:
    """The device of a name: `auto` is CUDA when there is one, else the CPU; a number may follow, as in `cuda:1`.

    Raises:
        UserError: There is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parts = re.fullmatch(r"([a-z]+)(?::(0|[1-9]\d*))?", name)
    if parts is None or not _is_known(parts[1]):
        raise UserError(f"{name!r} is no device", "--device", "give auto, cpu, cuda or cuda:1")
    kind, index = parts[1], int(parts[2] or 0)  # torch keeps eight bits of the number: cuda:256 would be cuda:0
    if kind not in ("cpu", "cuda", "mps"):
        raise UserError(f"{name!r} is not supported", "--device", "give auto, cpu, cuda or mps")
    count = _count(kind)
    if index >= count:
        there = "there is none" if not count else "there is one" if count == 1 else f"there are {count}"
        fix = "give --device cpu, or leave it out" if kind != "cpu" else "give --device cpu"
        raise UserError(f"{name!r} is not here, {there}", "--device", fix)
    return torch.device(kind if kind != "cuda" else name)


def device_name(device: torch.device) -> str:
    """For people: `cpu`, or the card's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@contextmanager
def on_device(device: torch.device) -> Iterator[None]:
    """Work on a device: it is the current one inside, for streams and graphs, and computes as a study records it.

    Without this `cuda:1` would have its tensors there, and its streams, graphs and waits on `cuda:0`.
    """
    if device.type != "cuda":
        yield
        return
    with torch.cuda.device(device), cuda_arithmetic():
        yield


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether a CUDA device computes in bfloat16 itself; one that emulates it (Turing) is slower than with float32."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return False
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on the device. From the host to CUDA it waits for nothing: memory that can be paged out would."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _is_known(kind: str) -> bool:
    """Whether torch has such a kind of device, here or elsewhere."""
    try:
        torch.device(kind)
    except RuntimeError:
        return False
    return True


def _count(kind: str) -> int:
    """How many devices of a kind are here."""
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    return int(torch.backends.mps.is_available()) if kind == "mps" else 1


def use_threads(count: int) -> None:
    """Let torch compute with so many threads on the CPU, from now on and in the whole process."""
    torch.set_num_threads(count)
