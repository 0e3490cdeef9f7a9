"""The waist: every key that a study stores, with its writer and its reader.

| where | key | what |
|---|---|---|
| study | `l2tune:schema` | version of this table |
| study | `l2tune:settings`, `:versions`, `:trainer`, `:data` | flat settings, versions, `Trainer.describe()`, images |
| study | `l2tune:range` | [low, high] now searched, once it was widened |
| trial | parameter `lambda` | λ; the baseline has none, for a log range rejects 0 |
| trial | `l2tune:strength` | λ, 0.0 for the baseline |
| trial | `l2tune:fold:K` | `FoldRecord` of fold K |
| trial | `l2tune:complete` | true: all folds are wanted, whatever a pruner says |
| trial | `l2tune:audit` | true: finishes a λ that was pruned, to see whether that was right |
| trial | `l2tune:bias_variance` | decomposition over the folds' predictions of the test images |
| trial | `l2tune:weight_decay`, `:train`, `:gap`, `:regime` | for the dashboard, as judged when the trial ended |
| trial | intermediate value | fold pruning: step = fold, its metric; epoch pruning: step = epoch, mean over folds |
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from statistics import fmean
from typing import Any, Literal, get_args

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from l2tune.errors import UserError
from l2tune.members import EpochScores
from l2tune.penalty.strength import weight_decay
from l2tune.settings import differences
from l2tune.storage_url import shown_settings

Metric = Literal["loss", "error"]

SCHEMA = 1
PREFIX = "l2tune:"
PARAMETER = "lambda"
STRENGTH = PREFIX + "strength"
COMPLETE = PREFIX + "complete"
AUDIT = PREFIX + "audit"
BIAS_VARIANCE = PREFIX + "bias_variance"
RANGE = PREFIX + "range"
_FOLD = PREFIX + "fold:"
_CLAIM_SECONDS = 5.0
"""So long after its birth an earlier trial may still become the baseline: it claims that first of all."""
_SCORES = ("train_loss", "train_error", "val_loss", "val_error")
_PARTS = ("settings", "versions", "trainer", "data")


@dataclass(frozen=True, slots=True)
class FoldRecord:
    """One member's training as it is stored. Losses in nats, norms are L2, times in seconds; None where not known.

    Attributes:
        epochs: Epochs trained.
        truncated: A pruner stopped it before its last epoch; its scores are no final ones.
        diverged: A loss became NaN or infinite; the scores that are not finite are None.
        first_estimate: For λ = 0, `EpochScores.gradient_ratio` at the epoch of lowest validation loss.
        reused_from: Number of the trial that trained it, when this trial took it over.
        curves: Score name → value after each epoch.
    """

    epochs: int
    train_loss: float | None = None
    train_error: float | None = None
    val_loss: float | None = None
    val_error: float | None = None
    truncated: bool = False
    diverged: bool = False
    seconds: float = 0.0
    weight_norms: Mapping[str, float] = field(default_factory=dict)
    zero_fraction: float | None = None
    near_zero_fraction: float | None = None
    test_loss: float | None = None
    test_error: float | None = None
    calibration_error: float | None = None
    input_gradient_norm: float | None = None
    first_estimate: float | None = None
    reused_from: int | None = None
    curves: Mapping[str, Sequence[float | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, history: Sequence[EpochScores], *, truncated: bool = False) -> FoldRecord:
        """The record of one member's epochs, in order; at least one."""
        last = history[-1]
        measured = [s for s in history if s.gradient_ratio is not None and math.isfinite(s.val_loss)]
        lowest = min(measured, key=lambda s: s.val_loss, default=None)
        record = cls(
            epochs=last.epoch,
            train_loss=_finite(last.train_loss),
            train_error=_finite(last.train_error),
            val_loss=_finite(last.val_loss),
            val_error=_finite(last.val_error),
            truncated=truncated,
            diverged=last.diverged,
            seconds=round(last.seconds, 4),
            first_estimate=lowest.gradient_ratio if lowest else None,
            curves={name: [_short(getattr(s, name)) for s in history] for name in _SCORES},
        )
        network = last.network
        if network is None:
            return record
        return replace(
            record,
            weight_norms=dict(network.weight_norms),
            zero_fraction=network.zero_fraction,
            near_zero_fraction=network.near_zero_fraction,
            test_loss=_finite(network.test_loss),
            test_error=_finite(network.test_error),
            calibration_error=_finite(network.calibration_error),
            input_gradient_norm=_finite(network.input_gradient_norm),
        )

    def score(self, metric: Metric) -> float:
        """Final validation score; infinite if diverged."""
        value = self.val_loss if metric == "loss" else self.val_error
        return math.inf if self.diverged or value is None else value

    @property
    def weight_norm(self) -> float | None:
        """‖w‖₂ over all regularized weights."""
        return math.sqrt(sum(norm**2 for norm in self.weight_norms.values())) if self.weight_norms else None


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """Final fold scores of a study, one per (λ, fold), in the order of the trials.

    Attributes:
        strength: (n,) λ, 0 for the baseline.
        fold: (n,) fold index.
        score: (n,) the metric; infinite where the fold diverged.
        trial: (n,) number of the trial.
        folds: How many folds there are, or None if the study does not tell.
        first_estimate: Geometric mean over the baseline's folds of their first estimate of λ, if any. None for the
            error: the estimate balances gradients of the loss, and replayed, the search did worse with it by error.
    """

    strength: NDArray[np.float64]
    fold: NDArray[np.int64]
    score: NDArray[np.float64]
    trial: NDArray[np.int64]
    folds: int | None
    first_estimate: float | None = None

    def by_strength(self) -> dict[float, NDArray[np.float64]]:
        """λ → scores of its finished folds."""
        return {float(strength): self.score[self.strength == strength] for strength in np.unique(self.strength)}


