"""How a search went: what was known of λ after each fit, and what came of it.

Everything is computed from the study's record, in the order in which fits ended. Each step has the curve of the folds
done by then, fitted in full, so that no curve knows more of the costs than the search did. What is held over all steps
is what the study ended with: the other parameters' values, the range of λ (a range that was widened later looks wide
from the beginning), and the first estimate that the baseline's folds give together.

So is the grid of λ, which is half as fine as the search's: but for the last step, λ_best and its interval are so too,
where the curve alone tells.

A step says what the record proves. Why a λ was given up or went on is not stored: the probability that is named is the
one that the curve gives by then, by the rule that the racing pruner follows, and is left out where it would not explain
what happened: another pruner decided, or other workers' fits told more or less at that moment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.wording import amount, count, has_own_number, percentage
from l2tune.curve.choice import (
    MAY_WIN,
    SETTLED,
    choose_best,
    choose_one_se,
    expected_gain,
    folds_done,
    has_diverged,
    probability_as_good,
)
from l2tune.curve.observations import Observations, fit_curve
from l2tune.curve.regularization_curve import RegularizationCurve
from l2tune.penalty.strength import format_lambda
from l2tune.records.tables import StudyRecord
from l2tune.report.again import is_search
from l2tune.report.labels import has_own, metric_name, own_name, own_written
from l2tune.terminal_text import one_line

Array = NDArray[np.float64]

MOST_STEPS = 80
"""Steps at most: of more fits every second one, every third one and so on is a step."""

MANY_FITS = 500
"""Above so many, half as many steps: each is a curve through all fits before it, which takes long where they are many.
"""

_POINTS = 61
"""λ at which the curves are looked at, at most: half of those that a search looks at. It takes half the time."""


@dataclass(frozen=True, eq=False)
class Step:
    """What was known after a fit.

    Attributes:
        fits: How many had ended by then.
        seen: All observations by then, in that order; the last one is this fit's.
        mean: (m,) expected score at each of `Replay.strengths`; None while there is no curve: before a λ above 0 was
            tried, and while every fit diverged.
        band: Lower and upper end, (m,) each, of the 95 % credible interval of the expected score; None as above.
        best: λ_best by then; None as above.
        best_value: Score at λ_best: of its folds where all are done, else of the curve.
        interval: 95 % credible interval of the minimizer.
        says: What was trained, what that changed, and what was decided about this λ, as plain text.
    """

    fits: int
    seen: Observations
    mean: Array | None
    band: tuple[Array, Array] | None
    best: float | None
    best_value: float
    interval: tuple[float, float]
    says: str


@dataclass(frozen=True, eq=False)
class Replay:
    """The steps of a search.

    Attributes:
        strengths: (m,) λ at which the curves are given, rising.
        steps: In the order in which their fits ended.
        fits: How many fits there were in all.
        note: Says so where not every fit is a step; else empty.
    """

    strengths: Array
    steps: tuple[Step, ...]
    fits: int
    note: str


def replay(t: Estimates) -> Replay:
    """How the search of this study went, as far as it has gone.

    Folds that were taken over, from an earlier trial or from another study of the comparison, are no fits; they are
    known from when they ended. Fits at other values of the other parameters are left out, as they are everywhere.

    Raises:
        ValueError: Every fit diverged, so that there is no curve at all.
    """
    if t.curve is None:
        raise ValueError("every fit diverged")
    known = _Known.of(t)
    places = np.flatnonzero(known.trained)
    most = MOST_STEPS if len(places) <= MANY_FITS else MOST_STEPS // 2
    every = -(-len(places) // most) or 1
    shown = places[::-1][::every][::-1]
    strengths = _coarse(t.curve).candidates
    steps: list[Step] = []
    before: _State | None = None
    for place in shown.tolist():
        is_last = place == places[-1]
        state = _State.of(t, known.until(place if not is_last else len(known.seen.cost) - 1), final=is_last)
        fits = int(known.trained[: place + 1].sum())
        says = _says(t, known, place, fits, before, state)
        steps.append(_step(t, strengths, fits, state, says))
        before = state
    ordinal = {2: "second", 3: "third"}.get(every, f"{every}th")
    note = f"Every {ordinal} of {len(places)} fits is shown." if every > 1 else ""
    return Replay(strengths, tuple(steps), len(places), note)


def replay_caption(t: Estimates) -> str:
    """How many fits the search took, and what became of its λs; empty where there is no replay."""
    fits = t.record.fits
    trained = fits[fits["final"] & ~fits["reused"]]
    positive = t.strengths[t.strengths["lambda"] > 0]
    if t.curve is None or not len(positive) or len(trained) < 2:
        return ""
    whole, folds = int((positive["folds"] >= t.record.folds).sum()), t.record.folds
    said = f"{count(len(trained), 'fit')} at {len(t.strengths)} λ"
    if folds == 1:
        return f"{said}."
    return f"{said}; of {len(positive)} above 0, {whole} {'has' if whole == 1 else 'have'} all {folds} folds."


@dataclass(frozen=True, eq=False)
class _Known:
    """All observations in the order in which they ended.

    Attributes:
        seen: The observations, over the whole range.
        trained: (n,) whether it is a fit of this study's own, not taken over.
        part: (n,) whether its trial was to train this fold alone.
    """

    seen: Observations
    trained: NDArray[np.bool_]
    part: NDArray[np.bool_]

    @classmethod
    def of(cls, t: Estimates) -> _Known:
        assert t.curve is not None
        rows = t.record.fits
        rows = rows[rows["final"]].sort_values(["trial", "fold"], kind="stable")
        if rows["ended"].notna().all():
            rows = rows.sort_values("ended", kind="stable")
        seen = t.record.observations
        at = {key: place for place, key in enumerate(zip(seen.trial.tolist(), seen.fold.tolist(), strict=True))}
        order = np.array([at[key] for key in zip(rows["trial"], rows["fold"], strict=True)], dtype=np.int64)
        seen = _taken(replace(seen, range=(t.curve.low, t.curve.high)), order)
        return cls(seen, ~rows["reused"].to_numpy(bool), rows["part"].to_numpy(bool))

    def until(self, place: int) -> Observations:
        """The observations up to this one, which included."""
        seen = _taken(self.seen, np.arange(place + 1))
        if (seen.strength == 0).any():
            return seen
        guide = None if seen.guide is None else replace(seen.guide, first_estimate=None)
        return replace(seen, first_estimate=None, guide=guide)

    def is_last_of_trial(self, place: int) -> bool:
        """Whether its trial trained no further fold."""
        later = self.trained[place + 1 :] & (self.seen.trial[place + 1 :] == self.seen.trial[place])
        return not later.any()


def _taken(seen: Observations, places: NDArray[np.int64]) -> Observations:
    """These observations, in this order."""
    guide = None if seen.guide is None else _taken(seen.guide, places)
    parts = {name: getattr(seen, name)[places] for name in ("strength", "fold", "cost", "trial")}
    return replace(seen, **parts, guide=guide)


@dataclass(frozen=True, eq=False)
class _State:
    """What was known at a time.

    Attributes:
        curve: None while there is none, or no λ above 0 was tried.
        best: λ_best; None without a curve.
    """

    seen: Observations
    costs: dict[float, Array]
    curve: RegularizationCurve | None
    best: float | None

    @classmethod
    def of(cls, t: Estimates, seen: Observations, *, final: bool) -> _State:
        costs = seen.by_strength()
        curve = None if not len(seen.tried) else t.curve if final else fit_curve(seen, _POINTS)
        best = None if curve is None else t.best_lambda if final else choose_best(curve, costs)
        return cls(seen, costs, curve, best)

    @property
    def interval(self) -> tuple[float, float]:
        return (math.nan, math.nan) if self.curve is None else self.curve.interval


def _step(t: Estimates, strengths: Array, fits: int, state: _State, says: str) -> Step:
    curve, metric = state.curve, t.metric
    if curve is None or state.best is None:
        return Step(fits, state.seen, None, None, None, math.nan, state.interval, says)
    low, high = sorted(map(metric.score, _coarse(curve).band_of_candidates()), key=lambda end: float(end[0]))
    own = state.costs.get(state.best, np.full(1, np.nan))
    value = float(own.mean()) if np.isfinite(own).all() else float(curve.mean([state.best])[0])
    return Step(
        fits,
        state.seen,
        metric.score(curve.mean(strengths)),
        (low, high),
        state.best,
        float(metric.score(value)),
        state.interval,
        says,
    )


def _coarse(curve: RegularizationCurve) -> RegularizationCurve:
    """The curve, on the grid that all steps have."""
    return curve if curve.points <= _POINTS else replace(curve, points=_POINTS)


# ---- in words ----


def _says(t: Estimates, known: _Known, place: int, fits: int, before: _State | None, state: _State) -> str:
    total = int(known.trained.sum())
    parts = [
        *_taken_over(t.record, known, place, before),
        _trained(t, known, place, f"Fit {fits} of {total}"),
        _beyond(t.record, known, place),
        _changed(before, state),
        _decided(t, known, place, before, state),
        _ended(t.record, state) if fits == total else "",
    ]
    return one_line(" ".join(filter(None, parts)))


def _taken_over(record: StudyRecord, known: _Known, place: int, before: _State | None) -> list[str]:
    """What other studies of the comparison had trained, before the first fit after it."""
    since = 0 if before is None else len(before.seen.cost)
    fresh = set(known.seen.trial[since:place][~known.trained[since:place]].tolist())
    shared = record.trials.loc[record.trials["shared"] & record.trials["trial"].isin(fresh), "trial"]
    if not len(shared):
        return []
    folds = int((known.seen.trial[:place] == shared.iloc[0]).sum())
    return [f"λ 0 was taken over from another study of the comparison, with {count(folds, 'fold')}."]


def _trained(t: Estimates, known: _Known, place: int, head: str) -> str:
    """`Fit 7 of 21: λ 3.16e-3 on fold 2, cross-entropy 0.1031 nats.`"""
    strength, cost = float(known.seen.strength[place]), float(known.seen.cost[place])
    record, metric = t.record, t.metric
    own = ""
    if strength == 0:
        own = " (the baseline)"
    elif has_own_number(record) and has_own(record.parameter):
        own = f" ({own_name(record.parameter)} {own_written(record.parameter, strength)})"
    score = f"{metric_name(metric)} {amount(metric.score(cost), metric)}" if math.isfinite(cost) else "which diverged"
    return f"{head}: λ {format_lambda(strength)}{own} on fold {known.seen.fold[place] + 1}, {score}."


def _beyond(record: StudyRecord, known: _Known, place: int) -> str:
    """Says so of the first λ that lies where the range was widened to."""
    if record.asked_range is None or not record.widened:
        return ""
    low, high = record.asked_range
    strengths = known.seen.strength

    for end, outside in (("below", (strengths > 0) & (strengths < low * 0.99)), ("above", strengths > high * 1.01)):
        if outside[place] and not outside[:place].any():
            return f"It lies {end} the range asked for, {_between(low, high)}, which was widened."
    return ""


def _changed(before: _State | None, state: _State) -> str:
    """How λ_best and its interval have moved: by less than the grid's pitch, they have not."""
    if state.curve is None or state.best is None:
        return "" if np.isfinite(state.seen.cost).any() else "There is no curve yet, for every fit so far diverged."
    run = "" if state.best in state.costs else " (by the curve, not run)"
    now = format_lambda(state.best)
    interval = _between(*state.interval)
    if before is None or before.curve is None or before.best is None:
        return f"Best λ so far: {now}{run}, 95 % interval {interval}."
    candidates = _coarse(state.curve).candidates
    least = 0.99 * math.log10(candidates[1] / candidates[0])
    was, any_run = format_lambda(before.best), state.best in state.costs or before.best in before.costs
    if was == now:
        moved = f"stays {now}"
    elif not any_run and abs(_decades(before.best, state.best, candidates)) < least:
        moved = f"stays about {now}"
    else:
        moved = f"moves from {was} to {now}"
    shifts = [_decades(*ends, candidates) for ends in zip(before.interval, state.interval, strict=True)]
    if _between(*before.interval) == interval:
        how = "stays "
    elif max(map(abs, shifts)) < least:
        how = "stays about "
    else:
        wider = shifts[1] - shifts[0]
        how = "narrows: " if wider <= -least else "widens: " if wider >= least else "moves: "
    return f"The best λ so far {moved}{run}; its 95 % interval {how}{interval}."


