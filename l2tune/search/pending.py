"""Fits under way: what running trials are at, whose results nobody knows yet."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from l2tune.curve.observations import Observations
from l2tune.records.claims import part_of_folds
from l2tune.records.parameter import StrengthParameter
from l2tune.records.workers import Worker, worker_of

Fits = Sequence[tuple[float, int]]
"""(λ, fold) of each."""


def pending_fits(
    trials: Sequence[FrozenTrial], parameter: StrengthParameter, seen: Observations
) -> list[tuple[float, int]]:
    """What these running trials are at.

    That is the fold that a trial shares out, else the one that it has not finished and the study has seen least. The
    baseline, and trials that have not drawn a λ yet, are left out.
    """
    found = []
    for trial in trials:
        strength = parameter.strength(trial.params)
        if trial.state != TrialState.RUNNING or strength is None:
            continue
        rest = set(range(seen.folds)) - set(seen.fold[seen.strength == strength].tolist())
        part = part_of_folds(trial)
        if part is not None:
            rest &= {part}
        if rest:
            found.append((strength, seen.least_seen(rest)))
    return found


def of_others(trials: Sequence[FrozenTrial], worker: Worker) -> list[FrozenTrial]:
    """The running trials of other workers: they end, or are taken over once their workers give no sign of life."""
    running = [(trial, worker_of(trial)) for trial in trials if trial.state == TrialState.RUNNING]
    return [trial for trial, owner in running if owner is not None and owner.token != worker.token]
