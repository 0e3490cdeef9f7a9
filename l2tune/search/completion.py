"""Trials queued to be finished on all folds: each λ once, however many workers queue it at the same moment."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from l2tune.optuna_internals import mark_trial, queued_params, take_waiting
from l2tune.records.claims import part_of_folds
from l2tune.records.keys import COMPLETE, JOINS_PARTS, PART, STRENGTH
from l2tune.records.observations import finished_folds_of, known_parameter, strength_of
from l2tune.records.parameter import Others
from l2tune.search.workers import withdraw


def queue_completion(
    study: optuna.Study, strength: float, others: Others = (), *, marks: dict[str, Any] | None = None
) -> None:
    """Queue this λ, with these other parameters, for all its folds, which are not pruned.

    Where a trial of the same parameters is running, its own folds become wanted: none is trained twice.

    Args:
        marks: Further user attributes of the trial.
    """
    params = _params(study, strength, others)
    for trial in _running(study, params):
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            for key, value in ({COMPLETE: True} | (marks or {})).items():
                mark_trial(study, trial, key, value)
            return
    study.enqueue_trial(params, user_attrs={COMPLETE: True} | (marks or {}))
    # Storages know no common lock: whoever looks last sees all copies, and withdraws those not yet taken.
    copies = [t for t in study.get_trials(deepcopy=False) if _is_open_or_done(t, params)]
    for copy in copies[1:]:
        _withdraw_if_waiting(study, copy)


def is_running(study: optuna.Study, strength: float, others: Others = ()) -> bool:
    """Whether a trial of these parameters is under way."""
    return bool(_running(study, _params(study, strength, others)))


def queue_parts(
    study: optuna.Study, strength: float, folds: Iterable[int], others: Others = (), *, complete: bool = False
) -> None:
    """Queue these folds of this λ one by one, for workers to share; `queue_wholes` joins them.

    Args:
        complete: They finish a λ whose folds are all wanted.
    """
    params = _params(study, strength, others)
    marks = {STRENGTH: strength} | ({COMPLETE: True} if complete else {})
    for fold in folds:
        study.enqueue_trial(params, user_attrs=marks | {PART: int(fold)})
    # as above: whoever looks last withdraws what was queued twice
    open_trials = [t for t in study.get_trials(deepcopy=False) if _is_open_part(t, params, strength)]
    seen: set[int | None] = set()
    for trial in open_trials:
        fold_of_it = part_of_folds(trial)
        if fold_of_it in seen:
            _withdraw_if_waiting(study, trial)
        seen.add(fold_of_it)


def queue_wholes(study: optuna.Study, folds: int) -> None:
    """Queue a trial that takes over all folds of a λ, where workers have trained them one by one.

    Args:
        folds: How many there are.
    """
    trials = study.get_trials(deepcopy=False)
    for part in [t for t in trials if part_of_folds(t) is not None and t.state == TrialState.PRUNED]:
        strength, params = part.user_attrs[STRENGTH], queued_params(part)
        if any(_is_whole(t, params, strength) for t in trials):
            continue
        if len(finished_folds_of(study, strength, params)) == folds:
            marks = {key: part.user_attrs[key] for key in (STRENGTH, COMPLETE) if key in part.user_attrs}
            study.enqueue_trial(params, user_attrs=marks | {JOINS_PARTS: True})
            trials = study.get_trials(deepcopy=False)
            for copy in [t for t in trials if _is_whole(t, params, strength)][1:]:
                _withdraw_if_waiting(study, copy)


def _is_whole(trial: FrozenTrial, params: dict[str, Any], strength: float) -> bool:
    """Whether a trial takes over the parts of this λ, or has."""
    return (
        bool(trial.user_attrs.get(JOINS_PARTS))
        and trial.state in (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE)
        and trial.user_attrs.get(STRENGTH) == strength
        and queued_params(trial) == params
    )


def queue_baseline_parts(study: optuna.Study, folds: int) -> bool:
    """Let workers that begin together share the folds of the baseline, which everything else waits for.

    Returns:
        False where the study has begun already.
    """
    if study.get_trials(deepcopy=False):
        return False
    queue_parts(study, 0.0, range(folds))
    return True


def _withdraw_if_waiting(study: optuna.Study, trial: FrozenTrial) -> None:
    with suppress(optuna.exceptions.UpdateFinishedTrialError):
        if take_waiting(study, trial):
            withdraw(study, trial)


def _is_open_part(trial: FrozenTrial, params: dict[str, Any], strength: float) -> bool:
    return (
        trial.state in (TrialState.WAITING, TrialState.RUNNING)
        and part_of_folds(trial) is not None
        and trial.user_attrs.get(STRENGTH) == strength
        and queued_params(trial) == params
    )


def _running(study: optuna.Study, params: dict[str, Any]) -> list[FrozenTrial]:
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in running if params and trial.params == params]


def _params(study: optuna.Study, strength: float, others: Others) -> dict[str, Any]:
    """As they were drawn, for a number on another scale may not come back from λ to the last digit."""
    parameter = known_parameter(study)
    for trial in study.get_trials(deepcopy=False):
        if trial.params and strength_of(trial, parameter) == strength and parameter.others(trial.params) == others:
            return dict(trial.params)
    return parameter.params(strength, others)


def _is_open_or_done(trial: FrozenTrial, params: dict[str, Any]) -> bool:
    return (
        bool(trial.user_attrs.get(COMPLETE))
        and trial.state in (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE)
        and queued_params(trial) == params
    )
