"""What workers that share a study claim: the baseline, trials that are about to draw, trials that were given up."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from l2tune.optuna_internals import queued_params
from l2tune.records.keys import AUDIT, COMPLETE, CONTINUES, GIVEN_UP, JOINS_PARTS, PART, SHARED_FROM, STRENGTH
from l2tune.records.parameter import DEFAULT, StrengthParameter

CLAIM_SECONDS = 5.0
"""So long after it was first seen an earlier trial may still become the baseline: it claims that first of all."""


BASELINE_ATTEMPTS = 3
"""So many times the baseline may fail for a reason of its own."""

CARRIED = (STRENGTH, COMPLETE, AUDIT, PART, JOINS_PARTS)
"""What a trial queued in the place of another keeps of it."""

_COUNTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)

_first_seen: dict[tuple[str, int, datetime | None], float] = {}


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
        if other.number < trial.number and about_to_claim and seconds_seen(trial.study, other) < CLAIM_SECONDS:
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


def seconds_seen(study: optuna.Study, trial: FrozenTrial) -> float:
    """How long ago this process first asked about the trial, by its own clock: other machines' clocks may be wrong."""
    now = time.monotonic()
    return now - _first_seen.setdefault((study.study_name, trial.number, trial.datetime_start), now)


def is_wanted_whole(trial: FrozenTrial | optuna.Trial) -> bool:
    """Whether all folds of the trial are wanted, whatever a pruner says."""
    return bool(trial.user_attrs.get(COMPLETE, False))


def is_audit(trial: FrozenTrial | optuna.Trial) -> bool:
    """Whether the trial finishes a λ that was pruned."""
    return bool(trial.user_attrs.get(AUDIT, False))


def part_of_folds(trial: FrozenTrial | optuna.Trial) -> int | None:
    """The only fold that the trial is to train, where workers share the folds of its parameters."""
    fold = trial.user_attrs.get(PART)
    return None if fold is None else int(fold)


def is_of_parts(trial: FrozenTrial | optuna.Trial) -> bool:
    """Whether the trial is one fold of what workers share, or takes over what they have trained."""
    return PART in trial.user_attrs or bool(trial.user_attrs.get(JOINS_PARTS, False))


def begun(trials: Sequence[FrozenTrial]) -> int:
    """How many of these count towards the budget: audits go beyond it, and the parts of a λ count once, as its whole.

    So does what joins them, also in the instant in which two workers have queued it.
    """
    counted = [t for t in trials if t.state in _COUNTED and not is_audit(t)]
    of_parts = [t for t in trials if is_of_parts(t) and t.state != TrialState.FAIL]
    joined = {t.user_attrs.get(STRENGTH) for t in counted if part_of_folds(t) is None and is_of_parts(t)}
    single = [t for t in counted if not is_of_parts(t)]
    shared = {t.user_attrs[STRENGTH] for t in of_parts if part_of_folds(t) is not None}
    return len(single) + len(joined) + len(shared - joined - {t.user_attrs.get(STRENGTH) for t in single})


def was_given_up(trial: FrozenTrial) -> bool:
    """Whether a failed trial failed because its worker ended, so that its λ is as good as untried."""
    return bool(trial.user_attrs.get(GIVEN_UP, False))


def successors(trials: list[FrozenTrial]) -> set[int]:
    """Numbers of the given up trials in whose place another was queued."""
    return {int(trial.user_attrs[CONTINUES]) for trial in trials if CONTINUES in trial.user_attrs}


def to_queue_again(trial: FrozenTrial) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and user attributes to queue in the place of a trial that was given up.

    No parameters and no fold of its own: a baseline, which the next trial claims, or a trial that had no λ yet.
    """
    attrs: Mapping[str, Any] = trial.user_attrs
    if SHARED_FROM in attrs:  # it is copied anew
        return {}, {}
    return queued_params(trial) | trial.params, {key: attrs[key] for key in CARRIED if key in attrs}
