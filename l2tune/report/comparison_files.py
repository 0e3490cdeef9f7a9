"""The files of a comparison: its page, its numbers, and every λ of every form."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from l2tune.analysis.comparison import BASELINE, CHOICES, Comparison
from l2tune.analysis.comparison_findings import comparison_findings
from l2tune.analysis.estimates import Estimates
from l2tune.analysis.findings import in_brief
from l2tune.analysis.weight_counts import counted_layers, counted_weights
from l2tune.members import MAGNITUDE_EDGES
from l2tune.whole_files import write_together

COMPARE_SCHEMA = 1

_COLUMNS = {
    "lambda": "lambda",
    "folds": "folds",
    "complete": "complete",
    "diverged": "diverged",
    "regime": "regime",
    "validation": "validation",
    "validation_se": "standard_error",
    "train": "train",
    "zero_fraction": "zeros",
    "near_zero_fraction": "near_zero",
    "weight_norm": "weight_norm",
    "weight_sum": "weight_sum",
    "input_gradient_norm": "input_gradient",
    "calibration_error": "calibration_error",
    "bias_loss": "bias_loss",
    "variance_loss": "variance_loss",
    "bias_error": "bias_error",
    "variance_error": "variance_error",
    "test_loss": "test_loss",
    "test_error": "test_error",
}


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write `compare.html`, `compare.json` and `compare.csv`, all of them or none.

    Raises:
        OSError: A file cannot be written; the old ones are left.
    """
    from l2tune.report.comparison_page import render

    contents = {
        "compare.html": render(comparison).encode(),
        "compare.json": comparison_json(comparison),
        "compare.csv": _bytes(every_strength(comparison).to_csv(index=False)),
    }
    return write_together(folder, contents)


def comparison_json(c: Comparison) -> bytes:
    """Verdict, findings, `Comparison.table` and `.pairs`; what is not known is null.

    | key | what |
    |---|---|
    | `schema` | of this file, 1 |
    | `name`, `penalties`, `missing` | of the comparison; forms asked for; those of which nothing was scored |
    | `studies` | form → name of its study |
    | `metric` | `Metric.asdict()` |
    | `verdict`, `findings` | in words |
    | `table`, `pairs` | one object per row |
    | `magnitude_edges`, `magnitudes` | of |w|; at each chosen λ all folds' `weights`, `zeros`, and `counts` between |
    """
    found = tuple(comparison_findings(c))
    content = {
        "schema": COMPARE_SCHEMA,
        "name": c.name,
        "penalties": list(c.forms),
        "missing": list(c.missing),
        "studies": {form: t.record.name for form, t in c.estimates.items()},
        "metric": c.metric.asdict(),
        "verdict": in_brief(found),
        "findings": [{"kind": finding.kind, "part": finding.part, "text": finding.text} for finding in found],
        "table": _plain_rows(c.table),
        "pairs": _plain_rows(c.pairs),
        "magnitude_edges": [float(edge) for edge in MAGNITUDE_EDGES],
        "magnitudes": _magnitudes(c),
    }
    return _bytes(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def every_strength(c: Comparison) -> pd.DataFrame:
    """One row per form and λ, means over folds, λ = 0 once; `is_best` and `is_one_se` mark the chosen ones.

    Of each layer that was counted, `zeros:LAYER` is the share of its weights that are exactly zero, and
    `dead_units:LAYER` that of its units that are dead.
    """
    parts = []
    for form in (BASELINE, *c.estimates):
        t = c.of(form)
        if t is None:
            continue
        rows = t.strengths[(t.strengths["lambda"] == 0) == (form == BASELINE)]
        part = rows[list(_COLUMNS)].rename(columns=_COLUMNS)
        part.insert(0, "penalty", form)
        part["is_best"] = form != BASELINE and part["lambda"] == c.strength(form, "best")
        part["is_one_se"] = form != BASELINE and part["lambda"] == c.strength(form, "one_se")
        parts.append(part.merge(_by_layer(t), how="left", left_on="lambda", right_index=True))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def _by_layer(t: Estimates) -> pd.DataFrame:
    """λ → shares of zeros and of dead units of each layer, means over the folds."""
    layers = counted_layers(t)
    sums = layers.groupby(["lambda", "layer"], sort=False)[["weights", "zeros", "units", "dead_units"]].sum()
    columns: dict[str, pd.Series[float]] = {}
    for layer in dict.fromkeys(layers["layer"]):
        own = sums.xs(layer, level="layer")
        columns[f"zeros:{layer}"] = own["zeros"] / own["weights"]
        columns[f"dead_units:{layer}"] = own["dead_units"] / own["units"]
    return pd.DataFrame(columns, dtype=float)


def _magnitudes(c: Comparison) -> list[dict[str, Any]]:
    """How many weights the folds' networks have in each bin, at every chosen strength; λ = 0 once."""
    chosen = [(BASELINE, 0.0)] if c.baseline is not None else []
    chosen += [(form, c.strength(form, choice)) for form in c.estimates for choice in CHOICES]
    rows = []
    for form, strength in dict.fromkeys(chosen):
        counted = counted_weights(c.of(form), strength)
        if counted is not None:
            row = {"penalty": form, "lambda": strength, "weights": counted.weights, "zeros": counted.zeros}
            rows.append(row | {"counts": counted.counts.astype(int).tolist()})
    return rows


def _bytes(text: str) -> bytes:
    """UTF-8; half a character, as a name may have, is written `\\udc80`."""
    return text.encode("utf-8", "backslashreplace")


def _plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them."""
    return [{str(name): _plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
