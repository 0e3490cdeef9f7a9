"""The device that a training runs on."""

from __future__ import annotations

import re

import torch

from l2tune.errors import UserError


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
