"""Proposes the next λ where training it is expected to lower the regularization curve's minimum most."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any, TypeGuard

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from l2tune.curve.observations import Observations, fit_curve
from l2tune.curve.regularization_curve import RegularizationCurve
from l2tune.optuna_internals import whole_study
from l2tune.penalty.strength import ScaleName
from l2tune.records.claims import is_about_to_draw, was_given_up
from l2tune.records.observations import finished_folds, observations, strength_of
from l2tune.records.parameter import DEFAULT, DEFAULT_NAME, StrengthParameter
from l2tune.records.study import metric_of, widen_range
from l2tune.search.parameter import GivenParameter, log
from l2tune.search.pending import pending_fits
from l2tune.search.widening import wider_range
from l2tune.search.workers import let_earlier_draw

FIRST_PLACES = (5 / 8, 3 / 8, 7 / 8)
"""Places of the first strengths in the range, as shares of its logarithm."""

FIRST_FACTORS = (1.0, 10.0, 0.1)
"""The same around a first estimate, which is good to about a decade."""

_FAILED_DECADES = 0.25
"""So close to a λ whose trial failed nothing is proposed: what made it fail may well make its neighbour fail. Between
two such λ, and from two such at an end of the range on, nothing is."""

_TURN = threading.Lock()
"""Threads propose one after the other, each aware of what the others have just been given."""


class FoldCurveSampler(BaseSampler):
    """Samples the strength by the knowledge gradient on the regularization curve; other parameters at random.

    Uses every finished fold, those of pruned and running trials too. The first few λ are spread over the range, or
    around the first estimate when the baseline gives one. Fits under way elsewhere count as pending, and a trial waits
    up to two seconds for one asked for just before it to have its λ, so workers and batches get distinct λs. Proposals
    depend on the seed, the trial's number and the study alone.

    Where a study draws other parameters too, the curve is the one along λ at those that the trial has drawn already,
    if they were tried before, and else at those that are best so far.

    Args:
        seed: Of the samples behind a proposal.
        extend_range: Widen the range of `CrossValidationObjective` by a decade when the best λ may lie beyond its end;
            never where the objective was told not to.
        parameter: Name of the strength; by default found in the study (its one log-scaled float).
        scale: Of its numbers; by default what the name tells.
    """

    def __init__(
        self,
        seed: int | None = None,
        *,
        extend_range: bool = True,
        parameter: str | None = None,
        scale: ScaleName | None = None,
    ) -> None:
        self._seed = int(np.random.default_rng(seed).integers(2**31)) if seed is None else seed
        self._extend_range = extend_range
        self._given = GivenParameter(type(self).__name__, parameter, scale)
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
        """Widen the range of λ, and say so, where the best may lie beyond its end."""
        study = whole_study(study)
        parameter = self._given.of(study)
        wider = self.wider_range(study) if parameter is not None else None
        if wider is not None:
            widen_range(study, *wider)
            log.info("the best λ may lie beyond the range: it is widened to %.3g–%.3g", *wider)

    def wider_range(self, study: optuna.Study) -> tuple[float, float] | None:
        """The range to go on with, if the present one does not bracket the best λ and may be widened."""
        parameter = self._given.of(study) if self._extend_range else None
        return None if parameter is None else wider_range(study, parameter)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        study = whole_study(study)  # the curve takes all folds, whatever bracket they are of
        own_seed = int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0])
        parameter = self._given.of(study)
        if parameter is None and param_name == DEFAULT_NAME:
            parameter = DEFAULT  # the very first trial
        if parameter is None or param_name != parameter.name or not _spans_decades(param_distribution):
            return RandomSampler(own_seed).sample_independent(study, trial, param_name, param_distribution)
        if param_distribution.low == param_distribution.high:
            return param_distribution.low
        let_earlier_draw(
            study, trial, parameter, {number for name, number in self._proposed if name == study.study_name}
        )
        ends = parameter.range(param_distribution)
        assert ends is not None
        with _TURN:
            proposal = self._propose(study, trial, parameter, *ends)
            self._proposed[study.study_name, trial.number] = proposal
        value = parameter.scale.from_lambda(float(np.clip(proposal, *ends)))
        return float(np.clip(value, param_distribution.low, param_distribution.high))

    def _propose(
        self, study: optuna.Study, trial: FrozenTrial, parameter: StrengthParameter, low: float, high: float
    ) -> float:
        seen = _observations(study, trial, parameter)
        curve = fit_curve(seen)
        trials = study.get_trials(deepcopy=False)
        pending = pending_fits([other for other in trials if other.number != trial.number], parameter, seen)
        failed = _failed(trials, parameter)
        tried = {s for t in trials if (s := parameter.strength(t.params)) is not None and _counts(t)} | failed
        undrawn = 0
        for other in trials:
            if other.number != trial.number and is_about_to_draw(other, parameter):
                given = self._proposed.get((study.study_name, other.number))
                if given is not None:
                    tried.add(given)
                    pending.append((given, seen.least_seen()))
                elif other.number < trial.number:
                    undrawn += 1  # what is best now is the earlier trial's, so that no two workers draw the same
        tried = {strength for strength in tried if low <= strength <= high}
        proposal = low
        for _ in range(1 + undrawn):
            if curve is None or len(seen.tried) < min(len(tried), len(FIRST_PLACES)) or len(tried) < len(FIRST_PLACES):
                proposal = _first(low, high, seen.first_estimate, tried, failed)
            else:
                proposal = _most_promising(curve, seen, pending, tried, failed, (low, high))
            tried.add(proposal)
            pending.append((proposal, seen.least_seen()))
        return proposal


def _observations(study: optuna.Study, trial: FrozenTrial, parameter: StrengthParameter) -> Observations:
    """At the other parameters that the trial has drawn, if any fold was trained with them; else at the best ones."""
    own = parameter.others(trial.params)
    if own and any(fold.others == own for fold in finished_folds(study, parameter, metric_of(study))):
        return observations(study, parameter, others=own)
    return observations(study, parameter)


def _spans_decades(distribution: BaseDistribution) -> TypeGuard[FloatDistribution]:
    """Whether it is a range of strengths: continuous, and not below 0."""
    return (
        isinstance(distribution, FloatDistribution)
        and distribution.step is None
        and distribution.low >= 0
        and (distribution.high > 0 or distribution.low == distribution.high)
    )


def _counts(trial: FrozenTrial) -> bool:
    """Whether the trial's λ need not be proposed again."""
    return trial.state not in (TrialState.FAIL, TrialState.WAITING)


