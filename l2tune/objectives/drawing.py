"""How a trial gets its λ."""

from __future__ import annotations

import optuna

from l2tune.optuna_internals import queued_params
from l2tune.records.claims import claim_baseline, claim_strength
from l2tune.records.failures import is_baseline_just_failed
from l2tune.records.parameter import StrengthParameter
from l2tune.records.study import search_range


def draw_strength(trial: optuna.Trial, parameter: StrengthParameter, *, baseline: bool) -> float:
    """A trial's λ: 0 if it becomes the baseline or was queued with 0, else as queued or as the sampler proposes.

    Args:
        baseline: Whether λ = 0 is run first.

    Raises:
        UserError: The trial was queued with a number that is no strength.
    """
    queued = queued_params(trial.study.get_trials(deepcopy=False)[trial.number])
    if parameter.strength(queued) == 0:  # which a log range would reject
        claim_strength(trial, 0.0)
        return 0.0
    if baseline and not is_baseline_just_failed(trial) and claim_baseline(trial, parameter):
        return 0.0
    low, high = parameter.scale.range_from_lambda(*search_range(trial.study, parameter))
    trial.suggest_float(parameter.name, low, high, log=True)
    strength = parameter.strength(trial.params)
    assert strength is not None
    claim_strength(trial, strength)
    return strength
