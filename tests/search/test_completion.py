from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from l2tune.records.claims import is_wanted_whole
from l2tune.records.keys import AUDIT, COMPLETE
from l2tune.records.workers import Worker
from l2tune.search.completion import queue_completion
from l2tune.search.storage import open_storage
from l2tune.search.workers import ask_trial


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.get_trials()]


@pytest.mark.parametrize("url", ["s.db", "s.log"])
def test_a_strength_that_two_workers_queue_at_once_runs_once(tmp_path: Path, url: str) -> None:
    storage = open_storage(str(tmp_path / url))
    study = optuna.create_study(storage=storage, study_name="s")
    other_worker = optuna.load_study(storage=open_storage(str(tmp_path / url)), study_name="s")
    queue_completion(study, 1e-3)
    queue_completion(other_worker, 1e-3)
    queue_completion(study, 1e-2, marks={AUDIT: True})
    assert states(study) == ["WAITING", "FAIL", "WAITING"]
    running = ask_trial(study, Worker())
    assert running is not None
    assert running.suggest_float("lambda", 1e-6, 1.0, log=True) == 1e-3
    assert running.user_attrs[COMPLETE]
    queue_completion(other_worker, 1e-3)
    assert states(study) == ["RUNNING", "FAIL", "WAITING"]


def test_a_strength_that_is_running_is_finished_by_its_own_trial() -> None:
    study = optuna.create_study()
    running = study.ask()
    running.suggest_float("lambda", 1e-6, 1.0, log=True)
    assert not is_wanted_whole(study.trials[0])
    queue_completion(study, running.params["lambda"])
    assert states(study) == ["RUNNING"]
    assert is_wanted_whole(study.trials[0])


def test_a_strength_whose_completion_came_to_nothing_is_queued_again() -> None:
    study = optuna.create_study()
    for state in (TrialState.FAIL, TrialState.PRUNED):
        queue_completion(study, 1e-3)
        trial = study.ask()
        trial.report(1.0, 0)
        study.tell(trial, state=state)
    queue_completion(study, 1e-3)
    assert states(study) == ["FAIL", "PRUNED", "WAITING"]
