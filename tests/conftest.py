"""Fixtures that several parts share: pictures on disk, real data, constructed studies, servers that keep storages."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # threads that spin while they wait would take each other's cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by numpy, too, when it is imported

import numpy as np
import optuna
import pytest
from PIL import Image
from processes import Process

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts background jobs so; tests interrupt themselves
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Its lines name studies; pytest-xdist cannot send half a character, which some tests name theirs
optuna.logging.set_verbosity(optuna.logging.WARNING)

MakeFolder = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Write class folders of random PNGs: `make_folder({"cat": 3, "dog": 2}, "photos/train", size=(8, 6))`."""

    def make(counts: dict[str, int], inside: str = "photos", size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Path:
        rng = np.random.default_rng(0)
        for name, count in counts.items():
            folder = tmp_path / inside / name
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                Image.fromarray(pixels).convert(mode).save(folder / f"{index}.png")
        return tmp_path / inside

    return make


@pytest.fixture
def real_data() -> Path:
    """The folder $L2TUNE_DATA with downloaded data; the test is skipped where it is not set."""
    root = os.environ.get("L2TUNE_DATA")
    if not root:
        assert not os.environ.get("L2TUNE_CI"), "L2TUNE_DATA is not set"
        pytest.skip("L2TUNE_DATA is not set")
    return Path(root)


@pytest.fixture
def quick_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker without a heartbeat for a tenth of a second is dead."""
    monkeypatch.setattr("l2tune.search.heartbeat.BEAT_SECONDS", 0.02)
    monkeypatch.setattr("l2tune.search.heartbeat.GRACE_SECONDS", 0.1)
    monkeypatch.setattr("l2tune.search.workers.LOOK_SECONDS", 0.01)


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `l2tune` in the test's folder: `start("search", "--epochs", "2", L2TUNE_STORAGE="s.db")`.

    What is left at the end is killed, and what it has started with it.
    """
    started: list[Process] = []

    def begin(*words: str, **environment: str) -> Process:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        started.append(Process(words, tmp_path, inherited | {"OMP_NUM_THREADS": "1"} | environment))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
            for victim in map(int, listed.stdout.split()):
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
            process.kill()
        process.wait(60)


CheckComplete = Callable[..., None]


@pytest.fixture
def check_complete(tmp_path: Path) -> CheckComplete:
    """Check a finished study of the storage s.db: `check_complete("digits", trials=6, folds=3)`."""
    from l2tune.records.fold_record import fold_records
    from l2tune.records.observations import strength_of
    from l2tune.search.storage import open_storage

    def check(name: str, *, trials: int, folds: int, results: str = "runs/{}/results.json") -> None:
        """Each λ has all its folds, each fold was trained once, nothing is left under way."""
        study = optuna.load_study(study_name=name, storage=open_storage(str(tmp_path / "s.db"), must_exist=True))
        assert all(t.state.is_finished() for t in study.trials)
        trained = [
            (strength_of(t), fold) for t in study.trials for fold, r in fold_records(t).items() if r.reused_from is None
        ]
        assert len(trained) == len(set(trained)) == trials * folds, "no fold twice, none lost"
        complete = {strength_of(t) for t in study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))}
        assert complete == {strength for strength, _ in trained}
        assert (tmp_path / results.format(name)).is_file()

    return check


MakeStudy = Callable[..., "optuna.Study"]


@pytest.fixture(scope="session")
def make_study() -> MakeStudy:
    """Build a finished search without training, from curves of your own: see `constructed_study`."""
    return constructed_study