def _failed(trials: Sequence[FrozenTrial], parameter: StrengthParameter) -> set[float]:
    """The λ whose trials failed for a reason of their own, not because a worker ended."""
    return {
        strength
        for trial in trials
        if trial.state == TrialState.FAIL and not was_given_up(trial)
        if (strength := strength_of(trial, parameter)) is not None and strength > 0
    }


def _first(low: float, high: float, estimate: float | None, tried: set[float], failed: set[float]) -> float:
    """One of the first strengths: around the estimate if it lies in the range, else spread over it."""
    candidates: list[float] = []
    if estimate is not None and low <= estimate <= high:
        candidates = [float(np.clip(estimate * factor, low, high)) for factor in FIRST_FACTORS]
    golden = (math.sqrt(5) - 1) / 2  # its multiples modulo 1 never cluster
    spread = [*FIRST_PLACES, *((k * golden) % 1 for k in range(1, 2 * len(tried) + 8))]
    candidates += [low * (high / low) ** place for place in spread]
    gap = min(0.1, math.log(high / low) / (4 * len(candidates)))
    free = [c for c in candidates if all(abs(math.log(c / other)) > gap for other in tried)]
    calm = (c for c in free if all(abs(math.log10(c / other)) > _FAILED_DECADES for other in failed))
    return float(np.clip(next(calm, next(iter(free), candidates[0])), low, high))


def _most_promising(
    curve: RegularizationCurve,
    seen: Observations,
    pending: Sequence[tuple[float, int]],
    tried: set[float],
    failed: set[float],
    ends: tuple[float, float],
) -> float:
    """The strength of the grid with the highest knowledge gradient, those tried and those beside failures left out."""
    gain = curve.knowledge_gradient(seen.least_seen(), ([s for s, _ in pending], [f for _, f in pending]))
    candidates = curve.candidates
    pitch = 0.25 * math.log(candidates[1] / candidates[0])
    gain[(candidates < ends[0] * (1 - 1e-9)) | (candidates > ends[1] * (1 + 1e-9))] = -np.inf
    for taken in (_beside(candidates, tried, pitch), _beside_failures(candidates, tried, failed)):
        if (~taken & np.isfinite(gain)).any():
            gain[taken] = -np.inf
    return float(candidates[int(gain.argmax())])


def _beside(candidates: NDArray[np.float64], strengths: Collection[float], distance: float) -> NDArray[np.bool_]:
    """(n,) whether a candidate is closer than this to one of the strengths, in natural logarithms."""
    logs = np.log(candidates)[:, None] - np.log(np.array(sorted(strengths)))[None, :]
    return np.asarray((np.abs(logs) < distance).any(axis=1))


def _beside_failures(candidates: NDArray[np.float64], tried: set[float], failed: set[float]) -> NDArray[np.bool_]:
    """(n,) whether a candidate lies where λs failed: see `_FAILED_DECADES`."""
    taken = _beside(candidates, failed, _FAILED_DECADES * math.log(10))
    places = [-math.inf, *sorted(tried | failed), math.inf]
    bad = [place in failed for place in places]
    bad[0], bad[-1] = all(bad[1:3]), all(bad[-3:-1])
    for (left, right), both in zip(pairwise(places), map(all, pairwise(bad)), strict=True):
        if both:
            taken |= (candidates > left) & (candidates < right)
    return taken
