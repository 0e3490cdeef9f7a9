"""The device that a training runs on."""

from __future__ import annotations

import torch

from l2tune.errors import UserError


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA when there is one, else the CPU.

    Raises:
        UserError: There is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"{name!r} is no device", "--device", "give auto, cpu, cuda or cuda:1") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            there = f"there are {count}" if count else "there is none"
            raise UserError(f"{name!r} is not here, {there}", "--device", "give --device cpu, or leave it out")
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise UserError("'mps' is not here", "--device", "give --device cpu, or leave it out")
    elif device.type != "cpu":
        raise UserError(f"{name!r} is not supported", "--device", "give auto, cpu, cuda or mps")
    return device


def device_name(device: torch.device) -> str:
    """For people: `cpu`, or the card's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