def constructed_study(
    validation: Callable[[float], float],
    training: Callable[[float], float],
    *,
    strengths: Sequence[float] = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 1e-1, 1.0),
    folds: int = 5,
    epochs: int = 4,
    noise: float = 0.02,
    name: str = "constructed",
    metric: str = "loss",
    classes: int = 10,
    fold_limit: Callable[[float], int] = lambda strength: 99,
    diverged: Callable[[float], bool] = lambda strength: False,
    error: Callable[[float], float] | None = None,
    settings: dict[str, Any] | None = None,
    trainer: dict[str, Any] | None = None,
    drawn: tuple[float, float] | None = None,
    zeros: Callable[[float], float] = lambda strength: 0.0,
    storage: Any = None,
    seed: int = 0,
) -> optuna.Study:
    """A study as a search leaves it, with the scores that `validation` and `training` give each λ.

    Args:
        noise: Relative, of a fold at one λ; a fold's luck that all λ share is five times that.
        fold_limit: How many folds a λ ran before it was pruned.
        error: Validation error of a λ; by default a tenth of the loss.
        drawn: The range that trials drew λ from, if it was widened.
        zeros: Share of the weights of layer `fc1`, 1000 of all 1100, that are exactly zero, and half as many units.
    """
    from l2tune.metrics import BUILT_IN
    from l2tune.records.fold_record import FoldRecord
    from l2tune.records.keys import BIAS_VARIANCE, STRENGTH, fold_key
    from l2tune.records.study import describe_study, widen_range
    from l2tune.settings import build

    flat = build({"study": "x", "folds": folds, "epochs": epochs, "metric": metric, **(settings or {})}).flat()
    flat |= {"study": name, "lambda_range": list(flat["lambda_range"])}
    sizes = {"train_sizes": [800] * folds, "validation_sizes": [800 // max(folds - 1, 1)] * folds}
    study = optuna.create_study(study_name=name, direction="minimize", storage=storage)
    describe_study(
        study,
        settings=flat,
        identity={},
        versions={"l2tune": "0.1.0"},
        trainer={"engine": "sequential", "folds": folds, "epochs": epochs} | sizes | (trainer or {}),
        metric=BUILT_IN[metric],
        data={"name": "images", "images": 1000, "classes": classes, "class_names": [str(k) for k in range(classes)]},
    )
    rng = np.random.default_rng(seed)
    luck = np.exp(rng.normal(0, 5 * noise, folds))
    low, high = drawn or flat["lambda_range"]
    if drawn:
        widen_range(study, *drawn)
    for strength in strengths:
        ran = min(folds, fold_limit(strength))
        attrs: dict[str, Any] = {STRENGTH: strength}
        values = []
        for fold in range(ran):
            factor = float(luck[fold] * np.exp(rng.normal(0, noise)))
            loss, fit = validation(strength) * factor, training(strength) * factor
            wrong = (error or (lambda s: validation(s) / 10))(strength) * factor
            course = 1 + np.exp(-np.arange(epochs) / max(1, epochs / 8)) - np.exp(-(epochs - 1) / max(1, epochs / 8))
            broken = diverged(strength)
            record = FoldRecord(
                epochs=epochs,
                train_loss=None if broken else fit,
                train_error=None if broken else fit / 10,
                val_loss=None if broken else loss,
                val_error=None if broken else wrong,
                diverged=broken,
                seconds=1.5,
                weight_norms={} if broken else {"conv1": 3 / (1 + 10 * strength), "fc1": 5 / (1 + 100 * strength)},
                zero_fraction=round(1000 * zeros(strength)) / 1100,
                layers={}
                if broken
                else {
                    "conv1": [100, 0, 10, 0],
                    "fc1": [1000, round(1000 * zeros(strength)), 20, int(10 * zeros(strength))],
                },
                weight_sum=None if broken else 8 / (1 + 50 * strength),
                magnitudes=[0] * 20 + [1100 - round(1000 * zeros(strength))] + [0] * 43,
                near_zero_fraction=min(1.0, strength),
                test_loss=None if broken else loss * 1.02,
                test_error=None if broken else wrong * 1.02,
                calibration_error=None if broken else 0.02,
                input_gradient_norm=None if broken else 1 / (1 + 30 * strength),
                first_estimates={"l2": 3e-3} if strength == 0 else {},
                curves={
                    "train_loss": (fit * course).tolist(),
                    "train_error": (fit / 10 * course).tolist(),
                    "val_loss": (loss * course).tolist(),
                    "val_error": (wrong * course).tolist(),
                },
            )
            attrs[fold_key(fold)] = asdict(record)
            values.append(9.0 if broken else loss if metric == "loss" else wrong)
        if ran == folds and not diverged(strength):
            variance = 0.3 * (validation(strength) - min(validation(strength), training(strength)))
            attrs[BIAS_VARIANCE] = {
                "folds": folds,
                "loss": validation(strength) * 1.02,
                "bias_loss": validation(strength) * 1.02 - variance,
                "variance_loss": variance,
                "error": validation(strength) / 10,
                "bias_error": validation(strength) / 12,
                "variance_error": validation(strength) / 10 - validation(strength) / 12,
            }
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.COMPLETE if ran == folds else optuna.trial.TrialState.PRUNED,
                value=float(np.mean(values)),
                params={"lambda": strength} if strength else {},
                distributions={"lambda": optuna.distributions.FloatDistribution(low, high, log=True)}
                if strength
                else {},
                intermediate_values=dict(enumerate(values)),
                user_attrs=attrs,
            )
        )
    return study


