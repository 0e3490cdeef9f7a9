"""The rivals of the search benchmark give strengths up where their papers say, on recordings made up for it."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parents[2] / "studies/benchmarks"
FOLDS = 5


@pytest.fixture(scope="module")
def load() -> Iterator[object]:
    """Imports a module that stands beside the benchmark's command."""
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def stopping(load) -> ModuleType:
    return load("early_stopping")


@pytest.fixture(scope="module")
def intensification(load) -> ModuleType:
    return load("intensification")


def made_up(scores):
    """A recording whose scores are a function of log10 λ (-6 for λ = 0), each fold's higher by 0.1 than the last's."""
    return SimpleNamespace(
        folds=FOLDS,
        best=10**-2.5,
        final=lambda strength: scores(np.log10(max(strength, 1e-6))) + np.arange(FOLDS) / 10,
    )


@pytest.mark.parametrize(
    ("scores", "aggressive", "forgiving"),
    [
        ([0.9, 0.9, 0.9], 3, 3),  # better on all
        ([1.0, 0.1, 0.1], 1, 3),  # no better than the incumbent's mean on the first; below its worst fold
        ([0.9, 1.2, 0.1], 2, 3),  # its mean rises above after the second
        ([1.5, 0.1, 0.1], 1, 1),  # no better than the incumbent's worst fold
        ([1.4, 1.7, 0.1], 1, 2),
        ([np.nan, 0.1, 0.1], 1, 1),  # diverged
    ],
)
def test_a_strength_is_stopped_at_the_incumbents_mean_or_at_its_worst_fold(
    stopping, scores, aggressive, forgiving
) -> None:
    incumbent = np.array([0.5, 1.0, 1.5])
    for rule, folds in (("aggressive", aggressive), ("forgiving", forgiving)):
        assert stopping.folds_trained(np.array(scores), stopping.limit(rule, incumbent)) == folds, rule


@pytest.mark.parametrize("proposals", ["ShuffledGrid", "GaussianProcess"])
def test_early_stopping_pays_for_what_it_trains_and_chooses_among_the_whole(load, stopping, proposals) -> None:
    recording = made_up(lambda x: (x + 2.5) ** 2)
    fits = {}
    for rule in ("aggressive", "forgiving"):
        outcome = load("outcome").Outcome("made up", rule, 0, (1e-4, 1e-1))
        stopping.early_stopping(rule, getattr(stopping, proposals))(recording, 0, outcome)
        assert outcome.costs[0] == FOLDS, "λ = 0 first"
        assert len(outcome.costs) == 1 + load("outcome").STRENGTHS
        paid = np.diff(outcome.costs)
        assert ((paid >= 1) & (paid <= FOLDS)).all()
        chosen = [recording.final(choice).mean() for choice in outcome.choices]
        assert (np.diff(chosen) <= 0).all(), "an incumbent is replaced by what is better"
        assert (paid[np.diff(chosen) < 0] == FOLDS).all(), "what replaces it has all its folds"
        assert abs(np.log10(outcome.choices[-1]) + 2.5) < 0.5
        fits[rule] = outcome.costs[-1]
    assert fits["aggressive"] < fits["forgiving"] < FOLDS * (1 + load("outcome").STRENGTHS)


def test_the_grid_of_early_stopping_is_that_of_the_others_in_another_order_each_seed(load, stopping) -> None:
    grids = [stopping.ShuffledGrid(1e-4, 1e-1, seed) for seed in (0, 1)]
    orders = [[grid.ask() for _ in range(load("outcome").STRENGTHS)] for grid in grids]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == pytest.approx(np.geomspace(1e-4, 1e-1, 15))


def race_between(intensification, **scores: list[float]):
    """A race of strengths named by letters, whose scores these are; and their λ."""
    strengths = {name: float(index + 1) for index, name in enumerate(scores)}
    by_strength = dict(zip(strengths.values(), map(np.array, scores.values()), strict=True))
    return intensification.Race(by_strength.__getitem__, FOLDS, seed=0), strengths


def test_the_first_is_the_incumbent_after_one_fold_and_gets_one_more_at_a_time(intensification) -> None:
    race, named = race_between(intensification, a=[1, 2, 3, 4, 5])
    assert not race.strengthen(), "there is no incumbent yet"
    assert race.challenge(named["a"])
    assert race.fits == 1
    assert [race.strengthen() for _ in range(5)] == [True] * 4 + [False]
    assert race.seen[named["a"]] == dict(enumerate([1, 2, 3, 4, 5]))


