"""Workers on a Ray cluster: started, watched, replaced when they or their machines die, ended together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from l2tune.errors import SearchAborted
from l2tune.records.workers import Worker
from l2tune.search.pool import DEATHS_IN_A_ROW
from l2tune.search.ray_cluster import RayCluster, Share, quiet

Ending = tuple[Literal["done", "failed", "interrupted"], str]
"""How a worker has ended, and why, in words."""

Work = Callable[[Any, str], Ending]
"""A worker's whole life: called with the shared object and the worker's token, interrupted by KeyboardInterrupt."""

NO_ROOM_SECONDS = 60.0
"""So long the search waits for new machines where those of the cluster have room for no worker any more."""

PATIENCE_SECONDS = 30.0
"""A worker that has not begun after so long waits for room: Ray takes some seconds to start a process."""

_END_SECONDS = 30.0
"""So long a worker may take to put down what it is at."""

_BEGUN = ("begun", "")


@dataclass(eq=False)
class _Task:
    """A worker, as Ray runs it.

    Attributes:
        words: Streams what it says: that it has begun, then how it has ended.
        deaths: How many workers in a row had died before it was started.
        begun: Whether the cluster has had room for it.
    """

    place: int
    worker: Worker
    words: Any
    deaths: int
    begun: bool = False


class RayCrew:
    """Workers that train for one study, from `with` to its end, when the cluster is left.

    Each is a task that Ray does not retry: who replaces it knows what it has left behind.

    Args:
        work: What each does; a function of a module, which every machine must have.
        shared: Put once into the cluster's object store.
        workers: How many.
        environment: Environment variables of each.
        on_lost: Called with a worker that has died, so that what it left is taken over at once.
        say: Called with what is worth a line.
    """

    def __init__(
        self,
        cluster: RayCluster,
        work: Work,
        shared: object,
        *,
        workers: int,
        share: Share,
        environment: dict[str, str],
        on_lost: Callable[[Worker], object],
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._cluster, self._ray = cluster, cluster.ray
        self._shared, self._count, self._share = shared, workers, share
        self._run = self._ray.remote(
            num_cpus=1,
            num_gpus=share.gpus,
            max_retries=0,
            max_calls=1,  # a process each: the memory of a GPU is given back
            num_returns="streaming",
            runtime_env={"env_vars": environment},
        )(_say_how_it_goes)
        self._work, self._on_lost, self._say = work, on_lost, say
        self._tasks: list[_Task] = []
        self._deaths = self._fits = 0
        self._is_over = self._is_told = False
        self._waits_since: float | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.callback(self._cluster.leave)
        self._stack.enter_context(quiet())
        try:
            self._shared = self._ray.put(self._shared)
            for place in range(self._count):
                self._start(place)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            self.end()

    @property
    def at_work(self) -> int:
        """How many workers are at work, or wait for room."""
        return len(self._tasks)

    def look(self, fits: int) -> None:
        """Replace workers that have died; those that are done are let go.

        Args:
            fits: How many fits the study has: as long as they become more, workers may die.

        Raises:
            SearchAborted: A worker has given up, too many have died in a row, or no machine is left for them.
        """
        if fits > self._fits:
            self._fits, self._deaths = fits, 0
            for task in self._tasks:
                task.deaths = 0
        for task in self._ready():
            self._listen(task)
        waiting = [task for task in self._tasks if not task.begun]
        if self._is_over and len(waiting) < len(self._tasks):  # they would find nothing to do
            for task in waiting:
                self._let_go(task)
        elif waiting and len(waiting) == len(self._tasks):
            self._check_room()
        else:
            self._waits_since = None

    def end(self) -> None:
        """End all workers: they put down what they are at; who does not within some seconds is killed."""
        for task in self._tasks:
            with suppress(Exception):
                self._ray.cancel(task.words)
        end = time.monotonic() + _END_SECONDS
        while any(task.begun for task in self._tasks) and time.monotonic() < end:
            try:
                ready = self._ready(0.2)
            except SearchAborted:
                break
            for task in ready:
                with suppress(StopIteration, Exception):
                    if self._ray.get(next(task.words)) == _BEGUN:
                        continue
                self._tasks.remove(task)
                self._on_lost(task.worker)
        while self._tasks:
            task = self._tasks[-1]
            with suppress(Exception):
                self._ray.cancel(task.words, force=True)
            self._tasks.remove(task)
            self._on_lost(task.worker)

    def _start(self, place: int) -> None:
        worker = Worker()
        words = self._run.remote(self._work, self._shared, worker.token)
        self._tasks.append(_Task(place, worker, words, self._deaths))

    def _ready(self, seconds: float = 0.0) -> list[_Task]:
        """Workers that have something to say.

        Raises:
            SearchAborted: The cluster has gone.
        """
        if not self._tasks:
            return []
        by_words = {task.words: task for task in self._tasks}
        try:
            ready, _ = self._ray.wait(list(by_words), num_returns=len(by_words), timeout=seconds, fetch_local=False)
        except Exception as error:
            raise SearchAborted(f"the Ray cluster has gone ({_first_line(error)})") from error
        return [by_words[words] for words in ready]

    def _listen(self, task: _Task) -> None:
        """Hear what a worker has to say; replace it if that is how it died."""
        errors = self._ray.exceptions
        where, is_of_machine = f"worker {task.place + 1}", False
        try:
            how, why = self._ray.get(next(task.words))
        except (errors.RuntimeEnvSetupError, errors.RayTaskError) as error:  # Ray could not begin it
            how, why = "failed", _last_line(error)
        except errors.NodeDiedError:
            how, why, is_of_machine = "died", "its machine was lost", True
        except (errors.RayError, StopIteration) as error:
            how, why = "died", type(error).__name__
        if (how, why) == _BEGUN:
            task.begun = True
            return
        self._tasks.remove(task)
        if how == "done":
            self._is_over = True
            return
        self._on_lost(task.worker)
        if how == "failed":
            raise SearchAborted(f"{where} gave up: {why}")
        why = why or how
        if not is_of_machine:  # which dies once
            self._deaths = max(self._deaths, task.deaths + 1)  # workers that die together have died once
        if self._deaths >= DEATHS_IN_A_ROW:
            raise SearchAborted(f"{self._deaths} workers in a row have died ({why})")
        self._say(f"{where} has died ({why}): another takes its place, and its fit is repeated")
        self._start(task.place)

    def _let_go(self, task: _Task) -> None:
        with suppress(Exception):
            self._ray.cancel(task.words)
        self._tasks.remove(task)
        self._on_lost(task.worker)

    def _check_room(self) -> None:
        """All workers wait: for others' work to end, or for machines that will not come?

        Raises:
            SearchAborted: The machines that are left have room for none.
        """
        now = time.monotonic()
        self._waits_since = now if self._waits_since is None else self._waits_since
        waited = now - self._waits_since
        if waited > NO_ROOM_SECONDS and not self._cluster.room(self._share):
            raise SearchAborted(f"the Ray cluster has no room left for a worker of {self._share}: {self._cluster}")
        if waited > PATIENCE_SECONDS and not self._is_told:
            self._is_told = True
            self._say(f"waiting for room on the Ray cluster, which has {self._cluster} and is busy")


def _say_how_it_goes(work: Work, shared: Any, token: str) -> Iterator[tuple[str, str]]:
    """Runs on the cluster."""
    yield _BEGUN
    yield work(shared, token)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _last_line(error: BaseException) -> str:
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
