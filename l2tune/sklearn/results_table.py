"""`cv_results_`: the columns of GridSearchCV, with the folds that were not run masked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from l2tune.sklearn.fold_trainer import Fitted


def results_table(
    param: str, values: Sequence[float], fitted: Sequence[Mapping[int, Fitted]], folds: int, *, train: bool
) -> dict[str, Any]:
    """One row per candidate.

    Means, standard deviations and ranks of scores are of candidates with all folds, for means over other folds cannot
    be compared; of the others they are masked, and their rank comes after all ranks. Times are of the folds run.

    Args:
        param: Name of the parameter.
        values: (candidates,) its values.
        fitted: (candidates,) fold → what was returned.
        folds: How many there are.
        train: Whether there are training scores.
    """
    table: dict[str, Any] = {}
    for name in ("fit_time", "score_time"):
        seconds = _masked([{fold: result[name] for fold, result in row.items()} for row in fitted], folds)
        table[f"mean_{name}"], table[f"std_{name}"] = np.asarray(seconds.mean(axis=1)), np.asarray(seconds.std(axis=1))
    table[f"param_{param}"] = np.ma.MaskedArray(np.array(values, dtype=float), mask=False)
    table["params"] = [{param: value} for value in values]
    for key in _metrics(fitted):
        for part in ("test", "train") if train else ("test",):
            scores = _masked(
                [{fold: _score(result, part, key) for fold, result in row.items()} for row in fitted], folds
            )
            for fold in range(folds):
                table[f"split{fold}_{part}_{key}"] = scores[:, fold]
            lacking = np.ma.getmaskarray(scores).any(axis=1)
            mean, std = (np.ma.MaskedArray(f(scores.data, axis=1), mask=lacking) for f in (np.mean, np.std))
            table[f"mean_{part}_{key}"], table[f"std_{part}_{key}"] = mean, std
            if part == "test":
                table[f"rank_test_{key}"] = _ranks(mean)
    return table


def _metrics(fitted: Sequence[Mapping[int, Fitted]]) -> list[str]:
    """Names of the metrics; `score` where there is one."""
    for row in fitted:
        for result in row.values():
            if isinstance(result["test_scores"], Mapping):
                return list(result["test_scores"])
    return ["score"]


def _score(result: Fitted, part: str, key: str) -> float:
    """A failed fit of a scorer that returns a mapping has a bare number."""
    given = result[f"{part}_scores"]
    return float(given[key] if isinstance(given, Mapping) else given)


def _masked(rows: Sequence[Mapping[int, float]], folds: int) -> Any:
    """(candidates, folds), masked and NaN where there is nothing."""
    data, mask = np.full((len(rows), folds), np.nan), np.ones((len(rows), folds), dtype=bool)
    for row, values in enumerate(rows):
        for fold, value in values.items():
            data[row, fold], mask[row, fold] = value, False
    return np.ma.MaskedArray(data, mask=mask)


def _ranks(mean: Any) -> Any:
    """From 1; NaN comes after all numbers, and what has not all folds after that."""
    order = np.where(np.isfinite(mean.data), -np.nan_to_num(mean.data), np.inf)
    ranks = rankdata(order, method="min")
    lacking = np.ma.getmaskarray(mean)
    whole = rankdata(order[~lacking], method="min")
    ranks[~lacking], ranks[lacking] = whole, len(whole) + 1
    return ranks.astype(np.int32)