def _decided(t: Estimates, known: _Known, place: int, before: _State | None, state: _State) -> str:
    """What came of the λ next."""
    record, strength = t.record, float(known.seen.strength[place])
    trial = record.trials[record.trials["trial"] == known.seen.trial[place]].iloc[0]
    costs = state.costs[strength]
    done, folds = folds_done(costs), record.folds
    completes = ""
    if trial["complete"] and strength > 0:
        name = "a λ that was given up" if trial["audit"] else _chosen_name(strength, before)
        completes = f"This completes {name}: {count(folds - done, 'fold')} more."
    if known.part[place]:
        return _whole(t, costs) or completes or f"It has {done} of {count(folds, 'fold')}, which workers share."
    if not known.is_last_of_trial(place):
        if strength == 0:
            return "All else is compared with it." if done == 1 else ""
        return completes or f"One more fold follows{_reason(t, strength, state, given_up=False)}."
    match str(trial["state"]):
        case "COMPLETE":
            return _whole(t, costs) or f"Its trial is complete with {done} of {count(folds, 'fold')}."
        case "PRUNED":
            return f"It is given up after {done} of {count(folds, 'fold')}{_reason(t, strength, state, given_up=True)}."
        case "RUNNING":
            return "It is still in training."
    failure = str(trial["failure"])
    return f"Its next fold failed: {failure}." if failure else "Its trial ended there, unfinished."


