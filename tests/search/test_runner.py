"""Whole searches over a recorded cross-validation: seconds instead of minutes."""

import math
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from l2tune.errors import SearchAborted, TrialFailed
from l2tune.members import Member
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.records.claims import begun
from l2tune.records.keys import COMPLETE, CONTINUES, JOINS_PARTS, PART, STRENGTH
from l2tune.records.observations import finished_folds_of, strength_of
from l2tune.records.workers import Worker
from l2tune.search.completion import queue_baseline_parts
from l2tune.search.optuna_samplers import make_pruner, make_sampler
from l2tune.search.runner import Budget, Step, WorkerSearch, run_search
from l2tune.search.stopping import StopWhenSettled
from l2tune.search.storage import open_storage
from l2tune.settings import build
from l2tune.training.replay import ReplayRun, ReplayTrainer

BEST = 3e-3


def recording(folds: int = 5, epochs: int = 3) -> pd.DataFrame:
    """A valley at λ = 3e-3 with fold effects and noise, flat towards 0, no learning from λ = 1 on."""
    rng = np.random.default_rng(0)
    rows = []
    for strength in [0.0, *np.geomspace(1e-6, 1, 25)]:
        for fold in range(folds):
            depth = math.log10((strength + 1e-5) / BEST)
            final = math.exp(-2 + 0.15 * depth**2 * (1 if depth < 0 else 3) + 0.3 * fold + 0.02 * rng.normal())
            for epoch in range(1, epochs + 1):
                loss = final * (1 + epochs - epoch)
                rows.append((strength, fold, epoch, loss / 2, 0.1, loss, min(0.9, loss / 3)))
    names = ["lambda", "fold", "epoch", "train_loss", "train_error", "val_loss", "val_error"]
    return pd.DataFrame(rows, columns=names)


TABLE = recording()


class CountingReplay(ReplayTrainer):
    """Counts the members it starts; may fail or be interrupted at one of them."""

    def __init__(self, fail_at: Mapping[int, BaseException] | None = None) -> None:
        super().__init__(TABLE)
        self.members: list[Member] = []
        self.fail_at = dict(fail_at or {})

    def start(self, members: Sequence[Member]) -> ReplayRun:
        error = self.fail_at.get(len(self.members))
        self.members += members
        if error is not None:
            raise error
        return super().start(members)


def search(trainer: ReplayTrainer, study: optuna.Study | None = None, **given: object) -> tuple[optuna.Study, str]:
    settings = build({"epochs": 3} | given)
    study = study or optuna.create_study(sampler=make_sampler(settings), pruner=make_pruner(settings))
    objective = CrossValidationObjective.from_settings(settings, trainer, {"class_names": list("0123456789")})
    settle = StopWhenSettled() if settings.search.sampler == "curve" else None
    return study, run_search(study, objective, Budget(settings.search.trials), settle=settle)


def test_the_default_search_settles_near_the_minimum_with_full_scores() -> None:
    trainer = CountingReplay()
    study, why = search(trainer)
    assert why == "the answer is settled"
    assert len(trainer.members) <= 40, "75 would be a full grid"
    assert BEST / 4 < study.best_params["lambda"] < BEST * 4
    assert len(study.best_trial.intermediate_values) == 5
    assert len(finished_folds_of(study, 0.0, {})) == 5, "the baseline has all folds"
    pairs = [(m.strength, m.fold) for m in trainer.members]
    assert len(pairs) == len(set(pairs)), "no fit is trained twice"


@pytest.mark.parametrize("sampler", ["tpe", "gp", "qmc", "random", "grid"])
def test_optunas_samplers_search_beside_a_baseline_without_a_parameter(sampler: str) -> None:
    study, why = search(CountingReplay(), sampler=sampler, pruner="none", trials=16)
    assert why == "all 16 trials are done"
    strengths = [strength_of(t) for t in study.trials]
    assert strengths.count(0.0) == 1
    assert len(set(strengths)) == 16, "no λ is tried twice"
    assert all(1e-6 <= s <= 1 for s in strengths[1:])
    if sampler == "grid":
        assert np.diff(np.log10(sorted(strengths[1:]))) == pytest.approx([6 / 14] * 14)


