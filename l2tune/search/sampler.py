"""Proposes the next λ where training it is expected to lower the regularization curve's minimum most."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, TypeGuard

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from l2tune.curve.regularization_curve import RegularizationCurve
from l2tune.records import tables as records
from l2tune.records.tables import Observations

FIRST_PLACES = (5 / 8, 3 / 8, 7 / 8)
"""Places of the first strengths in the range, as shares of its logarithm."""

FIRST_FACTORS = (1.0, 10.0, 0.1)
"""The same around a first estimate, which is good to about a decade."""

_EDGE = 10**0.25
_LOWEST, _HIGHEST = 1e-12, 1e6
_TURN = threading.Lock()
"""Threads propose one after the other, each aware of what the others have just been given."""
_PATIENCE_SECONDS = 2.0
"""So long after its birth another worker's trial is waited for to draw its λ: a proposal takes a tenth of that."""


class FoldCurveSampler(BaseSampler):
    """Samples `lambda` by the knowledge gradient on the fold-effect curve; other parameters at random.

    Uses every finished fold, those of pruned and running trials too. The first few λ are spread over the range, or
    around the first estimate when the baseline gives one. Fits under way elsewhere count as pending, and a trial waits
    up to two seconds for one asked for just before it to have its λ, so workers and batches get distinct λs. Proposals
    depend on the seed, the trial's number and the study alone.

    Args:
        seed: Of the samples behind a proposal.
        extend_range: Widen the range of `CrossValidationObjective` by a decade when the best λ may lie beyond its end.
        parameter: Name of λ.
    """

    def __init__(
        self, seed: int | None = None, *, extend_range: bool = True, parameter: str = records.PARAMETER
    ) -> None:
        self._seed = int(np.random.default_rng(seed).integers(2**31)) if seed is None else seed
        self._extend_range, self._parameter = extend_range, parameter
        self._proposed: dict[tuple[str, int], float] = {}

    def reseed_rng(self) -> None:
        """Nothing to do: trials differ by their numbers."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        study = records.whole_study(study)
        wider = self.wider_range(study)
        if wider is not None:
            records.widen_range(study, *wider)

    def wider_range(self, study: optuna.Study) -> tuple[float, float] | None:
        """The range to go on with, if the present one does not bracket the best λ and may be widened."""
        asked = records.stored_settings(study).get("lambda_range")
        if not self._extend_range or asked is None:
            return None
        low, high = records.search_range(study, *asked)
        wider = _wider(fit_curve(study, low, high, parameter=self._parameter), low, high)
        return None if wider == (low, high) else wider

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        own_seed = int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0])
        if param_name != self._parameter or not _spans_decades(param_distribution):
            return RandomSampler(own_seed).sample_independent(study, trial, param_name, param_distribution)
        low, high = param_distribution.low, param_distribution.high
        if low == high:
            return low
        study = records.whole_study(study)  # the curve takes all folds, whatever bracket they are of
        self._let_earlier_draw(study, trial)
        with _TURN:
            proposal = self._propose(study, trial, low if low > 0 else high * 1e-9, high)
            self._proposed[study.study_name, trial.number] = proposal
        return float(np.clip(proposal, low, high))

    def _let_earlier_draw(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Wait until the trials asked for just before this one have their λ, so that it need not be guessed."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline and any(
            other.number < trial.number
            and records.is_about_to_draw(other, self._parameter)
            and (study.study_name, other.number) not in self._proposed
            and records.age_seconds(other) < _PATIENCE_SECONDS
            for other in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        ):
            time.sleep(0.02)

    def _propose(self, study: optuna.Study, trial: FrozenTrial, low_for_log: float, high: float) -> float:
        seen = records.observations(study, parameter=self._parameter)
        curve = fit_curve(study, low_for_log, high, parameter=self._parameter, seen=seen)
        pending = _pending(study, trial, self._parameter, seen)
        trials = study.get_trials(deepcopy=False)
        tried = {float(t.params[self._parameter]) for t in trials if _counts(t, self._parameter)}
        undrawn = 0
        for other in trials:
            if other.number != trial.number and records.is_about_to_draw(other, self._parameter):
                given = self._proposed.get((study.study_name, other.number))
                if given is not None:
                    tried.add(given)
                    pending.append((given, least_seen(seen)))
                elif other.number < trial.number:
                    undrawn += 1  # what is best now is the earlier trial's, so that no two workers draw the same
        tried = {strength for strength in tried if low_for_log <= strength <= high}
        proposal = low_for_log
        for _ in range(1 + undrawn):
            if curve is None or len(tried) < len(FIRST_PLACES):
                proposal = _first(low_for_log, high, seen.first_estimate, tried)
            else:
                proposal = _most_promising(curve, seen, pending, tried)
            tried.add(proposal)
            pending.append((proposal, least_seen(seen)))
        return proposal


def fit_curve(
    study: optuna.Study,
    low: float,
    high: float,
    *,
    parameter: str = records.PARAMETER,
    seen: Observations | None = None,
) -> RegularizationCurve | None:
    """The curve through all finished folds of a study; None while there is no finite score."""
    seen = seen or records.observations(study, parameter=parameter)
    if not np.isfinite(seen.score).any():
        return None
    folds = max(seen.folds or 1, int(seen.fold.max()) + 1)
    table = tuple(zip(seen.strength.tolist(), seen.fold.tolist(), seen.score.tolist(), strict=True))
    return _fit(table, low, high, folds, records.metric_of(study), seen.first_estimate)


def least_seen(seen: Observations, among: Collection[int] = ()) -> int:
    """The fold with fewest scores."""
    count = seen.folds or (int(seen.fold.max()) + 1 if len(seen.fold) else 1)
    times = np.bincount(seen.fold, minlength=count)
    return min(among or range(count), key=lambda fold: int(times[fold]))


@lru_cache(maxsize=8)
def _fit(
    table: tuple[tuple[float, int, float], ...],
    low: float,
    high: float,
    folds: int,
    metric: records.Metric,
    first_estimate: float | None,
) -> RegularizationCurve:
    """Sampler, pruner and stopping rule ask about the same observations in turn: fit once."""
    strength, fold, score = zip(*table, strict=True)
    return RegularizationCurve.fit(
        strength, fold, score, low=low, high=high, folds=folds, metric=metric, first_estimate=first_estimate
    )


def _spans_decades(distribution: BaseDistribution) -> TypeGuard[FloatDistribution]:
    """Whether it is a range of strengths: continuous, and not below 0."""
    return (
        isinstance(distribution, FloatDistribution)
        and distribution.step is None
        and distribution.low >= 0
        and (distribution.high > 0 or distribution.low == distribution.high)
    )


def _counts(trial: FrozenTrial, parameter: str) -> bool:
    """Whether the trial's λ need not be proposed again."""
    return parameter in trial.params and trial.state not in (TrialState.FAIL, TrialState.WAITING)


