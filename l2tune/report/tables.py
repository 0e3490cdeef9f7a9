"""`results.json` and `trials.csv`.

`results.json` (schema 2). Scores are numbers of the metric, so a proportion is within 0..1 whatever it is written in;
differences are of its costs: positive means worse, or, for the gain, better than λ = 0. What is not known, and what is
no finite number, is null; so is whatever speaks of a λ while none above 0 was run.

| key | what |
|---|---|
| `schema`, `study` | 2; the study's name |
| `metric`, `direction`, `unit`, `kind` | name; `minimize` or `maximize`; unit of the scores as they stand here; kind |
| `best_lambda`, `interval` | λ_best, 95 % credible interval of λ |
| `weight_decay` | 2λ_best, as `torch.optim` takes it, for the penalized weights; null for L1 and the elastic net |
| `code` | to train with λ_best as the search did: `note`, `with_import`, `plain`; null where l2tune did not train |
| `best_value`, `best_standard_error`, `corrected_standard_error` | score at λ_best; naive and corrected error |
| `complete`, `best_folds` | whether λ_best has all its folds, else `best_value` is the curve's; how many it has |
| `one_se_lambda`, `one_se_folds`, `band` | strongest that is as good; its folds (0: by the curve); balanced λ |
| `parameter` | the study's own: `name`, `scale`, and on that scale `best`, `one_se`, `interval` (low, high) |
| `others` | name → value of the other parameters, at which everything here holds |
| `range`, `asked_range`, `widened` | of λ: searched; as asked for; whether the first is wider |
| `baseline_value` | score at λ = 0 |
| `gain` | over λ = 0: `lambda, relative, folds, mean, naive_standard_error, standard_error, interval, p_value` |
| `folds`, `fits`, `fold_epochs`, `seconds` | of a λ; members trained to their end, in epochs and in seconds |
| `trials` | that did not fail, at any values of the other parameters |
| `verdict` | two to four sentences |
| `trained_by` | `l2tune`, `function`, `trainer` (yours), or `objective` (yours) |
| `settings`, `versions`, `trainer`, `data` | what is known of how it was trained, and on what |

An `interval` of C whose λ reaches down to 0 ends at infinity, which is null; so is `best` where λ_best is 0.

`trials.csv` has one row per trial and fold, at the values of the other parameters in `others`. A column of which
nothing is known is left out.

| column | what |
|---|---|
| `trial`, `lambda` | number of the trial, from 0; its λ |
| the parameter | its number on the study's own scale, if name or scale is another (`inf`: C at λ = 0) |
| the other parameters | their values; `params_NAME` where a column is called so already |
| `fold`, `state` | from 0; `COMPLETE`, `PRUNED`, `RUNNING`, `FAIL` |
| `final`, `reused`, `truncated`, `diverged` | the curve sees it; taken over from an earlier trial; cut short; broken |
| `epochs`, `seconds` | of training |
| `val_NAME`, `train_NAME`, `test_NAME` | scores: first the study's metric, then all others that were given |
| `weight_norm`, `zero_fraction`, `near_zero_fraction`, … | what the network was like at the end |
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import pandas as pd

from l2tune.analysis.by_strength import STATE_COLUMNS
from l2tune.analysis.code_to_paste import code_to_paste
from l2tune.analysis.estimates import Estimates
from l2tune.analysis.findings import verdict
from l2tune.penalty.strength import weight_decay
from l2tune.records.tables import StudyRecord
from l2tune.report.again import known_settings, known_trainer, knows_epochs

RESULTS_SCHEMA = 2


def results(tradeoff: Estimates) -> dict[str, Any]:
    """The content of `results.json`."""
    t, record, metric = tradeoff, tradeoff.record, tradeoff.metric
    trained = record.fits[~record.fits["reused"]]
    tried = len(record.observations.tried) > 0  # before that no λ can be named
    best, one_se = (t.best_lambda, t.one_se_lambda) if tried else (math.nan, math.nan)
    interval = t.interval if tried else (math.nan, math.nan)
    measured = record.trained_by != "objective"
    scale = record.parameter.scale
    values = {
        "schema": RESULTS_SCHEMA,
        "study": record.name,
        "metric": metric.name,
        "direction": "maximize" if metric.maximize else "minimize",
        "unit": None if metric.unit in ("", "%") else metric.unit,
        "kind": metric.kind,
        "best_lambda": best,
        "weight_decay": weight_decay(best) if record.decays else None,
        "interval": interval,
        "best_value": t.best_value if tried else None,
        "best_standard_error": t.best_standard_error if tried else None,
        "corrected_standard_error": t.corrected_standard_error if tried else None,
        "complete": t.complete and tried,
        "best_folds": _folds(t, best),
        "one_se_lambda": one_se,
        "one_se_folds": _folds(t, one_se),
        "band": t.band if tried else None,
        "parameter": {
            "name": record.parameter.name,
            "scale": scale.name,
            "best": scale.from_lambda(best),
            "one_se": scale.from_lambda(one_se),
            "interval": scale.range_from_lambda(*interval),
        },
        "others": dict(record.others),
        "range": record.range,
        "asked_range": record.asked_range,
        "widened": record.widened,
        "baseline_value": t.baseline_value,
        "gain": _gain(t),
        "folds": record.folds,
        "fits": int((~trained["truncated"]).sum()),
        "fold_epochs": int(trained["epochs"].sum()) if knows_epochs(record) else None,
        "trials": len(record.trials[record.trials["state"] != "FAIL"]),
        "seconds": float(trained["seconds"].sum()) if measured else None,
        "verdict": verdict(t),
        "code": _code(record, best),
        "trained_by": record.trained_by,
        "settings": known_settings(record) or None,
        "versions": dict(record.versions) or None,
        "trainer": known_trainer(record) or None,
        "data": dict(record.data) or None,
    }
    return {name: _finite(value) for name, value in values.items()}


def _code(record: StudyRecord, strength: float) -> dict[str, Any] | None:
    code = code_to_paste(record, strength)
    if code is None:
        return None
    plain = None if code.plain is None else code.plain.text
    return {"note": code.note, "with_import": code.with_import.text, "plain": plain}


def _folds(t: Estimates, strength: float) -> int | None:
    if math.isnan(strength):
        return None
    row = t.row(strength)
    return 0 if row is None else int(row["folds"])


def _gain(t: Estimates) -> dict[str, Any] | None:
    if t.gain is None:
        return None
    return {"lambda": t.gain_lambda, "relative": t.relative_gain} | asdict(t.gain)


def results_json(tradeoff: Estimates) -> bytes:
    text = json.dumps(results(tradeoff), indent=2, allow_nan=False, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"  # half a character is written \udc80, as JSON has it


def trials_table(record: StudyRecord) -> pd.DataFrame:
    """One row per trial and fold; see above."""
    fits, metric, parameter = record.fits, record.metric, record.parameter
    scores = list(
        dict.fromkeys(
            [
                *(f"{part}_{metric}" for part in ("val", "train")),
                *(name for name in map(str, fits.columns) if name.startswith(("val_", "train_", "test_"))),
            ]
        )
    )
    measured = ["epochs"] if knows_epochs(record) else []
    measured += [] if record.trained_by == "objective" else ["seconds"]
    network = [name for name in ("weight_norm", *STATE_COLUMNS) if name not in scores]
    told = ["fold", "state", "final", "reused", "truncated", "diverged", *measured]
    told += [name for name in dict.fromkeys([*scores, *network]) if fits[name].notna().any()]
    columns: dict[str, Any] = {"trial": fits["trial"], "lambda": fits["lambda"]}
    taken = {*columns, *told}

    def add(name: str, values: Any) -> None:
        free = name if name not in taken | set(columns) else f"params_{name}"
        columns[free] = pd.Series(values, index=fits.index, dtype=object)

    if parameter.name != "lambda" or parameter.scale.name != "lambda":
        add(parameter.name, [parameter.scale.from_lambda(strength) for strength in fits["lambda"]])
    for name, value in record.others.items():
        add(name, [value] * len(fits))
    return pd.DataFrame(columns | {name: fits[name] for name in told})


def trials_csv(tradeoff: Estimates) -> bytes:
    """`trials.csv`: UTF-8."""
    text: str = trials_table(tradeoff.record).to_csv(index=False)
    return text.encode("utf-8", "backslashreplace")


def _finite(value: Any) -> Any:
    """JSON knows neither NaN nor infinity, and no value of another kind than its own."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value if value is None or isinstance(value, str | int | bool) else str(value)
