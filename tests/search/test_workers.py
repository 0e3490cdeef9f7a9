"""Trials whose worker is gone are queued again, with the folds that they had finished."""

import subprocess
import sys
import warnings
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from l2tune.optuna_internals import take_waiting
from l2tune.records.claims import part_of_folds
from l2tune.records.fold_record import FoldRecord, write_fold
from l2tune.records.keys import GIVEN_UP, STRENGTH, WORKER
from l2tune.records.observations import finished_folds_of
from l2tune.records.study import describe_study
from l2tune.records.workers import Worker, write_beat
from l2tune.search import workers
from l2tune.search.completion import queue_parts
from l2tune.search.heartbeat import AwakeClock, Watch
from l2tune.search.storage import open_storage, open_study
from l2tune.search.workers import ask_trial, others_at_work, requeue, take_over_lost, wait_for_signs_of_life
from l2tune.settings import build

ME = Worker()


class Clock:
    """A process's own clock, set by hand; `sleep` as `time.sleep`."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def watch_of(clock: Clock) -> Watch:
    return Watch(AwakeClock(now=clock), grace=20)


def url(folder: Path, kind: str) -> str:
    return {"sqlite": f"sqlite:///{folder}/s.db", "journal": f"{folder}/s.log"}[kind]


def open_mine(folder: Path, kind: str = "sqlite") -> optuna.Study:
    study = open_study(open_storage(url(folder, kind)), build({"study": "mine"}))
    describe_study(study, settings={}, identity={}, versions={}, trainer={"engine": "sequential"}, data={})
    return study


def trial_of(study: optuna.Study, worker: Worker) -> optuna.Trial:
    """A running trial with one fold done."""
    trial = ask_trial(study, worker)
    assert trial is not None
    strength = trial.suggest_float("lambda", 1e-6, 1, log=True)
    trial.set_user_attr(STRENGTH, strength)
    write_fold(trial, 1, FoldRecord(epochs=3, val_loss=0.5, train_loss=0.1))
    return trial


def look_for(seconds: float, study: optuna.Study, watch: Watch, clock: Clock) -> int:
    """Look at the others once a second, for so long; returns how many trials were taken over."""
    lost = take_over_lost(study, watch, ME)
    for _ in range(round(seconds)):
        clock.sleep(1)
        lost += take_over_lost(study, watch, ME)
    return lost


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_dead_workers_trial_is_queued_again_with_its_folds(tmp_path: Path, kind: str) -> None:
    study, clock = open_mine(tmp_path, kind), Clock()
    # the same host and process number as a living process has: as in a container that was started again
    trial = trial_of(study, Worker(host=ME.host, pid=ME.pid))
    watch = watch_of(clock)
    assert look_for(19, study, watch, clock) == 0
    assert look_for(2, study, watch, clock) == 1
    failed, waiting = study.trials
    assert (failed.state, waiting.state) == (TrialState.FAIL, TrialState.WAITING)
    again = ask_trial(study, ME)
    assert again is not None
    strength = again.suggest_float("lambda", 1e-6, 1, log=True)
    assert strength == trial.params["lambda"]
    assert finished_folds_of(study, strength, again.params)[1].cost == 0.5
    assert look_for(60, study, watch, clock) == 0, "only once, and not one's own"


def test_a_trial_whose_heart_beats_is_left_alone(tmp_path: Path) -> None:
    study, clock = open_mine(tmp_path), Clock()
    trial, watch = trial_of(study, Worker(host="elsewhere", pid=1)), watch_of(clock)
    for beat in range(10):
        write_beat(study, trial, beat)
        assert look_for(15, study, watch, clock) == 0
    assert study.trials[0].state == TrialState.RUNNING
    assert [t.number for t in others_at_work(study, watch, ME)] == [0]
    assert look_for(21, study, watch, clock) == 1


def test_who_was_suspended_or_had_no_storage_judges_nobody_by_that_time(tmp_path: Path) -> None:
    study, clock = open_mine(tmp_path), Clock()
    trial_of(study, Worker())
    watch = watch_of(clock)
    take_over_lost(study, watch, ME)
    clock.seconds += 7200
    assert take_over_lost(study, watch, ME) == 0, "this process slept, and the other may have as well"
    assert look_for(25, study, watch, clock) == 1


def test_a_worker_that_was_taken_for_dead_is_told(tmp_path: Path) -> None:
    study, clock = open_mine(tmp_path), Clock()
    trial, watch = trial_of(study, Worker()), watch_of(clock)
    assert look_for(25, study, watch, clock) == 1
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        write_beat(study, trial, 1)


def test_a_trial_that_died_at_birth_is_given_up(tmp_path: Path) -> None:
    study, clock = open_mine(tmp_path), Clock()
    watch = watch_of(clock)
    with warnings.catch_warnings(action="ignore"):
        study.ask()
    assert look_for(19, study, watch, clock) == 0, "it may be coming to life just now"
    assert look_for(2, study, watch, clock) == 1
    assert [t.state for t in study.trials] == [TrialState.FAIL], "there is no λ to queue again"


def test_a_queued_trial_whose_worker_died_as_it_took_it_is_queued_again(tmp_path: Path) -> None:
    study, clock = open_mine(tmp_path), Clock()
    queue_parts(study, 0.0, [2])
    assert take_waiting(study, study.trials[0])
    assert look_for(25, study, watch_of(clock), clock) == 1
    assert study.trials[1].state == TrialState.WAITING
    assert part_of_folds(study.trials[1]) == 2


def test_a_trial_of_a_loop_of_the_users_own_is_never_taken_over(tmp_path: Path) -> None:
    study, clock = open_mine(tmp_path), Clock()
    with warnings.catch_warnings(action="ignore"):
        study.ask().suggest_float("lambda", 1e-6, 1, log=True)
    assert look_for(100, study, watch_of(clock), clock) == 0


def test_a_trial_given_up_by_a_worker_that_died_before_it_queued_it_again_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, clock = open_mine(tmp_path), Clock()
    trial_of(study, Worker())
    watch = watch_of(clock)
    with monkeypatch.context() as patched:
        patched.setattr(workers, "_queue_in_place_of", lambda study, trial: None)  # killed in this instant
        assert requeue(study, study.trials[0])
    assert others_at_work(study, watch, ME), "whoever is at it may be alive"
    assert look_for(25, study, watch, clock) == 1
    assert study.trials[1].state == TrialState.WAITING
    assert study.trials[1].system_attrs["fixed_params"] == study.trials[0].params
    assert look_for(60, study, watch, clock) == 0, "only once"
    assert study.trials[0].user_attrs[GIVEN_UP] is True


def test_before_the_first_trial_a_search_waits_for_a_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, clock, lines = open_mine(tmp_path), Clock(), list[str]()
    dead = trial_of(study, Worker(host="here", pid=7))
    monkeypatch.setattr("time.sleep", clock.sleep)
    began = clock.seconds
    wait_for_signs_of_life(study, watch_of(clock), ME, lines.append)
    assert 20 <= clock.seconds - began < 22
    assert lines == ["1 trial of process 7 on here was under way: waiting for a sign of life"]
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.WAITING]
    assert study.trials[1].system_attrs["fixed_params"] == dead.params

    alive = trial_of(study, Worker())

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        write_beat(study, alive, int(clock.seconds))

    monkeypatch.setattr("time.sleep", sleep)
    began = clock.seconds
    wait_for_signs_of_life(study, watch_of(clock), ME)
    assert clock.seconds - began < 2
    assert study.trials[alive.number].state == TrialState.RUNNING


def test_a_trial_that_another_gives_up_while_it_is_born_is_asked_for_again(tmp_path: Path) -> None:
    study = open_mine(tmp_path)
    ask = study.ask

    def slow() -> optuna.Trial:
        trial = ask()
        if trial.number == 0:
            study.tell(trial, state=TrialState.FAIL)
        return trial

    study.ask = slow  # type: ignore[method-assign]
    trial = ask_trial(study, ME)
    assert trial is not None
    assert trial.number == 1
    assert study.trials[1].user_attrs[WORKER]["token"] == ME.token


def test_no_two_processes_have_the_same_token() -> None:
    command = [sys.executable, "-c", "from l2tune.records.workers import Worker; print(Worker().token)"]
    tokens = {subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(3)}
    assert len(tokens) == 3
    assert Worker().token != Worker().token
