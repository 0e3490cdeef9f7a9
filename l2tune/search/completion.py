"""Trials queued to be finished on all folds: each λ once, however many workers queue it at the same moment.

Storages know no common lock. Whoever queues looks afterwards, and withdraws the later copies that nobody has taken yet;
whoever takes a trial looks whether it is such a copy (`is_copy`). The one of the lowest number stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from l2tune.optuna_internals import mark_trial, queued_params, take_waiting
from l2tune.records.claims import is_wanted_whole, part_of_folds
from l2tune.records.keys import COMPLETE, CONTINUES, GIVEN_UP, JOINS_PARTS, PART, STRENGTH
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
    _withdraw_copies(study)


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
    _withdraw_copies(study)


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
            _withdraw_copies(study)
            trials = study.get_trials(deepcopy=False)


def _is_whole(trial: FrozenTrial, params: dict[str, Any], strength: float | None) -> bool:
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


def is_copy(trials: Sequence[FrozenTrial], trial: FrozenTrial) -> bool:
    """Whether an earlier trial, under way or done, was queued for the same.

    Args:
        trials: All of the study.
    """
    params, strength, fold = queued_params(trial), trial.user_attrs.get(STRENGTH), part_of_folds(trial)
    earlier = trials[: trial.number]
    if CONTINUES in trial.user_attrs and any(_continues_the_same(t, trial) for t in earlier):
        return True  # two workers have taken over what a third one left
    if fold is not None:
        return any(part_of_folds(t) == fold and _is_open_part(t, params, strength) for t in earlier)
    if trial.user_attrs.get(JOINS_PARTS):
        return any(_is_whole(t, params, strength) for t in earlier)
    return is_wanted_whole(trial) and bool(params) and any(_is_completion(t, params) for t in earlier)


def _continues_the_same(trial: FrozenTrial, other: FrozenTrial) -> bool:
    same = trial.user_attrs.get(CONTINUES) == other.user_attrs[CONTINUES]
    return same and (trial.state != TrialState.FAIL or trial.user_attrs.get(GIVEN_UP) is True)


def _withdraw_copies(study: optuna.Study) -> None:
    trials = study.get_trials(deepcopy=False)
    for copy in [t for t in trials if t.state == TrialState.WAITING and is_copy(trials, t)]:
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            if take_waiting(study, copy):
                withdraw(study, copy)


def _is_open_part(trial: FrozenTrial, params: dict[str, Any], strength: float | None) -> bool:
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


def _is_completion(trial: FrozenTrial, params: dict[str, Any]) -> bool:
    return (
        is_wanted_whole(trial)
        and trial.state in (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE)
        and queued_params(trial) == params
    )
