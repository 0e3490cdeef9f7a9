"""What workers that share a study claim: the baseline, trials that are about to draw, trials that were given up."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from l2tune.optuna_internals import queued_params
from l2tune.records.keys import AUDIT, COMPLETE, GIVEN_UP, STRENGTH, WORKER, refitting_key
from l2tune.records.parameter import DEFAULT, StrengthParameter

CLAIM_SECONDS = 5.0
"""So long after its birth an earlier trial may still become the baseline: it claims that first of all."""


BASELINE_ATTEMPTS = 3
"""So many times the baseline may fail for a reason of its own."""


def claim_baseline(trial: optuna.Trial, parameter: StrengthParameter = DEFAULT) -> bool:
    """Make this trial the baseline unless another one is, has been, or is queued to be.

    One that has failed is tried again, but not for ever: a fit that cannot do without a penalty is no reason not to
    search. Workers that start together leave it to the trial of the lowest number, the others go on with a λ of their
    own.
    """
    if STRENGTH in trial.user_attrs:
        return float(trial.user_attrs[STRENGTH]) == 0.0
    trials = trial.study.get_trials(deepcopy=False)
    if parameter.name in queued_params(trials[trial.number]) or parameter.name in trial.params:
        return False
    failed = [t for t in trials if t.state == TrialState.FAIL and t.user_attrs.get(STRENGTH) == 0.0]
    if sum(not was_given_up(t) for t in failed) >= BASELINE_ATTEMPTS:
        return False
    for other in trials:
        if other.number != trial.number and other.state != TrialState.FAIL and other.user_attrs.get(STRENGTH) == 0.0:
            return False
        about_to_claim = is_about_to_draw(other, parameter) and parameter.name not in queued_params(other)
        if other.number < trial.number and about_to_claim and age_seconds(other) < CLAIM_SECONDS:
            return False
    trial.set_user_attr(STRENGTH, 0.0)
    return True


def claim_strength(trial: optuna.Trial, strength: float) -> None:
    """Write down the λ that a trial has drawn."""
    trial.set_user_attr(STRENGTH, strength)


def is_about_to_draw(trial: FrozenTrial, parameter: StrengthParameter) -> bool:
    """Whether a trial is running that has no λ yet, and is not the baseline."""
    return (
        trial.state == TrialState.RUNNING
        and parameter.name not in trial.params
        and STRENGTH not in trial.user_attrs
        and not trial.intermediate_values
    )


def age_seconds(trial: FrozenTrial) -> float:
    """How long ago the trial began; infinite if it has not."""
    return (datetime.now() - trial.datetime_start).total_seconds() if trial.datetime_start else math.inf


def is_wanted_whole(trial: FrozenTrial | optuna.Trial) -> bool:
    """Whether all folds of the trial are wanted, whatever a pruner says."""
    return bool(trial.user_attrs.get(COMPLETE, False))


def is_audit(trial: FrozenTrial | optuna.Trial) -> bool:
    """Whether the trial finishes a λ that was pruned."""
    return bool(trial.user_attrs.get(AUDIT, False))


def was_given_up(trial: FrozenTrial) -> bool:
    """Whether a failed trial failed because its worker ended, so that its λ is as good as untried."""
    return bool(trial.user_attrs.get(GIVEN_UP, False))


def this_worker() -> dict[str, Any]:
    """Host and number of this process, as they are stored."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def write_worker(trial: optuna.Trial) -> None:
    """Write down which process runs the trial."""
    trial.set_user_attr(WORKER, this_worker())


def worker_of(trial: FrozenTrial) -> tuple[str, int] | None:
    """Host and number of the process that runs the trial, if it was written down."""
    return _worker(trial.user_attrs.get(WORKER))


def claim_refit(study: optuna.Study, strength: float, seed: int) -> None:
    """Write down that this process trains the final network of this λ and seed."""
    study.set_user_attr(refitting_key(strength, seed), this_worker())


def release_refit(study: optuna.Study, strength: float, seed: int) -> None:
    """Write down that this process trains it no longer."""
    study.set_user_attr(refitting_key(strength, seed), None)


def refit_worker(study: optuna.Study, strength: float, seed: int) -> tuple[str, int] | None:
    """Host and number of the process that trains the final network of this λ and seed, if one does."""
    return _worker(study.user_attrs.get(refitting_key(strength, seed)))


def _worker(stored: Mapping[str, Any] | None) -> tuple[str, int] | None:
    return None if stored is None else (str(stored["host"]), int(stored["pid"]))
