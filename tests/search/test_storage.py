import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from l2tune.errors import UserError
from l2tune.records import tables as records
from l2tune.search.storage import (
    ask_trial,
    delete_study,
    load_study,
    open_storage,
    open_study,
    requeue_lost_trials,
    study_exists,
)
from l2tune.settings import build


def url(folder: Path, kind: str) -> str:
    return {"sqlite": f"sqlite:///{folder}/s.db", "path": f"{folder}/s.db", "journal": f"{folder}/s.log"}[kind]


@pytest.mark.parametrize("kind", ["sqlite", "path", "journal"])
def test_a_study_is_created_resumed_and_deleted(tmp_path: Path, kind: str) -> None:
    settings = build({"study": "mine"})
    study = open_study(open_storage(url(tmp_path, kind)), settings)
    study.tell(ask_trial(study), 1.0)
    again = open_storage(url(tmp_path, kind))
    assert len(open_study(again, settings).trials) == 1
    assert study_exists(again, "mine")
    delete_study(again, "mine")
    assert not study_exists(again, "mine")


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        ("sqlite:///{}/no/s.db", "--storage sqlite:///{0}/no/s.db: the folder {0}/no does not exist; make it first"),
        (
            "nonsense",
            "--storage nonsense: is no storage URL; give a path ending in .db or .log, or a URL",
        ),
        (
            "{}/text.log",
            "--storage {0}/text.log: is not a journal; give a file that Optuna's journal wrote, or a new name",
        ),
        ("sqlite:///{}/text.db", "--storage sqlite:///{0}/text.db: cannot be opened (file is not a database)"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_refused(tmp_path: Path, bad: str, line: str) -> None:
    for name in ("text.log", "text.db"):
        (tmp_path / name).write_text("this is a text, and long enough not to be an empty file" * 40)
    with pytest.raises(UserError) as caught:
        open_storage(bad.format(tmp_path))
    assert str(caught.value) == line.format(tmp_path)


def test_reading_commands_do_not_create_a_storage(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such storage; give the --storage that the search used"):
        open_storage(f"sqlite:///{tmp_path}/s.db", must_exist=True)
    assert not list(tmp_path.iterdir())


def test_an_unknown_study_names_those_there_are(tmp_path: Path) -> None:
    storage = open_storage(url(tmp_path, "sqlite"))
    open_study(storage, build({"study": "mine"}))
    with pytest.raises(UserError, match=r"^'other': no such study in this storage; it holds 'mine'$"):
        load_study(storage, "other")


def lost_trial(study: optuna.Study, pid: int) -> optuna.Trial:
    trial = ask_trial(study)
    strength = trial.suggest_float("lambda", 1e-6, 1, log=True)
    trial.set_user_attr(records.STRENGTH, strength)
    trial.set_user_attr("l2tune:worker", {"host": socket.gethostname(), "pid": pid})
    records.write_fold(trial, 1, records.FoldRecord(epochs=3, val_loss=0.5, train_loss=0.1))
    return trial


def test_a_dead_processes_trial_is_queued_again_with_its_folds(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    study = open_study(open_storage(url(tmp_path, "sqlite")), build({"study": "mine"}))
    trial = lost_trial(study, dead.pid)
    assert requeue_lost_trials(study) == 1
    failed, waiting = study.trials
    assert (failed.state, waiting.state) == (TrialState.FAIL, TrialState.WAITING)
    again = ask_trial(study)
    strength = again.suggest_float("lambda", 1e-6, 1, log=True)
    assert strength == trial.params["lambda"]
    assert records.finished_folds(study, strength)[1][1].val_loss == 0.5
    assert requeue_lost_trials(study) == 0, "only once"


def test_a_trial_that_died_at_birth_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = open_study(open_storage(url(tmp_path, "sqlite")), build({"study": "mine"}))
    with warnings.catch_warnings(action="ignore"):
        study.ask()
    assert requeue_lost_trials(study) == 0, "it may be coming to life just now"
    monkeypatch.setattr("l2tune.search.storage.BIRTH_SECONDS", -1)
    assert requeue_lost_trials(study) == 1
    assert [t.state for t in study.trials] == [TrialState.FAIL], "there is no λ to queue again"


def test_a_living_processes_trial_is_left_alone(tmp_path: Path) -> None:
    study = open_study(open_storage(url(tmp_path, "sqlite")), build({"study": "mine"}))
    lost_trial(study, os.getppid())
    assert requeue_lost_trials(study) == 0
    assert study.trials[0].state == TrialState.RUNNING
