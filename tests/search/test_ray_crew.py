"""What the crew on a Ray cluster does with what Ray tells it: a Ray of this test's own tells it."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from l2tune.errors import SearchAborted
from l2tune.records.workers import Worker
from l2tune.search import ray_crew
from l2tune.search.ray_cluster import RayCluster, Share
from l2tune.search.ray_crew import RayCrew

BEGUN, DONE = ("begun", ""), ("done", "the answer is settled")


class RayError(Exception):
    pass


class NodeDiedError(RayError):
    pass


class WorkerCrashedError(RayError):
    pass


class RayTaskError(RayError):
    pass


class Ray:
    """Stands for the module: each task says what `say` has put into it."""

    exceptions = SimpleNamespace(
        RayError=RayError, NodeDiedError=NodeDiedError, RayTaskError=RayTaskError, RuntimeEnvSetupError=RayTaskError
    )

    def __init__(self, cpus: int = 8) -> None:
        self.cpus, self.is_left = cpus, False
        self.tasks: list[Task] = []
        self.cancelled: list[Task] = []

    def remote(self, **options: Any) -> Any:
        assert options["max_retries"] == 0, "who replaces a worker knows what it has left behind"
        return lambda function: Function(self)

    def put(self, value: object) -> object:
        return value

    def wait(self, tasks: Sequence[Task], **options: Any) -> tuple[list[Task], list[Task]]:
        return [task for task in tasks if task.said or task in self.cancelled], []

    def get(self, word: Any) -> Any:
        if isinstance(word, Exception):
            raise word
        return word

    def cancel(self, task: Task, force: bool = False) -> None:
        self.cancelled.append(task)

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "NodeManagerAddress": "a", "Resources": {"CPU": self.cpus}}]

    def shutdown(self) -> None:
        self.is_left = True


class Task:
    """A task's stream of words."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def __next__(self) -> Any:
        if not self.said:
            raise StopIteration
        return self.said.pop(0)


class Function:
    """What `ray.remote` makes of a function."""

    def __init__(self, ray: Ray) -> None:
        self._ray = ray

    def remote(self, *given: object) -> Task:
        self._ray.tasks.append(Task())
        return self._ray.tasks[-1]


@pytest.fixture
def ray() -> Ray:
    return Ray()


def crew_of(ray: Ray, workers: int, lost: list[Worker], lines: list[str]) -> RayCrew:
    return RayCrew(
        RayCluster(ray),
        lambda shared, token: ("done", ""),
        object(),
        workers=workers,
        share=Share(),
        environment={},
        on_lost=lost.append,
        say=lines.append,
    )


def test_a_machine_that_takes_many_workers_along_is_no_row_of_deaths(ray: Ray) -> None:
    lost: list[Worker] = []
    lines: list[str] = []
    with crew_of(ray, 8, lost, lines) as crew:
        for kind in (NodeDiedError, WorkerCrashedError):
            for task in ray.tasks[-8:]:
                task.said = [BEGUN]
            crew.look(0)
            for task in ray.tasks[-8:]:
                task.said = [kind("gone")]
            crew.look(0)
        assert crew.at_work == 8
        assert len(ray.tasks) == 24
        assert len(lost) == 16
        assert lines[0] == "worker 1 has died (its machine was lost): another takes its place, and its fit is repeated"
    assert ray.is_left
    assert len({worker.token for worker in lost}) == 24, "what each has left is taken over, the last ones' at the end"


def test_three_deaths_in_a_row_end_the_search_unless_fits_are_finished(ray: Ray) -> None:
    with crew_of(ray, 1, [], []) as crew:
        for fits in (0, 0, 1, 1):
            ray.tasks[-1].said = [WorkerCrashedError("killed")]
            crew.look(fits)
        ray.tasks[-1].said = [WorkerCrashedError("killed")]
        with pytest.raises(SearchAborted, match=r"3 workers in a row have died \(WorkerCrashedError\)"):
            crew.look(1)


def test_a_worker_that_cannot_work_ends_the_search_with_its_last_line(ray: Ray) -> None:
    with crew_of(ray, 2, [], []) as crew:
        ray.tasks[1].said = [RayTaskError("ray::work()\n  File …\nModuleNotFoundError: No module named 'nets'\n")]
        with pytest.raises(SearchAborted, match="worker 2 gave up: ModuleNotFoundError: No module named 'nets'"):
            crew.look(0)


def test_workers_that_wait_for_room_are_let_go_when_the_search_is_over(ray: Ray) -> None:
    lost: list[Worker] = []
    with crew_of(ray, 3, lost, []) as crew:
        first, second, waiting = ray.tasks
        first.said, second.said = [BEGUN], [BEGUN]
        crew.look(0)
        first.said = [DONE]
        crew.look(0)
        assert ray.cancelled == [waiting]
        assert crew.at_work == 1
        second.said = [DONE]
        crew.look(0)
        assert crew.at_work == 0
    assert len(lost) == 1


def test_a_cluster_that_has_lost_all_room_ends_the_search(ray: Ray, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(ray_crew, "PATIENCE_SECONDS", -1.0)
    monkeypatch.setattr(ray_crew, "NO_ROOM_SECONDS", -1.0)
    with crew_of(ray, 1, [], lines) as crew:
        crew.look(0)
        crew.look(0)
        assert lines == ["waiting for room on the Ray cluster, which has 8 CPUs and 0 GPUs on 1 node and is busy"]
        ray.cpus = 0
        with pytest.raises(SearchAborted, match="has no room left for a worker of 1 CPU: 0 CPUs and 0 GPUs on 1 node"):
            crew.look(0)
