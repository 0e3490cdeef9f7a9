"""Compare search strategies by replaying recorded cross-validations: what each pays, and what it finds.

    python studies/benchmarks/search.py                                    # the recordings kept beside this file
    python studies/benchmarks/search.py --recordings FOLDER --seeds 40 --metric error --jobs 4
    python studies/benchmarks/search.py --only l2tune "tpe, median"
    python studies/benchmarks/search.py --only smac --update               # only its rows of the results

Cost is counted in fits: epochs trained, over the epochs of a full schedule. λ = 0 is trained on all folds by everyone.
Gain is the share of the attainable fall of the validation metric, from λ = 0 to the best λ recorded, that the chosen λ
delivers; test gain is the same on the test images, which no fold saw. Regret is the chosen λ's distance from the
recorded best in standard errors of the best's cross-validation. An interval covers if some λ in it is the recorded best
or within one paired standard error of it. Searches without l2tune's sampler try 15 strengths. Each seed orders the
folds anew and shifts the range by up to a quarter of a decade, so that no strategy owes its figures to a lucky order.
The strategies stand in `strategies.py`; those of other papers in `races.py`, `early_stopping.py`, `intensification.py`.
The first estimate guides l2tune by loss only: by error, the row without it is the same.

    python studies/benchmarks/search.py --synthetic --only l2tune           # curves whose minimizer is known
    python studies/benchmarks/search.py --only l2tune --disguise turned     # the same scores under a name of their own

Disguised, l2tune gets the metric as a number of which it knows no more than which way is better: turned round, shifted
below 0, or scaled. What it finds is judged by the metric itself.

Writes `results/search-METRIC.json` and `.md` (with `--picture`, `.svg`), or `results/synthetic-METRIC.*`; disguised,
`results/search-METRIC-DISGUISE.*`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from judge import claims_gain, judged
from outcome import Outcome
from picture import draw
from recording import DISGUISES, Recording, rank_correlations
from strategies import STRATEGIES
from synthetic import SHAPES, Synthetic
from tables import heading, kept, markdown, most_seeds, rows_as_markdown, summarize, updated, without_nan

HERE = Path(__file__).parent
EARLY = "Rank correlation across λ (those with at most twice the lowest metric) of early epochs with the last"


def search(source: Path | str, metric: str, strategy: str, seed: int, disguise: str | None = None) -> Outcome:
    """Run one search over a recording's file or a synthetic shape."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore")
    recording = open_recording(source, metric, seed)
    recording.disguise = disguise
    shift = 10 ** np.random.default_rng(seed).uniform(-0.25, 0.25)
    bounds = float(recording.strengths[1] * shift), float(recording.strengths[-1] * shift)
    outcome = Outcome(recording.name, strategy, seed, bounds)
    began = time.perf_counter()
    STRATEGIES[strategy](recording, seed, outcome)
    outcome.seconds = round(time.perf_counter() - began, 3)
    outcome.judge(judged(source, recording))
    outcome.claims_gain, outcome.study = claims_gain(outcome.study), None
    return outcome


def open_recording(source: Path | str, metric: str, seed: int | None = None) -> Recording:
    """A recording's file or a synthetic shape."""
    return Recording(source, metric, seed) if isinstance(source, Path) else Synthetic(source, metric, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recordings", type=Path, action="append", default=[], help="further folders of recordings")
    parser.add_argument("--synthetic", action="store_true", help="curves of known shape instead of recordings")
    parser.add_argument("--name", nargs="*", help="only these recordings or shapes")
    parser.add_argument("--only", nargs="*", choices=list(STRATEGIES), help="only these strategies")
    parser.add_argument("--metric", choices=["loss", "error"], default="loss")
    parser.add_argument("--disguise", choices=list(DISGUISES), help="tell l2tune no more than which way is better")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--picture", action="store_true", help="draw gain against fits, too (needs kaleido)")
    parser.add_argument("--update", action="store_true", help="keep the other strategies' rows of the results in --out")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    folders = [HERE / "recordings", *given.recordings]
    sources: list[Path | str] = [f for folder in folders for f in sorted(folder.glob("*.csv.gz"))]
    if given.synthetic:
        sources = list(SHAPES)
    if given.name:
        sources = [s for s in sources if (s.name.removesuffix(".csv.gz") if isinstance(s, Path) else s) in given.name]
    strategies = given.only or list(STRATEGIES)
    if given.disguise and any(not name.startswith("l2tune") for name in strategies):
        parser.error("only l2tune can be told less: give --only l2tune with --disguise")
    began = time.perf_counter()
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(search, source, given.metric, strategy, seed, given.disguise)
            for source in sources
            for strategy in strategies
            for seed in range(given.seeds)
        ]
        outcomes = [job.result() for job in jobs]
    table = summarize(outcomes)
    file = f"{'synthetic' if given.synthetic else 'search'}-{given.metric}"
    file += f"-{given.disguise}" if given.disguise else ""
    names = ("l2tune", "optuna", "numpy", "scipy", "torch")
    about = {
        "date": datetime.date.today().isoformat(),
        "metric": given.metric,
        "seeds": given.seeds,
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in names},
        "seconds": round(time.perf_counter() - began),
        "measured": dict.fromkeys(strategies, datetime.date.today().isoformat()),
    }
    recordings = [Recording(source, given.metric) for source in sources if isinstance(source, Path)]
    correlations: list[dict[str, Any]] = [{"recording": r.name} | rank_correlations(r) for r in recordings]
    given.out.mkdir(parents=True, exist_ok=True)
    searches = [
        {
            "recording": o.recording,
            "strategy": o.strategy,
            "seed": o.seed,
            "settled": o.settled,
            "fits": round(o.costs[-1], 2),
            "lambda": float(f"{o.choices[-1]:.4g}"),
            "gain": round(o.gains[-1], 4),
            "regret": round(o.regret, 4),
            "interval": o.interval and [float(f"{end:.3g}") for end in o.interval],
            "covered": o.covered,
        }
        for o in outcomes
        if o.strategy == "l2tune"
    ]
    if given.update:
        before = json.loads((given.out / f"{file}.json").read_text())
        table, about = updated(table, about, before)
        searches = kept(searches, before["searches"], "strategy")
        correlations = kept(correlations, before["rank correlation"], "recording")
    content = about | {
        "seeds": most_seeds(table),
        "table": json.loads(table.round(4).to_json(orient="records")),
        "rank correlation": json.loads(pd.DataFrame(correlations).round(3).to_json(orient="records")),
        "searches": searches,
    }
    (given.out / f"{file}.json").write_text(json.dumps(without_nan(content), separators=(",", ":")) + "\n")
    tail = f"## {EARLY}\n\n{rows_as_markdown(pd.DataFrame(correlations))}\n" if correlations else ""
    (given.out / f"{file}.md").write_text(heading(table, about) + markdown(table) + tail)
    if given.picture:
        draw(table, given.metric, given.out / f"{file}.svg")
    with pd.option_context("display.width", 250, "display.max_columns", 40, "display.max_rows", 500):
        print(table.drop(columns=["seeds", "share of grid"]).round(2).to_string(index=False))
    print(f"{len(outcomes)} searches in {about['seconds']} s; written to {given.out}/{file}.*")


if __name__ == "__main__":
    main()
