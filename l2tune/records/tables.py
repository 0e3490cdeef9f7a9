"""A study as plain tables: everything that a report reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from l2tune.curve.observations import Observations
from l2tune.metrics import Metric
from l2tune.penalty.strength import NO_WEIGHT_DECAY, weight_decay
from l2tune.records.claims import is_audit, is_wanted_whole, part_of_folds
from l2tune.records.ends import fold_ends
from l2tune.records.failures import failure_of
from l2tune.records.fold_record import SCORES, FoldRecord, fold_records
from l2tune.records.keys import BIAS_VARIANCE, PARTS, PREFIX, SHARED_FROM, STRENGTH
from l2tune.records.observations import FinishedFold, finished_folds, known_parameter, observations, strength_of
from l2tune.records.one_reading import one_reading
from l2tune.records.parameter import StrengthParameter
from l2tune.records.refits import RefitRecord, refit_records
from l2tune.records.study import TrainedBy, asked_range, metric_of, part_of, penalty_of, trained_by

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False)
class StudyRecord:
    """A study as plain tables.

    Attributes:
        observations: All that the curve is fitted to: costs, folds, range, and the other parameters' values at which
            everything here holds.
        parameter: The study's parameter for the strength.
        trained_by: Who trained: l2tune's engines, a user's function, a user's trainer, or an objective of their own.
        asked_range: The range of λ that the study was begun with; None if nothing tells.
        fits: One row per trial and fold. `reused` rows were trained by an earlier trial of the same parameters, or by
            another study of the comparison; `final` ones are the observations, each once, with their `cost`;
            `ended`: when, in seconds since 1970, as `fold_ends` has it; `part`: the only fold that its trial was to
            train; `val_NAME` and `train_NAME` for every score.
        epochs: One row per trial, fold and epoch (reused ones left out).
        trials: One row per trial: `trial, lambda, state, folds, value, seconds, complete, audit, shared` (trained by
            another study of the comparison), `failure` (why it failed, in one line; empty else), and a column for each
            other parameter (`params_NAME` for one that is called as one of these).
        layers: One row per trial, fold and layer: `weight_norm, weights, zeros, units, dead_units`; the counts are NaN
            where an older version trained.
        magnitudes: One row per trial and fold: `counts`, (bins,) of `MAGNITUDE_EDGES`; none where an older version
            trained.
        predictions: One row per trial with bias and variance of its folds' predictions of the test images.
        refits: One row per final network, by rising λ, then seed; the columns are `RefitRecord`'s, `lambda` for its
            strength.
    """

    name: str
    observations: Observations
    parameter: StrengthParameter
    trained_by: TrainedBy
    asked_range: tuple[float, float] | None
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    trainer: Mapping[str, Any]
    data: Mapping[str, Any]
    fits: pd.DataFrame
    epochs: pd.DataFrame
    trials: pd.DataFrame
    layers: pd.DataFrame
    magnitudes: pd.DataFrame
    predictions: pd.DataFrame
    refits: pd.DataFrame

    @property
    def form(self) -> str:
        """The form of the penalty, which a parameter called `l1` tells, too; `l2` where nothing tells."""
        if "penalty" in self.settings:
            return str(self.settings["penalty"])
        return "l2" if self.parameter.decays else "l1"

    @property
    def decays(self) -> bool:
        """Whether 2λ is a weight decay: not with L1 and the elastic net."""
        return self.form not in NO_WEIGHT_DECAY

    @property
    def metric(self) -> Metric:
        """What λ is chosen by."""
        return self.observations.metric

    @property
    def folds(self) -> int:
        """How many folds the cross-validation has."""
        return self.observations.folds

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest λ searched, widening included."""
        return self.observations.range

    @property
    def widened(self) -> bool:
        """Whether the range was widened beyond the one asked for."""
        asked = self.asked_range
        return asked is not None and (self.range[0] < asked[0] * 0.99 or self.range[1] > asked[1] * 1.01)

    @property
    def others(self) -> Mapping[str, Any]:
        """The other parameters' values at which everything here holds."""
        return self.observations.others


