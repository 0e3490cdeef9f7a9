"""Who runs the baseline, where several workers begin together."""

import optuna
import pytest
from optuna.trial import TrialState

from l2tune.records.claims import claim_baseline


def test_the_first_trial_claims_the_baseline_and_a_failed_one_gives_it_back() -> None:
    study = optuna.create_study()
    first, second = study.ask(), study.ask()
    assert claim_baseline(first)
    assert not claim_baseline(second)
    second.suggest_float("lambda", 1e-6, 1.0, log=True)
    study.tell(first, state=TrialState.FAIL)
    assert claim_baseline(study.ask())


def test_workers_that_begin_together_leave_the_baseline_to_the_first_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study()
    first, second, third = study.ask(), study.ask(), study.ask()
    assert not claim_baseline(second), "the first has not come to it yet"
    assert claim_baseline(first)
    study = optuna.create_study()
    first, second, third = study.ask(), study.ask(), study.ask()
    assert not claim_baseline(third), "they have only just been seen"
    monkeypatch.setattr("l2tune.records.claims.CLAIM_SECONDS", 0.0)
    assert claim_baseline(third), "those before it seem to be dead"
    assert not claim_baseline(first), "nor does one that wakes up take it over"


def test_an_enqueued_strength_is_no_baseline() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"lambda": 0.1})
    assert not claim_baseline(study.ask())


def test_a_baseline_that_always_fails_does_not_keep_the_search_from_its_strengths() -> None:
    study = optuna.create_study()
    for _ in range(3):
        trial = study.ask()
        assert claim_baseline(trial)
        study.tell(trial, state=TrialState.FAIL)
    assert not claim_baseline(study.ask())
