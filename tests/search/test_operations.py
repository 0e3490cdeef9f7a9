"""How often a search asks its storage: a bound on the operations per fit, and what one reading means."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import sqlalchemy
from optuna.storages import BaseStorage, InMemoryStorage

from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.records.one_reading import forget_readings, one_reading
from l2tune.records.workers import Worker
from l2tune.search.heartbeat import Watch
from l2tune.search.patience import Patience, PatientStorage
from l2tune.search.runner import Budget, WorkerSearch
from l2tune.search.stopping import StopWhenSettled
from l2tune.search.storage import open_storage, open_study
from l2tune.search.storage_faults import fix_of
from l2tune.search.workers import take_over_lost
from l2tune.settings import build
from l2tune.training.replay import ReplayTrainer

FOLDS = 3


class Counted(BaseStorage):
    """A storage that counts what is asked of it."""

    def __init__(self, storage: BaseStorage) -> None:
        self.storage, self.counts = storage, Counter[str]()


def counted(name: str) -> Callable[..., Any]:
    def method(self: Counted, *args: Any, **kwargs: Any) -> Any:
        self.counts[name] += 1
        return getattr(self.storage, name)(*args, **kwargs)

    return method


for abstract in BaseStorage.__abstractmethods__:
    setattr(Counted, abstract, counted(abstract))
Counted.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]


class Valley(ReplayTrainer):
    """Lowest at λ = 3e-3; counts its fits."""

    def __init__(self) -> None:
        rows = [
            (strength, fold, 1, loss / 2, 0.1, loss, 0.2)
            for strength in [0.0, *np.geomspace(1e-6, 1, 13)]
            for fold in range(FOLDS)
            for loss in [float(np.exp(-2 + 0.2 * np.log10((strength + 1e-5) / 3e-3) ** 2 + 0.3 * fold))]
        ]
        names = ["lambda", "fold", "epoch", "train_loss", "train_error", "val_loss", "val_error"]
        super().__init__(pd.DataFrame(rows, columns=names))
        self.fits = 0

    def start(self, members: Any) -> Any:
        self.fits += len(members)
        return super().start(members)


@pytest.mark.parametrize(("sampler", "pruner"), [("curve", "racing"), ("random", "none")])
def test_operations_per_fit_are_few(sampler: str, pruner: str) -> None:
    storage, trainer = Counted(InMemoryStorage()), Valley()
    settings = build({"sampler": sampler, "pruner": pruner, "trials": 12, "epochs": 1, "folds": FOLDS})
    study = open_study(PatientStorage(storage, "memory", Patience()), settings)
    objective = CrossValidationObjective.from_settings(settings, trainer, {"class_names": ["0", "1"]})
    settle = StopWhenSettled() if sampler == "curve" else None
    worker, watch = Worker(), Watch()
    search = WorkerSearch(study, objective, Budget(12), worker, settle=settle)
    while True:
        take_over_lost(study, watch, worker)
        search.begin()
        if not search.active:
            break
        search.advance()
    per_fit = {name: count / trainer.fits for name, count in storage.counts.items()}
    writes = sum(count for name, count in per_fit.items() if not name.startswith("get_"))
    assert per_fit["get_study_user_attrs"] <= 8, per_fit
    assert per_fit["get_all_trials"] <= 10, per_fit
    assert writes <= 8, per_fit


@pytest.fixture
def storage() -> Counted:
    return Counted(InMemoryStorage())


@pytest.fixture
def study(storage: Counted) -> optuna.Study:
    patient = PatientStorage(storage, "memory", Patience())
    return optuna.create_study(storage=patient, sampler=optuna.samplers.RandomSampler(seed=0))


def test_within_one_reading_the_storage_is_read_once(study: optuna.Study, storage: Counted) -> None:
    study.ask()
    storage.counts.clear()
    with one_reading():
        for _ in range(3):
            assert len(study.get_trials(deepcopy=False)) == 1
            assert study.user_attrs == {}
            with one_reading():
                assert len(study.get_trials(states=(optuna.trial.TrialState.RUNNING,))) == 1
                assert study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)) == []
    assert storage.counts == {"get_all_trials": 1, "get_study_user_attrs": 1}
    assert len(study.get_trials()) == 1
    assert storage.counts["get_all_trials"] == 2, "what was read is forgotten at the end"


def test_what_this_thread_writes_is_read_again(study: optuna.Study) -> None:
    with one_reading():
        assert study.trials == []
        study.ask().report(0.5, 0)
        assert [trial.intermediate_values for trial in study.trials] == [{0: 0.5}]
        assert study.user_attrs == {}
        study.set_user_attr("a", 1)
        assert study.user_attrs == {"a": 1}


def test_what_others_write_is_read_when_it_is_waited_for(study: optuna.Study, storage: Counted) -> None:
    other = optuna.load_study(study_name=study.study_name, storage=storage)
    with one_reading():
        assert study.trials == []
        other.ask()
        assert study.trials == []
        forget_readings()
        assert len(study.trials) == 1


def test_a_list_that_was_read_is_its_readers_own(study: optuna.Study) -> None:
    study.ask()
    with one_reading():
        study.get_trials(deepcopy=False).clear()
        study.user_attrs["b"] = 2
        study.get_trials()[0].user_attrs["c"] = 3
        [trial] = study.get_trials(deepcopy=False)
        assert trial.user_attrs == {}
        assert "b" not in study.user_attrs


def test_an_error_ends_the_reading(study: optuna.Study) -> None:
    @one_reading()
    def read_and_divide(by: int) -> float:
        return len(study.trials) / by

    with pytest.raises(ZeroDivisionError):
        read_and_divide(0)
    study.ask()
    assert len(study.trials) == 1


@pytest.mark.parametrize(
    "said",
    [
        "connection failed: FATAL: sorry, too many clients already",
        "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
        "(1040, 'Too many connections')",
    ],
)
def test_a_server_without_a_free_connection_is_told_with_what_to_do(said: str) -> None:
    fix = fix_of(sqlalchemy.exc.OperationalError("SELECT 1", {}, Exception(said)))
    assert fix == "raise its max_connections to twice the workers, or put pgbouncer or a gRPC proxy before it"


def test_a_worker_keeps_one_connection(postgresql: str) -> None:
    storage = open_storage(postgresql)
    backend = storage.backend
    assert isinstance(backend, optuna.storages.RDBStorage)
    pool: Any = backend.engine.pool
    first, second = pool.connect(), pool.connect()  # a question and a heartbeat
    assert pool.checkedout() == 2
    first.close()
    second.close()
    assert (pool.checkedin(), pool.checkedout()) == (1, 0)
    backend.engine.dispose()
