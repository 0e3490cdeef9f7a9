"""The sampler as a part of Optuna: its own suite, studies of a user's own, several workers."""

import math
import threading
import time
from collections.abc import Callable

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase
from optuna.trial import TrialState, create_trial

from l2tune.records.keys import STRENGTH, fold_key
from l2tune.records.parameter import DEFAULT
from l2tune.records.study import describe_study, search_range
from l2tune.search.pruner import FoldRacingPruner
from l2tune.search.sampler import FoldCurveSampler
from l2tune.settings import build

BEST = 3e-3


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
class TestAsOptunaWantsIt(BasicSamplerTestCase):
    """`x`, whatever its kind, is what the suite samples: here it takes the place of λ."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: FoldCurveSampler(seed=0, parameter="x")


def loss(strength: float, fold: int) -> float:
    depth = math.log10((strength + 1e-5) / BEST)
    noise = 0.02 * math.sin(1e3 * math.log(strength + 1e-9) + fold)
    return math.exp(-2 + 0.15 * depth**2 * (1 if depth < 0 else 3) + 0.3 * fold + noise)


def by_fold(trial: optuna.Trial) -> float:
    """A user's own objective: one value per fold, any names."""
    strength = trial.suggest_float("lambda", 1e-6, 1.0, log=True)
    values = []
    for fold in range(5):
        values.append(loss(strength, fold))
        trial.report(values[-1], step=fold)
        if trial.should_prune():
            raise optuna.TrialPruned
    return float(np.mean(values))


def own_study(seed: int = 0, **given: object) -> optuna.Study:
    return optuna.create_study(sampler=FoldCurveSampler(seed=seed), pruner=FoldRacingPruner(), **given)  # type: ignore[arg-type]


def strengths(study: optuna.Study) -> list[float]:
    return [t.params["lambda"] for t in study.trials if "lambda" in t.params]


def test_a_users_own_study_finds_the_minimum_in_few_folds() -> None:
    study = own_study()
    study.optimize(by_fold, n_trials=14)
    assert BEST / 3 < study.best_params["lambda"] < BEST * 3
    assert sum(len(t.intermediate_values) for t in study.trials) < 50, "70 would be all folds of all"
    assert len(set(strengths(study))) == 14


def test_hyperband_hides_no_folds_from_the_curve() -> None:
    study = optuna.create_study(
        sampler=FoldCurveSampler(seed=0), pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=5)
    )
    study.optimize(by_fold, n_trials=14)
    assert BEST / 3 < study.best_params["lambda"] < BEST * 3


def test_an_objective_that_reports_nothing_gets_spread_strengths() -> None:
    study = own_study()
    study.optimize(lambda trial: loss(trial.suggest_float("lambda", 1e-6, 1.0, log=True), 0), n_trials=6)
    assert np.ptp(np.log10(strengths(study))) >= 2


def test_proposals_are_reproducible() -> None:
    first, second, other = own_study(1), own_study(1), own_study(2)
    for study in (first, second, other):
        study.optimize(by_fold, n_trials=10)
    assert strengths(first) == strengths(second)


def test_other_parameters_are_drawn_at_random_within_their_range() -> None:
    study = own_study()

    def objective(trial: optuna.Trial) -> float:
        assert 8 <= trial.suggest_int("width", 8, 64) <= 64
        assert trial.suggest_categorical("optimizer", ["sgd", "adam"]) in ("sgd", "adam")
        return by_fold(trial)

    study.optimize(objective, n_trials=8)
    assert len({t.params["width"] for t in study.trials}) > 3
    assert len({t.params["optimizer"] for t in study.trials}) == 2


@pytest.mark.parametrize("bounds", [(1e-4, 1e-2), (0.01, 0.01), (2e-3, 2.1e-3), (1e-12, 1e6)])
def test_the_range_is_respected(bounds: tuple[float, float]) -> None:
    study = own_study()

    def objective(trial: optuna.Trial) -> float:
        strength = trial.suggest_float("lambda", *bounds, log=True)
        for fold in range(3):
            trial.report(loss(strength, fold), step=fold)
        return loss(strength, 0)

    study.optimize(objective, n_trials=6)
    assert all(bounds[0] <= s <= bounds[1] for s in strengths(study))


@pytest.mark.parametrize("before", [0, 2, 8])
def test_a_batch_of_asks_gets_distinct_strengths(before: int) -> None:
    study = own_study()
    study.optimize(by_fold, n_trials=before)
    batch = [study.ask().suggest_float("lambda", 1e-6, 1.0, log=True) for _ in range(6)]
    both = np.log10(sorted({*batch, *strengths(study)}))
    assert len(both) == before + 6
    assert np.diff(both).min() > 0.01, "distinct by more than rounding"


def test_threads_get_distinct_strengths() -> None:
    study = own_study()
    study.optimize(by_fold, n_trials=12, n_jobs=3)
    assert len(set(strengths(study))) == 12


@pytest.mark.parametrize("before", [0, 8])
def test_workers_that_ask_in_the_same_instant_get_distinct_strengths(before: int) -> None:
    """Both trials exist before either has drawn its λ; the later one leaves the earlier one's proposal to it."""
    study = own_study()
    study.optimize(by_fold, n_trials=before)
    first, second = study.ask(), study.ask()
    drawn = [trial.suggest_float("lambda", 1e-6, 1.0, log=True) for trial in (second, first)]
    assert abs(math.log10(drawn[0] / drawn[1])) > 0.01