@pytest.mark.parametrize("pruner", ["median", "hyperband", "halving", "wilcoxon"])
def test_optunas_pruners_work(pruner: str) -> None:
    study, _ = search(CountingReplay(), sampler="random", pruner=pruner, trials=25, folds=5)
    states = {t.state for t in study.trials}
    assert states <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert study.trials[0].state == TrialState.COMPLETE, "the baseline is never pruned"
    if pruner != "wilcoxon":
        assert TrialState.PRUNED in states


@pytest.mark.parametrize("pruner", ["racing", "none", "median", "hyperband", "halving", "wilcoxon"])
@pytest.mark.parametrize("sampler", ["curve", "tpe", "gp", "qmc", "random", "grid"])
def test_every_sampler_works_with_every_pruner(sampler: str, pruner: str) -> None:
    study, _ = search(CountingReplay(), sampler=sampler, pruner=pruner, trials=6)
    strengths = [strength_of(t) for t in study.trials if not t.user_attrs.get(COMPLETE)]
    assert len(strengths) >= 4
    assert len(set(strengths)) == len(strengths)
    assert all(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in study.trials)


@pytest.mark.parametrize("sampler", ["curve", "tpe", "random", "qmc", "grid"])
def test_a_resumed_search_goes_on_and_repeats_no_strength(sampler: str) -> None:
    storage = optuna.storages.InMemoryStorage()
    for trials in (5, 10):
        settings = build({"sampler": sampler, "trials": trials})
        study = optuna.create_study(
            storage=storage,
            study_name="s",
            load_if_exists=True,
            sampler=make_sampler(settings),
            pruner=make_pruner(settings),
        )
        search(CountingReplay(), study, sampler=sampler, trials=trials)
    done = [t for t in study.trials if not t.user_attrs.get(COMPLETE)]
    strengths = [strength_of(t) for t in done]
    assert len(set(strengths)) == len(strengths)
    assert len(study.trials) <= 10, "--trials is the study's total"
    if sampler != "curve":
        assert len(study.trials) == 10


@pytest.mark.parametrize(
    ("params", "marks"),
    [
        ({}, {STRENGTH: 0.0, PART: 1}),
        ({}, {STRENGTH: 0.0, JOINS_PARTS: True}),
        ({"lambda": 1e-3}, {COMPLETE: True}),
        ({"lambda": 1e-3}, {STRENGTH: 1e-3, PART: 2, COMPLETE: True}),
        ({"lambda": 1e-3}, {CONTINUES: 0}),
    ],
)
def test_what_two_workers_have_queued_at_once_is_begun_once_and_counts_once(
    params: dict[str, float], marks: dict[str, object]
) -> None:
    """The second is taken by a worker before who queued it has seen the first."""
    settings = build({"epochs": 3, "sampler": "random", "pruner": "none", "trials": 6})
    study = optuna.create_study(sampler=make_sampler(settings), pruner=make_pruner(settings))
    if marks.get(JOINS_PARTS):
        queue_baseline_parts(study, 5)
    objectives = [
        CrossValidationObjective.from_settings(settings, CountingReplay(), {"class_names": list("0123456789")})
        for _ in range(2)
    ]
    one, two = (
        WorkerSearch(study, objective, Budget(6), Worker()) for objective in objectives
    )  # neither has a stopping rule
    for _ in range(5 if marks.get(JOINS_PARTS) else 0):
        one.begin()
        while one.active:
            one.advance()
    for _ in range(2):
        study.enqueue_trial(params, user_attrs=marks)
    copy = len(study.trials) - 1
    assert one.begin() is Step.BEGUN
    assert two.begin() is Step.BEGUN
    assert study.trials[copy].state == TrialState.FAIL
    assert one.active[0].trial.number == copy - 1
    assert two.active[0].trial.number == copy + 1, "it goes on with something else"
    assert begun(study.trials) == 2, "both that are under way"


