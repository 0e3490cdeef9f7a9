"""What a tracker is sent: a run for each fit (λ × fold) and one for the study, made from what the study stores."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from l2tune.analysis.by_strength import STATE_COLUMNS
from l2tune.analysis.estimates import Estimates
from l2tune.penalty.strength import NO_WEIGHT_DECAY, weight_decay
from l2tune.records.fold_record import SCORES, FoldRecord, fold_records
from l2tune.records.keys import SHARED_FROM
from l2tune.records.observations import finished_folds, known_parameter, strength_of
from l2tune.records.parameter import StrengthParameter
from l2tune.records.study import is_described, metric_of, penalty_of, stored_settings, trained_by
from l2tune.records.tables import read_study
from l2tune.report.again import known_settings
from l2tune.report.tables import results
from l2tune.settings import IDENTITY, PLACES

Plain = int | float | str

_HYPERPARAMETERS = frozenset(
    name
    for name in IDENTITY - {"lambda_range"}
    if PLACES[name][0] in ("data", "model", "penalty", "training") and len(PLACES[name]) > 1
)
"""Settings that tell how a fit is trained, the same for all fits of a study."""
_OF_THE_STUDY = (
    *("best_lambda", "one_se_lambda", "weight_decay", "best_value", "best_standard_error"),
    *("corrected_standard_error", "baseline_value", "fits", "trials", "seconds"),
)
"""Numbers of the study's run, as `results.json` has them, beside `interval_low` and `interval_high`."""


@dataclass(frozen=True)
class FitRun:
    """A fit, as it is logged.

    Attributes:
        key: Names it for good within its study, whoever logs it and however often.
        study: `StudyRun.key` of its study.
        name: For people.
        params: `trial` and `fold`, from 0 as in `trials.csv`; `lambda`; `weight_decay`; the study's own parameter and
            the others that it drew; the settings that fits are trained with; `state`.
        epochs: Epoch, from 1, → scores then; with the last one all else that is known of the network. What is not
            finite is left out.
    """

    key: str
    study: str
    name: str
    params: Mapping[str, Plain]
    epochs: Mapping[int, Mapping[str, float]]

    @property
    def id(self) -> str:
        """The same for all studies, in letters and digits that every tool takes."""
        return _digest(f"{self.study}/{self.key}")

    @property
    def final(self) -> Mapping[str, float]:
        """What was known after the last epoch."""
        return self.epochs[max(self.epochs)] if self.epochs else {}


@dataclass(frozen=True)
class StudyRun:
    """A study, as it is logged.

    Attributes:
        key: Names it for good: by its name and when its first trial began, so that one that was deleted and begun anew
            is another.
        name: For people.
        step: How many trials are finished.
        params: Its settings, the storage without its password.
        numbers: `best_lambda`, `interval_low`, `interval_high`, `one_se_lambda`, … as in `results.json`; without those
            that are not known yet.
        verdict: In words; empty while no fold has a score.
    """

    key: str
    name: str
    step: int
    params: Mapping[str, Plain]
    numbers: Mapping[str, float] = field(default_factory=dict)
    verdict: str = ""

    @property
    def id(self) -> str:
        """The key in letters and digits that every tool takes."""
        return _digest(self.key)


def study_run(study: optuna.Study, parameter: StrengthParameter | None = None) -> StudyRun:
    """A study's run, as the study stands now.

    Raises:
        UserError: Which parameter is the strength is not known, or a value cannot be one of the metric.
    """
    record = read_study(study, known_parameter(study, parameter))
    trials = study.get_trials(deepcopy=False)
    step = sum(trial.state.is_finished() for trial in trials)
    run = StudyRun(study_key(study), _text(study.study_name), step, _plain(known_settings(record)))
    if not len(record.observations.cost):
        return run
    found = results(Estimates.from_record(record))
    low, high = found["interval"]
    numbers = {name: found[name] for name in _OF_THE_STUDY} | {"interval_low": low, "interval_high": high}
    return StudyRun(run.key, run.name, step, run.params, _finite(numbers), _text(found["verdict"]))


def study_key(study: optuna.Study) -> str:
    """See `StudyRun.key`."""
    began = next((t.datetime_start for t in study.get_trials(deepcopy=False) if t.datetime_start is not None), None)
    return _text(study.study_name) + (f"-{began:%Y%m%d-%H%M%S-%f}" if began is not None else "")


