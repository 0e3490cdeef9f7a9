"""Trials whose worker is gone are queued again, with the folds that they had finished."""

import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from l2tune.records.fold_record import FoldRecord, write_fold
from l2tune.records.keys import STRENGTH
from l2tune.records.observations import finished_folds_of
from l2tune.records.study import describe_study
from l2tune.search.storage import open_storage, open_study
from l2tune.search.workers import ask_trial, requeue_lost_trials
from l2tune.settings import build


def url(folder: Path, kind: str) -> str:
    return {"sqlite": f"sqlite:///{folder}/s.db", "path": f"{folder}/s.db", "journal": f"{folder}/s.log"}[kind]


def lost_trial(study: optuna.Study, pid: int) -> optuna.Trial:
    trial = ask_trial(study)
    strength = trial.suggest_float("lambda", 1e-6, 1, log=True)
    trial.set_user_attr(STRENGTH, strength)
    trial.set_user_attr("l2tune:worker", {"host": socket.gethostname(), "pid": pid})
    write_fold(trial, 1, FoldRecord(epochs=3, val_loss=0.5, train_loss=0.1))
    return trial


def test_a_dead_processes_trial_is_queued_again_with_its_folds(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    study = open_study(open_storage(url(tmp_path, "sqlite")), build({"study": "mine"}))
    describe_study(study, settings={}, identity={}, versions={}, trainer={"engine": "sequential"}, data={})
    trial = lost_trial(study, dead.pid)
    assert requeue_lost_trials(study) == 1
    failed, waiting = study.trials
    assert (failed.state, waiting.state) == (TrialState.FAIL, TrialState.WAITING)
    again = ask_trial(study)
    strength = again.suggest_float("lambda", 1e-6, 1, log=True)
    assert strength == trial.params["lambda"]
    assert finished_folds_of(study, strength, again.params)[1].cost == 0.5
    assert requeue_lost_trials(study) == 0, "only once"


def test_a_trial_that_died_at_birth_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = open_study(open_storage(url(tmp_path, "sqlite")), build({"study": "mine"}))
    with warnings.catch_warnings(action="ignore"):
        study.ask()
    assert requeue_lost_trials(study) == 0, "it may be coming to life just now"
    monkeypatch.setattr("l2tune.search.workers.BIRTH_SECONDS", -1)
    assert requeue_lost_trials(study) == 1
    assert [t.state for t in study.trials] == [TrialState.FAIL], "there is no λ to queue again"


def test_a_living_processes_trial_is_left_alone(tmp_path: Path) -> None:
    study = open_study(open_storage(url(tmp_path, "sqlite")), build({"study": "mine"}))
    lost_trial(study, os.getppid())
    assert requeue_lost_trials(study) == 0
    assert study.trials[0].state == TrialState.RUNNING