class Server(ABC):
    """A server of the tests' own, in a folder of its own, on a port that was free."""

    user: str
    """Whom it runs as where the tests are root's: databases refuse to run as root."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="l2tune-server-"))
        if os.getuid() == 0:
            shutil.chown(self.folder, self.user)
        self.port = free_port()
        self._names = (f"l2tune{number}" for number in itertools.count())

    def command(self, *words: str | Path) -> list[str]:
        return [*(["runuser", "-u", self.user, "--"] if os.getuid() == 0 else []), *map(str, words)]

    def call(self, *words: str | Path) -> None:
        subprocess.run(self.command(*words), check=True, stdout=subprocess.DEVNULL, timeout=120, cwd="/")

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self, *, at_once: bool = False) -> None:
        """In good order, though it ends its connections, or at once, as if it were killed."""

    @abstractmethod
    def database(self) -> str:
        """The URL of an empty database."""


class PostgreSQL(Server):
    user = "postgres"

    def __init__(self, programs: Path) -> None:
        super().__init__()
        self._programs, self._data = programs, self.folder / "data"
        self.call(programs / "initdb", "-D", self._data, "-U", "tester", "-A", "trust", "--no-sync")

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -h 127.0.0.1 -F"
        self._control("-w", "-l", self.folder / "log", "-o", options, "start")

    def stop(self, *, at_once: bool = False) -> None:
        self._control("-w", "-m", "immediate" if at_once else "fast", "stop")

    def database(self) -> str:
        name = next(self._names)
        self.call(self._programs / "createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "tester", name)
        return f"postgresql://tester@127.0.0.1:{self.port}/{name}"

    def _control(self, *words: str | Path) -> None:
        self.call(self._programs / "pg_ctl", "-D", self._data, *words)


class MariaDB(Server):
    user = "mysql"

    def __init__(self, program: Path) -> None:
        super().__init__()
        self._data, self._process = self.folder / "data", None
        login = "--auth-root-authentication-method=normal"
        self.call(program, "--no-defaults", f"--datadir={self._data}", login, "--skip-test-db")

    def start(self) -> None:
        words = [f"--datadir={self._data}", f"--socket={self.folder}/socket", f"--pid-file={self.folder}/pid"]
        words += [f"--port={self.port}", "--bind-address=127.0.0.1", "--innodb-buffer-pool-size=16M"]
        command = self.command(found_program("mariadbd"), "--no-defaults", *words)
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        wait_for_port(self.port)

    def stop(self, *, at_once: bool = False) -> None:
        assert self._process
        number = int((self.folder / "pid").read_text())
        os.kill(number, 9 if at_once else 15)
        self._process.wait(timeout=60)

    def database(self) -> str:
        import pymysql

        name = next(self._names)
        with (
            pymysql.connect(host="127.0.0.1", port=self.port, user="root") as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(f"CREATE DATABASE {name}")
        return f"mysql://root@127.0.0.1:{self.port}/{name}"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for_port(port: int) -> None:
    """Until something answers there."""
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.05)


def found_program(name: str, *folders: str) -> Path | None:
    """A program in one of the folders, or on the path."""
    paths = [*folders, os.environ.get("PATH", os.defpath), "/usr/sbin"]
    found = shutil.which(name, path=os.pathsep.join(paths))
    return Path(found) if found else None


def needed(program: Path | None, name: str) -> Path:
    if program is None:
        assert not os.environ.get("L2TUNE_CI"), f"{name} is not installed"
        pytest.skip(f"{name} is not installed")
    return program


def running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
        server.stop(at_once=True)
    finally:
        shutil.rmtree(server.folder)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """A PostgreSQL server that runs; a test that stops it starts it again."""
    folders = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))
    yield from running(PostgreSQL(needed(found_program("initdb", *folders), "PostgreSQL").parent))


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Server]:
    """A MariaDB server that runs; a test that stops it starts it again."""
    yield from running(MariaDB(needed(found_program("mariadb-install-db"), "MariaDB")))


@pytest.fixture
def postgresql(postgresql_server: Server) -> str:
    """The URL of an empty database in PostgreSQL."""
    return postgresql_server.database()


@pytest.fixture
def mariadb(mariadb_server: Server) -> str:
    """The URL of an empty database in MariaDB."""
    return mariadb_server.database()


@pytest.fixture
def grpc_proxy(tmp_path: Path) -> Iterator[str]:
    """The URL of Optuna's gRPC proxy, a process of its own, before a SQLite database."""
    port = free_port()
    script = f"""
import optuna
storage = optuna.storages.get_storage("sqlite:///{tmp_path}/behind_the_proxy.db")
optuna.storages.run_grpc_proxy_server(storage, host="127.0.0.1", port={port})
"""
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", script], stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield f"grpc://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
