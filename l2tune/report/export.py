"""A study's tables as files for other tools: CSV, or Parquet with its types.

| file | one row per |
|---|---|
| `fits` | trial and fold: the columns of `trials.csv` |
| `epochs` | trial, fold and epoch: the learning curves |
| `trials` | trial |
| `strengths` | λ: means over its folds, as `Estimates.strengths` has them |
| `curve` | λ of a fine grid: the expected score of validation with its 95 % band; `curve.csv` of a report, too |
| `layers` | trial, fold and layer: weights, their norm, and how many are zero |
| `predictions` | trial: bias and variance of its folds' predictions |
| `refits` | final network |

A table without rows is left out.
"""

from __future__ import annotations

import io
import json
from typing import Any, Literal

import numpy as np
import pandas as pd

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.wording import has_own_number
from l2tune.errors import UserError
from l2tune.report.tables import trials_table

Format = Literal["csv", "parquet"]

_GRID = 241


def tables(t: Estimates) -> dict[str, pd.DataFrame]:
    """Name → table, as above."""
    record = t.record
    found = {
        "fits": trials_table(record),
        "epochs": record.epochs,
        "trials": record.trials,
        "strengths": t.strengths,
        "curve": curve_table(t),
        "layers": record.layers,
        "predictions": record.predictions,
        "refits": record.refits,
    }
    return {name: table for name, table in found.items() if len(table)}


def curve_table(t: Estimates) -> pd.DataFrame:
    """The fitted curve, in scores of the metric; no rows where there is none.

    Columns: `lambda`, the study's own number if its name or scale is another, the expected `validation` score, its
    `standard_error` with the luck of the folds (as that of a cross-validation has it), and `low` and `high` of its 95 %
    credible band without that luck, as figures show it.
    """
    if t.curve is None or not len(t.record.observations.tried):
        return pd.DataFrame(columns=["lambda", "validation", "standard_error", "low", "high"])
    strengths = np.geomspace(t.curve.low, t.curve.high, _GRID)
    ends = [t.metric.score(end) for end in t.curve.band_of(strengths)]
    parameter = t.record.parameter
    own = {} if not has_own_number(t.record) else {parameter.name: [*map(parameter.scale.from_lambda, strengths)]}
    return pd.DataFrame(
        {"lambda": strengths}
        | own
        | {
            "validation": t.metric.score(t.curve.mean(strengths)),
            "standard_error": t.curve.standard_error(strengths),
            "low": np.minimum(*ends),
            "high": np.maximum(*ends),
        }
    )


def table_bytes(table: pd.DataFrame, format: Format) -> bytes:
    """A table's file.

    Raises:
        UserError: Parquet needs a package that is not installed.
    """
    plain = pd.DataFrame({name: _plain(column) for name, column in table.items()})
    if format == "csv":
        text: str = plain.to_csv(index=False)
        return text.encode("utf-8", "backslashreplace")
    file = io.BytesIO()
    try:
        plain.to_parquet(file, index=False)
    except ImportError:
        raise UserError("needs pyarrow", "--format parquet", "pip install 'l2tune[parquet]'") from None
    return file.getvalue()


def _plain(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column whose values are all of one plain kind; others, such as choices between text and numbers, as JSON."""
    if column.dtype != object and not pd.api.types.is_string_dtype(column.dtype):
        return column
    kinds = {type(value) for value in column if not _is_missing(value)}
    if kinds and not (kinds <= {str} or kinds <= {bool} or kinds <= {int, float}):
        column = column.map(lambda value: None if _is_missing(value) else json.dumps(value, default=str))
        kinds = {str}
    if kinds <= {str}:
        return column.map(lambda value: None if _is_missing(value) else _encodable(value)).astype(object)
    return column.astype("boolean" if kinds <= {bool} else float)


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))


def _encodable(text: str) -> str:
    """Half a character as `\\udc80`, which no encoding has."""
    return text.encode("utf-8", "backslashreplace").decode()
