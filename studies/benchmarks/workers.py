"""How many workers pay: whole searches by 1 to 64 workers of one study, simulated around recorded cross-validations.

    python studies/benchmarks/workers.py                                         # the recordings kept beside this file
    python studies/benchmarks/workers.py --recordings FOLDER --seeds 10 --workers 1 4 16

One process, virtual time: each worker is a `WorkerSearch` of its own on one study, as in `l2tune search --workers N`.
A fit takes about one unit of time (lognormal, spread 20 %), and its result is told when it ends; what other workers
begin meanwhile sees it under way and no more. A worker that is told to wait asks again whenever a fit has ended.
Each seed orders the folds anew and shifts the range by up to a quarter of a decade, as in `search.py`.

Cost is counted in fits: `settled` are those begun until the answer was settled, `fits` all of the search, those that
complete λ_best and λ_1se included. Time is that of a fit. Speed-up is one worker's time over that of N; efficiency is
the speed-up per worker; idle is the share of the workers' time in which they waited. `within 1 se` judges the chosen λ
as `search.py` does. Ratios to one worker are taken search by search, and told as medians over seeds.

Writes the part `simulation` of `results/workers.json` and of `results/workers.md`; other parts stay as they are.
"""

from __future__ import annotations

import argparse
import datetime
import heapq
import json
import logging
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
from recording import Recording
from tables import rows_as_markdown

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

TUNED_SEEDS = 3
"""How long workers wait for each other was chosen on the seeds below this one, of the same recordings."""