@dataclass(frozen=True, slots=True, eq=False)
class StudyRecord:
    """A study as plain tables; everything that a report reads.

    Attributes:
        range: Lowest and highest λ that could be proposed, widening included; None if no trial drew a λ.
        fits: One row per trial and fold; `reused` rows were trained by an earlier trial of the same λ.
        epochs: One row per trial, fold and epoch (reused ones left out).
        trials: One row per trial: `trial, lambda, state, folds, value, seconds, complete, audit`.
        layers: One row per trial, fold and layer: `weight_norm`.
        predictions: One row per trial with bias and variance of its folds' predictions of the test images.
    """

    name: str
    metric: Metric
    folds: int
    range: tuple[float, float] | None
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    trainer: Mapping[str, Any]
    data: Mapping[str, Any]
    fits: pd.DataFrame
    epochs: pd.DataFrame
    trials: pd.DataFrame
    layers: pd.DataFrame
    predictions: pd.DataFrame


def describe_study(
    study: optuna.Study,
    *,
    settings: Mapping[str, Any],
    identity: Mapping[str, Any],
    versions: Mapping[str, str],
    trainer: Mapping[str, Any],
    data: Mapping[str, Any],
) -> None:
    """Store what the study is about, or check that it is still the same.

    Args:
        identity: The part of `settings` that may not change within a study.

    Raises:
        UserError: The study was begun with another schema, other settings or other data; the difference is named.
    """
    stored = study.user_attrs
    fix = "use another --study, or --restart to delete it and start over"
    if stored.get(PREFIX + "schema", SCHEMA) != SCHEMA:
        raise UserError(
            f"was written by another version of l2tune (schema {stored[PREFIX + 'schema']}, this is {SCHEMA})",
            f"study {study.study_name!r}",
            fix,
        )
    if PREFIX + "schema" in stored:  # what was read before: another worker may be writing
        old = {name: value for name, value in stored[PREFIX + "settings"].items() if name in identity}
        changed = differences(old, identity)
        old_print, new_print = stored[PREFIX + "data"].get("fingerprint"), data.get("fingerprint")
        if not changed and old_print != new_print:
            counts = [side.get("images") for side in (stored[PREFIX + "data"], data)]
            changed = [
                f"the images are others (fingerprint {_start(old_print)} was of {counts[0]}, "
                f"{_start(new_print)} is of {counts[1]})"
            ]
        if changed:
            raise UserError("; ".join(changed), f"study {study.study_name!r} was begun otherwise", fix)
        return
    parts = dict(zip(_PARTS, (settings, versions, trainer, data), strict=True))
    for name, value in parts.items():
        study.set_user_attr(PREFIX + name, dict(value))
    study.set_user_attr(PREFIX + "schema", SCHEMA)  # last: whoever sees it sees all


def name_objectives(study: optuna.Study, names: Sequence[str]) -> None:
    """Name what the study minimizes, for the dashboard, unless its maker has."""
    if study.metric_names is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(names))


def is_described(study: optuna.Study) -> bool:
    """Whether l2tune wrote the study (rather than an objective of the user's own)."""
    return PREFIX + "schema" in study.user_attrs


