"""Trials queued to be finished on all folds: each λ once, however many workers queue it at the same moment."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from l2tune.records import tables as records


def queue_completion(
    study: optuna.Study, strength: float, *, parameter: str = records.PARAMETER, marks: dict[str, Any] | None = None
) -> None:
    """Queue this λ for all its folds, which are not pruned.

    Args:
        marks: Further user attributes of the trial.
    """
    study.enqueue_trial({parameter: strength}, user_attrs={records.COMPLETE: True} | (marks or {}))
    # Storages know no common lock: whoever looks last sees all copies, and withdraws those not yet taken.
    copies = [t for t in study.get_trials(deepcopy=False) if _is_open_or_done(t, strength, parameter)]
    for copy in copies[1:]:
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            if study._storage.set_trial_state_values(copy._trial_id, TrialState.RUNNING):  # as Optuna takes one itself
                study.tell(copy.number, state=TrialState.FAIL)


def _is_open_or_done(trial: FrozenTrial, strength: float, parameter: str) -> bool:
    return (
        bool(trial.user_attrs.get(records.COMPLETE))
        and trial.state in (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE)
        and trial.system_attrs.get("fixed_params", {}).get(parameter) == strength
    )