def _first(low: float, high: float, estimate: float | None, tried: set[float]) -> float:
    """One of the first strengths: around the estimate if it lies in the range, else spread over it."""
    candidates: list[float] = []
    if estimate is not None and low <= estimate <= high:
        candidates = [float(np.clip(estimate * factor, low, high)) for factor in FIRST_FACTORS]
    golden = (math.sqrt(5) - 1) / 2  # its multiples modulo 1 never cluster
    spread = [*FIRST_PLACES, *((k * golden) % 1 for k in range(1, 2 * len(tried) + 8))]
    candidates += [low * (high / low) ** place for place in spread]
    gap = min(0.1, math.log(high / low) / (4 * len(candidates)))
    free = (c for c in candidates if all(abs(math.log(c / other)) > gap for other in tried))
    return float(np.clip(next(free, candidates[0]), low, high))


def _most_promising(
    curve: RegularizationCurve, seen: Observations, pending: Sequence[tuple[float, int]], tried: set[float]
) -> float:
    """The strength of the grid with the highest knowledge gradient, those tried left out."""
    gain = curve.knowledge_gradient(least_seen(seen), ([s for s, _ in pending], [f for _, f in pending]))
    candidates = curve.grid[1:]
    logs = np.log(candidates)[:, None] - np.log(np.array(sorted(tried)))[None, :]
    gain[np.abs(logs).min(axis=1) < 0.25 * math.log(candidates[1] / candidates[0])] = -np.inf
    return float(candidates[int(gain.argmax())])


def _pending(study: optuna.Study, trial: FrozenTrial, parameter: str, seen: Observations) -> list[tuple[float, int]]:
    """(λ, fold) that other running trials are at: the fold that each has not finished and the study has seen least."""
    found = []
    count = seen.folds or (int(seen.fold.max()) + 1 if len(seen.fold) else 1)
    for other in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if other.number == trial.number or parameter not in other.params:
            continue
        strength = float(other.params[parameter])
        rest = set(range(count)) - set(seen.fold[seen.strength == strength].tolist())
        if rest:
            found.append((strength, least_seen(seen, rest)))
    return found


def _wider(curve: RegularizationCurve | None, low: float, high: float) -> tuple[float, float]:
    """The range, a decade wider where the best λ may lie beyond its end and that end has been tried.

    Upwards, that is where the curve's upper end is within one standard error of the best, even if that is the baseline:
    a stronger penalty may be better still. A network that no longer learns at the upper end is far from that.
    """
    if curve is None:
        return low, high
    seen = curve.strength
    best = curve.best_lambda
    if curve.one_se_lambda >= high / _EDGE and seen.max() >= high / _EDGE:
        return low, min(high * 10, _HIGHEST)
    if 0 < best <= low * _EDGE and ((seen >= low) & (seen <= low * _EDGE)).any():
        gain = curve.mean([0.0]) - curve.mean([best])
        # at the low end λ does nothing more: the baseline, which is left of it, is no worse
        if gain[0] > 2 * curve.standard_error([0.0], paired=True)[0]:
            return max(low / 10, _LOWEST), high
    return low, high
