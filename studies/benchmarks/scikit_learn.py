"""RegularizationSearchCV beside scikit-learn's own searches and Optuna's: how good, in how many fits and seconds.

    pip install optuna-integration
    python studies/benchmarks/scikit_learn.py                # about ten minutes on one core
    python studies/benchmarks/scikit_learn.py --seeds 1

Each of scikit-learn's small data sets meets the penalized estimators that fit it, behind a StandardScaler, on five
shuffled folds; the seed shuffles them and starts the networks. All searches of a case see the same folds:

- `GridSearchCV`: 30 points from 1e-4 to 1e4, evenly spaced in the logarithm;
- `RegularizationSearchCV`: no argument but `cv`;
- `HalvingGridSearchCV`: the same 30 points, on parts of the samples that grow threefold;
- `OptunaSearchCV`: TPE over the same range, 12 trials, 40 % of the grid's fits;
- `RidgeCV`, `RidgeClassifierCV` (the leave-one-out error of all 30 alphas from one decomposition, in closed form) and
  `LogisticRegressionCV` (warm starts from each of 30 C to the next), where there is one.

A choice is judged by its cross-validated score on the folds of the grid: its regret is how far that lies below the
grid's best, in standard errors (standard deviation over folds / √5) of the best; those of an accuracy are taken to be
one sample's worth at least, for all folds of an easy task may score 1. Cross-validating a choice is not
counted as cost where the search itself has not done it, nor is the last fit to all samples. Fits on parts of the
samples count as fits; `samples` counts them by their size, as a share of the grid's. Seconds are the process's own on
one thread, medians over the seeds.

Writes `results/scikit-learn.json` and `.md`; exits with 1 where RegularizationSearchCV is not within one standard error
in 95 % of the cases, or takes more than 40 % of the grid's fits on average.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import sklearn.datasets
from sklearn.base import BaseEstimator, is_classifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 HalvingGridSearchCV
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
)
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, KFold, StratifiedKFold, cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from l2tune.sklearn import RegularizationSearchCV

RESULTS = Path(__file__).parent / "results" / "scikit-learn"
FOLDS, POINTS, LOW, HIGH = 5, 30, 1e-4, 1e4
GRID = np.geomspace(LOW, HIGH, POINTS)
GRID_FITS = FOLDS * POINTS
TRIALS = int(0.4 * POINTS)
ENOUGH, MOST_FITS = 0.95, 0.40
OURS = "RegularizationSearchCV"

MLP = {"hidden_layer_sizes": (16,), "max_iter": 40, "learning_rate_init": 0.01}
CASES = {
    "digits": ("RidgeClassifier", "LogisticRegression", "MLPClassifier"),
    "breast_cancer": ("RidgeClassifier", "LogisticRegression", "MLPClassifier"),
    "wine": ("RidgeClassifier", "LogisticRegression", "MLPClassifier"),
    "diabetes": ("Ridge", "MLPRegressor"),
}
ESTIMATORS: dict[str, Callable[[int], BaseEstimator]] = {
    "Ridge": lambda seed: Ridge(),
    "RidgeClassifier": lambda seed: RidgeClassifier(),
    "LogisticRegression": lambda seed: LogisticRegression(),
    "MLPClassifier": lambda seed: MLPClassifier(random_state=seed, **MLP),
    "MLPRegressor": lambda seed: MLPRegressor(random_state=seed, **MLP),
}

Found = tuple[float, int, float]
"""(the parameter that was chosen, fits, fits weighed by their share of the samples)."""


def grid(model: Pipeline, param: str, cv: Any, x: Any, y: Any) -> tuple[Found, GridSearchCV]:
    """All points on all folds."""
    search = GridSearchCV(model, {param: GRID}, cv=cv).fit(x, y)
    return (search.best_params_[param], GRID_FITS, GRID_FITS), search


def ours(model: Pipeline, param: str, cv: Any, x: Any, y: Any) -> Found:
    """The search that is judged."""
    search = RegularizationSearchCV(model, cv=cv).fit(x, y)
    assert list(search.best_params_) == [param]
    return search.best_params_[param], search.n_fits_, search.n_fits_


def halving(model: Pipeline, param: str, cv: Any, x: Any, y: Any) -> Found:
    """The same points, most of them on few samples."""
    search = HalvingGridSearchCV(model, {param: GRID}, cv=cv, random_state=0).fit(x, y)
    counts, sizes = np.array(search.n_candidates_), np.array(search.n_resources_)
    weighed = float(FOLDS * (counts * sizes).sum() / len(y))
    return search.best_params_[param], int(FOLDS * counts.sum()), weighed


def by_optuna(model: Pipeline, param: str, cv: Any, x: Any, y: Any) -> Found:
    """TPE, with 40 % of the grid's fits."""
    from optuna_integration import OptunaSearchCV

    space = {param: optuna.distributions.FloatDistribution(LOW, HIGH, log=True)}
    search = OptunaSearchCV(model, space, cv=cv, n_trials=TRIALS, random_state=0).fit(x, y)
    return search.best_params_[param], FOLDS * TRIALS, FOLDS * TRIALS