def whole_study(study: optuna.Study) -> optuna.Study:
    """The study itself where Optuna's HyperbandPruner hands a sampler only the trials of one bracket."""
    whole: optuna.Study = getattr(study, "_study", study)
    return whole


def stored_settings(study: optuna.Study) -> dict[str, Any]:
    """The flat settings that the study was begun with; empty for a study of the user's own."""
    return shown_settings(study.user_attrs.get(PREFIX + "settings", {}))


def strength_of(trial: FrozenTrial, parameter: str = PARAMETER) -> float:
    """λ of a trial; 0 for the baseline, which has no such parameter."""
    return float(trial.user_attrs.get(STRENGTH, trial.params.get(parameter, 0.0)))


def claim_baseline(trial: optuna.Trial) -> bool:
    """Make this trial the baseline unless another one is, has been, or is queued to be.

    Workers that start together leave it to the trial of the lowest number, the others go on with a λ of their own.
    """
    if STRENGTH in trial.user_attrs:
        return float(trial.user_attrs[STRENGTH]) == 0.0
    trials = trial.study.get_trials(deepcopy=False)
    if "fixed_params" in trials[trial.number].system_attrs:  # enqueued with its λ
        return False
    for other in trials:
        if other.number != trial.number and other.state != TrialState.FAIL and other.user_attrs.get(STRENGTH) == 0.0:
            return False
        about_to_claim = is_about_to_draw(other) and "fixed_params" not in other.system_attrs
        if other.number < trial.number and about_to_claim and age_seconds(other) < _CLAIM_SECONDS:
            return False
    trial.set_user_attr(STRENGTH, 0.0)
    return True


def is_about_to_draw(trial: FrozenTrial, parameter: str = PARAMETER) -> bool:
    """Whether a trial is running that has no λ yet, and is not the baseline."""
    return (
        trial.state == TrialState.RUNNING
        and parameter not in trial.params
        and STRENGTH not in trial.user_attrs
        and not trial.intermediate_values
    )


def age_seconds(trial: FrozenTrial) -> float:
    """How long ago the trial began; infinite if it has not."""
    return (datetime.now() - trial.datetime_start).total_seconds() if trial.datetime_start else math.inf


def fold_key(fold: int) -> str:
    """The trial attribute that holds the record of a fold."""
    return f"{_FOLD}{fold}"


def write_fold(trial: optuna.Trial, fold: int, record: FoldRecord) -> None:
    """Store a fold's training with its trial."""
    trial.set_user_attr(fold_key(fold), asdict(record))


def write_summary(trial: optuna.Trial, metric: Metric, regime: str | None) -> None:
    """Store what the dashboard can sort and filter trials by. Nothing else reads it.

    Args:
        regime: Of its λ, as judged now; None if that is not known yet.
    """
    strength = float(trial.user_attrs.get(STRENGTH, 0.0))
    summary: dict[str, Any] = {"weight_decay": weight_decay(strength)}
    folds = [r for r in fold_records(trial).values() if not r.diverged and not r.truncated]
    train, validation = ([getattr(r, f"{part}_{metric}") for r in folds] for part in ("train", "val"))
    pairs = [(t, v) for t, v in zip(train, validation, strict=True) if t is not None and v is not None]
    if pairs:
        summary |= {"train": fmean(t for t, _ in pairs), "gap": fmean(v - t for t, v in pairs)}
    if regime is not None:
        summary["regime"] = regime
    for name, value in summary.items():
        trial.set_user_attr(PREFIX + name, value)


def fold_records(trial: FrozenTrial | optuna.Trial) -> dict[int, FoldRecord]:
    """Fold → record of a trial, in the order of the folds; empty for a trial of the user's own objective."""
    names = FoldRecord.__dataclass_fields__
    found = {
        int(key.removeprefix(_FOLD)): FoldRecord(**{k: v for k, v in value.items() if k in names})
        for key, value in trial.user_attrs.items()
        if key.startswith(_FOLD)
    }
    return dict(sorted(found.items()))


def finished_folds(study: optuna.Study, strength: float) -> dict[int, tuple[int, FoldRecord]]:
    """Fold → (trial, record) of the fully trained folds of this very λ, whichever trial trained them."""
    found: dict[int, tuple[int, FoldRecord]] = {}
    for trial in study.get_trials(deepcopy=False):
        if trial.user_attrs.get(STRENGTH) == strength:
            for fold, record in fold_records(trial).items():
                if not record.truncated and record.reused_from is None:
                    found.setdefault(fold, (trial.number, record))
    return found


