"""The audit finishes pruned strengths and says how often pruning was wrong."""

import math

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.records.keys import AUDIT
from l2tune.records.tables import read_study
from l2tune.search.audit import audit_line, read_audit
from l2tune.search.optuna_samplers import make_pruner, make_sampler
from l2tune.search.runner import Budget, run_search
from l2tune.search.stopping import StopWhenSettled
from l2tune.settings import build
from l2tune.training.replay import ReplayTrainer

BEST = 3e-3


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for strength in [0.0, *np.geomspace(1e-6, 1, 25)]:
        for fold in range(5):
            depth = math.log10((strength + 1e-5) / BEST)
            loss = math.exp(-2 + 0.15 * depth**2 * (1 if depth < 0 else 3) + 0.3 * fold + 0.02 * rng.normal())
            rows.append((strength, fold, 1, loss / 2, 0.1, loss, min(0.9, loss / 3)))
    return pd.DataFrame(rows, columns=["lambda", "fold", "epoch", "train_loss", "train_error", "val_loss", "val_error"])


TABLE = table()


def search(study: optuna.Study, audit: int, trials: int = 40, **given: object) -> str:
    settings = build({"epochs": 1} | given)
    objective = CrossValidationObjective.from_settings(settings, ReplayTrainer(TABLE), {})
    return run_search(study, objective, Budget(trials, audit=audit), settle=StopWhenSettled())


def new_study() -> optuna.Study:
    settings = build({"epochs": 1})
    return optuna.create_study(sampler=make_sampler(settings), pruner=make_pruner(settings))


def audits(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [t for t in study.trials if t.user_attrs.get(AUDIT)]


def test_pruned_strengths_are_finished_after_the_answer_is_settled() -> None:
    study = new_study()
    assert search(study, audit=2) == "the answer is settled"
    found = audits(study)
    assert [t.state for t in found] == [TrialState.COMPLETE] * 2
    assert [t.number for t in found] == [len(study.trials) - 2, len(study.trials) - 1], "at the end"
    assert all(len(t.intermediate_values) == 5 for t in found)
    pruned = {t.params["lambda"] for t in study.trials if t.state == TrialState.PRUNED}
    assert {t.params["lambda"] for t in found} <= pruned
    audit = read_audit(study)
    assert audit is not None
    assert len(audit.strengths) == 2
    assert audit.wrong == 0
    assert audit_line(study).startswith("audit: pruning was wrong for 0 of 2 pruned λ that were finished (against λ ")
    assert audit_line(study).endswith(" worse)")
    marks = read_study(study).trials["audit"]
    assert marks.sum() == 2


def test_an_audit_is_done_once_and_may_be_asked_for_later() -> None:
    study = new_study()
    search(study, audit=0)
    assert audit_line(study) == "audit: no pruned λ was finished"
    for asked, expected in ((1, 1), (1, 1), (2, 2)):
        search(study, audit=asked)
        assert len(audits(study)) == expected


def test_an_audit_goes_beyond_the_trials_but_finds_no_more_than_were_pruned() -> None:
    study = new_study()
    assert search(study, audit=99, trials=6) == "all 6 trials are done"
    assert len(study.trials) - len(audits(study)) == 6
    pruned = {t.params["lambda"] for t in study.trials if t.state == TrialState.PRUNED}
    complete = {t.params.get("lambda") for t in study.trials if t.state == TrialState.COMPLETE}
    assert pruned <= complete


@pytest.mark.parametrize(("factor", "wrong"), [(0.5, 1), (1.5, 0), (math.inf, 0)])
def test_a_pruned_strength_that_is_better_counts_as_wrong(factor: float, wrong: int) -> None:
    study = optuna.create_study()
    distribution = optuna.distributions.FloatDistribution(1e-6, 1.0, log=True)
    for strength, factor_of, audit in ((1e-3, 1.0, False), (1e-2, factor, True)):
        study.add_trial(
            optuna.trial.create_trial(
                value=1.0,
                params={"lambda": strength},
                distributions={"lambda": distribution},
                intermediate_values={fold: (0.1 + 0.01 * fold) * factor_of for fold in range(5)},
                user_attrs={AUDIT: True} if audit else {},
            )
        )
    audit_found = read_audit(study)
    assert audit_found is not None
    assert audit_found.wrong == wrong
    assert audit_found.best == 1e-3
    assert f"wrong for {wrong} of 1" in audit_line(study)
