"""Studies to report on: a valley with its best λ near 1.5e-3, and studies of a user's own function or objective."""

import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import optuna
import pytest
from playwright.sync_api import Browser, sync_playwright

from l2tune.metrics import BUILT_IN, Metric
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.penalty.strength import StrengthScale

STRENGTHS = (0.0, 1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 1.5e-3, 2e-3, 3e-3, 1e-2, 1e-1, 1.0)

BROWSER_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

METRICS = {
    metric.name: metric
    for metric in (
        *BUILT_IN.values(),
        Metric("f1", maximize=True, kind="proportion"),
        Metric("psnr", maximize=True, kind="positive", unit="dB"),
        Metric("regret", unit="€"),
    )
}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's or any other Chromium, headless."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        assert not os.environ.get("L2TUNE_CI"), "Chromium is not installed"
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=BROWSER_ARGUMENTS)
        yield chromium
        chromium.close()


def valley(strength: float) -> float:
    x = math.log10(max(strength, 1e-7)) + 2.5
    return 0.12 + 0.08 / (1 + math.exp(2 * (x + 1.2))) + 0.05 * math.exp(1.3 * (x - 0.7))


def rising(strength: float) -> float:
    return 0.001 + 3 * min(strength, 0.7)


def as_score(metric: Metric, badness: float) -> float:
    """A score that such a metric can have, the worse the larger `badness` in 0..1 is."""
    if metric.kind == "proportion":
        return 1 - badness if metric.maximize else badness
    if metric.kind == "positive":
        return 40 - 30 * badness if metric.maximize else 3 * badness
    return -2 - badness if metric.maximize else badness - 2  # negative values


@pytest.fixture(scope="session")
def make_valley(make_study: Callable[..., optuna.Study]) -> Callable[..., optuna.Study]:
    """`make_study` with its curves given."""
    return partial(make_study, valley, rising, strengths=STRENGTHS)


@pytest.fixture(scope="session")
def make_own() -> Callable[..., optuna.Study]:
    """See `own_function`."""
    return own_function


def own_function(
    metric: str | Metric | None = None,
    *,
    strengths: Sequence[float] = STRENGTHS,
    parameter: str = "lambda",
    training: bool = True,
    others: Callable[[optuna.Trial], Any] = lambda trial: None,
    extra: Callable[[float], dict[str, float]] = lambda strength: {},
    name: str | None = None,
    function: str = "fit",
    folds: int = 3,
    **settings: Any,
) -> optuna.Study:
    """A study of a function of the user's own, each λ in turn; 0 is run first if it is among them.

    Args:
        training: Whether the function scores its training part too.
        others: Draws other parameters before λ.
        extra: Further scores that the function returns.
        function: The function's name.
    """
    shape = METRICS.get(metric, Metric("loss")) if isinstance(metric, str | None) else metric

    def fit(number: float, fold: int, seed: int) -> dict[str, float]:
        strength = objective.parameter.scale.to_lambda(number)
        noise = 0.01 * fold + 0.002 * math.sin(7 * fold + 1e3 * strength)
        scores = {f"val_{shape}": as_score(shape, valley(strength) + noise)}
        if training:
            scores[f"train_{shape}"] = as_score(shape, min(0.9, rising(strength)))
        return scores | extra(strength)

    fit.__qualname__ = function
    objective = CrossValidationObjective(fit=fit, folds=folds, metric=metric, parameter=parameter, **settings)
    direction = "maximize" if shape.maximize else "minimize"
    study = optuna.create_study(study_name=name, direction=direction, sampler=optuna.samplers.RandomSampler(seed=0))

    def run(trial: optuna.Trial) -> float:
        others(trial)
        return objective(trial)

    if 0.0 in strengths:
        study.optimize(run, n_trials=1)
    for strength in strengths:
        if strength > 0:
            study.enqueue_trial({parameter: objective.parameter.scale.from_lambda(strength)})
    study.optimize(run, n_trials=sum(strength > 0 for strength in strengths))
    return study


def own_objective(
    *,
    parameter: str = "lambda",
    direction: str = "minimize",
    name: str | None = None,
    score: Callable[[float, int], float] = lambda strength, fold: valley(strength) + 0.01 * fold,
    baseline: bool = False,
    strengths: Sequence[float] = STRENGTHS[1:],
) -> optuna.Study:
    """A study of an objective of the user's own, which l2tune knows nothing of."""
    study = optuna.create_study(study_name=name, direction=direction)
    scale = StrengthScale({"C": "C", "weight_decay": "weight_decay"}.get(parameter, "lambda"))  # type: ignore[arg-type]
    for strength in ((0.0,) if baseline else ()) + tuple(strengths):
        if strength:
            study.enqueue_trial({parameter: scale.from_lambda(strength)})
        trial = study.ask()
        if strength:
            trial.suggest_float(parameter, 1e-7, 1e7, log=True)
        values = [score(strength, fold) for fold in range(3)]
        for fold, value in enumerate(values):
            trial.report(value, fold)
        study.tell(trial, sum(values) / len(values))
    return study


@pytest.fixture(scope="session")
def make_objective() -> Callable[..., optuna.Study]:
    """See `own_objective`."""
    return own_objective


@pytest.fixture(scope="session")
def metrics() -> dict[str, Metric]:
    """Metrics of every kind and direction."""
    return METRICS