def observations(study: optuna.Study, metric: Metric | None = None, parameter: str = PARAMETER) -> Observations:
    """All final fold scores, of running and pruned trials too; a study of the user's own reports one value per fold."""
    metric = metric or metric_of(study)
    rows: dict[tuple[float, int], tuple[float, int]] = {}
    estimates: dict[int, float] = {}
    for trial in study.get_trials(deepcopy=False):
        strength = strength_of(trial, parameter)
        for fold, score, estimate in _fold_scores(trial, metric):
            rows.setdefault((strength, fold), (score, trial.number))
            if estimate and metric == "loss":
                estimates.setdefault(fold, estimate)
    strengths, folds, scores, numbers = (
        [s for s, _ in rows],
        [f for _, f in rows],
        [score for score, _ in rows.values()],
        [number for _, number in rows.values()],
    )
    logs = [math.log(value) for value in estimates.values()]
    return Observations(
        strength=np.array(strengths, dtype=np.float64),
        fold=np.array(folds, dtype=np.int64),
        score=np.array(scores, dtype=np.float64),
        trial=np.array(numbers, dtype=np.int64),
        folds=fold_count(study),
        first_estimate=math.exp(sum(logs) / len(logs)) if logs else None,
    )


def metric_of(study: optuna.Study) -> Metric:
    """What the study chooses λ by."""
    metric = stored_settings(study).get("metric", "loss")
    assert metric in get_args(Metric)
    return metric  # type: ignore[no-any-return]


def fold_count(study: optuna.Study) -> int | None:
    """How many folds (k × repeats) the study has, if it tells."""
    folds = study.user_attrs.get(PREFIX + "trainer", {}).get("folds")
    return None if folds is None else int(folds)


def fold_order(study: optuna.Study, folds: int) -> list[int]:
    """Folds in the order in which a new λ should run them: the least seen first, so that all effects get known."""
    seen = np.bincount(observations(study).fold, minlength=folds)[:folds]
    return [int(fold) for fold in np.argsort(seen, kind="stable")]


def worst_score(study: optuna.Study, metric: Metric) -> float | None:
    """Highest finite final fold score so far: what a diverged fold counts as."""
    scores = observations(study, metric).score
    finite = scores[np.isfinite(scores)]
    return float(finite.max()) if len(finite) else None


def search_range(study: optuna.Study, low: float, high: float) -> tuple[float, float]:
    """The range to search now: the one asked for, unless it was widened since."""
    stored = study.user_attrs.get(RANGE)
    return (float(stored[0]), float(stored[1])) if stored else (low, high)


def widen_range(study: optuna.Study, low: float, high: float) -> None:
    """Store a wider range for all workers of the study."""
    study.set_user_attr(RANGE, [low, high])


def drawn_range(study: optuna.Study, parameter: str = PARAMETER) -> tuple[float, float] | None:
    """Lowest and highest λ that any trial could draw; None before the first one drew."""
    spread = [
        (d.low, d.high)  # type: ignore[attr-defined]
        for t in study.get_trials(deepcopy=False)
        if (d := t.distributions.get(parameter)) is not None
    ]
    if not spread:
        return None
    low, high = min(a for a, _ in spread), max(b for _, b in spread)
    return (float(low) if low > 0 else high * 1e-9), float(high)


