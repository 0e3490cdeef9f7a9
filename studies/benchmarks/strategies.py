"""The strategies that the benchmark compares, by the names that its tables give them."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
from early_stopping import GaussianProcess, ShuffledGrid, early_stopping
from intensification import smac
from optuna.trial import FrozenTrial, TrialState
from outcome import STRENGTHS, Outcome, Strategy
from races import anova_race, halving_grid
from recording import DISGUISES, Recording

from l2tune.curve.choice import choose_best
from l2tune.curve.observations import fit_curve
from l2tune.metrics import BUILT_IN
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.records.keys import COMPLETE
from l2tune.records.observations import observations, strength_of
from l2tune.search.optuna_samplers import make_pruner, make_sampler
from l2tune.search.runner import Budget, run_search
from l2tune.search.stopping import StopWhenSettled
from l2tune.settings import build


def by_optuna(sampler: str, pruner: str, *, estimate: bool = True, **settings: Any) -> Strategy:
    """A whole search as `l2tune search` runs it."""

    def run(recording: Recording, seed: int, outcome: Outcome) -> None:
        low, high = outcome.range
        ours = sampler == "curve"
        if not estimate:
            recording.estimates = None
        given = build(
            {
                "sampler": sampler,
                "pruner": pruner,
                "seed": seed,
                "folds": recording.folds,
                "epochs": recording.epochs,
                "metric": recording.metric,
                "lambda_range": (low, high),
                "trials": 40 if ours else STRENGTHS + 1,
            }
            | settings
        )
        told = BUILT_IN[recording.metric] if recording.disguise is None else DISGUISES[recording.disguise][0]
        study = optuna.create_study(
            sampler=make_sampler(given),
            pruner=make_pruner(given),
            direction="maximize" if told.maximize else "minimize",
        )
        names = {"class_names": list("0123456789")}
        objective = CrossValidationObjective.from_settings(given, recording, names, metric=told)

        def note(trial: FrozenTrial) -> None:
            if trial.user_attrs.get(COMPLETE) and outcome.settled is None:
                outcome.settled = outcome.costs[-1]
            if ours:
                seen = observations(study)
                fitted = fit_curve(seen)
                outcome.note(recording.cost, choose_best(fitted, seen.by_strength()) if fitted else 0.0)
            else:
                whole = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
                chosen = min(whole, key=lambda t: t.value if t.value is not None else np.inf, default=None)
                outcome.note(recording.cost, (strength_of(chosen) if chosen else None) or 0.0)

        run_search(
            study, objective, Budget(given.search.trials), settle=StopWhenSettled() if ours else None, on_trial=note
        )
        outcome.study = study
        fitted = fit_curve(observations(study))
        if ours and fitted is not None:
            outcome.interval = fitted.interval
        if outcome.settled is None:
            outcome.settled = outcome.costs[-1]
        tried = [t for t in study.trials if "lambda" in t.params]
        target = max(recording.best, low)
        nearest = min(abs(np.log(t.params["lambda"] / target)) for t in tried)
        states = {t.state for t in tried if abs(np.log(t.params["lambda"] / target)) <= nearest + 1e-9}
        outcome.pruned_best = bool(TrialState.COMPLETE not in states and nearest < np.log(3))

    return run


SAMPLERS = ("tpe", "gp", "qmc", "random", "grid")
PRUNERS = ("none", "median", "hyperband", "halving", "wilcoxon")
STRATEGIES: dict[str, Strategy] = {
    "l2tune": by_optuna("curve", "racing"),
    "l2tune, no first estimate": by_optuna("curve", "racing", estimate=False),
    **{f"{sampler}, {pruner}": by_optuna(sampler, pruner) for sampler in SAMPLERS for pruner in PRUNERS},
    "grid, anova race": anova_race,
    "grid, successive halving": halving_grid,
    "grid, aggressive stopping": early_stopping("aggressive", ShuffledGrid),
    "grid, forgiving stopping": early_stopping("forgiving", ShuffledGrid),
    "gp, aggressive stopping": early_stopping("aggressive", GaussianProcess),
    "gp, forgiving stopping": early_stopping("forgiving", GaussianProcess),
    "smac": smac,
}