def test_a_challenger_is_rejected_as_soon_as_it_is_no_better_on_the_folds_in_common(intensification) -> None:
    race, named = race_between(intensification, a=[1] * 5, worse=[2] * 5, same=[1] * 5, better=[0.5] * 5)
    race.challenge(named["a"])
    while race.strengthen():
        pass
    assert not race.challenge(named["worse"])
    assert not race.challenge(named["same"])
    assert race.challenge(named["better"])
    assert {name: len(race.seen[strength]) for name, strength in named.items()} == {
        "a": 5,
        "worse": 1,
        "same": 1,
        "better": 5,
    }
    assert race.incumbent == named["better"]


def test_a_challenger_runs_on_the_folds_of_the_incumbent_only(intensification) -> None:
    race, named = race_between(intensification, a=[1] * 5, better=[0.5] * 5)
    race.challenge(named["a"])
    race.strengthen()
    assert race.challenge(named["better"])
    assert set(race.seen[named["better"]]) == set(race.seen[named["a"]])
    assert race.fits == 4


def test_a_challenger_that_falls_behind_in_the_middle_is_rejected_there(intensification) -> None:
    """Better by 1 on all folds but one, on which it is worse by 10."""
    for seed in range(10):
        scores = {1.0: np.full(FOLDS, 5.0), 2.0: np.array([4.0, 4, 4, 4, 15])}
        race = intensification.Race(scores.__getitem__, FOLDS, seed)
        race.challenge(1.0)
        while race.strengthen():
            pass
        assert not race.challenge(2.0)
        assert list(race.seen[2.0])[-1] == 4, "the fold that rejects it is the last one trained"
        assert race.incumbent == 1.0


def test_the_process_expects_improvement_where_the_lowest_scores_are(intensification) -> None:
    places = np.repeat(np.linspace(0, 1, 8), 2)
    scores = (places - 0.6) ** 2 + np.tile([0.0, 0.01], 8)
    candidates = np.linspace(0, 1, 101)
    found = intensification.expected_improvement(places, scores, candidates, seed=0)
    assert found.shape == (101,)
    assert (found >= 0).all()
    assert abs(candidates[found.argmax()] - 0.6) < 0.15


def test_smac_ends_with_a_whole_cross_validation_near_the_best(load, intensification) -> None:
    recording = made_up(lambda x: (x + 2.5) ** 2)
    outcome = load("outcome").Outcome("made up", "smac", 0, (1e-4, 1e-1))
    intensification.smac(recording, 0, outcome)
    assert outcome.costs == sorted(outcome.costs)
    assert outcome.costs[-1] < FOLDS * (1 + load("outcome").STRENGTHS)
    assert abs(np.log10(outcome.choices[-1]) + 2.5) < 0.3
    assert not outcome.pruned_best


def test_smac_keeps_no_regularization_where_nothing_is_better(load, intensification) -> None:
    recording = made_up(lambda x: x + 6)  # lowest at λ = 0
    outcome = load("outcome").Outcome("made up", "smac", 0, (1e-4, 1e-1))
    intensification.smac(recording, 0, outcome)
    assert set(outcome.choices) == {0.0}


def test_results_renewed_in_part_keep_the_rest_and_tell_the_seeds(load) -> None:
    tables = load("tables")
    whole = pd.DataFrame({"recording": ["a", "a"], "strategy": ["l2tune", "grid, none"], "seeds": [40, 40]})
    before = {"table": whole.to_dict("records"), "date": "2026-01-01"}
    about = {"date": "2026-01-02", "metric": "loss", "measured": {"smac": "2026-01-02"}}
    now = pd.DataFrame({"recording": ["a"], "strategy": ["smac"], "seeds": [10]})
    rows, about = tables.updated(now, about, before)
    assert rows["strategy"].tolist() == ["l2tune", "grid, none", "smac"]
    assert tables.heading(rows, about) == (
        "# Search strategies, validation loss, 40 seeds each, 2026-01-02\n\n10 seeds only: smac.\n\n"
        "Measured on 2026-01-02: smac; the others on 2026-01-01.\n\n"
    )
    searches = [{"strategy": "l2tune", "seed": 0}]
    assert tables.kept([], searches, "strategy") == searches, "its searches stay where it is not measured again"
    assert tables.kept([{"strategy": "l2tune", "seed": 1}], searches, "strategy") == [{"strategy": "l2tune", "seed": 1}]