def fit_runs(
    study: optuna.Study,
    trials: Sequence[FrozenTrial] | None = None,
    parameter: StrengthParameter | None = None,
) -> list[FitRun]:
    """The fits of a study's finished trials, each once: a fold that a trial took over is its first trial's.

    Args:
        trials: Of these only; by default of all.
        parameter: The strength, where the study does not tell.

    Raises:
        UserError: Which parameter is the strength is not known, or a value cannot be one of the metric.
    """
    parameter = known_parameter(study, parameter)
    key, name = study_key(study), _text(study.study_name)
    given = _settings_of_fits(study)
    decays = penalty_of(study) not in NO_WEIGHT_DECAY
    reported = {} if is_described(study) else _reported(study, parameter)
    found = []
    for trial in study.get_trials(deepcopy=False) if trials is None else trials:
        strength = strength_of(trial, parameter)
        if strength is None or not trial.state.is_finished():
            continue
        records = fold_records(trial) or reported.get(trial.number, {})
        for fold, record in records.items():
            if record.reused_from is not None:
                continue
            params: dict[str, Any] = {"trial": trial.number, "fold": fold, "lambda": strength}
            params |= {"weight_decay": weight_decay(strength)} if decays else {}
            params |= {"state": _state(record)}
            if SHARED_FROM in trial.user_attrs:
                params["shared_from"] = trial.user_attrs[SHARED_FROM]
            for other, value in [*trial.params.items(), *given.items()]:
                if other not in params:
                    params[other] = value
                elif params[other] != value:
                    params[f"params_{other}"] = value
            found.append(
                FitRun(
                    f"trial-{trial.number}-fold-{fold}",
                    key,
                    f"{name} trial {trial.number} fold {fold}",
                    _plain(params),
                    _epochs(record),
                )
            )
    return found


def _reported(study: optuna.Study, parameter: StrengthParameter) -> dict[int, dict[int, FoldRecord]]:
    """Trial → fold → what is known of it in a study of a user's own objective: its score."""
    metric = metric_of(study)
    found: dict[int, dict[int, FoldRecord]] = {}
    for fold in finished_folds(study, parameter, metric):
        diverged = not math.isfinite(fold.cost)
        scores = {} if diverged else {f"val_{metric}": metric.score(fold.cost)}
        found.setdefault(fold.trial, {})[fold.fold] = FoldRecord(1, diverged=diverged, scores=scores)
    return found


def _settings_of_fits(study: optuna.Study) -> dict[str, Any]:
    settings = stored_settings(study)
    if trained_by(study) != "l2tune":  # how many epochs a function trains it alone knows
        return {}
    return {name: value for name, value in settings.items() if name in _HYPERPARAMETERS}


def _state(record: FoldRecord) -> str:
    return "diverged" if record.diverged else "truncated" if record.truncated else "finished"


def _epochs(record: FoldRecord) -> dict[int, dict[str, float]]:
    """Curves are stored with six digits; the last epoch's scores are the record's own, with all of them."""
    rows: dict[int, dict[str, Any]] = {epoch: {} for epoch in range(1, record.epochs + 1)}
    for name, curve in record.curves.items():
        for epoch, value in enumerate(curve, start=1):
            rows.setdefault(epoch, {})[name] = value
    state = {name: getattr(record, name) for name in STATE_COLUMNS} | {"seconds": record.seconds or None}
    scores = {name: getattr(record, name) for name in SCORES} | dict(record.scores)
    last = max(rows, default=1)
    rows[last] = _finite(state) | rows.get(last, {}) | _finite(scores)
    return {epoch: _finite({_text(name): value for name, value in row.items()}) for epoch, row in rows.items()}


def _finite(numbers: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in numbers.items() if value is not None and math.isfinite(value)}


def _plain(values: Mapping[str, Any]) -> dict[str, Plain]:
    """Numbers and text as they are, all else as JSON; what is not given is left out."""
    found: dict[str, Plain] = {}
    for name, value in values.items():
        if value is None or (isinstance(value, Sequence | Mapping) and not len(value)):
            continue
        if isinstance(value, bool | int | float | str):
            plain = value if not isinstance(value, float) or math.isfinite(value) else str(value)
        else:
            plain = json.dumps(value, ensure_ascii=False, default=str)
        found[_text(name)] = _text(plain) if isinstance(plain, str) else plain
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _text(text: str) -> str:
    """Half a character as `\\udc80`, which no encoding has."""
    return text.encode("utf-8", "backslashreplace").decode()
