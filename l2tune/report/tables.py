"""`results.json` and `trials.csv`.

`results.json` (schema 1): `schema`; `study`; `metric`; `best_lambda`, its `weight_decay`, `interval` (95 %) and
`best_value` ± `best_standard_error` (naive) and `corrected_standard_error`; `one_se_lambda`; `band`; `baseline_value`
(λ = 0) and `gain` (`lambda, relative, folds, mean, naive_standard_error,
standard_error, interval, p_value`); `complete` (the best λ has all folds);
`fits` (members trained to their end) and `fold_epochs` (epochs trained in all); `trials`; `seconds` (of training);
`verdict`; `settings`; `versions`; `trainer`; `data`. Losses in nats; unknown numbers are null.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.findings import verdict
from l2tune.penalty.strength import weight_decay

RESULTS_SCHEMA = 1
TRIAL_COLUMNS = (
    "trial",
    "lambda",
    "fold",
    "state",
    "epochs",
    "train_loss",
    "train_error",
    "val_loss",
    "val_error",
    "weight_norm",
    "diverged",
    "seconds",
)


def results(tradeoff: Estimates) -> dict[str, Any]:
    """The content of `results.json`."""
    record = tradeoff.record
    trained = record.fits[~record.fits["reused"]]
    values = {
        "schema": RESULTS_SCHEMA,
        "study": record.name,
        "metric": record.metric.name,
        "best_lambda": tradeoff.best_lambda,
        "weight_decay": weight_decay(tradeoff.best_lambda),
        "interval": tradeoff.interval,
        "best_value": tradeoff.best_value,
        "best_standard_error": tradeoff.best_standard_error,
        "corrected_standard_error": tradeoff.corrected_standard_error,
        "one_se_lambda": tradeoff.one_se_lambda,
        "band": tradeoff.band,
        "baseline_value": tradeoff.baseline_value,
        "gain": _gain(tradeoff),
        "complete": tradeoff.complete,
        "fits": int((~trained["truncated"]).sum()),
        "fold_epochs": int(trained["epochs"].sum()),
        "trials": len(record.trials[record.trials["state"] != "FAIL"]),
        "seconds": float(trained["seconds"].sum()),
        "verdict": verdict(tradeoff),
        "settings": record.settings,
        "versions": record.versions,
        "trainer": record.trainer,
        "data": record.data,
    }
    return {name: _finite(value) for name, value in values.items()}


def _gain(t: Estimates) -> dict[str, Any] | None:
    if t.gain is None:
        return None
    return {"lambda": t.gain_lambda, "relative": t.relative_gain} | asdict(t.gain)


def results_json(tradeoff: Estimates) -> bytes:
    return json.dumps(results(tradeoff), indent=2, allow_nan=False, ensure_ascii=False).encode() + b"\n"


def trials_csv(tradeoff: Estimates) -> bytes:
    """One row per trial and fold."""
    text: str = tradeoff.record.fits[list(TRIAL_COLUMNS)].to_csv(index=False)
    return text.encode()


def _finite(value: Any) -> Any:
    """JSON knows neither NaN nor infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
