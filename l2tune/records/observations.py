"""Observations of a study: which folds are finished, and at which values of the other parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from l2tune.curve.observations import Observations
from l2tune.errors import UserError
from l2tune.metrics import BUILT_IN, HIGHEST_SCORE, Metric
from l2tune.records.fold_record import FoldRecord, fold_records
from l2tune.records.keys import STRENGTH
from l2tune.records.one_reading import one_reading
from l2tune.records.parameter import DEFAULT, Others, StrengthParameter, parameter_of, why_unknown
from l2tune.records.study import check_schema, fold_count, is_described, metric_of, penalty_of, search_range

_LIKE_LOSS = (BUILT_IN["error"], BUILT_IN["accuracy"])
"""Metrics whose curve is expected to be like that of the loss."""


@dataclass(frozen=True, slots=True)
class FinishedFold:
    """A fold that was trained to its end.

    What identifies it is (all parameters, fold): λ, the other parameters' values, and the fold.

    Attributes:
        trial: Number of the trial that trained it.
        cost: `Metric.cost` of its score; infinite if it diverged.
        record: As stored; None in a study of the user's own.
    """

    trial: int
    strength: float
    others: Others
    fold: int
    cost: float
    record: FoldRecord | None = None


@one_reading()
def known_parameter(study: optuna.Study, parameter: StrengthParameter | None = None) -> StrengthParameter:
    """The study's parameter for the strength, `lambda` while no trial has drawn anything.

    Raises:
        UserError: Nothing tells which of its parameters it is.
    """
    check_schema(study)
    found = parameter or parameter_of(study)
    if found is None and any(trial.params for trial in study.get_trials(deepcopy=False)):
        raise UserError(
            f"which parameter is the strength is not known: {why_unknown(study)}",
            f"study {study.study_name!r}",
            "give parameter='NAME' (--parameter NAME)",
        )
    return found or DEFAULT


def strength_of(trial: FrozenTrial, parameter: StrengthParameter = DEFAULT) -> float | None:
    """λ of a trial: 0 for the baseline; None where it has not drawn one.

    A trial of the user's own objective that reported scores without having the parameter is a baseline.
    """
    if STRENGTH in trial.user_attrs:
        return float(trial.user_attrs[STRENGTH])
    strength = parameter.strength(trial.params)
    return 0.0 if strength is None and trial.intermediate_values else strength


def finished_folds(
    study: optuna.Study,
    parameter: StrengthParameter,
    metric: Metric,
    trials: Sequence[FrozenTrial] | None = None,
) -> list[FinishedFold]:
    """All finished folds, of running and pruned trials too, each once, in the order of the trials.

    A study of the user's own reports one value per fold: its steps, in their order, are the folds.

    Args:
        trials: As they were read before: other workers may have told more since. By default as they are now.

    Raises:
        UserError: A value cannot be one of the metric.
    """
    trials = study.get_trials(deepcopy=False) if trials is None else trials
    if not is_described(study):
        _check_steps(study, trials)
    steps = sorted({step for trial in trials for step in trial.intermediate_values})
    place = {step: fold for fold, step in enumerate(steps)}
    found: dict[tuple[float, Others, int], FinishedFold] = {}
    for trial in trials:
        strength = strength_of(trial, parameter)
        if strength is None or trial.state == TrialState.WAITING:
            continue
        others = parameter.others(trial.params)
        for fold, cost, record in _costs(trial, metric, place):
            key = strength, others, fold
            if key not in found or (_is_taken_over(found[key].record) and not _is_taken_over(record)):
                found[key] = FinishedFold(trial.number, strength, others, fold, cost, record)
    return list(found.values())


@one_reading()
def observations(
    study: optuna.Study,
    parameter: StrengthParameter | None = None,
    *,
    metric: Metric | None = None,
    others: Others | None = None,
    trials: Sequence[FrozenTrial] | None = None,
) -> Observations:
    """What curve, sampler, pruner, stopping rule and analysis know of a study.

    Args:
        parameter: The strength; by default as the study tells.
        metric: By default the study's own.
        others: Values of the other parameters; by default those that are best now.
        trials: As they were read before; by default as they are now.

    Raises:
        UserError: Which parameter is the strength is not known, or a value cannot be one of the metric.
    """
    parameter = known_parameter(study, parameter)
    metric = metric or metric_of(study)
    trials = study.get_trials(deepcopy=False) if trials is None else trials
    every = finished_folds(study, parameter, metric, trials)
    if others is None:
        others = best_others(every)
    folds = [fold for fold in every if fold.others == others]
    told = fold_count(study)
    seen = 1 + max((fold.fold for fold in every), default=0)
    first_estimate, loss = _first_estimate(folds, penalty_of(study)), BUILT_IN["loss"]
    found = Observations(
        strength=np.array([fold.strength for fold in folds], dtype=np.float64),
        fold=np.array([fold.fold for fold in folds], dtype=np.int64),
        cost=np.array([fold.cost for fold in folds], dtype=np.float64),
        trial=np.array([fold.trial for fold in folds], dtype=np.int64),
        metric=metric,
        folds=max(told or 1, seen),
        range=search_range(study, parameter, trials),
        others=dict(others),
        first_estimate=first_estimate if metric == loss else None,
    )
    losses = _losses(folds) if metric in _LIKE_LOSS else None
    guide = None if losses is None else replace(found, cost=losses, metric=loss, first_estimate=first_estimate)
    return replace(found, guide=guide)


def _losses(folds: Sequence[FinishedFold]) -> NDArray[np.float64] | None:
    """(n,) losses of these fits; None unless all are recorded."""
    costs = [None if fold.record is None else fold.record.cost(BUILT_IN["loss"]) for fold in folds]
    return None if None in costs else np.array(costs, dtype=np.float64)


def best_others(folds: Sequence[FinishedFold]) -> Others:
    """Values of the other parameters of the lowest mean cost, among those tried on most folds."""
    costs: dict[tuple[Others, float], list[float]] = {}
    for fold in folds:
        costs.setdefault((fold.others, fold.strength), []).append(fold.cost)
    most = max(map(len, costs.values()), default=0)
    whole = {key: sum(values) / most for key, values in costs.items() if len(values) == most}
    return min(whole, key=lambda key: whole[key])[0] if whole else ()


@one_reading()
def finished_folds_of(study: optuna.Study, strength: float, params: Mapping[str, Any]) -> dict[int, FinishedFold]:
    """Fold → the finished fold of this very λ and these very other parameters, whichever trial trained it."""
    parameter, metric = known_parameter(study), metric_of(study)
    others = parameter.others(params)
    return {
        fold.fold: fold
        for fold in finished_folds(study, parameter, metric)
        if fold.strength == strength and fold.others == others and fold.record is not None
    }


def as_taken_over(fold: FinishedFold, trial: int) -> FoldRecord:
    """The record of a fold for another trial of the same parameters."""
    assert fold.record is not None
    return fold.record if fold.trial == trial else replace(fold.record, reused_from=fold.trial)


def _costs(trial: FrozenTrial, metric: Metric, place: Mapping[int, int]) -> list[tuple[int, float, FoldRecord | None]]:
    """(fold, cost, record) of a trial's finished folds."""
    records = fold_records(trial)
    if records or STRENGTH in trial.user_attrs:
        found = [(fold, record.cost(metric), record) for fold, record in records.items()]
        return [(fold, cost, record) for fold, cost, record in found if cost is not None]
    where = f"trial {trial.number}"
    return [
        (place[step], metric.cost(metric.check(value, where)) if abs(value) <= HIGHEST_SCORE else math.inf, None)
        for step, value in sorted(trial.intermediate_values.items())
    ]


