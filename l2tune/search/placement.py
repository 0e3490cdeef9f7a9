"""Where the workers of one machine train: a GPU each, or a share of the cores."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

MOST_WORKERS = 1024
"""More are not started, whoever asks."""

AUTO_LIMIT = 8
"""`auto` starts no more on a CPU: beyond, fits are spent on what the next result would have made needless."""


def places(workers: int | None, device: str, threads: int | None = None) -> list[Mapping[str, str]]:
    """The environment variables of each worker.

    Args:
        workers: How many; None for one on each GPU, or without one for a core each, up to `AUTO_LIMIT`.
        device: As in the settings: `auto`, `cpu`, `cuda`, `cuda:1`, …
        threads: Of each on a CPU; an equal share of the cores by default.
    """
    cards = _cards() if device in ("auto", "cuda") else []
    if cards:
        return [{"CUDA_VISIBLE_DEVICES": cards[k % len(cards)]} for k in range(workers or len(cards))]
    cores = usable_cores()
    count = workers or max(1, min(cores, AUTO_LIMIT))
    own = str(threads or max(1, cores // count))
    # PASSIVE: threads that spin while they wait take the time of the other workers'
    return [{"OMP_NUM_THREADS": own, "MKL_NUM_THREADS": own, "OMP_WAIT_POLICY": "PASSIVE"}] * count


def usable_cores() -> int:
    """Cores that this process may use: by its affinity, and by the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def _cards() -> list[str]:
    """The GPUs that are visible, as `CUDA_VISIBLE_DEVICES` names them."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = [word.strip() for word in visible.split(",")] if visible else [str(card) for card in range(count)]
    return named[:count]