def read_study(
    study: optuna.Study, parameter: StrengthParameter | None = None, metric: Metric | None = None
) -> StudyRecord:
    """All tables of a study; works on any storage that any worker wrote, also midway.

    Trials with other values of the other parameters than the best are in `trials` only.

    Args:
        parameter: The strength, where the study does not tell.
        metric: What λ is chosen by, where the study does not tell, or to look at the same fits by another one.

    Raises:
        UserError: Which parameter is the strength is not known, or a value cannot be one of the metric.
    """
    parameter = known_parameter(study, parameter)
    metric = metric or metric_of(study)
    snapshot = study.get_trials(deepcopy=False)  # once: other workers may be telling more
    seen = observations(study, parameter, metric=metric, trials=snapshot)
    others = tuple(seen.others.items())
    final = {(f.trial, f.fold): f for f in finished_folds(study, parameter, metric, snapshot) if f.others == others}
    fits: list[dict[str, Any]] = []
    epochs: list[dict[str, Any]] = []
    trials: list[dict[str, Any]] = []
    layers: list[dict[str, Any]] = []
    magnitudes: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    for trial in snapshot:
        strength = strength_of(trial, parameter)
        if strength is None or trial.state == TrialState.WAITING:
            continue
        head = {"trial": trial.number, "lambda": strength}
        records = fold_records(trial)
        own = dict(parameter.others(trial.params))
        drawn = {f"params_{name}" if name in _TRIAL_COLUMNS else name: value for name, value in own.items()}
        trials.append(drawn | head | _trial_row(trial, len(records), len(study.directions) > 1))
        if tuple(own.items()) != others:
            continue
        ends = fold_ends(trial, records)
        for fold, record in records.items():
            row = _fit_row(trial, fold, record, metric, final.get((trial.number, fold)))
            fits.append(head | row | {"ended": ends.get(fold)})
            layers += [head | row for row in _layer_rows(fold, record)]
            if record.magnitudes:
                magnitudes.append(head | {"fold": fold, "counts": list(record.magnitudes)})
            if record.reused_from is None:
                epochs += [head | row for row in _epoch_rows(fold, record)]
        if not records and STRENGTH not in trial.user_attrs:
            mine = [f for (number, _), f in final.items() if number == trial.number]
            ends = fold_ends(trial, records, [f.fold for f in mine])
            fits += [head | _reported_row(trial, f, metric) | {"ended": ends.get(f.fold)} for f in mine]
        if BIAS_VARIANCE in trial.user_attrs:
            predictions.append(head | trial.user_attrs[BIAS_VARIANCE])
    given = list(dict.fromkeys(name for row in fits for name in row["scores"]))
    named = [f"{part}_{metric}" for part in ("val", "train")]
    scores = dict.fromkeys([*SCORES, *named, *given], float)
    parts = {name: part_of(study, name) for name in PARTS}
    return StudyRecord(
        study.study_name,
        seen,
        replace(parameter, decays=penalty_of(study) not in NO_WEIGHT_DECAY),
        trained_by(study),
        asked_range(study),
        settings=parts["settings"],
        versions=parts["versions"],
        trainer=parts["trainer"],
        data=parts["data"],
        fits=_table([row | row.pop("scores") for row in fits], _FIT_COLUMNS | scores),
        epochs=_table(epochs, _EPOCH_COLUMNS | scores),
        trials=_table(trials, {name: object for row in trials for name in row} | _TRIAL_COLUMNS),
        layers=_table(layers, _LAYER_COLUMNS),
        magnitudes=_table(magnitudes, _MAGNITUDE_COLUMNS),
        predictions=_table(predictions, _PREDICTION_COLUMNS),
        refits=_table([_refit_row(record) for record in refit_records(study)], _REFIT_COLUMNS),
    )


@one_reading()
def write_summary(trial: optuna.Trial, metric: Metric, regime: str | None) -> None:
    """Store what the dashboard can sort and filter trials by. Nothing else reads it.

    Args:
        regime: Of its λ, as judged now; None if that is not known yet.
    """
    strength = float(trial.user_attrs.get(STRENGTH, 0.0))
    decays = penalty_of(trial.study) not in NO_WEIGHT_DECAY
    summary: dict[str, Any] = {"weight_decay": weight_decay(strength)} if decays else {}
    folds = [r for r in fold_records(trial).values() if not r.diverged and not r.truncated]
    pairs = [(r.value("train", metric), r.value("val", metric)) for r in folds]
    known = [(t, v) for t, v in pairs if t is not None and v is not None]
    if known:
        gaps = [metric.cost(v) - metric.cost(t) for t, v in known]
        summary |= {"train": fmean(t for t, _ in known), "gap": fmean(gaps)}
    if regime is not None:
        summary["regime"] = regime
    for name, value in summary.items():
        trial.set_user_attr(PREFIX + name, value)


def write_bias_variance(trial: optuna.Trial, folds: int, parts: Mapping[str, float]) -> None:
    """Store bias and variance over the predictions of so many folds; nothing where a part is not finite."""
    if all(math.isfinite(value) for value in parts.values()):
        trial.set_user_attr(BIAS_VARIANCE, {"folds": folds} | dict(parts))


