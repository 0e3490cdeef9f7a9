"""When folds ended: as they say themselves, else as their trial's times tell."""

from dataclasses import asdict, replace
from datetime import datetime, timedelta

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.records.ends import fold_ends
from l2tune.records.fold_record import FoldRecord, fold_records
from l2tune.records.keys import fold_key
from l2tune.records.tables import read_study

BEGAN = datetime(2026, 1, 1, 12)
RECORD = FoldRecord(epochs=4, val_loss=0.5, seconds=10.0)


def trial(
    records: dict[int, FoldRecord], seconds: float | None, state: TrialState = TrialState.COMPLETE
) -> FrozenTrial:
    made = optuna.trial.create_trial(
        state=state,
        value=0.5 if state == TrialState.COMPLETE else None,
        user_attrs={fold_key(fold): asdict(record) for fold, record in records.items()},
    )
    made.datetime_start = BEGAN
    made.datetime_complete = None if seconds is None else BEGAN + timedelta(seconds=seconds)
    return made


def after(made: FrozenTrial, reported: tuple[int, ...] = ()) -> dict[int, float]:
    """Fold → seconds after the trial began."""
    ends = fold_ends(made, fold_records(made), reported)
    return {fold: end - BEGAN.timestamp() for fold, end in ends.items()}


def test_a_fold_says_when_it_ended() -> None:
    own = {fold: replace(RECORD, ended=BEGAN.timestamp() + end) for fold, end in ((0, 30.0), (1, 12.0))}
    assert after(trial(own, 40)) == {0: 30.0, 1: 12.0}


def test_a_trial_s_time_is_shared_out_in_the_order_of_training() -> None:
    records = {2: RECORD, 0: replace(RECORD, seconds=30.0), 1: replace(RECORD, reused_from=7, seconds=99.0)}
    assert after(trial(records, 60)) == {1: 0.0, 2: 15.0, 0: 60.0}


def test_without_seconds_all_folds_take_as_long() -> None:
    assert after(trial({}, 60), (0, 2, 3)) == {0: 20.0, 2: 40.0, 3: 60.0}


@pytest.mark.parametrize(("state", "seconds"), [(TrialState.RUNNING, None), (TrialState.FAIL, 5000)])
def test_of_what_never_ended_only_its_training_counts(state: TrialState, seconds: float | None) -> None:
    assert after(trial({0: RECORD, 1: RECORD}, seconds, state)) == {0: 10.0, 1: 20.0}


def test_a_trial_without_times_tells_nothing() -> None:
    made = trial({0: RECORD}, None)
    made.datetime_start = None
    assert fold_ends(made, fold_records(made)) == {}


def test_folds_store_when_they_ended_and_keep_it_where_they_are_taken_over() -> None:
    objective = CrossValidationObjective(fit=lambda strength, fold, seed: strength + fold, folds=2)
    study = optuna.create_study()
    for _ in range(2):
        study.enqueue_trial({"lambda": 0.1})
    before = datetime.now().timestamp()
    study.optimize(objective, n_trials=3)
    fits = read_study(study).fits
    assert before - 1 <= fits["ended"].min() <= fits["ended"].max() <= datetime.now().timestamp() + 1
    assert fits["reused"].tolist() == [False] * 2 + [True] * 2 + [False] * 2
    assert fits["ended"].tolist()[2:4] == fits["ended"].tolist()[:2]
