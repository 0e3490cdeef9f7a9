"""Whether regularizing helped: λ_best against λ = 0, paired by fold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import pandas as pd
from scipy.special import stdtr

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.finding import Finding
from l2tune.analysis.naming import Naming
from l2tune.analysis.paired_test import PairedDifference
from l2tune.analysis.side_by_side import side_by_side
from l2tune.analysis.wording import (
    SAME,
    amount,
    amounts,
    change,
    count,
    listed,
    p_value,
    percentage,
    unit_of_difference,
)

ENOUGH_FOLDS = 10
"""So many folds tell a difference as large as its spread from none; five need one of twice its spread, three of four
times."""

Proof = Literal["better", "worse", "equal", "too few folds", "unknown"]


def proof(t: Estimates) -> Proof:
    """What the paired test says of `Estimates.gain_lambda` against λ = 0.

    `too few folds`: it is better, not measurably, but by so much against its spread that more folds would tell.
    """
    if t.gain is None:
        return "unknown"
    if _is_rounding(t):
        return "equal"
    if t.gain.is_measurable:
        return "better" if t.gain.mean > 0 else "worse"
    return "too few folds" if t.gain.mean > 0 and needs_folds(t.gain, t.size_ratio) else "equal"


def needs_folds(gain: PairedDifference, size_ratio: float) -> bool:
    """Whether the same mean and spread would be measurable with ten folds, or with twice as many where it has them."""
    spread = gain.naive_standard_error * math.sqrt(gain.folds)
    if gain.is_measurable or spread == 0:
        return False
    folds = max(ENOUGH_FOLDS, 2 * gain.folds)
    error = spread * math.sqrt(1 / folds + min(size_ratio, 1 / (ENOUGH_FOLDS - 1)))
    return bool(2 * stdtr(folds - 1, -abs(gain.mean) / error) < 0.05)


def gain(t: Estimates, names: Naming) -> Iterator[Finding]:
    """What regularizing changes, and whether that can be measured."""
    both = None if t.gain_lambda is None else side_by_side(t, 0.0, t.gain_lambda)
    if t.gain is None or t.gain_lambda is None or both is None:
        yield _not_compared(t, names)
        return
    found, chosen = t.gain, names.equal(t.gain_lambda)
    if _is_rounding(t):
        value = amount(both.validation[0], t.metric)
        text = f"Regularization makes no difference here: validation {t.metric} {value} at λ = 0 and at {chosen}."
        yield Finding("no-difference", "gain", text)
        return
    change_of = f"validation {t.metric}"
    values = change(*both.validation, t.metric)
    verb, noun = ("raises", "rise") if _rises(t, found) else ("lowers", "fall")
    test = _test(t, found, noun, names)
    by = f"{verb} {change_of} by {_difference(t, both.validation[0], found)} against λ = 0, {values} ({test})"
    moved = f"{change_of} {values} from λ = 0 to {chosen} ({test})"
    if found.is_measurable and found.mean > 0:
        yield Finding("helps", "gain", f"{'It' if t.gain_lambda == t.best_lambda else chosen} {by}.")
    elif found.is_measurable:
        start = f"Regularization harms here: even {chosen}" if t.best_lambda == 0 else chosen
        yield Finding("harms", "gain", f"{start} {by}.")
    elif needs_folds(found, t.size_ratio):
        text = (
            f"With {count(found.folds, 'fold')} the difference is not measurable, though the {noun} is large against "
            f"its spread: {moved}; {_more_folds(t)} would tell."
        )
        yield Finding("too-few-folds", "gain", text)
    else:
        yield Finding("no-difference", "gain", f"Regularization makes no measurable difference here: {moved}.")


def _is_rounding(t: Estimates) -> bool:
    """Whether the two scores are one number, computed in two ways."""
    both = None if t.gain_lambda is None else side_by_side(t, 0.0, t.gain_lambda)
    return both is not None and math.isclose(*both.validation, rel_tol=SAME)


def _rises(t: Estimates, found: PairedDifference) -> bool:
    """Whether the score is higher at the λ than at 0."""
    return t.metric.maximize if found.mean >= 0 else not t.metric.maximize


def _difference(t: Estimates, before: float, found: PairedDifference) -> str:
    """By how much: a share where the metric has a zero, percentage points or its unit otherwise."""
    if t.metric.unit != "%" and t.relative_gain is not None and before > 0:
        return percentage(abs(found.mean) / before)
    return amount(abs(found.mean), t.metric, unit=False) + unit_of_difference(t.metric)


def _test(t: Estimates, found: PairedDifference, noun: str, names: Naming) -> str:
    ends = found.interval if found.mean >= 0 else (-found.interval[1], -found.interval[0])
    low, high = amounts(ends, t.metric)
    of = count(found.folds, "fold") if found.folds == t.record.folds else f"{found.folds} of {t.record.folds} folds"
    broken = [
        f"{names.equal(strength)} diverged on {count(names.diverged(strength), 'fold')}"
        for strength in (0.0, t.gain_lambda or 0.0)
        if names.diverged(strength)
    ]
    left_out = f"; left out: {listed(broken)}" if broken else ""
    return (
        f"95 % interval of the {noun} {low} to {high}{unit_of_difference(t.metric)}; corrected resampled t-test over "
        f"{of}, {p_value(found.p_value)}{left_out}"
    )


def _not_compared(t: Estimates, names: Naming) -> Finding:
    """Why there is no paired difference."""
    ran, broken = names.folds(0.0), names.diverged(0.0)
    unknown = "so whether regularization helps at all is not known"
    if not ran:
        return Finding("no-baseline", "gain", f"λ = 0 was not run, {unknown}.")
    if broken == ran:
        text = f"λ = 0 diverged on every fold run ({broken}), so there is no value to compare with"
    elif not len(_finite_above_0(t)):
        text = "Every fit above λ = 0 diverged, so there is nothing to compare λ = 0 with"
    elif t.record.folds < 2:
        text = f"One fold tells nothing of the luck of a fold, {unknown}"
    else:
        text = f"λ = 0 and the best λ above it do not share two folds yet, {unknown}"
    return Finding("not-compared", "gain", f"{text}.")


def _finite_above_0(t: Estimates) -> pd.DataFrame:
    return t.strengths[(t.strengths["lambda"] > 0) & (t.strengths["diverged"] < t.strengths["folds"])]


def _more_folds(t: Estimates) -> str:
    repeats = {"l2tune": " or --repeats", "function": " or repeats="}.get(t.record.trained_by, "")
    return f"more folds{repeats}"
