"""Final networks' figures: as they were written in every storage, whoever writes beside."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from l2tune.members import LayerState, NetworkState, Refit
from l2tune.records.keys import REFIT
from l2tune.records.refits import RefitRecord, refit_of, refit_records, write_refit
from l2tune.records.tables import read_study

SCORES = {"train_loss": 0.1, "train_error": 0.02, "test_loss": 0.2, "test_error": 0.05}


def open_storage(folder: Path, kind: str) -> BaseStorage:
    if kind == "sqlite":
        return RDBStorage(f"sqlite:///{folder / 's.db'}")
    return JournalStorage(JournalFileBackend(str(folder / "s.log")))


def make_record(strength: float = 0.1 + 0.2, seed: int = 7, **changed: Any) -> RefitRecord:
    layers = {"conv": LayerState(3.0, 36, 9, 4, 1), "fc": LayerState(4.0, 20, 0, 2, 0)}
    network = NetworkState(layers, 9 / 56, 0.2, 40.0, [47, *[0] * 63], calibration_error=0.03)
    refit = Refit(strength, None, SCORES | changed, seconds=1.25, network=network, parameters=62, nonzero=50)
    return RefitRecord.of(refit, seed)


def test_the_record_of_a_final_network() -> None:
    record = make_record()
    assert (record.strength, record.seed, record.seconds) == (0.1 + 0.2, 7, 1.25)
    assert {name: getattr(record, name) for name in SCORES} == SCORES
    assert (record.calibration_error, record.parameters, record.nonzero) == (0.03, 62, 50)
    assert record.layers == {"conv": [36, 9, 4, 1], "fc": [20, 0, 2, 0]}
    assert record.magnitudes == [47, *[0] * 63]


def test_a_user_s_own_refit_tells_less() -> None:
    study = optuna.create_study()
    write_refit(study, RefitRecord.of(Refit.of((object(), {"test_loss": 0.5, "f1": 0.9}), 1e-3), 0))
    record = refit_of(study, 1e-3, 0)
    assert record == RefitRecord(1e-3, 0, test_loss=0.5)
    (row,) = read_study(study).refits.to_dict("records")
    assert (row["lambda"], row["test_loss"], row["layers"], row["magnitudes"]) == (1e-3, 0.5, {}, [])
    assert math.isnan(row["nonzero"])


def test_scores_that_are_not_finite_are_not_known() -> None:
    assert make_record(test_loss=math.inf, train_loss=math.nan).test_loss is None


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_it_is_read_as_it_was_written(tmp_path: Path, kind: str) -> None:
    study = optuna.create_study(storage=open_storage(tmp_path, kind), study_name="mine")
    written = [make_record(strength, seed) for strength in (0.0, 1e-300, 2 / 3, 1e2) for seed in (2**32 - 1, 0)]
    for record in written:
        write_refit(study, record)
    again = optuna.load_study(storage=open_storage(tmp_path, kind), study_name="mine")
    assert refit_records(again) == sorted(written, key=lambda record: (record.strength, record.seed))
    assert [refit_of(again, record.strength, record.seed) for record in written] == written
    assert refit_of(again, np.float64(2) / 3, np.int64(0)) == written[5], "numpy's numbers are numbers"
    assert refit_of(again, 0.6667, 0) is None
    assert refit_of(again, 0.0, 1) is None
    table = read_study(again).refits
    assert table["lambda"].tolist() == [0.0, 0.0, 1e-300, 1e-300, 2 / 3, 2 / 3, 1e2, 1e2]
    assert table["seed"].tolist() == [0, 2**32 - 1] * 4
    for name in (*SCORES, "seconds", "calibration_error", "parameters", "nonzero", "layers", "magnitudes"):
        assert table[name].tolist() == [getattr(written[0], name)] * 8, name


def test_the_same_strength_and_seed_is_stored_once() -> None:
    study = optuna.create_study()
    write_refit(study, make_record())
    write_refit(study, make_record(test_loss=0.4))
    assert [record.test_loss for record in refit_records(study)] == [0.4]


def test_strengths_that_look_alike_are_told_apart() -> None:
    study = optuna.create_study()
    for strength in (0.3, 0.1 + 0.2):
        write_refit(study, make_record(strength))
    assert [record.strength for record in refit_records(study)] == [0.3, 0.1 + 0.2]


def test_what_a_later_version_adds_is_left_out() -> None:
    study = optuna.create_study()
    write_refit(study, make_record())
    ((key, stored),) = study.user_attrs.items()
    assert key.startswith(REFIT)
    study.set_user_attr(key, stored | {"since": "a later version"})
    assert refit_records(study) == [make_record()]


def test_what_was_read_can_be_copied_into_another_study() -> None:
    first, second = optuna.create_study(), optuna.create_study()
    write_refit(first, make_record(0.0, 3))
    shared = refit_of(first, 0.0, 3)
    assert shared is not None
    write_refit(second, shared)
    assert second.user_attrs == first.user_attrs


WRITES = """
import sys, optuna
from pathlib import Path
from l2tune.records.refits import RefitRecord, write_refit
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

url, seed = sys.argv[1], int(sys.argv[2])
storage = JournalStorage(JournalFileBackend(url)) if url.endswith(".log") else RDBStorage(
    url, engine_kwargs={"connect_args": {"timeout": 60}}
)
study = optuna.load_study(storage=storage, study_name="mine")
print("ready", flush=True)
sys.stdin.readline()
for step in range(10):
    write_refit(study, RefitRecord(float(step), seed))
    write_refit(study, RefitRecord(float(step), 9, test_loss=0.5))
"""


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_processes_that_write_at_once_keep_each_other_s(tmp_path: Path, kind: str) -> None:
    study = optuna.create_study(storage=open_storage(tmp_path, kind), study_name="mine")
    url = f"sqlite:///{tmp_path / 's.db'}" if kind == "sqlite" else str(tmp_path / "s.log")
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITES, url, str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in (0, 1)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n", worker.communicate()[1]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
    found = {(record.strength, record.seed) for record in refit_records(study)}
    assert found == {(float(step), seed) for step in range(10) for seed in (0, 1, 9)}