PARTS = {
    "simulation": "How many workers pay: simulated searches",
    "speed-up": "Measured speed-up",
    "faults": "Faults survived",
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
        study: That they share.
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

    study: optuna.Study
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


def begin_study(recording: Recording, seed: int) -> tuple[optuna.Study, CrossValidationObjective]:
    """A study of a recording with the settings that `search.py` gives it."""
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
    return study, CrossValidationObjective.from_settings(given, recording, {"class_names": list("0123456789")})


def simulate(
    recording: Recording,
    workers: int,
    seed: int,
    *,
    spread: float = SPREAD,
    after_event: Callable[[Simulation], None] = lambda simulation: None,
) -> Outcome:
    """One search of a recording by so many workers."""
    study, objective = begin_study(recording, seed)
    if workers > 1:
        queue_baseline_parts(study, recording.folds)
    budget = Budget(objective.settings.search.trials)
    searches = [
        WorkerSearch(study, objective, budget, Worker(f"{index}", "simulated", index), settle=StopWhenSettled())
        for index in range(workers)
    ]
    rng = np.random.default_rng([seed, workers])
    simulation = Simulation(study, searches, lambda: float(rng.lognormal(0.0, spread)))
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


def run(source: Path, metric: str, workers: int, seed: int) -> Outcome:
    """One search of a recording's file."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("l2tune").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    return simulate(Recording(source, metric, seed), workers, seed)


def paired(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row per search, with its ratios to one worker's search of the same recording and seed."""
    searches = pd.DataFrame([asdict(outcome) for outcome in outcomes])
    alone = searches[searches["workers"] == 1].set_index(["recording", "seed"])
    alone = alone.reindex(pd.MultiIndex.from_frame(searches[["recording", "seed"]]))
    for name in ("settled", "fits"):
        searches[f"{name} ratio"] = searches[name].to_numpy(float) / alone[name].to_numpy(float)
    searches["speed-up"] = alone["seconds"].to_numpy(float) / searches["seconds"].to_numpy(float)
    searches["efficiency"] = searches["speed-up"] / searches["workers"]
    return searches


def overall(searches: pd.DataFrame) -> pd.DataFrame:
    """One row per number of workers, over all recordings and seeds."""
    groups = searches.groupby("workers")
    return pd.DataFrame(
        {
            "settled": groups["settled"].median(),
            "settled, mean": groups["settled"].mean(),
            "ratio": groups["settled ratio"].median(),
            "fits": groups["fits"].median(),
            "fits, mean": groups["fits"].mean(),
            "fits ratio": groups["fits ratio"].median(),
            "time": groups["seconds"].median(),
            "speed-up": groups["speed-up"].median(),
            "efficiency": groups["efficiency"].median(),
            "idle": groups["idle"].mean(),
            "within 1 se": groups["regret"].agg(lambda regret: float((regret <= 1).mean())),
            "regret": groups["regret"].mean(),
            "settled at all": groups["why"].agg(lambda why: float((why == SETTLED).mean())),
        }
    ).reset_index()


def by_recording(searches: pd.DataFrame, column: str) -> pd.DataFrame:
    """Median of a column, one row per recording, one column per number of workers."""
    table = searches.pivot_table(index="recording", columns="workers", values=column, aggfunc="median")
    return table.rename(columns=str).reset_index()


def misses(searches: pd.DataFrame) -> list[str]:
    """What falls short of the targets, a line each."""
    found = []
    for workers, most in TARGETS.items():
        for column, what in (("settled ratio", "until settled"), ("fits ratio", "in all")):
            medians = searches[searches["workers"] == workers].groupby("recording")[column].median()
            found += [
                f"{name} with {workers} workers: {ratio:.2f} times the fits {what}, {most:g} wanted"
                for name, ratio in medians.items()
                if ratio > most
            ]
    return found


def told_misses(which: str, searches: pd.DataFrame) -> list[str]:
    """The same as Markdown."""
    wanted = ", ".join(f"{most:g} times with {workers}" for workers, most in TARGETS.items())
    missed = misses(searches)
    head = f"Wanted, each recording's median over {which}: at most the fits of one worker {wanted} workers."
    return [f"{head} {'Missed:' if missed else 'None misses.'}", "", *(f"- {line}" for line in missed)]


def markdown(searches: pd.DataFrame, about: dict[str, Any]) -> str:
    """The part of the results file that tells of the simulation."""
    whole = overall(searches)
    whole["workers"] = whole["workers"].astype(str)
    lines = [
        f"{about['date']}, validation {about['metric']}, {searches['recording'].nunique()} recordings, "
        f"{about['seeds']} seeds each; simulated on {about['machine']}.",
        "",
        "A fit takes 1 unit of time, give or take 20 %. `settled`: fits begun until the answer was settled; `fits`: all"
        " of the search; ratios, speed-up and efficiency: to one worker's search, median over searches.",
        "",
        rows_as_markdown(whole),
        "",
        *told_misses("all seeds", searches),
    ]
    fresh = searches[searches["seed"] >= TUNED_SEEDS]
    if len(fresh):
        table = overall(fresh)
        table["workers"] = table["workers"].astype(str)
        title = f"### Seeds from {TUNED_SEEDS} on, which nothing was chosen by"
        lines += ["", title, "", rows_as_markdown(table), "", *told_misses("these seeds", fresh)]
    for column, title in (
        ("settled ratio", "Fits until settled, times those of one worker (median)"),
        ("fits ratio", "Fits in all, times those of one worker (median)"),
        ("speed-up", "Speed-up (median)"),
    ):
        lines += ["", f"### {title}", "", rows_as_markdown(by_recording(searches, column))]
    return "\n".join(lines) + "\n"


def write_part(folder: Path, part: str, content: dict[str, Any], text: str) -> None:
    """Write one of `PARTS` into the results, and leave the others as they are.

    Args:
        content: What is kept as JSON.
        text: The part's Markdown, below its heading.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "workers.json"
    kept = json.loads(file.read_text()) if file.exists() else {}
    kept[part] = content | {"markdown": text}
    kept = {name: kept[name] for name in PARTS if name in kept}
    file.write_text(json.dumps(kept, separators=(",", ":")) + "\n")
    missing = {"markdown": "Not measured yet.\n"}
    sections = [f"## {heading}\n\n{kept.get(name, missing)['markdown']}" for name, heading in PARTS.items()]
    (folder / "workers.md").write_text("# Many workers\n\n" + "\n".join(sections))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recordings", type=Path, action="append", default=[], help="further folders of recordings")
    parser.add_argument("--name", nargs="*", help="only these recordings")
    parser.add_argument("--workers", type=int, nargs="*", default=WORKERS)
    parser.add_argument("--metric", choices=["loss", "error"], default="loss")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    files = [f for folder in (HERE / "recordings", *given.recordings) for f in sorted(folder.glob("*.csv.gz"))]
    if given.name:
        files = [file for file in files if file.name.removesuffix(".csv.gz") in given.name]
    began = time.perf_counter()
    outcomes = [
        run(file, given.metric, workers, seed)
        for file in files
        for seed in range(given.seeds)
        for workers in sorted({1, *given.workers})
    ]
    searches = paired(outcomes)
    names = ("l2tune", "optuna", "numpy", "scipy")
    about = {
        "date": datetime.date.today().isoformat(),
        "metric": given.metric,
        "seeds": given.seeds,
        "spread": SPREAD,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in names},
        "seconds": round(time.perf_counter() - began),
    }
    content = about | {
        "table": json.loads(overall(searches).round(4).to_json(orient="records")),
        "missed": misses(searches),
        "searches": [asdict(outcome) for outcome in outcomes],
    }
    write_part(given.out, "simulation", content, markdown(searches, about))
    with pd.option_context("display.width", 250, "display.max_columns", 40):
        print(overall(searches).round(2).to_string(index=False))
    print("\n".join(misses(searches) or ["all targets are met"]))
    print(f"{len(outcomes)} searches in {about['seconds']} s; written to {given.out}/workers.*")


if __name__ == "__main__":
    main()