_FIT_COLUMNS: dict[str, type] = {
    "trial": int,
    "lambda": float,
    "fold": int,
    "state": str,
    "final": bool,
    "cost": float,
    "epochs": int,
    "weight_norm": float,
    "weight_sum": float,
    "diverged": bool,
    "seconds": float,
    "truncated": bool,
    "reused": bool,
    "part": bool,
    "ended": float,
    "zero_fraction": float,
    "near_zero_fraction": float,
    "test_loss": float,
    "test_error": float,
    "calibration_error": float,
    "input_gradient_norm": float,
}
_EPOCH_COLUMNS: dict[str, type] = {"trial": int, "lambda": float, "fold": int, "epoch": int}
_TRIAL_COLUMNS: dict[str, type] = {
    "trial": int,
    "lambda": float,
    "state": str,
    "folds": int,
    "value": float,
    "seconds": float,
    "complete": bool,
    "audit": bool,
    "shared": bool,
    "failure": str,
}
_COUNTS = ("weights", "zeros", "units", "dead_units")
_LAYER_COLUMNS: dict[str, type] = {
    "trial": int,
    "lambda": float,
    "fold": int,
    "layer": str,
    **dict.fromkeys(("weight_norm", *_COUNTS), float),
}
_MAGNITUDE_COLUMNS: dict[str, type] = {"trial": int, "lambda": float, "fold": int, "counts": object}
_REFIT_COLUMNS: dict[str, type] = {
    "lambda": float,
    "seed": int,
    **dict.fromkeys(("seconds", "train_loss", "train_error", "test_loss", "test_error", "calibration_error"), float),
    **dict.fromkeys(("parameters", "nonzero"), float),
    **dict.fromkeys(("layers", "magnitudes"), object),
}
_PREDICTION_COLUMNS: dict[str, type] = {
    "trial": int,
    "lambda": float,
    "folds": int,
    **dict.fromkeys(("loss", "bias_loss", "variance_loss", "error", "bias_error", "variance_error"), float),
}


def _trial_row(trial: FrozenTrial, records: int, several: bool) -> dict[str, Any]:
    # a pruned trial's value is its last intermediate value, never a score
    value = trial.value if trial.state == TrialState.COMPLETE and not several else None
    return {
        "state": trial.state.name,
        "folds": records or len(trial.intermediate_values),
        "value": value,
        "seconds": trial.duration.total_seconds() if trial.duration else math.nan,
        "complete": is_wanted_whole(trial),
        "audit": is_audit(trial),
        "shared": SHARED_FROM in trial.user_attrs,
        "failure": "" if (failure := failure_of(trial)) is None else failure.line,
    }


def _fit_row(
    trial: FrozenTrial, fold: int, record: FoldRecord, metric: Metric, final: FinishedFold | None
) -> dict[str, Any]:
    left_out = ("weight_norms", "layers", "magnitudes", "curves", "reused_from", "scores", "first_estimates")
    row = {name: value for name, value in asdict(record).items() if name not in left_out}
    reused = record.reused_from is not None or SHARED_FROM in trial.user_attrs
    by_metric = {f"{part}_{metric}": record.value(part, metric) for part in ("val", "train")}
    return row | {
        "fold": fold,
        "state": trial.state.name,
        "final": final is not None,
        "cost": None if final is None else final.cost,
        "weight_norm": record.weight_norm,
        "reused": reused,
        "part": part_of_folds(trial) is not None,
        "seconds": 0.0 if reused else record.seconds,
        "scores": dict(record.scores) | by_metric,
    }


def _reported_row(trial: FrozenTrial, fold: FinishedFold, metric: Metric) -> dict[str, Any]:
    """A fold of a user's own objective: nothing but its score is known."""
    diverged = not math.isfinite(fold.cost)
    return {
        "fold": fold.fold,
        "state": trial.state.name,
        "final": True,
        "cost": fold.cost,
        "epochs": 1,
        "diverged": diverged,
        "truncated": False,
        "reused": False,
        "part": False,
        "seconds": 0.0,
        "scores": {f"val_{metric}": None if diverged else metric.score(fold.cost)},
    }


def _layer_rows(fold: int, record: FoldRecord) -> list[dict[str, Any]]:
    return [
        {"fold": fold, "layer": name, "weight_norm": norm}
        | dict(zip(_COUNTS, record.layers.get(name, ()), strict=False))  # older records have none
        for name, norm in record.weight_norms.items()
    ]


def _refit_row(record: RefitRecord) -> dict[str, Any]:
    return {"lambda": record.strength} | asdict(record)


def _epoch_rows(fold: int, record: FoldRecord) -> list[dict[str, Any]]:
    rows = []
    for epoch in range(record.epochs):
        scores = {name: curve[epoch] for name, curve in record.curves.items() if epoch < len(curve)}
        for part in ("val", "train"):
            if f"{part}_accuracy" not in scores and scores.get(f"{part}_error") is not None:
                scores[f"{part}_accuracy"] = 1 - scores[f"{part}_error"]  # type: ignore[operator]
        rows.append({"fold": fold, "epoch": epoch + 1} | scores)
    return rows


def _table(rows: list[dict[str, Any]], columns: Mapping[str, type]) -> pd.DataFrame:
    """Rows as a table of exactly these columns and types; missing numbers are NaN."""
    import pandas as pd  # not before there are tables: a search begins without

    series = {}
    for name, kind in columns.items():
        values = [row.get(name) for row in rows]
        if kind is float:
            values = [math.nan if value is None else value for value in values]
        series[name] = pd.Series(values, dtype=object if kind in (str, object) else kind)
    return pd.DataFrame(series)
