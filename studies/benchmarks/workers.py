"""How many workers pay: whole searches by 1 to 64 workers of one study, simulated around recorded cross-validations.

    python studies/benchmarks/workers.py                                         # the recordings kept beside this file
    python studies/benchmarks/workers.py --recordings FOLDER --seeds 10 --workers 1 4 16

One process, virtual time: each worker is a `WorkerSearch` of its own on one study, as in `l2tune search --workers N`.
A fit takes about one unit of time (lognormal, spread 20 %), and its result is told when it ends; what other workers
begin meanwhile sees it under way and no more. A worker that is told to wait asks again whenever a fit has ended.
Each seed orders the folds anew and shifts the range by up to a quarter of a decade, as in `search.py`.

Cost is counted in fits, `settled` those begun until the answer was settled, `fits` all of the search, completed folds of
λ_best and λ_1se included. Time is that of a fit. Speed-up is one worker's time over that of N; efficiency is the
speed-up per worker; idle is the share of the workers' time in which they waited. `within 1 se` judges the chosen λ as
`search.py` does. Ratios to one worker are taken search by search, and told as medians over seeds.

Writes the part `simulation` of `results/workers.json` and of `results/workers.md`; other parts stay as they are.
"""

from __future__ import annotations

import argparse
import datetime
import heapq
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from search import Recording, open_recording, rows_as_markdown

from l2tune.curve.choice import choose_best
from l2tune.curve.observations import fit_curve
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.records.observations import observations
from l2tune.records.workers import Worker
from l2tune.search.completion import queue_baseline_parts
from l2tune.search.optuna_samplers import make_pruner, make_sampler
from l2tune.search.runner import Budget, Step, WorkerSearch
from l2tune.search.stopping import StopWhenSettled
from l2tune.settings import build

HERE = Path(__file__).parent
WORKERS = (1, 2, 4, 8, 16, 32, 64)
SPREAD = 0.2
SETTLED = "the answer is settled"
TARGETS = {4: 1.3, 16: 2.0}
"""Workers → at most so many times the fits of one."""

PARTS = {
    "simulation": "How many workers pay: simulated searches",
    "speed-up": "Measured speed-up",
    "faults": "Faults survived",
    "storage": "What an operation of a storage costs",
}
"""Parts of the results: key in the JSON file → heading in the Markdown file, in this order."""


@dataclass
class Outcome:
    """One search.

    Attributes:
        fits: Begun in all, each of which ended.
        settled: Begun when the answer was first settled.
        seconds: Virtual, of the whole search.
        settled_at: Virtual seconds.
        idle: Share of the workers' time in which they waited.
        regret: Of the chosen λ, in standard errors; see `search.py`.
        why: It stopped.
    """

    recording: str
    workers: int
    seed: int
    fits: int = 0
    settled: int | None = None
    seconds: float = 0.0
    settled_at: float | None = None
    idle: float = 0.0
    strength: float = 0.0
    regret: float = 0.0
    why: str = ""


@dataclass
class Simulation:
    """Workers of one study in virtual time.

    Attributes:
        searches: The workers' own.
        duration: Draws the seconds of a fit.
        now: Virtual seconds since the start.
        busy: Seconds spent on fits that have ended.
        fits: Fits begun.
        settled: Fits begun and seconds when a worker first found the answer settled.
        why: The worker asked last began nothing.
        training: (end of the fit, worker) of the fits under way, a heap.
        waiting: Workers that were told to wait, the longest first.
    """

    searches: Sequence[WorkerSearch]
    duration: Callable[[], float]
    now: float = 0.0
    busy: float = 0.0
    fits: int = 0
    settled: tuple[int, float] | None = None
    why: str = ""
    training: list[tuple[float, int]] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)

    def run(self, after_event: Callable[[Simulation], None] = lambda simulation: None) -> str:
        """Run until no worker trains or will; returns why.

        Args:
            after_event: Called when all that a fit's end lets workers do has been done.
        """
        self.waiting = list(range(len(self.searches)))
        self._ask_waiting()
        while self.training:
            after_event(self)
            self.now, index = heapq.heappop(self.training)
            self.searches[index].advance()  # not before: nobody may see what has not ended
            self.waiting.insert(0, index)
            self._ask_waiting()
        return self.why

    def _ask_waiting(self) -> None:
        """Ask the workers that do not train, until one of them begins nothing: the others would be told the same."""
        while self.waiting:
            search = self.searches[self.waiting[0]]
            step = search.begin()
            if self.settled is None and search.why == SETTLED:
                self.settled = self.fits, self.now
            if step is not Step.BEGUN:
                self.why = search.why
                return
            if all(trial.done for trial in search.active):
                search.advance()  # others had finished all its folds: nothing is to be trained
            else:
                self._train(self.waiting.pop(0))

    def _train(self, index: int) -> None:
        seconds = self.duration()
        self.fits += 1
        self.busy += seconds
        heapq.heappush(self.training, (self.now + seconds, index))


def simulate(
    recording: Recording,
    workers: int,
    seed: int,
    *,
    spread: float = SPREAD,
    after_event: Callable[[Simulation], None] = lambda simulation: None,
) -> Outcome:
    """One search of a recording by so many workers."""
    shift = 10 ** np.random.default_rng(seed).uniform(-0.25, 0.25)
    given = build(
        {
            "seed": seed,
            "folds": recording.folds,
            "epochs": recording.epochs,
            "metric": recording.metric,
            "lambda_range": (float(recording.strengths[1] * shift), float(recording.strengths[-1] * shift)),
        }
    )
    study = optuna.create_study(sampler=make_sampler(given), pruner=make_pruner(given))
    objective = CrossValidationObjective.from_settings(given, recording, {"class_names": list("0123456789")})
    if workers > 1:
        queue_baseline_parts(study, recording.folds)
    budget = Budget(given.search.trials)
    searches = [
        WorkerSearch(study, objective, budget, Worker(f"{index}", "simulated", index), settle=StopWhenSettled())
        for index in range(workers)
    ]
    rng = np.random.default_rng([seed, workers])
    simulation = Simulation(searches, lambda: float(rng.lognormal(0.0, spread)))
    why = simulation.run(after_event)
    seen = observations(study)
    curve = fit_curve(seen)
    chosen = choose_best(curve, seen.by_strength()) if curve else 0.0
    settled, settled_at = simulation.settled or (None, None)
    return Outcome(
        recording.name,
        workers,
        seed,
        fits=simulation.fits,
        settled=settled,
        seconds=round(simulation.now, 3),
        settled_at=settled_at and round(settled_at, 3),
        idle=round(1 - simulation.busy / (workers * simulation.now), 4),
        strength=float(f"{chosen:.4g}"),
        regret=round(recording.regret(chosen), 4),
        why=why,
    )