def test_ctrl_c_keeps_what_was_told_and_queues_the_rest() -> None:
    trainer = CountingReplay(fail_at={8: KeyboardInterrupt()})
    settings = build({"sampler": "random", "pruner": "none"})
    study = optuna.create_study(sampler=make_sampler(settings), pruner=make_pruner(settings))
    with pytest.raises(KeyboardInterrupt):
        search(trainer, study, sampler="random", pruner="none", trials=4)
    assert [t.state.name for t in study.trials] == ["COMPLETE", "FAIL", "WAITING"]
    again = CountingReplay()
    search(again, study, sampler="random", pruner="none", trials=4)
    resumed = study.trials[2]
    assert resumed.params == study.trials[1].params
    assert [m.fold for m in again.members if m.strength == resumed.params["lambda"]] == [3, 4], "three were done"


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_at_any_write_leaves_no_heartbeat_and_loses_no_finished_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_watch: None, when: str
) -> None:
    given = {"sampler": "random", "pruner": "none", "trials": 2, "folds": 2}
    settings = build(given)
    storage = open_storage(f"sqlite:///{tmp_path}/s.db")
    values = ["set_trial_param", "set_trial_user_attr", "set_trial_intermediate_value", "set_trial_state_values"]
    # after a write is before the next one: with every second write, before and after it, every place is met
    for number in range(0, 1000, 2):
        left = iter(range(number, -1, -1))

        def interrupted(write: Callable[..., Any], *args: Any, left: Iterator[int] = left, **kwargs: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return write(*args, **kwargs)  # a heartbeat
            now = next(left, -1) == 0
            if now and when == "before":
                raise KeyboardInterrupt
            result = write(*args, **kwargs)
            if now:
                raise KeyboardInterrupt
            return result

        study = optuna.create_study(
            storage=storage, study_name=str(number), sampler=make_sampler(settings), pruner=make_pruner(settings)
        )
        first, again = CountingReplay(), CountingReplay()
        with monkeypatch.context() as patch:
            for name in ["create_new_trial", *values]:
                patch.setattr(study._storage, name, partial(interrupted, getattr(study._storage, name)))
            try:
                search(first, study, **given)
                break
            except KeyboardInterrupt:
                pass
        assert not [t for t in threading.enumerate() if "heartbeat" in t.name], f"interrupted at write {number}"
        search(again, study, **given)
        done = study.get_trials(states=[TrialState.COMPLETE])
        assert len(done) == 2
        assert len({strength_of(t) for t in done}) == 2
        pairs = [(m.strength, m.fold) for m in first.members + again.members]
        assert len(pairs) - len(set(pairs)) <= 1, "at most the fit in training is trained again"
    assert number > 20, "every write of a search was tried"


def test_half_a_reading_that_was_interrupted_does_not_lock_the_database(tmp_path: Path) -> None:
    def interrupted_reading() -> None:
        rows = sqlite3.connect(tmp_path / "s.db").execute("SELECT key FROM trial_user_attributes")
        assert next(rows)
        raise KeyboardInterrupt

    class Trainer(CountingReplay):
        def start(self, members: Sequence[Member]) -> ReplayRun:
            if len(self.members) == 3:
                interrupted_reading()
            return super().start(members)

    settings = build({})
    study = optuna.create_study(
        storage=f"sqlite:///{tmp_path}/s.db", sampler=make_sampler(settings), pruner=make_pruner(settings)
    )
    with pytest.raises(KeyboardInterrupt):
        search(Trainer(), study)
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.WAITING]


def test_a_failure_that_says_nothing_of_the_strength_is_tried_again() -> None:
    trainer = CountingReplay(fail_at={6: TrialFailed("out of memory")})
    study, _ = search(trainer, sampler="random", pruner="none", trials=3)
    assert sum(t.state == TrialState.FAIL for t in study.trials) == 1
    assert sum(t.state == TrialState.COMPLETE for t in study.trials) == 3
    with pytest.raises(SearchAborted, match="3 times in a row training failed: out of memory"):
        search(CountingReplay(fail_at=dict.fromkeys(range(99), TrialFailed("out of memory"))))


