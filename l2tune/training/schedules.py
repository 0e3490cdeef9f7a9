"""The course of the learning rate: a pure function of the step, shared by all engines."""

from __future__ import annotations

import math
from typing import Literal

from l2tune.errors import UserError

Schedule = Literal["one-cycle", "cosine", "constant"]

WARM_UP = 0.3
START = 1 / 25


def learning_rate(schedule: Schedule, step: int, steps: int, peak: float) -> float:
    """Learning rate of a step.

    `one-cycle` (Smith and Topin, 2019) rises linearly from a 25th of the peak over the first 30 % of the steps, then
    falls to zero along a cosine; `cosine` falls from the peak to zero; `constant` stays. Each step takes the value at
    its middle, so none is wasted at zero.

    Args:
        step: From 0 to `steps` − 1.
        steps: Of the whole training.
        peak: Highest learning rate.

    Raises:
        UserError: There is no such schedule.
    """
    progress = (step + 0.5) / steps
    if schedule == "constant":
        return peak
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * progress))
    if schedule != "one-cycle":
        raise UserError(f"{schedule!r} is no schedule", "schedule", "known are one-cycle, cosine, constant")
    if progress < WARM_UP:
        return peak * (START + (1 - START) * progress / WARM_UP)
    return peak * 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))
