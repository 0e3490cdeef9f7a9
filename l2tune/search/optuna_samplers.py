"""Samplers and pruners by the names that settings use."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from l2tune.optuna_internals import SomeTrials, whole_study
from l2tune.penalty.strength import log_grid
from l2tune.records.parameter import DEFAULT, StrengthParameter, parameter_of
from l2tune.records.study import asked_range, search_range
from l2tune.search.pruner import FoldRacingPruner
from l2tune.search.sampler import FoldCurveSampler
from l2tune.settings import Settings

EPOCH_PRUNING_RISK = (
    "pruning on early epochs often discards the best λ: strong regularization learns slowly first and wins last "
    "(--pruner racing judges by folds instead)"
)


def make_sampler(settings: Settings) -> BaseSampler:
    """The sampler that `settings.search.sampler` names."""
    search, (low, high) = settings.search, settings.penalty.lambda_range
    match search.sampler:
        case "curve":
            return FoldCurveSampler(seed=search.seed, extend_range=search.extend_range)
        case "tpe":
            return _PerTrial(lambda seed: optuna.samplers.TPESampler(seed=seed, constant_liar=True), search.seed)
        case "gp":
            return _PerTrial(lambda seed: optuna.samplers.GPSampler(seed=seed), search.seed, relative=True)
        case "random":
            return _PerTrial(lambda seed: optuna.samplers.RandomSampler(seed=seed), search.seed)
        case "qmc":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                sequence = optuna.samplers.QMCSampler(scramble=True, seed=search.seed, warn_independent_sampling=False)
            return _PerTrial(lambda seed: sequence, search.seed, relative=True)
        case "grid":
            return _Grid(log_grid(low, high, max(1, search.trials - 1)), search.seed)  # one trial is the baseline


def make_pruner(settings: Settings) -> BasePruner:
    """The pruner that `settings.search.pruner` names."""
    match settings.search.pruner:
        case "racing":
            return FoldRacingPruner()
        case "none":
            return optuna.pruners.NopPruner()
        case "median":
            return optuna.pruners.MedianPruner()
        case "hyperband":
            return optuna.pruners.HyperbandPruner(max_resource=settings.training.epochs)
        case "halving":
            return optuna.pruners.SuccessiveHalvingPruner()
        case "wilcoxon":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.pruners.WilcoxonPruner()


class _PerTrial(BaseSampler):
    """One of Optuna's samplers, made afresh for each trial from (seed, trial number).

    So a resumed search goes on instead of proposing its first λs again, and workers that share a study differ. The
    baseline, which has no λ, is hidden: it would make the search space that some samplers infer empty.

    Args:
        make: Seed → sampler.
        relative: Whether the sampler draws λ by relative sampling.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int, *, relative: bool = False) -> None:
        self._make, self._seed, self._relative = make, seed, relative
        self._space: dict[str, BaseDistribution] = {}

    def _sampler(self, trial: FrozenTrial) -> BaseSampler:
        return self._make(int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0]))

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if not self._relative:
            return {}
        study = whole_study(study)
        if asked_range(study) is None:
            return {}
        parameter = _parameter(study)
        low, high = parameter.scale.range_from_lambda(*search_range(study, parameter))
        return {parameter.name: FloatDistribution(low, high, log=True)}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        return self._sampler(trial).sample_relative(_without_baseline(study), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        shown = _without_baseline(study)
        return self._sampler(trial).sample_independent(shown, trial, param_name, param_distribution)


class _Grid(BaseSampler):
    """Each of the points once, in random order.

    Optuna's own counts the baseline as a point, and stops the loop of `study.optimize`, which the search does not use.
    """

    def __init__(self, points: Sequence[float], seed: int) -> None:
        self._points = [points[i] for i in np.random.default_rng(seed).permutation(len(points))]

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        trials = whole_study(study).get_trials(deepcopy=False)
        taken = [t.params[param_name] for t in trials if param_name in t.params and t.state != TrialState.FAIL]
        times = [taken.count(point) for point in self._points]
        return self._points[times.index(min(times))]


def _parameter(study: optuna.Study) -> StrengthParameter:
    return parameter_of(whole_study(study)) or DEFAULT


def _without_baseline(study: optuna.Study) -> Any:
    """The study whose finished trials all have the strength."""
    name = _parameter(study).name
    return SomeTrials(study, lambda trial: name in trial.params or not trial.state.is_finished())
