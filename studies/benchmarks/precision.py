"""Whether bfloat16 changes the answer: the recorded cross-validations again, every λ × fold, in the other precision.

    python studies/benchmarks/precision.py digits-sgd mnist-1000-adam     # record in bfloat16 and compare
    python studies/benchmarks/precision.py --compare                     # compare what is recorded
    python studies/benchmarks/precision.py --compare --seeds 40          # and what searches of either choose

Same images, folds, seeds and schedule as `record.py`; `--precision float32` instead trains in float32 once more, which
tells what other sums and threads alone change. For each recording and λ: the difference of the cross-validated loss in
standard errors of the cross-validation at its best λ. The valley is where the curve is within one of these of its
lowest mean. With `--seeds`, so many searches by loss over either recording, with the same seeds; the recording in
float32 judges what both choose. Writes `recordings/PRECISION/NAME.csv.gz` and `results/precision.{json,md}`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import record
from record import FOLDER, RECORDINGS
from recording import Recording
from search import search

RESULTS = Path(__file__).parent / "results" / "precision.json"
WANTED = 0.1
"""Standard errors that the precisions may differ by in the valley."""


def last_losses(table: Path) -> pd.DataFrame:
    """(λ × fold) validation loss after the last epoch."""
    rows = pd.read_csv(table)
    last = rows[rows["epoch"] == rows["epoch"].max()]
    losses: pd.DataFrame = last.pivot(index="lambda", columns="fold", values="val_loss")
    return losses


def compared(name: str, precision: str) -> dict[str, Any]:
    """A recording beside the one of the same name in another precision."""
    first, second = (last_losses(folder / f"{name}.csv.gz") for folder in (FOLDER, FOLDER / precision))
    means = first.mean(axis=1)
    best, best_of_it = (float(losses.index[int(losses.mean(axis=1).argmin())]) for losses in (first, second))
    error = float(first.loc[best].std(ddof=1) / np.sqrt(first.shape[1]))
    gaps = (second.mean(axis=1) - means) / error
    valley = means <= means.min() + error
    return {
        "recording": name,
        "precision": precision,
        "best": best,
        "best_of_it": best_of_it,
        "loss": float(means.min()),
        "standard_error": error,
        "regret": float((means[best_of_it] - means.min()) / error),
        "valley": [float(strength) for strength in means.index[valley]],
        "largest_in_valley": float(gaps[valley].abs().max()),
        "largest": float(gaps.replace([np.inf, -np.inf], np.nan).abs().max()),
        "gaps": {f"{strength:.4g}": float(gap) for strength, gap in gaps.items()},
    }


def choices(name: str, precision: str, seeds: int) -> dict[str, Any]:
    """The λs that searches of both recordings choose, seed by seed, and how far they are apart in float32."""
    paths = [FOLDER / f"{name}.csv.gz", FOLDER / precision / f"{name}.csv.gz"]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        first, second = (
            [outcome.choices[-1] for outcome in pool.map(partial(search, path, "loss", "l2tune"), range(seeds))]
            for path in paths
        )
    judge = Recording(paths[0], "loss")
    regrets = [[judge.regret(choice) for choice in chosen] for chosen in (first, second)]
    apart = [abs(one - other) for one, other in zip(*regrets, strict=True)]
    return {
        "recording": name,
        "precision": precision,
        "seeds": seeds,
        "float32": first,
        "again": second,
        "agree": float(np.mean([gap <= 1 for gap in apart])),
        "largest": max(apart),
        "within_one_error": [float(np.mean([regret <= 1 for regret in own])) for own in regrets],
    }


def page(told: dict[str, Any]) -> str:
    """The results as a page of Markdown."""
    lines = [
        f"bfloat16 beside float32, measured by `precision.py` on {told['when']}: {told['machine']}.",
        "",
        ", ".join(f"{name} {version}" for name, version in told["versions"].items()),
        "",
        "`valley` and `everywhere`: the largest difference of the cross-validated loss to that in float32, in "
        f"standard errors of the cross-validation, within one of the lowest mean (wanted: {WANTED:g}) "
        "and at every λ. `regret`: what the other's best λ loses in float32, in the same unit. A line in float32 tells "
        "what other sums alone change.",
        "",
        "| recording | again in | standard error (nats) | valley | everywhere | best λ: float32, again | regret |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in told["recordings"]:
        cells = [one["recording"], one["precision"], f"{one['standard_error']:.3g}", f"{one['largest_in_valley']:.3f}"]
        cells += [f"{one['largest']:.3f}", f"{one['best']:.2e}, {one['best_of_it']:.2e}", f"{one['regret']:.3f}"]
        lines.append("| " + " | ".join(cells) + " |")
    if told["searches"]:
        lines += [
            "",
            "Searches of both recordings by loss, seed by seed. `agree`: the share of seeds whose two choices are "
            "within one standard error of each other, judged in float32 (wanted: all); `largest`: by how many they "
            "are apart at most; then the share of choices within one standard error of the best.",
            "",
            "| recording | again in | seeds | agree | largest | within 1 se: float32 | again |",
            "|---|---|---|---|---|---|---|",
        ]
    for one in told["searches"]:
        cells = [one["recording"], one["precision"], str(one["seeds"]), f"{one['agree']:.0%}", f"{one['largest']:.2f}"]
        lines.append("| " + " | ".join([*cells, *(f"{share:.0%}" for share in one["within_one_error"])]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("name", nargs="*", choices=[*RECORDINGS, []], help="which recordings")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--compare", action="store_true", help="only compare what is recorded")
    parser.add_argument("--seeds", type=int, default=0, help="searches of each recording")
    given = parser.parse_args()
    for name in [] if given.compare else given.name:
        settings, strengths = RECORDINGS[name]
        record.record(name, settings | {"precision": given.precision}, strengths, FOLDER / given.precision)
    found = sorted((path.parent.name, path.name.split(".")[0]) for path in FOLDER.glob("*float*/*.csv.gz"))
    told = {
        "when": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": {name: metadata.version(name) for name in ("l2tune", "torch", "numpy")},
        "recordings": [compared(name, precision) for precision, name in found],
        "searches": [choices(name, precision, given.seeds) for precision, name in found if given.seeds],
    }
    RESULTS.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    RESULTS.with_suffix(".md").write_text(page(told), encoding="utf-8")
    print(page(told))


if __name__ == "__main__":
    main()
