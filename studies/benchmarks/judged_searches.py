"""What searches by error find, judged by thousands of images that they do not see: replays of `recordings/judged`.

    python studies/benchmarks/judged_searches.py                                     # l2tune and "gp, none"
    python studies/benchmarks/judged_searches.py --only l2tune "tpe, median" --seeds 40 --metric loss

Regret is by how much the chosen λ is worse than the best λ recorded, by the judge: in standard errors of the
cross-validation at that λ, and in the metric. An interval covers if some λ in it cannot be told from the best by the
judge; `decades` is its width (median). Gain is the share of the judge's fall, in the end and `at as many fits` as
l2tune spent (median); the grid's is that of the λ whose recorded mean over all folds is lowest. Where the fall is flat,
less than three of its standard errors, there is none: there it counts how often a search claims one. `λ > 0` is the
share of searches that choose one, `claims` of those on whose study l2tune's verdict is that it measurably helps.

All seeds of a recording search the same folds: whether an interval covers is one case per draw of the images, not one
per seed. `results/draws` is of draws 0 to 6 (CIFAR-10: 5) of the linear networks, made by
`record_judged.py NAME … --draws 0 1 2 3 4 5 6 --out FOLDER`:

    python studies/benchmarks/judged_searches.py --recordings FOLDER --seeds 2 --out studies/benchmarks/results/draws

Writes `results/judged-METRIC.json` and `.md`.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from judge import Judge, Judged
from outcome import Outcome
from recording import Recording
from search import search
from strategies import STRATEGIES

HERE = Path(__file__).parent


TARGETS = """Targets of l2tune by error, on each recording: within one standard error in at least 97 % of searches,
coverage of at least 0.9, gain at least that of 'gp, none' at as many fits and 0.9 of the grid's, at most 30 fits
(median); where the fall is flat, no claim of a gain in at least 95 %.
"""


def about_recording(source: Path, metric: str) -> dict[str, Any]:
    """How much there is to find, and how well that is known."""
    recording = Recording(source, metric)
    judge = Judge.read(source.parent, recording.name, metric)
    assert judge is not None
    last = float(judge.strengths[-1])
    return {
        "recording": recording.name,
        "at 0": judge.score(0.0),
        "best": judge.score(judge.best),
        "best λ": judge.best,
        "fall": judge.fall,
        "± fall": judge.standard_error(0.0, judge.best),
        "rise": judge.score(last) - judge.score(judge.best),
        "± rise": judge.standard_error(last, judge.best),
        "flat": judge.is_flat,
        "gain of the grid": judge.gain(recording.best),
        "± validation": Judged(recording, judge).standard_error,
    }


def summarize(outcomes: Sequence[Outcome], error_of: dict[str, float]) -> pd.DataFrame:
    """One row per recording and strategy; draws of a recording (`NAME~1`) are taken together.

    Args:
        error_of: Recording → the unit of regret, in the metric.
    """
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.recording.split("~")[0], outcome.strategy), []).append(outcome)
    ours = {recording: _fits(group) for (recording, strategy), group in groups.items() if strategy == "l2tune"}
    return pd.DataFrame(
        [
            {
                "recording": recording,
                "strategy": strategy,
                "draws": len({o.recording for o in group}),
                "searches": len(group),
                "within 1 se": np.mean([o.regret <= 1 for o in group]),
                "regret": np.mean([o.regret for o in group]),
                "worst": max(o.regret for o in group),
                "in the metric": np.mean([o.regret * error_of[o.recording] for o in group]),
                "coverage": np.nan if group[0].covered is None else np.mean([o.covered for o in group]),
                "decades": np.nan if group[0].interval is None else np.median([_decades(o) for o in group]),
                "gain": np.mean([o.gains[-1] for o in group]),
                "at as many fits": np.mean([o.gain_at(ours.get(recording, np.nan)) for o in group]),
                "fits": _fits(group),
                "most": max(o.costs[-1] for o in group),
                "λ > 0": np.mean([o.choices[-1] > 0 for o in group]),
                "claims": np.nan if group[0].claims_gain is None else np.mean([o.claims_gain for o in group]),
            }
            for (recording, strategy), group in groups.items()
        ]
    )


def _fits(group: Sequence[Outcome]) -> float:
    return float(np.median([o.costs[-1] for o in group]))


def _decades(outcome: Outcome) -> float:
    """Width of the interval; from the lowest λ of the range, where it reaches λ = 0."""
    assert outcome.interval is not None
    low, high = (max(end, outcome.range[0]) for end in outcome.interval)
    return float(np.log10(high / low))


def _table(rows: pd.DataFrame) -> str:
    lines = ["| " + " | ".join(rows.columns) + " |", "|---" * len(rows.columns) + "|"]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows.itertuples(index=False)]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, int | np.integer):
        return str(value)
    return "" if np.isnan(value) else f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"


def write(outcomes: Sequence[Outcome], recordings: pd.DataFrame, metric: str, folder: Path) -> None:
    """Both tables, as JSON and as text."""
    table = summarize(outcomes, dict(zip(recordings["recording"], recordings["± validation"], strict=True)))
    today = datetime.date.today().isoformat()
    content = {"date": today, "metric": metric}
    content |= {"recordings": json.loads(recordings.to_json(orient="records"))}
    content |= {"table": json.loads(table.to_json(orient="records"))}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"judged-{metric}.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")
    head = f"# Searches by {metric}, judged by images they do not see, {today}"
    text = f"{head}\n\n{TARGETS}\n## Recordings\n\n{_table(recordings)}\n\n## Searches\n\n{_table(table)}\n"
    (folder / f"judged-{metric}.md").write_text(text)
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--name", nargs="*", help="only these recordings")
    parser.add_argument("--only", nargs="*", choices=list(STRATEGIES), default=["l2tune", "gp, none"])
    parser.add_argument("--metric", choices=["loss", "error"], default="error")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--recordings", type=Path, default=HERE / "recordings" / "judged")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    sources = [f for f in sorted(given.recordings.glob("*.csv.gz")) if not given.name or f.name[:-7] in given.name]
    recordings = pd.DataFrame([about_recording(source, given.metric) for source in sources])
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(search, source, given.metric, strategy, seed)
            for source in sources
            for strategy in given.only
            for seed in range(given.seeds)
        ]
        outcomes = [job.result() for job in jobs]
    write(outcomes, recordings, given.metric, given.out)


if __name__ == "__main__":
    main()
