"""Storages of every kind that `storage.py` measures, with servers of its own, and studies as searches leave them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState, create_trial

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "tests")]

from l2tune.members import EpochScores, LayerState, Member, NetworkState  # noqa: E402
from l2tune.objectives.cross_validation import CrossValidationObjective  # noqa: E402
from l2tune.optuna_internals import OnceDatabase  # noqa: E402
from l2tune.records.fold_record import FoldRecord  # noqa: E402
from l2tune.records.keys import BEAT, STRENGTH, WORKER, fold_key  # noqa: E402
from l2tune.records.workers import Worker  # noqa: E402
from l2tune.search.patience import Patience, PatientStorage  # noqa: E402
from l2tune.search.storage import open_storage, open_study  # noqa: E402
from l2tune.settings import Settings, build  # noqa: E402
from l2tune.training.replay import ReplayRun, ReplayTrainer  # noqa: E402
from tests.conftest import MariaDB, PostgreSQL, found_program, free_port, wait_for_port  # noqa: E402

RECORDING = HERE / "recordings" / "digits-sgd.csv.gz"
CONNECTIONS = 1500

Cpu = Callable[[], float]


def program(name: str) -> str:
    """Where a program of a server is; as it is called, if it is not found."""
    return str(found_program(name) or name)


# What is stored


def network() -> NetworkState:
    """That of a small convolutional network."""
    layers = {
        name: LayerState(3.0 / (place + 1), 1000, 12, 32, 0)
        for place, name in enumerate(("conv1", "conv2", "fc1", "fc2"))
    }
    return NetworkState(layers, 0.0123456, 0.0456789, 812.345678, [137] * 64, 0.123456, 0.0345678, 0.0123456, 1.23456)


class Recorded(ReplayTrainer):
    """A recording whose fits take as long as they are told, and end with what a network is like."""

    def __init__(self, pause: Callable[[], object] = lambda: None) -> None:
        super().__init__(RECORDING)
        self.pause, self.waited, self.fits = pause, 0.0, 0

    def start(self, members: Sequence[Member]) -> RecordedRun:
        return RecordedRun(self, members)


class RecordedRun(ReplayRun):
    def __init__(self, trainer: Recorded, members: Sequence[Member]) -> None:
        super().__init__(trainer, members)
        self._recorded, self._waits = trainer, True

    def __next__(self) -> Sequence[EpochScores]:
        if self._waits:
            self._waits = False
            began = time.perf_counter()
            self._recorded.pause()
            self._recorded.waited += time.perf_counter() - began
        scores = super().__next__()
        if self._epoch < self._recorded.epochs:
            return scores
        self._recorded.fits += len(scores)
        return [replace(one, network=network()) for one in scores]


def record(strength: float, fold: int) -> FoldRecord:
    """Of a whole fit, curves and all."""
    run = TABLE.start([Member(strength, fold, 0)])
    return FoldRecord.of([scores for epoch in run for scores in epoch])


TABLE = Recorded()
LAMBDAS = np.geomspace(2e-6, 0.5, 2000)


def stored_trial(place: int, state: TrialState, folds: int) -> optuna.trial.FrozenTrial:
    """A trial of a worker; the first one is the baseline."""
    strength = float(LAMBDAS[place]) if place else 0.0
    records = {fold: record(strength, fold) for fold in range(folds)}
    attrs: dict[str, Any] = {WORKER: asdict(Worker()), STRENGTH: strength, BEAT: 0}
    values = {fold: float(one.val_loss or 0) for fold, one in records.items()}
    return create_trial(
        state=state,
        value=sum(values.values()) / len(values) if state == TrialState.COMPLETE else None,
        params={"lambda": strength} if place else {},
        distributions={"lambda": FloatDistribution(1e-6, 1, log=True)} if place else {},
        user_attrs=attrs | {fold_key(fold): asdict(one) for fold, one in records.items()},
        intermediate_values=values,
    )


def settings_of(name: str, **given: Any) -> Settings:
    return build({"study": name, "sampler": "random", "pruner": "none", "epochs": TABLE.epochs} | given)


def objective_of(settings: Settings, trainer: Recorded) -> CrossValidationObjective:
    return CrossValidationObjective.from_settings(settings, trainer, {"class_names": list("0123456789")})


def begun_study(storage: BaseStorage, name: str, *, finished: int, running: int, **given: Any) -> optuna.Study:
    """A study with so many trials of others; those that are running have 0 to 4 folds."""
    settings = settings_of(name, **given)
    study = open_study(storage, settings)
    objective_of(settings, TABLE).describe(study)
    for place in range(finished):
        study.add_trial(stored_trial(place, TrialState.COMPLETE, TABLE.folds))
    for place in range(finished, finished + running):
        study.add_trial(stored_trial(place, TrialState.RUNNING, place % TABLE.folds))
    return study


# Servers


@dataclass
class Place:
    """A storage to measure.

    Attributes:
        cpu: CPU seconds that its server has spent; None where there is no server.
    """

    name: str
    url: str
    cpu: Cpu | None = None

    def open(self) -> PatientStorage:
        if self.url == "memory":
            return PatientStorage(InMemoryStorage(), "memory", Patience())
        return open_storage(self.url)

    def another(self) -> PatientStorage:
        """As another process would open it; for a database without looking whether its tables are there."""
        if not self.url.startswith("postgresql"):
            return self.open()
        engine = {"pool_pre_ping": True, "pool_size": 1, "max_overflow": 14}
        url = self.url.replace("postgresql://", "postgresql+psycopg://")
        database = OnceDatabase(url, engine_kwargs=engine, skip_compatibility_check=True, skip_table_creation=True)
        return PatientStorage(database, self.url, Patience(60))


def cpu_of(*pids: int) -> float:
    """CPU seconds of these processes and of their children, those that have ended among them."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = stat.read_text().partition(" (")
        except OSError:
            continue
        fields = rest.rpartition(") ")[2].split()
        if int(pid) in pids:
            total += sum(map(int, fields[11:15])) / ticks
        elif int(fields[1]) in pids:
            total += sum(map(int, fields[11:13])) / ticks
    return total


@contextmanager
def places(folder: Path) -> Iterator[dict[str, Place]]:
    """All kinds of storages that this machine has, by name."""
    with ExitStack() as ends:
        found = {
            "memory": Place("memory", "memory"),
            "SQLite": Place("SQLite", f"sqlite:///{folder}/study.db"),
            "journal": Place("journal", f"{folder}/study.log"),
        }
        initdb = found_program("initdb", *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin"))))
        if initdb:
            postgresql = PostgreSQL(initdb.parent)
            with (postgresql.folder / "data" / "postgresql.conf").open("a") as settings:
                settings.write(f"max_connections = {CONNECTIONS}\n")
            ends.callback(shutil.rmtree, postgresql.folder)
            postgresql.start()
            ends.callback(postgresql.stop, at_once=True)
            pid = int((postgresql.folder / "data" / "postmaster.pid").read_text().split()[0])
            found["PostgreSQL"] = Place("PostgreSQL", postgresql.database(), lambda: cpu_of(pid))
            port = free_port()
            script = f"""
import optuna
from l2tune.search.storage import open_storage
storage = optuna.storages.get_storage(open_storage({postgresql.database()!r}).backend)  # which adds Optuna's cache
optuna.storages.run_grpc_proxy_server(storage, host="127.0.0.1", port={port})
"""
            process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", script], stderr=subprocess.DEVNULL)
            ends.callback(process.wait)
            ends.callback(process.kill)
            wait_for_port(port)
            found["gRPC proxy"] = Place("gRPC proxy", f"grpc://127.0.0.1:{port}", lambda: cpu_of(process.pid))
        if install := found_program("mariadb-install-db"):
            mariadb = MariaDB(install)
            ends.callback(shutil.rmtree, mariadb.folder)
            mariadb.start()
            ends.callback(mariadb.stop)
            pid_of_it = int((mariadb.folder / "pid").read_text())
            found["MariaDB"] = Place("MariaDB", mariadb.database(), lambda: cpu_of(pid_of_it))
        yield found
