"""Workers on a Ray cluster: a real one of several nodes on this machine, one of which is lost while a search runs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from processes import Process

from l2tune.commands.ray_worker import plan_ray
from l2tune.errors import UserError
from l2tune.records.workers import Worker, worker_of
from l2tune.search.patience import PatientStorage
from l2tune.search.ray_cluster import RayCluster, Share, connect
from l2tune.search.storage import open_storage
from l2tune.settings import build

QUICK = ("--storage", "s.db", "--subset", "200", "--folds", "3", "--study", "digits", "--seed", "0")
RANDOM = ("--sampler", "random", "--pruner", "none", "--trials", "4", "--epochs", "120")
STORE = 80_000_000
NETS = """
from layers import last
import torch

def build(shape, classes):
    return torch.nn.Sequential(torch.nn.Flatten(), last(shape[0] * shape[1] * shape[2], classes))
"""

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # log files of the nodes that it starts and kills
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # the same, met by the collector
]

Start = Callable[..., Process]
CheckComplete = Callable[..., None]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and two nodes of one CPU each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.cluster_utils import Cluster

        started = Cluster()
        try:
            for _ in range(3):
                started.add_node(num_cpus=1, object_store_memory=STORE, include_dashboard=False)
            yield started
        finally:
            started.shutdown()


@cache
def storage_in(folder: Path) -> PatientStorage:
    """Opened once: each opening costs what the processes that are looked at compute with."""
    return open_storage(str(folder / "s.db"), must_exist=True)


def study_in(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="digits", storage=storage_in(folder))


def wait_for(condition: Callable[[], object], what: str, process: Process | None = None) -> None:
    """Wait until something holds, while a process runs; a study that is not there yet does not hold."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        with suppress(Exception):
            if condition():
                return
        if process is not None and process.poll() is not None:
            pytest.fail(f"{what} did not come: {process.communicate()}")
        time.sleep(0.05)
    pytest.fail(f"{what} did not come")


def finished(process: Process, status: int = 0) -> tuple[str, str]:
    """What an ended process has printed: nothing of it is Ray's."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    for noise in ("Traceback", "raylet", "(pid=", "ray.init", "WARNING", "core_worker"):
        assert noise not in out + err, err
    return out, err


def running(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return study_in(folder).get_trials(states=(TrialState.RUNNING,))


def parent(pid: int) -> int:
    """The process that has started a process; 0 if it has ended."""
    found = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True)
    return int(found.stdout or 0)


def descendants(pid: int) -> list[int]:
    """Processes that a process has started, and those that they have."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [one for child in map(int, found.stdout.split()) for one in (child, *descendants(child))]


def test_a_lost_node_and_a_killed_worker_lose_no_fold(
    cluster: Any, tmp_path: Path, start: Start, check_complete: CheckComplete
) -> None:
    """With a network of one's own, which the workers import from the folder in which the search was started."""
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "layers.py").write_text("from torch.nn import Linear as last\n")
    words = (*QUICK, *RANDOM, "--model", "nets.py:build", "--ray", "auto", "--workers", "3")
    search = start("search", *words, RAY_ADDRESS=cluster.address)
    seen: dict[str, Worker] = {}

    def all_have_begun() -> bool:
        seen.update((owner.token, owner) for t in running(tmp_path) if (owner := worker_of(t)) is not None)
        return len(seen) == 3

    wait_for(all_have_begun, "a trial of each of the three workers", search)
    head = cluster.head_node.all_processes["raylet"][0].process.pid
    cluster.remove_node(next(n for n in cluster.list_all_nodes() if n is not cluster.head_node), allow_graceful=False)
    os.kill(next(worker.pid for worker in seen.values() if parent(worker.pid) == head), signal.SIGKILL)
    _, err = finished(search)
    assert "3 workers on a Ray cluster of 3 CPUs and 0 GPUs on 3 nodes, 1 CPU each" in err
    assert "has died (its machine was lost): another takes its place, and its fit is repeated" in err
    assert "has died (WorkerCrashedError): another takes its place, and its fit is repeated" in err
    check_complete("digits", trials=4, folds=3)


def test_ctrl_c_ends_a_cluster_of_ones_own_in_good_order(tmp_path: Path, start: Start) -> None:
    words = (*QUICK, *RANDOM, "--model", "linear", "--ray", "local", "--workers", "2")
    search = start("search", *words)
    wait_for(lambda: running(tmp_path), "a running trial", search)
    started = descendants(search.pid)
    assert len(started) > 4, "Ray's own processes and the workers"
    os.killpg(search.pid, signal.SIGINT)  # as a terminal does
    _, err = finished(search, 130)
    assert "interrupted" in err
    assert not running(tmp_path), "the workers have put down what they were at"
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), "the end of Ray")