def test_workers_that_begin_the_last_trial_in_the_same_instant_begin_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask_after_another_worker(study: optuna.Study, worker: Worker, **given: bool) -> optuna.Trial:
        if len(study.trials) == 3:
            theirs = study.ask()
            theirs.suggest_float("lambda", 1e-6, 1.0, log=True)
        return study.ask()

    monkeypatch.setattr("l2tune.search.runner.ask_trial", ask_after_another_worker)
    study, why = search(CountingReplay(), sampler="random", pruner="none", trials=4)
    assert why == "all 4 trials are done"
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "COMPLETE", "COMPLETE", "RUNNING", "FAIL"], "the one that was late gives up"


def test_a_timeout_begins_no_new_trial() -> None:
    objective = CrossValidationObjective.from_settings(build({}), CountingReplay(), {})
    assert run_search(optuna.create_study(), objective, Budget(10, seconds=0.0)) == "the 0 s are over"


def test_a_batch_of_trials_gets_distinct_strengths_in_one_run() -> None:
    trainer = CountingReplay()
    settings = build({"epochs": 3})
    objective = CrossValidationObjective.from_settings(settings, trainer, {})
    study = optuna.create_study(sampler=make_sampler(settings), pruner=make_pruner(settings))
    run_search(study, objective, Budget(12, batch=4))
    strengths = [strength_of(t) for t in study.trials]
    assert len(set(strengths)) == len(strengths) == 12


def test_parts_of_the_baseline_become_one_whole_trial() -> None:
    trainer = CountingReplay()
    settings = build({"epochs": 3})
    study = optuna.create_study(sampler=make_sampler(settings), pruner=make_pruner(settings))
    objective = CrossValidationObjective.from_settings(settings, trainer, {})
    objective.describe(study)
    assert queue_baseline_parts(study, 5)
    assert not queue_baseline_parts(study, 5), "only a study that has not begun"
    workers = [WorkerSearch(study, objective, Budget(4), Worker()) for _ in range(3)]
    for worker in workers:
        assert worker.begin() is Step.BEGUN
    assert [trial.strength for worker in workers for trial in worker.active] == [0.0] * 3
    while at_work := [worker for worker in workers if worker.begin() is Step.BEGUN]:
        for worker in at_work:
            if worker.active:
                worker.advance()
    folds = [m.fold for m in trainer.members if m.strength == 0]
    assert sorted(folds) == list(range(5)), "each fold once"
    whole = [t for t in study.trials if strength_of(t) == 0 and t.state == TrialState.COMPLETE]
    assert len(whole) == 1
    assert whole[0].value == pytest.approx(np.mean(list(whole[0].intermediate_values.values())))
    assert len(whole[0].intermediate_values) == 5
    assert len({strength_of(t) for t in study.trials}) == 4, "the parts are one of the four trials"


def test_workers_share_the_folds_that_complete_the_answer() -> None:
    trainer = CountingReplay()
    settings = build({"epochs": 3})
    study = optuna.create_study(sampler=make_sampler(settings), pruner=make_pruner(settings))
    objective = CrossValidationObjective.from_settings(settings, trainer, {})
    workers = [WorkerSearch(study, objective, Budget(40), Worker(), settle=StopWhenSettled()) for _ in range(4)]
    steps = [Step.WAIT] * 4
    while any(step in (Step.BEGUN, Step.WAIT) for step in steps):
        for at, worker in enumerate(workers):
            steps[at] = worker.begin()
            worker.advance()
    assert {worker.why for worker in workers} == {"the answer is settled"}
    pairs = [(m.strength, m.fold) for m in trainer.members]
    assert len(pairs) == len(set(pairs)), "no fit is trained twice"
    assert BEST / 4 < study.best_params["lambda"] < BEST * 4
    whole = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert all(len(t.intermediate_values) == 5 for t in whole)