def test_a_worker_waits_for_the_one_that_asked_just_before() -> None:
    """A result that comes between their proposals changes both: the later must know the earlier, not guess it."""
    study = own_study()
    study.optimize(by_fold, n_trials=6)
    first, second = study.ask(), study.ask()
    drawn = {}

    def draw_late() -> None:
        time.sleep(0.5)
        drawn["first"] = first.suggest_float("lambda", 1e-6, 1.0, log=True)

    other = threading.Thread(target=draw_late)
    other.start()
    drawn["second"] = second.suggest_float("lambda", 1e-6, 1.0, log=True)
    other.join()
    assert list(drawn) == ["first", "second"]
    assert abs(math.log10(drawn["first"] / drawn["second"])) > 0.01


def test_a_trial_that_never_draws_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    study = own_study()
    study.ask()
    monkeypatch.setattr("l2tune.search.workers.PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("l2tune.search.workers.time.sleep", lambda seconds: pytest.fail("waited"))
    study.ask().suggest_float("lambda", 1e-6, 1.0, log=True)


def test_pruned_and_running_folds_count() -> None:
    """A λ on one fold only steers the next proposal: the same study without it goes elsewhere."""
    distribution = FloatDistribution(1e-6, 1.0, log=True)

    def study_with(pruned: float, score: float) -> optuna.Study:
        study = own_study()
        for strength in (1e-6, 1e-4, 1e-2, 1.0):
            values = {fold: loss(strength, fold) for fold in range(5)}
            study.add_trial(
                create_trial(
                    value=float(np.mean(list(values.values()))),
                    params={"lambda": strength},
                    distributions={"lambda": distribution},
                    intermediate_values=values,
                )
            )
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED,
                params={"lambda": pruned},
                distributions={"lambda": distribution},
                intermediate_values={0: score},
            )
        )
        return study

    good, bad = (study_with(1e-3, score).ask().suggest_float("lambda", 1e-6, 1.0, log=True) for score in (0.05, 1.0))
    assert abs(math.log10(good / 1e-3)) < abs(math.log10(bad / 1e-3))


def test_a_resumed_study_goes_on() -> None:
    storage = optuna.storages.InMemoryStorage()
    for _ in range(4):  # a new sampler each time, as in a new process
        study = own_study(storage=storage, study_name="s", load_if_exists=True)
        study.optimize(by_fold, n_trials=3)
    assert len(set(strengths(study))) == 12
    whole = own_study()
    whole.optimize(by_fold, n_trials=12)
    assert strengths(whole) == strengths(study), "where it was interrupted does not matter"


def described(low: float, high: float, pairs: dict[float, float], extend_range: bool = True) -> optuna.Study:
    """A study of `l2tune search` in which each λ had one score on all five folds."""
    settings = build({"lambda_range": (low, high)}).flat() | {"lambda_range": [low, high]}
    study = optuna.create_study(sampler=FoldCurveSampler(seed=0, extend_range=extend_range))
    describe_study(study, settings=settings, identity={}, versions={}, trainer={"folds": 5}, data={})
    for strength, score in pairs.items():
        folds = {fold: score * math.exp(0.1 * fold) for fold in range(5)}
        attrs: dict[str, object] = {STRENGTH: strength}
        for fold, value in folds.items():
            attrs[fold_key(fold)] = {"epochs": 1, "val_loss": value}
        study.add_trial(
            create_trial(
                value=float(np.mean(list(folds.values()))),
                params={"lambda": strength} if strength else {},
                distributions={"lambda": FloatDistribution(low, high, log=True)} if strength else {},
                intermediate_values=folds,
                user_attrs=attrs,
            )
        )
    return study


RISING = {0.0: 0.1, 1e-4: 0.12, 3e-4: 0.14, 1e-3: 0.18, 1e-2: 0.3}
FALLING = {0.0: 0.3, 1e-4: 0.28, 3e-4: 0.25, 1e-3: 0.2, 1e-2: 0.1}
INSIDE = {0.0: 0.3, 1e-4: 0.25, 3e-4: 0.2, 1e-3: 0.1, 1e-2: 0.3}
FLAT = {0.0: 0.1, 1e-4: 0.1001, 3e-4: 0.1, 1e-3: 0.1001, 1e-2: 0.1}
LOW_END = {0.0: 0.3, 1e-4: 0.1, 3e-4: 0.13, 1e-3: 0.18, 1e-2: 0.3}


@pytest.mark.parametrize(
    ("pairs", "wider"),
    [(FALLING, (1e-4, 1e-1)), (LOW_END, (1e-5, 1e-2)), (INSIDE, None), (RISING, None), (FLAT, (1e-4, 1e-1))],
    ids=["best at the high end", "best at the low end, better than none", "best inside", "best is none", "flat"],
)
def test_the_range_is_widened_where_it_does_not_bracket_the_best(
    pairs: dict[float, float], wider: tuple[float, float] | None
) -> None:
    study = described(1e-4, 1e-2, pairs)
    study.ask()
    assert search_range(study, DEFAULT) == pytest.approx(wider or (1e-4, 1e-2))
    fixed = described(1e-4, 1e-2, pairs, extend_range=False)
    fixed.ask()
    assert search_range(fixed, DEFAULT) == (1e-4, 1e-2)


def test_the_first_strengths_are_spread_over_the_range() -> None:
    study = own_study()
    study.optimize(by_fold, n_trials=3)
    places = np.sort(np.log10(strengths(study)))
    assert np.diff(places).min() > 1
