"""How well a search knows how many fits it needs still: replays recorded cross-validations, and fits the rule anew.

    python studies/benchmarks/outlook.py --recordings FOLDER --seeds 20 --keep states.jsonl
    python studies/benchmarks/outlook.py --from states.jsonl              # the tables again, without replaying
    python studies/benchmarks/outlook.py --folds 3 --seeds 3              # the first three folds of each recording

At every fit of a replayed search, what `l2tune.search.outlook` goes by is noted, and in the end how many fits were
still to come. A number of fits left is right here if it is within a factor of 1.5 of the truth: at the first estimate
(one fit is done), once the baseline is done, half way, and at three quarters. `left out` is the same rule, its
constants fitted to all other recordings. `budget` is what the allowed trials would take, each on all folds. `off by` is
the median distance in fits.

Prints the tables and writes `results/outlook.json` and `.md`, with `--folds` `results/outlook-3-folds.*`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from outcome import Outcome
from recording import Recording
from scipy.optimize import minimize
from tables import rows_as_markdown

from l2tune.members import Member
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.search import outlook
from l2tune.search.optuna_samplers import make_pruner, make_sampler
from l2tune.search.outlook import Signs, expected_fits
from l2tune.search.runner import run_as_asked
from l2tune.search.state import Plan, read_state
from l2tune.settings import build

HERE = Path(__file__).parent
TRIALS = 40
RIGHT = 1.5
Array = NDArray[np.float64]


class Watched(Recording):
    """A recording that calls a hook before each fit, and may know its first folds only."""

    hook: Callable[[], None] | None = None

    def keep_folds(self, folds: int) -> None:
        """Leave the other folds out."""
        self.folds = folds
        self.scores = {name: values[:, :folds] for name, values in self.scores.items()}
        self.estimates = None if self.estimates is None else self.estimates[:, :folds]

    def start(self, members: Sequence[Member]) -> Any:
        if self.hook is not None:
            self.hook()
        return super().start(members)


def replay(path: Path, metric: str, seed: int, folds: int | None = None) -> list[dict[str, Any]]:
    """One search; a row for each of its fits but the first: the signs, and how many fits were to come."""
    recording = Watched(path, metric, seed)
    if folds is not None:
        recording.keep_folds(folds)
    shift = 10 ** np.random.default_rng(seed).uniform(-0.25, 0.25)
    bounds = float(recording.strengths[1] * shift), float(recording.strengths[-1] * shift)
    outcome = Outcome(recording.name, "l2tune", seed, bounds)
    given = build(
        {
            "seed": seed,
            "folds": recording.folds,
            "epochs": recording.epochs,
            "metric": metric,
            "lambda_range": outcome.range,
            "trials": TRIALS,
        }
    )
    study = optuna.create_study(sampler=make_sampler(given), pruner=make_pruner(given))
    objective = CrossValidationObjective.from_settings(given, recording, {"class_names": list("0123456789")})
    rows: list[dict[str, Any]] = []

    def note() -> None:
        state = read_state(study, Plan.of(given))
        if state.fits:
            rows.append(asdict(Signs.of(state)) | {"allowed": (TRIALS - state.begun) * state.seen.folds})

    recording.hook = note
    run_as_asked(study, objective)
    total = round(recording.cost)
    about = {"recording": recording.name, "metric": metric, "seed": seed, "total": total}
    return [about | row | {"left": total - row["fits"]} for row in rows]


def design(rows: pd.DataFrame) -> Array:
    """(n, 5) what the constants multiply: CONSTANT, USUAL, GAIN, MISSING, COARSE."""
    usual = np.maximum(0, outlook.USUAL_TOTAL * rows["folds"] - rows["fits"])
    columns = [rows["folds"], usual, rows["excess"], rows["missing"], rows["proportion"] * rows["folds"]]
    return np.column_stack([np.asarray(column, float) for column in columns])


def fit(rows: pd.DataFrame) -> Array:
    """(5,) constants of the least mean distance in logarithms; a few fits more or less in the end matter less."""
    known = rows[rows["tried"] >= 3]
    x, y = design(known), known["left"].to_numpy(float)
    weight = np.minimum(y, 8) / 8

    def distance(constants: Array) -> float:
        return float((weight * np.abs(np.log(np.maximum(x @ constants, 0.5) / y))).mean())

    start = np.linalg.lstsq(x, y, rcond=None)[0]
    rough = minimize(distance, start, method="Powell").x
    return np.asarray(minimize(distance, rough, method="Nelder-Mead", options={"maxiter": 4000}).x)


def guesses(rows: pd.DataFrame, constants: Array | None = None) -> Array:
    """(n,) fits left by the rule: as it stands, or with these constants."""
    if constants is None:
        names = Signs.__dataclass_fields__
        return np.array([expected_fits(Signs(*(row[n] for n in names))) for row in rows.to_dict("records")])
    early = design(rows) @ np.array([0, 1, 0, 0, outlook.COARSE])
    return np.maximum(1, np.where(rows["tried"] < 3, early, design(rows) @ constants))


def right(guess: Array, left: Array) -> NDArray[np.bool_]:
    """(n,) within the factor."""
    return np.maximum(guess / left, left / guess) <= RIGHT


def summarize(rows: pd.DataFrame) -> pd.DataFrame:
    """Shares that are right, one row for each recording and metric, and one for all of a metric."""
    rows = rows.copy()
    rows["rule"], rows["out"] = guesses(rows), 0.0
    for name in rows["recording"].unique():
        own = rows["recording"] == name
        rows.loc[own, "out"] = guesses(rows[own], fit(rows[~own]))
    rows["of_budget"] = rows["allowed"] + rows["folds"]
    place = rows["fits"] / rows["total"]
    moments = {
        "first": rows["fits"] == 1,
        "baseline": rows["fits"] == rows["folds"],
        "half": place.between(0.45, 0.55),
        "3/4": place.between(0.7, 0.8),
    }
    found = []
    groups = [(metric, name) for metric in ("loss", "error") for name in (*sorted(rows["recording"].unique()), "all")]
    for metric, name in [*groups, ("both", "all")]:
        mine = (rows["metric"] == metric) | (metric == "both")
        mine &= (rows["recording"] == name) | (name == "all")
        if not mine.any():
            continue
        totals = rows[mine].groupby(["recording", "metric", "seed"])["total"].first()
        line: dict[str, Any] = {"metric": metric, "recording": name, "searches": len(totals)}
        line |= {f"fits {share:.0%}": float(totals.quantile(share)) for share in (0.1, 0.5, 0.9)}
        for moment, chosen in moments.items():
            at = rows[mine & chosen]
            left = at["left"].to_numpy(float)
            line[moment] = float(right(at["rule"].to_numpy(), left).mean())
            if moment in ("first", "half"):
                line[f"{moment}, left out"] = float(right(at["out"].to_numpy(), left).mean())
                line[f"{moment}, budget"] = float(right(at["of_budget"].to_numpy(float), left).mean())
            line[f"{moment}, off by"] = float(np.median(np.abs(at["rule"].to_numpy() - left)))
        found.append(line)
    return pd.DataFrame(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recordings", type=Path, action="append", default=[], help="further folders of recordings")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--folds", type=int, help="only so many of each recording's folds")
    parser.add_argument("--keep", type=Path, help="append the rows to this file, and go on after those in it")
    parser.add_argument("--from", dest="source", type=Path, help="take the rows from this file instead of replaying")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore")
    if given.source is not None:
        rows = [json.loads(line) for line in given.source.read_text().splitlines()]
    else:
        folders = [HERE / "recordings", *given.recordings]
        rows = []
        for seed in range(given.seeds):
            for path in [f for folder in folders for f in sorted(folder.glob("*.csv.gz"))]:
                for metric in ("loss", "error"):
                    new = replay(path, metric, seed, given.folds)
                    rows += new
                    if given.keep is not None:
                        with given.keep.open("a") as file:
                            file.writelines(json.dumps(row) + "\n" for row in new)
    table = pd.DataFrame(rows)
    table = table[table["left"] > 0].reset_index(drop=True)
    shares, constants = summarize(table), fit(table)
    names = ("CONSTANT", "USUAL", "GAIN", "MISSING", "COARSE")
    fitted = {name: round(float(value), 2) for name, value in zip(names, constants, strict=True)}
    print(rows_as_markdown(shares))
    print("constants fitted to these searches:", fitted)
    file = "outlook" if given.folds is None else f"outlook-{given.folds}-folds"
    about = {
        "date": datetime.date.today().isoformat(),
        "seeds": int(table["seed"].nunique()),
        "constants": {name: getattr(outlook, name) for name in ("USUAL_TOTAL", *names)},
        "fitted": fitted,
    }
    (given.out / f"{file}.json").write_text(json.dumps(about | {"table": shares.to_dict("records")}, indent=1) + "\n")
    head = "Share of searches whose number of fits left was told within a factor of 1.5; see `outlook.py`."
    (given.out / f"{file}.md").write_text(f"{head}\n\n{rows_as_markdown(shares)}\n\nFitted constants: {fitted}\n")


if __name__ == "__main__":
    main()