def _whole(t: Estimates, costs: Array) -> str:
    """That all folds of a λ are done, with their mean; empty where they are not."""
    folds = t.record.folds
    if folds_done(costs) < folds:
        return ""
    if has_diverged(costs):
        return f"It is complete: {int(np.isinf(costs).sum())} of {count(folds, 'fold')} diverged."
    mean = amount(float(t.metric.score(float(costs.mean()))), t.metric)
    return f"It is complete: {mean} over {count(folds, 'fold')}." if folds > 1 else ""


def _chosen_name(strength: float, before: _State | None) -> str:
    """What a λ was, when its completion was begun."""
    if before is None or before.curve is None:
        return "it"
    if strength == before.best:
        return "λ_best"
    return "λ_1se" if strength == choose_one_se(before.curve, before.costs) else "it"


def _reason(t: Estimates, strength: float, state: _State, *, given_up: bool) -> str:
    """How probable it is that λ is as good as the best, where the racing pruner's rule explains what came of it."""
    curve, tried = state.curve, state.seen.tried
    other = is_search(t.record) and t.record.settings.get("pruner") != "racing"
    if curve is None or len(tried) < 2 or other or t.record.trained_by == "objective":
        return ""
    if strength == tried[curve.mean(tried).argmin()]:
        return "" if given_up else ": it is the most promising λ so far"
    probability = probability_as_good(curve, strength)
    if (probability < MAY_WIN) != given_up:
        return ""
    share = percentage(probability) if probability >= 0.01 else "less than 1 %"
    return f": the probability that it is as good as the best is {share}"


def _ended(record: StudyRecord, state: _State) -> str:
    """How the search stands after its last fit."""
    running = int((record.trials["state"] == "RUNNING").sum())
    if running:
        return f"{count(running, 'trial')} {'is' if running == 1 else 'are'} not finished yet."
    if expected_gain(state.curve, state.seen) < SETTLED:
        return f"That settles it: one more fit is expected to gain less than {percentage(SETTLED)} of a standard error."
    asked = record.settings.get("trials") if is_search(record) else None
    counted = record.trials[record.trials["state"].isin(["COMPLETE", "PRUNED"]) & ~record.trials["audit"]]
    if asked and len(counted) == asked:
        return f"All {count(int(asked), 'trial')} that were asked for are done."
    return ""


def _between(low: float, high: float) -> str:
    first, second = format_lambda(low), format_lambda(high)
    return first if first == second else f"{first} to {second}"


def _decades(before: float, after: float, candidates: Array) -> float:
    """How far up an estimate has moved; λ = 0 is as far below the lowest candidate as that is below the next."""
    zero = float(candidates[0] ** 2 / candidates[1])
    return math.log10(max(after, zero) / max(before, zero))