def read_study(study: optuna.Study) -> StudyRecord:
    """All tables of a study; works on any storage that any worker wrote, also midway."""
    metric = metric_of(study)
    fits: list[dict[str, Any]] = []
    epochs: list[dict[str, Any]] = []
    trials: list[dict[str, Any]] = []
    layers: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    several = len(study.directions) > 1
    for trial in study.get_trials(deepcopy=False):
        if trial.state == TrialState.WAITING or (trial.state == TrialState.RUNNING and not _has_strength(trial)):
            continue
        strength = strength_of(trial)
        head = {"trial": trial.number, "lambda": strength}
        records = fold_records(trial)
        for fold, record in records.items():
            row = {k: v for k, v in asdict(record).items() if k not in ("weight_norms", "curves", "reused_from")}
            reused = record.reused_from is not None
            row |= {"weight_norm": record.weight_norm, "state": trial.state.name, "reused": reused}
            row["seconds"] = 0.0 if reused else record.seconds
            fits.append(head | {"fold": fold} | row)
            layers += [head | {"fold": fold, "layer": k, "weight_norm": v} for k, v in record.weight_norms.items()]
            if not reused:
                for epoch in range(record.epochs):
                    scores = {name: curve[epoch] for name, curve in record.curves.items() if epoch < len(curve)}
                    epochs.append(head | {"fold": fold, "epoch": epoch + 1} | scores)
        if not records and STRENGTH not in trial.user_attrs:
            value_name = f"val_{metric}"
            for fold, value in sorted(trial.intermediate_values.items()):
                diverged = not math.isfinite(value)
                fits.append(
                    head
                    | {"fold": fold, "state": trial.state.name, value_name: None if diverged else value}
                    | {"diverged": diverged, "truncated": False, "reused": False, "epochs": 1, "seconds": 0.0}
                )
        if BIAS_VARIANCE in trial.user_attrs:
            predictions.append(head | trial.user_attrs[BIAS_VARIANCE])
        duration = trial.duration.total_seconds() if trial.duration else float("nan")
        done = len(records) or len(trial.intermediate_values)
        trials.append(
            head
            | {
                "state": trial.state.name,
                "folds": done,
                # a pruned trial's value is its last intermediate value, never a score
                "value": trial.value if trial.state == TrialState.COMPLETE and not several else None,
                "seconds": duration,
                "complete": bool(trial.user_attrs.get(COMPLETE, False)),
                "audit": bool(trial.user_attrs.get(AUDIT, False)),
            }
        )
    fit_table = _table(fits, _FIT_COLUMNS)
    attrs = study.user_attrs
    folds = fold_count(study) or (int(fit_table["fold"].max()) + 1 if len(fit_table) else 0)
    return StudyRecord(
        name=study.study_name,
        metric=metric,
        folds=folds,
        range=drawn_range(study),
        **{name: dict(attrs.get(PREFIX + name, {})) for name in _PARTS} | {"settings": stored_settings(study)},
        fits=fit_table,
        epochs=_table(
            epochs, {"trial": int, "lambda": float, "fold": int, "epoch": int} | dict.fromkeys(_SCORES, float)
        ),
        trials=_table(
            trials,
            {
                "trial": int,
                "lambda": float,
                "state": str,
                "folds": int,
                "value": float,
                "seconds": float,
                "complete": bool,
                "audit": bool,
            },
        ),
        layers=_table(layers, {"trial": int, "lambda": float, "fold": int, "layer": str, "weight_norm": float}),
        predictions=_table(predictions, _PREDICTION_COLUMNS),
    )


_FIT_COLUMNS: dict[str, type] = {
    "trial": int,
    "lambda": float,
    "fold": int,
    "state": str,
    "epochs": int,
    **dict.fromkeys(_SCORES, float),
    "weight_norm": float,
    "diverged": bool,
    "seconds": float,
    "truncated": bool,
    "reused": bool,
    "zero_fraction": float,
    "near_zero_fraction": float,
    "test_loss": float,
    "test_error": float,
    "calibration_error": float,
    "input_gradient_norm": float,
    "first_estimate": float,
}
_PREDICTION_COLUMNS: dict[str, type] = {
    "trial": int,
    "lambda": float,
    "folds": int,
    **dict.fromkeys(("loss", "bias_loss", "variance_loss", "error", "bias_error", "variance_error"), float),
}


def _table(rows: list[dict[str, Any]], columns: Mapping[str, type]) -> pd.DataFrame:
    """Rows as a table of exactly these columns and types; missing numbers are NaN."""
    series = {}
    for name, kind in columns.items():
        values = [row.get(name) for row in rows]
        if kind is float:
            values = [float("nan") if value is None else value for value in values]
        series[name] = pd.Series(values, dtype=object if kind is str else kind)
    return pd.DataFrame(series)


def _fold_scores(trial: FrozenTrial, metric: Metric) -> list[tuple[int, float, float | None]]:
    """(fold, score, first estimate) of a trial's finished folds."""
    if STRENGTH in trial.user_attrs:
        return [
            (fold, record.score(metric), record.first_estimate)
            for fold, record in fold_records(trial).items()
            if not record.truncated
        ]
    return [(fold, value, None) for fold, value in sorted(trial.intermediate_values.items())]


def _has_strength(trial: FrozenTrial) -> bool:
    return STRENGTH in trial.user_attrs or PARAMETER in trial.params


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _short(value: float) -> float | None:
    """Six significant digits: curves are drawn, not computed with."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _start(fingerprint: str | None) -> str:
    return (fingerprint or "none")[:8]