def _is_taken_over(record: FoldRecord | None) -> bool:
    return record is not None and record.reused_from is not None


def _check_steps(study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
    """Whether what a user's own objective reports can be folds: epochs and running means end at the trial's value.

    Raises:
        UserError: They are none.
    """
    reported = [
        (t.values[0], [t.intermediate_values[step] for step in sorted(t.intermediate_values)])
        for t in trials
        if t.state == TrialState.COMPLETE and t.values is not None and t.intermediate_values
    ]
    reported = [(value, steps) for value, steps in reported if max(steps) > min(steps)]
    if len(reported) > 1 and all(
        math.isclose(value, steps[-1], rel_tol=1e-9) and not math.isclose(value, sum(steps) / len(steps), rel_tol=1e-6)
        for value, steps in reported
    ):
        raise UserError(
            "what its trials report are epochs or running means, not folds: the last one reported is the value",
            f"study {study.study_name!r}",
            "report each fold's own final score, trial.report(score, step=fold), and return their mean",
        )


def _first_estimate(folds: Sequence[FinishedFold], form: str) -> float | None:
    """Geometric mean over the baseline's folds of what they estimate for this form of the penalty."""
    estimates: dict[int, float] = {}
    for fold in folds:
        if fold.record is not None and form in fold.record.first_estimates:
            estimates.setdefault(fold.fold, fold.record.first_estimates[form])
    logs = [math.log(value) for value in estimates.values()]
    return math.exp(sum(logs) / len(logs)) if logs else None