def test_what_the_cluster_cannot_do_is_one_line(cluster: Any, tmp_path: Path, start: Start) -> None:
    asked = start("search", *QUICK, "--ray", cluster.address, "--workers", "9")
    _, err = finished(asked, 2)
    assert err.startswith("l2tune: the Ray cluster: has ")
    assert err.endswith("not for 9 workers of 1 CPU each; ask for less\n")
    assert not (tmp_path / "s.db").exists()


def test_python_files_go_along_and_nothing_else(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["nets.py", "pkg/__init__.py", "pkg/sub/layers.py"]
    for name in [*names, "s.db", "photos/cat/1.png", ".venv/lib/a.py", "runs/x/report.html", "pkg/table.npz"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        connected = connect(cluster.address, send_code=True)
        try:
            listed = connected.ray.remote(lambda: sorted(str(p) for p in Path().rglob("*") if p.is_file())).remote()
            assert connected.ray.get(listed) == names
        finally:
            connected.leave()
    assert not connected.ray.is_initialized()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--ray", "auto", "--workers", "0"), "--workers 0 with --ray: no worker would train; give a number, or"),
        (("--ray", "here"), "--ray here: is no address; give auto, local, or HOST:PORT"),
        (("--ray", "ray://head:10001"), "--ray: a ray:// address is for Ray's client, which cannot be used; start"),
        (("--ray", "127.0.0.1:1"), "--ray 127.0.0.1:1: no cluster answers (Connection refused); start one with"),
        (("--gpus-per-worker", "1"), "--gpus-per-worker: is for workers on a Ray cluster; add --ray auto"),
        (("--ray", "auto", "--gpus-per-worker", "2"), "--gpus-per-worker: 2 does not fit; a worker trains on one GPU"),
        (("--ray", "auto", "--gpus-per-worker", "nan"), "--gpus-per-worker: nan does not fit; a worker trains on one"),
        (("--ray", "auto", "--device", "cuda"), "--device cuda with --ray: workers get a GPU from Ray; use --gpus-per"),
        (("--ray", "auto", "--gpus-per-worker", "1", "--device", "cpu"), "--gpus-per-worker: goes with GPUs, not with"),
    ],
)
def test_what_cannot_work_is_one_line(
    words: tuple[str, ...],
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from l2tune.cli import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["search", *QUICK, *words])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"l2tune: {line}")
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_no_cluster_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2tune.search.ray_cluster._ANSWER_SECONDS", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UserError, match=f"--ray {address}: no Ray cluster answers there"):
            connect(address, send_code=False)


def test_without_ray_a_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"--ray: Ray is not installed; pip install 'l2tune\[ray\]'"):
        plan_ray(build({}), "auto", None, None)


class Machines:
    """Stands for the module `ray` of a cluster of given machines."""

    def __init__(self, *resources: dict[str, float], hosts: int = 1) -> None:
        self._nodes = [
            {"Alive": True, "NodeManagerAddress": f"10.0.0.{k % hosts}", "Resources": own}
            for k, own in enumerate(resources)
        ]

    def nodes(self) -> list[dict[str, Any]]:
        return [*self._nodes, {"Alive": False, "NodeManagerAddress": "10.0.0.99", "Resources": {}}]


def test_workers_are_counted_machine_by_machine() -> None:
    cluster = RayCluster(Machines({"CPU": 8, "GPU": 1}, {"CPU": 2, "GPU": 4}, {"CPU": 64}))
    assert [cluster.room(Share(gpus)) for gpus in (0.0, 1.0, 0.5, 0.25, 0.1)] == [74, 3, 4, 6, 10]
    assert cluster.worker_count(None, Share()) == 8, "as many as are of use"
    assert cluster.worker_count(None, Share(0.25)) == 6
    assert cluster.worker_count(74, Share()) == 74
    with pytest.raises(
        UserError, match="has 74 CPUs and 5 GPUs on 3 nodes: room for 3, not for 4 workers of 1 CPU and 1"
    ):
        cluster.worker_count(4, Share(1.0))
    with pytest.raises(UserError, match="room for 0, not for 1 worker of 1 CPU each"):
        RayCluster(Machines({"GPU": 1})).worker_count(None, Share())


@pytest.mark.parametrize("url", ["s.db", "sqlite:///s.db", "s.log", "sqlite:////mnt/s.db", "sqlite://"])
def test_several_machines_do_not_share_a_file(url: str) -> None:
    RayCluster(Machines({"CPU": 1}, {"CPU": 1})).check_storage(url)
    several = RayCluster(Machines({"CPU": 1}, {"CPU": 1}, hosts=2))
    with pytest.raises(UserError, match=f"--storage {url}: is a file, and the Ray cluster has 2 machines; give a data"):
        several.check_storage(url)
    several.check_storage("postgresql://me:secret@db/l2tune")
