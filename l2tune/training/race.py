"""How fast each way of training is with a network on a device: timed in a few steps, once for each network and card."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from platformdirs import user_cache_path

from l2tune import __version__
from l2tune.data.folds import Fold
from l2tune.data.images import take_subset
from l2tune.members import Member
from l2tune.training.device import device_name
from l2tune.training.problem import Problem
from l2tune.training.sequential import SequentialTrainer
from l2tune.training.stacked.capture import collect
from l2tune.training.stacked.population import PopulationTrainer
from l2tune.whole_files import write_together

Engine = SequentialTrainer | PopulationTrainer
Ways = Mapping[str, Callable[[Problem], Engine]]

TOGETHER = ("grouped", "matmul")
"""Ways that train all members at once; the others train one at a time."""

FILE = "engine_times.json"
"""In the user's cache folder: card, versions and network → way → seconds. Deleting it has all timed anew."""

_KEPT = 200  # networks in the file
_STEPS = 12
_FOLDS, _STRENGTHS = 5, 2


@dataclass(frozen=True)
class Times:
    """Seconds of a member's epoch of a few steps by each way; infinite where it failed.

    Attributes:
        earlier: Whether they were taken by an earlier search.
    """

    seconds: Mapping[str, float]
    earlier: bool = False


def race(problem: Problem, ways: Ways) -> Times:
    """The times of every way, from the cache folder where they are known there."""
    key = _key(problem)
    found = _known(key, ways)
    if found is not None:
        return Times(found, earlier=True)
    seconds = timed(problem, ways)
    if all(map(math.isfinite, seconds.values())):  # what failed may do so no more when others leave the card
        _keep(key, seconds)
    return Times(seconds)


def timed(problem: Problem, ways: Ways) -> dict[str, float]:
    """The times of every way, taken now."""
    data, batch = problem.data, problem.training.batch_size
    images = take_subset(data, min(len(data.images), max(2 * data.classes, (_STEPS + 1) * batch)))
    everything = np.arange(len(images.images))
    cut = max(1, min(len(everything) - 1, _STEPS * batch))
    short = replace(
        problem,
        data=images,
        folds=[Fold(everything[:cut], everything[cut:])] * _FOLDS,
        training=problem.training.model_copy(update={"epochs": 3}),
    )
    members = [Member(1e-6 * (1 + n // _FOLDS), n % _FOLDS, n % _FOLDS) for n in range(_FOLDS * _STRENGTHS)]
    seconds = {}
    for name, make in ways.items():
        seconds[name] = _seconds_per_member(make, short, members if name in TOGETHER else members[:2])
        collect(problem.device)
    return seconds


def _seconds_per_member(make: Callable[[Problem], Engine], problem: Problem, members: Sequence[Member]) -> float:
    """Of the second epoch of three: the first warms up, the last describes the networks."""
    try:
        run = make(problem).start(members)
        next(run)
        began = time.perf_counter()
        next(run)  # scores are plain numbers: the device has finished
    except Exception:  # out of memory; a convolution that this device does not know
        return math.inf
    return (time.perf_counter() - began) / len(members)


def _key(problem: Problem) -> str:
    """What decides the times: the card, the versions, and the network with how it is trained."""
    network, training = problem.network, problem.training
    told = [
        str(network),
        [(name, tuple(t.shape)) for name, t in (*network.named_parameters(), *network.named_buffers())],
        problem.data.shape,
        problem.data.classes,
        (training.batch_size, training.optimizer, training.momentum > 0),
        (problem.penalty.form, sorted(problem.multipliers.items())),
        list(problem.augment),
        (problem.bfloat16, str(problem.dtype)),
    ]
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
    return f"{device_name(problem.device)}, torch {torch.__version__}, l2tune {__version__}, network {digest}"


def _known(key: str, ways: Ways) -> dict[str, float] | None:
    found = _read().get(key)
    if not isinstance(found, dict) or found.keys() != ways.keys():
        return None
    if not all(type(value) is float and 0 < value < math.inf for value in found.values()):
        return None
    return {name: found[name] for name in ways}


def _keep(key: str, seconds: Mapping[str, float]) -> None:
    """Write the times down where that can be done; of networks that many others came after, they are forgotten."""
    others = {other: value for other, value in _read().items() if other != key}
    newest = dict([*others.items(), (key, dict(seconds))][-_KEPT:])
    with suppress(OSError, RuntimeError):  # a folder that cannot be written, or no home
        write_together(user_cache_path("l2tune", appauthor=False), {FILE: json.dumps(newest, indent=1).encode()})


def _read() -> dict[str, Any]:
    """The file's content; nothing where there is none, or where it is none of ours."""
    with suppress(OSError, RuntimeError, ValueError, RecursionError):
        found = json.loads((user_cache_path("l2tune", appauthor=False) / FILE).read_bytes())
        if isinstance(found, dict):
            return found
    return {}
