"""One row per λ: what its folds scored, and what its networks are like."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l2tune.analysis.paired_test import rowwise_standard_error
from l2tune.curve.observations import Observations
from l2tune.metrics import Metric
from l2tune.records.fold_record import Part
from l2tune.records.tables import StudyRecord

Array = NDArray[np.float64]

STATE_COLUMNS = (
    "weight_norm",
    "weight_sum",
    "zero_fraction",
    "near_zero_fraction",
    "input_gradient_norm",
    "calibration_error",
    "test_loss",
    "test_error",
)


def final_fits(record: StudyRecord) -> pd.DataFrame:
    """One row per (λ, fold) trained to its end: the observations, with all that is known of each."""
    return record.fits[record.fits["final"]].reset_index(drop=True)


def observations_by(record: StudyRecord, metric: Metric, part: Part = "val") -> Observations | None:
    """The same folds' costs by another metric, or of their training part; None where no fold tells."""
    fits = final_fits(record)
    column = f"{part}_{metric}"
    if column not in fits:
        return None
    cost = metric.cost(fits[column].to_numpy(float))
    cost = np.where(fits["diverged"], np.inf, cost)
    known = ~np.isnan(cost)
    if not np.isfinite(cost[known]).any():
        return None
    return replace(
        record.observations,
        strength=fits["lambda"].to_numpy(float)[known],
        fold=fits["fold"].to_numpy(np.int64)[known],
        cost=cost[known],
        trial=fits["trial"].to_numpy(np.int64)[known],
        metric=metric,
        first_estimate=None,
        guide=None,
    )


def table_by_strength(record: StudyRecord, size_ratio: float) -> pd.DataFrame:
    """One row per λ, rising; the columns are those of `Estimates.strengths` that need no curve.

    Args:
        size_ratio: Validation images per training image of a fold.
    """
    fits, metric, folds = final_fits(record), record.metric, record.folds
    strengths = np.sort(fits["lambda"].unique())
    row, fold = np.searchsorted(strengths, fits["lambda"].to_numpy()), fits["fold"].to_numpy()
    diverged = np.zeros((len(strengths), folds), bool)
    diverged[row, fold] = fits["diverged"]
    broken: NDArray[np.bool_] = diverged.sum(axis=1) > 0

    def grid(column: str) -> Array:
        values = np.full((len(strengths), folds), np.nan)
        values[row, fold] = fits[column]
        values[diverged] = np.nan
        return values.astype(np.float64)

    run = np.zeros((len(strengths), folds), bool)
    run[row, fold] = True
    train, validation = grid(f"train_{metric}"), grid(f"val_{metric}")
    train_cost, cost = (metric.cost(values) for values in (train, validation))
    columns = {
        "train": train,
        "validation": validation,
        "gap": cost - train_cost,
        "excess": train_cost - _best_fit(train_cost, (run.sum(axis=1) == folds) & ~broken),
    }
    table = pd.DataFrame({"lambda": strengths, "folds": run.sum(axis=1), "diverged": diverged.sum(axis=1)})
    table["complete"] = (table["folds"] >= folds) & ~broken
    for name, values in columns.items():
        table[name] = np.where(broken, np.nan, _mean(values))
        table[f"{name}_se"] = np.where(broken, np.nan, rowwise_standard_error(values))
    table["corrected_se"] = table["validation_se"] * np.sqrt(1 + size_ratio * table["folds"])
    scores = [name for name in map(str, fits.columns) if name.startswith(("val_", "train_", "test_"))]
    for name in dict.fromkeys((*scores, *STATE_COLUMNS)):
        table[name] = np.where(broken, np.nan, _mean(grid(name)))
    best_run = record.predictions.sort_values("folds").drop_duplicates("lambda", keep="last")
    parts = ["lambda", "bias_loss", "variance_loss", "bias_error", "variance_error"]
    return table.merge(best_run[[*parts, "folds"]].rename(columns={"folds": "predicted_by"}), on="lambda", how="left")


def _best_fit(train_cost: Array, complete: NDArray[np.bool_]) -> Array:
    """(folds,) training cost of the λ that fits the training images best, of those with all folds if there are."""
    means = np.where(complete | (not complete.any()), _mean(train_cost), np.nan)
    if not np.isfinite(means).any():
        return np.full(train_cost.shape[1], np.nan)
    return np.asarray(train_cost[int(np.nanargmin(means))])


def _mean(values: Array) -> Array:
    """Row means, NaN left out."""
    count = np.isfinite(values).sum(axis=1)
    total = np.where(np.isfinite(values), values, 0.0).sum(axis=1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))
