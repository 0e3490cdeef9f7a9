"""Several workers of one study, simulated in virtual time around recordings: they pay little for what they save."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from statistics import median
from types import ModuleType

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from l2tune.curve.observations import Observations
from l2tune.metrics import BUILT_IN
from l2tune.records.claims import part_of_folds
from l2tune.records.fold_record import fold_records
from l2tune.records.keys import PART, STRENGTH
from l2tune.records.parameter import DEFAULT
from l2tune.records.workers import Worker
from l2tune.search.completion import queue_baseline_parts
from l2tune.search.pending import pending_fits
from l2tune.search.runner import Budget, Step, WorkerSearch, run_search
from l2tune.search.stopping import StopWhenSettled
from l2tune.tradeoff import Tradeoff

BENCHMARKS = Path(__file__).parents[2] / "studies/benchmarks"
NAMES = ("digits-600-linear", "digits-500-adam")
SEEDS = range(3)


@cache
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_of_workers", BENCHMARKS / "workers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def recording_of(name: str):  # type: ignore[no-untyped-def]  # of a script, not of a package
    return benchmark().Recording(BENCHMARKS / f"recordings/{name}.csv.gz", "loss", 0)


@cache
def outcome(name: str, workers: int, seed: int):  # type: ignore[no-untyped-def]
    recording = benchmark().Recording(BENCHMARKS / f"recordings/{name}.csv.gz", "loss", seed)
    return benchmark().simulate(recording, workers, seed)


@pytest.mark.parametrize(("workers", "most"), [(4, 1.3), (16, 2.0)])
@pytest.mark.parametrize("name", NAMES)
def test_many_workers_train_little_more_than_one(name: str, workers: int, most: float) -> None:
    for count in ("settled", "fits"):
        ratios = [getattr(outcome(name, workers, s), count) / getattr(outcome(name, 1, s), count) for s in SEEDS]
        assert median(ratios) <= most, count


@pytest.mark.parametrize("name", NAMES)
def test_several_workers_choose_as_well_as_one_and_sooner(name: str) -> None:
    for workers in (1, 4, 16):
        found = [outcome(name, workers, seed) for seed in SEEDS]
        assert all(search.regret <= 1 for search in found)
        assert {search.why for search in found} == {"the answer is settled"}
    sooner = [outcome(name, 1, seed).seconds / outcome(name, 4, seed).seconds for seed in SEEDS]
    assert median(sooner) >= 2


def test_one_simulated_worker_searches_as_a_search_does_and_never_waits() -> None:
    found = outcome(NAMES[0], 1, 0)
    assert found.idle == 0
    study, objective = benchmark().begin_study(recording_of(NAMES[0]), 0)
    run_search(study, objective, Budget(40), settle=StopWhenSettled())
    assert sum(len(fold_records(trial)) for trial in study.trials) == found.fits
    assert float(f"{Tradeoff.from_study(study).best_lambda:.4g}") == found.strength


def test_what_trains_is_seen_as_pending_and_its_result_is_not() -> None:
    recording = recording_of(NAMES[0])
    events = 0

    def check(simulation) -> None:  # type: ignore[no-untyped-def]
        nonlocal events
        events += 1
        trials = simulation.study.get_trials()
        training = {trial.trial.number: trial for search in simulation.searches for trial in search.active}
        assert {t.number for t in trials if t.state == TrialState.RUNNING} == set(training), "all are seen"
        assert len(training) == len(simulation.training)
        trained = [r for t in trials for r in fold_records(t).values() if r.reused_from is None]
        assert len(trained) == simulation.fits - len(training), "no result before its fit has ended"
        assert all(trial.todo[0] not in fold_records(trials[number]) for number, trial in training.items())
        assert recording.cost == len(trained)

    benchmark().simulate(recording, 4, 0, after_event=check)
    assert events > 10


def seen_so_far() -> Observations:
    return Observations(
        strength=np.array([0.0, 0.0, 1e-3]),
        fold=np.array([0, 1, 0]),
        cost=np.array([0.5, 0.6, 0.4]),
        trial=np.array([0, 0, 1]),
        metric=BUILT_IN["loss"],
        folds=3,
    )


def test_a_part_is_pending_at_its_own_fold() -> None:
    distribution = optuna.distributions.FloatDistribution(1e-6, 1.0, log=True)
    running = [
        create_trial(
            state=TrialState.RUNNING,
            params={"lambda": strength},
            distributions={"lambda": distribution},
            user_attrs={} if fold is None else {PART: fold},
        )
        for strength, fold in ((1e-3, 1), (1e-3, None), (1e-2, None), (1e-3, 0))
    ]
    assert pending_fits(running, DEFAULT, seen_so_far()) == [(1e-3, 1), (1e-3, 2), (1e-2, 2)]


def test_who_would_only_train_what_the_fits_under_way_make_needless_waits() -> None:
    recording = recording_of(NAMES[0])
    idle: list[tuple[int, int]] = []

    def check(simulation) -> None:  # type: ignore[no-untyped-def]
        idle.append((len(simulation.training), len(simulation.waiting)))
        if simulation.waiting:
            assert simulation.training, "nobody waits where nothing is under way"

    benchmark().simulate(recording, 8, 0, after_event=check)
    assert any(waiting for _, waiting in idle)


def test_once_settled_no_trial_goes_on_but_those_of_the_answer() -> None:
    recording = recording_of(NAMES[1])
    studies = []

    def check(simulation) -> None:  # type: ignore[no-untyped-def]
        studies.append(simulation.study)

    benchmark().simulate(recording, 8, 0, after_event=check)
    fits = [
        (t.user_attrs[STRENGTH], f)
        for t in studies[0].trials
        for f, r in fold_records(t).items()
        if r.reused_from is None
    ]
    assert len(fits) == len(set(fits)), "no fit is trained twice"
    shared = {t.user_attrs[STRENGTH] for t in studies[0].trials if part_of_folds(t) is not None} - {0.0}
    assert shared, "several workers complete the answer"
    for strength in shared:
        assert len([fit for fit in fits if fit[0] == strength]) == recording.folds


def test_a_worker_that_died_is_waited_for_until_its_trial_is_taken_over() -> None:
    study, objective = benchmark().begin_study(recording_of(NAMES[0]), 0)
    queue_baseline_parts(study, 5)
    alive, dead = (WorkerSearch(study, objective, Budget(40), Worker(), settle=StopWhenSettled()) for _ in range(2))
    for _ in range(5 + 1):  # the folds of the baseline, and the trial that joins them
        assert alive.begin() is Step.BEGUN
        alive.advance()
    assert dead.begin() is Step.BEGUN
    waited = False
    while (step := alive.begin()) is not Step.DONE:
        if step is Step.WAIT:
            assert [trial.strength > 0 for trial in dead.active] == [True]
            dead.give_up()  # as whoever takes its trial over does
            waited = True
        alive.advance()
    assert waited, "its result might have moved the answer"
    assert alive.why == "the answer is settled"


def test_while_nothing_is_known_few_strengths_are_begun() -> None:
    begun: list[int] = []
    benchmark().simulate(recording_of(NAMES[0]), 64, 0, after_event=lambda simulation: begun.append(simulation.fits))
    assert begun[0] == 5 + 10, "folds of the baseline, and strengths"
