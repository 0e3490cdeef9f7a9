"""The examples in docs/cluster/ run: their own commands, in processes of this machine instead of a cluster's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

CheckComplete = Callable[..., None]

EXAMPLES = Path(__file__).parents[1] / "docs/cluster"
QUICK = ("--subset", "200", "--folds", "3", "--model", "linear", "--epochs", "6", "--sampler", "random")
QUICK += ("--pruner", "none", "--trials", "4")
L2TUNE = f'#!/bin/sh\nexec "{sys.executable}" -m l2tune "$@"\n'


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a machine that has l2tune and a storage."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/l2tune").write_text(L2TUNE)
    (tmp_path / "bin/l2tune").chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")} | {
        "PATH": path,
        "L2TUNE_STORAGE": "s.db",
        "OMP_NUM_THREADS": "1",
    }


def run_together(commands: Sequence[tuple[Sequence[str], Mapping[str, str]]], folder: Path) -> None:
    """Run commands side by side; all must end well."""
    started = [
        subprocess.Popen(words, cwd=folder, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for words, own in commands
    ]
    try:
        said = [process.communicate(timeout=300)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * len(started), "\n".join(said)


def test_the_array_of_slurm_searches(
    tmp_path: Path, environment: dict[str, str], check_complete: CheckComplete
) -> None:
    array = {"SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "3"}
    tasks = [environment | array | {"SLURM_ARRAY_TASK_ID": str(k), "L2TUNE_PAUSE": "2"} for k in range(3)]
    words = ["bash", str(EXAMPLES / "slurm.sh"), *QUICK]
    run_together([(words, own) for own in tasks], tmp_path)
    check_complete("slurm-77", trials=4, folds=3)


def test_a_task_of_slurm_says_what_it_lacks(tmp_path: Path, environment: dict[str, str]) -> None:
    task = {"SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "1", "L2TUNE_TRIES": "1"}
    words = ["bash", str(EXAMPLES / "slurm.sh")]
    ended = subprocess.run(words, cwd=tmp_path, env=environment | task, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (1, "no study slurm-77 in the storage\n")
    del environment["L2TUNE_STORAGE"]
    ended = subprocess.run(words, cwd=tmp_path, env=environment | task, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "L2TUNE_STORAGE: set it to the storage of the search" in ended.stderr


def test_the_jobs_of_kubernetes_search(
    tmp_path: Path, environment: dict[str, str], check_complete: CheckComplete
) -> None:
    search, workers = yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text(encoding="utf-8"))
    for job in (search, workers):
        assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
        assert job["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure"
        assert job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= 30
    assert workers["spec"]["completions"] == workers["spec"]["parallelism"]
    words, own = container(search, environment)
    words = [word.replace("/results", str(tmp_path / "results")) for word in words] + [*QUICK]
    worker, of_worker = container(workers, environment)
    again = ["bash", "-c", 'until "$@"; do sleep 3; done', "kubelet", *worker]  # restartPolicy: OnFailure
    run_together([(words, own), (again, of_worker), (again, of_worker)], tmp_path)
    check_complete("digits", trials=4, folds=3, results="results/results.json")


def container(job: dict[str, Any], machine: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The command line of a job's container and its environment, where the Secret holds the machine's storage."""
    [found] = job["spec"]["template"]["spec"]["containers"]
    given = {one["name"]: one.get("value") for one in found["env"]}
    sources = [one["valueFrom"] for one in found["env"] if one["name"] == "L2TUNE_STORAGE"]
    assert sources == [{"secretKeyRef": {"name": "l2tune", "key": "storage"}}]
    set_here = {name: value for name, value in machine.items() if name not in ("OMP_NUM_THREADS",)}
    return [*found["command"], *found["args"]], set_here | {k: v for k, v in given.items() if v is not None}
