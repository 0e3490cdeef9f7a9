"""Trackers as a command names them: `mlflow`, `tensorboard=runs/tb`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any

from l2tune.errors import UserError
from l2tune.given import as_kind, shown_value
from l2tune.penalty.strength import ScaleName
from l2tune.trackers.tracker import Tracker

_HOME = {"tensorboard": "TensorBoardTracker", "mlflow": "MLflowTracker", "wandb": "WandbTracker"}


def named_trackers(
    words: Sequence[str],
    *,
    parameter: str | None = None,
    scale: ScaleName | None = None,
    say: Callable[[str], None] | None = None,
    where: str = "--tracker",
) -> list[Tracker]:
    """The trackers that these words name, each once, ready to be sent to.

    Args:
        words: NAME or NAME=PLACE each: TensorBoard's folder, MLflow's URI, the project of Weights & Biases.
        where: What brought the words in.

    Raises:
        UserError: There is no such tracker, its package is not installed, or its place cannot be had.
    """
    # by itself MLflow tries for four minutes to reach a server that is gone, and the search would wait
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    found = []
    for word in dict.fromkeys(words):
        name, given, place = word.partition("=")
        if name not in _HOME or (given and not place):
            raise UserError(f"{shown_value(word)} is no tracker", where, f"give {', '.join(_HOME)}, or NAME=PLACE")
        as_kind(place, str, where)
        home = getattr(importlib.import_module(f"l2tune.trackers.{name}"), _HOME[name])
        found.append(home(place or None, parameter=parameter, scale=scale, say=say))
    return found


def as_trackers(given: str | Tracker | Sequence[str | Tracker] | None, where: str) -> list[Tracker]:
    """Trackers as a function takes them: one or several, made already or by name.

    Raises:
        UserError: As of `named_trackers`, or it is neither.
    """
    if given is None:
        return []
    several: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
    found: list[Tracker] = []
    for one in several:
        if not isinstance(one, str | Tracker):
            fix = f"give {', '.join(_HOME)}, NAME=PLACE, or a tracker such as TensorBoardTracker(…)"
            raise UserError(f"{shown_value(one)} is no tracker", where, fix)
        found += named_trackers([one], where=where) if isinstance(one, str) else [one]
    return found
