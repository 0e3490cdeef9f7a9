"""Widening the range of λ where the best may lie beyond its end."""

from __future__ import annotations

import optuna

from l2tune.curve.observations import fit_curve
from l2tune.curve.regularization_curve import RegularizationCurve
from l2tune.records.observations import observations
from l2tune.records.one_reading import one_reading
from l2tune.records.parameter import StrengthParameter
from l2tune.records.study import may_widen
from l2tune.settings import HIGHEST_LAMBDA, LOWEST_LAMBDA

EDGE = 10**0.25
"""A best λ within a quarter decade of an end of the range lies at that end."""


@one_reading()
def wider_range(study: optuna.Study, parameter: StrengthParameter) -> tuple[float, float] | None:
    """The range of λ to go on with; None where the present one brackets the best λ or may not be widened."""
    if not may_widen(study):
        return None
    seen = observations(study, parameter)
    wider = _wider(fit_curve(seen), *seen.range)
    return None if wider == seen.range else wider


def _wider(curve: RegularizationCurve | None, low: float, high: float) -> tuple[float, float]:
    """The range, a decade wider where the best λ may lie beyond its end and that end has been tried.

    Upwards, that is where the curve's upper end is within one standard error of the best, even if that is the baseline:
    a stronger penalty may be better still. A network that no longer learns at the upper end is far from that.
    """
    if curve is None:
        return low, high
    seen = curve.strength
    best = curve.best_lambda
    if curve.one_se_lambda >= high / EDGE and seen.max() >= high / EDGE:
        return low, max(high, min(high * 10, HIGHEST_LAMBDA))
    if 0 < best <= low * EDGE and ((seen >= low) & (seen <= low * EDGE)).any():
        gain = curve.mean([0.0]) - curve.mean([best])
        # at the low end λ does nothing more: the baseline, which is left of it, is no worse
        if gain[0] > 2 * curve.standard_error([0.0], paired=True)[0]:
            return min(low, max(low / 10, LOWEST_LAMBDA)), high
    return low, high
