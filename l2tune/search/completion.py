"""Trials queued to be finished on all folds: each λ once, however many workers queue it at the same moment."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from l2tune.optuna_internals import mark_trial, queued_params, take_waiting
from l2tune.records.keys import COMPLETE
from l2tune.records.observations import known_parameter, strength_of
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
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if params and trial.params == params:
            with suppress(optuna.exceptions.UpdateFinishedTrialError):
                for key, value in ({COMPLETE: True} | (marks or {})).items():
                    mark_trial(study, trial, key, value)
                return
    study.enqueue_trial(params, user_attrs={COMPLETE: True} | (marks or {}))
    # Storages know no common lock: whoever looks last sees all copies, and withdraws those not yet taken.
    copies = [t for t in study.get_trials(deepcopy=False) if _is_open_or_done(t, params)]
    for copy in copies[1:]:
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            if take_waiting(study, copy):
                withdraw(study, copy)


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