def own_path(model: Pipeline, param: str, cv: Any, x: Any, y: Any) -> Found | None:
    """The estimator's own way, where scikit-learn has one."""
    scaled = model[0].fit_transform(x)
    match model[-1]:
        case Ridge():
            return float(RidgeCV(GRID).fit(scaled, y).alpha_), 1, 1
        case RidgeClassifier():
            return float(RidgeClassifierCV(GRID).fit(scaled, y).alpha_), 1, 1
        case LogisticRegression():
            search = LogisticRegressionCV(
                Cs=GRID, cv=cv, scoring="accuracy", l1_ratios=(0,), use_legacy_attributes=False
            )
            return float(np.ravel(search.fit(scaled, y).C_)[0]), GRID_FITS, GRID_FITS
    return None


OTHERS = {OURS: ours, "HalvingGridSearchCV": halving, "OptunaSearchCV": by_optuna, "the estimator's own CV": own_path}


def run_case(data: str, name: str, seed: int) -> list[dict[str, Any]]:
    """One row per search."""
    x, y = getattr(sklearn.datasets, f"load_{data}")(return_X_y=True)
    model = Pipeline([("scale", StandardScaler()), ("model", ESTIMATORS[name](seed))])
    param = "model__C" if name == "LogisticRegression" else "model__alpha"
    cv = (StratifiedKFold if is_classifier(model) else KFold)(FOLDS, shuffle=True, random_state=seed)
    began = time.process_time()
    found, searched = grid(model, param, cv, x, y)
    seconds = time.process_time() - began
    best = searched.best_index_
    scores = np.array([searched.cv_results_[f"split{fold}_test_score"][best] for fold in range(FOLDS)])
    top, error = scores.mean(), scores.std(ddof=1) / np.sqrt(FOLDS)
    if is_classifier(model):
        error = max(error, 1 / len(y))
    case = {"data": data, "estimator": name, "seed": seed}
    rows = [case | _row("GridSearchCV", found, seconds, top, 0.0)]
    for search, run in OTHERS.items():
        began = time.process_time()
        chosen = run(model, param, cv, x, y)
        seconds = time.process_time() - began
        if chosen is not None:
            score = cross_val_score(model.set_params(**{param: chosen[0]}), x, y, cv=cv).mean()
            rows.append(case | _row(search, chosen, seconds, score, (top - score) / error))
    return rows


def _row(search: str, found: Found, seconds: float, score: float, regret: float) -> dict[str, Any]:
    value, fits, weighed = found
    return {
        "search": search,
        "value": float(value),
        "score": float(score),
        "regret": float(regret),
        "fits": fits,
        "samples": weighed / GRID_FITS,
        "seconds": seconds,
    }


def summary(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """What the rows of each group come to."""
    groups = rows.groupby(by, sort=False)
    return pd.DataFrame(
        {
            "cases": groups.size(),
            "within 1 se": groups["regret"].agg(lambda regret: (regret <= 1).mean()),
            "regret": groups["regret"].mean(),
            "worst": groups["regret"].max(),
            "fits": groups["fits"].mean(),
            "of the grid's": groups["fits"].mean() / GRID_FITS,
            "samples": groups["samples"].mean(),
            "seconds": groups["seconds"].median(),
        }
    ).reset_index()


def as_markdown(table: pd.DataFrame) -> str:
    """With the numbers as people read them."""
    shown = {"within 1 se": "{:.0%}", "of the grid's": "{:.0%}", "samples": "{:.0%}"}
    shown |= {"regret": "{:.2f}", "worst": "{:.2f}", "fits": "{:.0f}", "seconds": "{:.2f}"}
    lines = [list(table.columns), ["---"] * len(table.columns)]
    lines += [
        [shown.get(name, "{}").format(value) for name, value in zip(table.columns, row, strict=True)]
        for row in table.itertuples(index=False)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--results", type=Path, default=RESULTS, help="without suffix")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found: list[dict[str, Any]] = []
    for data in asked.data:
        for name in CASES[data]:
            for seed in range(asked.seeds):
                found += run_case(data, name, seed)
            print(as_markdown(summary(pd.DataFrame(found).query("data == @data and estimator == @name"), ["search"])))
    rows = pd.DataFrame(found)
    whole, single = summary(rows, ["search"]), summary(rows, ["data", "estimator", "search"])
    names = ("l2tune", "scikit-learn", "optuna", "optuna-integration", "numpy")
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in names}
    asked.results.with_suffix(".json").write_text(json.dumps({"versions": versions, "rows": found}, indent=1) + "\n")
    asked.results.with_suffix(".md").write_text(
        "# RegularizationSearchCV beside scikit-learn's searches\n\n"
        f"`python studies/benchmarks/scikit_learn.py`, {asked.seeds} seeds; the file says what the columns are.\n\n"
        f"{as_markdown(whole)}\n\n## By data and estimator\n\n{as_markdown(single)}\n"
    )
    print(as_markdown(whole))
    mine = whole[whole["search"] == OURS].iloc[0]
    return int(mine["within 1 se"] < ENOUGH or mine["of the grid's"] > MOST_FITS)


if __name__ == "__main__":
    raise SystemExit(main())
