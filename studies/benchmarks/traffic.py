"""Simulated workers before one PostgreSQL: each sends what a real worker sends, when it would; a part of `storage.py`.

What a worker sends in a trial's life is recorded from a real one, statement by statement, and sent again by each of a
thousand, on a connection of its own, about a trial of its own: what depends on the trial or on who else is in training
is put in anew. What a worker makes of the answers costs its own machine and is left out. Real ones search among
them.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import psycopg
import sqlalchemy
from psycopg.pq.abc import PGresult
from storage_places import Place, Recorded, begun_study, objective_of, settings_of

from l2tune.records.keys import BEAT, fold_key, fold_of
from l2tune.records.one_reading import one_reading
from l2tune.records.workers import Worker, write_beat
from l2tune.search.heartbeat import BEAT_SECONDS, Watch
from l2tune.search.runner import Budget, WorkerSearch
from l2tune.search.storage import open_study
from l2tune.search.workers import take_over_lost

CONNECTIONS_OF_A_PROCESS = 250
FOLD_AWARE = {"sampler": "curve", "pruner": "racing"}
_MANY = 500  # keys of an IN clause, as SQLAlchemy loads what belongs to many rows
_KEYS = re.compile(r"IN \((%\(primary_keys_\d+\)s::INTEGER(, )?)+\)")
_READING = re.compile(r"\(trials\.trial_id IN \([^O]*\) OR trials\.trial_id > %\(trial_id_2\)s::INTEGER\)")

Statement = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Script:
    """What a worker sends in the life of a trial.

    Attributes:
        parts: Before the first fit, between two fits, after the last one.
        beat: For a heartbeat.
        trials: Ids of the trials that they are about.
        strength: The λ that it had.
        token: That of its worker.
    """

    parts: Sequence[Sequence[Statement]]
    beat: Sequence[Statement]
    trials: Collection[int]
    strength: float
    token: str


def recorded_script(place: Place) -> Script:
    """Recorded from a worker of a fold-aware search whose trial goes through all folds."""
    name = "script"
    begun_study(place.open(), name, finished=3, running=3, **FOLD_AWARE)
    settings = settings_of(name, trials=10**5, **FOLD_AWARE)
    study = open_study(place.another(), settings)
    parts: list[list[Statement]] = [[]]
    trainer, worker, watch = Recorded(lambda: parts.append([])), Worker(), Watch()
    objective = objective_of(settings, trainer)
    search = WorkerSearch(study, objective, Budget(10**5), worker)

    @sqlalchemy.event.listens_for(study._storage.backend.engine, "before_cursor_execute")  # type: ignore[attr-defined]
    def note(*words: Any) -> None:
        parts[-1].append((words[2], dict(words[3] or {})))

    @sqlalchemy.event.listens_for(study._storage.backend.engine, "commit")  # type: ignore[attr-defined]
    def note_commit(connection: Any) -> None:
        parts[-1].append(("COMMIT", {}))

    for turn in count():
        if turn > 1 and len(parts) == trainer.folds + 1:
            break  # not the first, in which the study is written to, and not one that was pruned
        parts[:] = [[]]
        with one_reading():
            take_over_lost(study, watch, worker)
            search.begin()
        trial = search.active[0].trial
        while search.active:
            search.advance()
            with one_reading():
                take_over_lost(study, watch, worker)
    life = list(parts)
    another = study.ask()
    write_beat(study, another, 0)
    parts[:] = [[]]
    write_beat(study, another, 1)
    (beat,) = parts
    for known in (_READING, _KEYS):  # or Optuna reads otherwise than what is put in anew here
        assert all(any(known.search(sql) for sql, _ in part) for part in life), known
    strength = trial.params["lambda"]
    return Script(life, beat, (trial._trial_id, another._trial_id), strength, worker.token)


@dataclass
class Met:
    """What workers have met.

    Attributes:
        waits: Seconds from the end of a fit to the beginning of the next: what the storage takes of a worker's time.
        trained: Seconds of all fits.
        silences: Seconds between two heartbeats of a worker.
        errors: By kind.
    """

    waits: list[float] = field(default_factory=list)
    trained: float = 0.0
    silences: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, parts: Sequence[Met]) -> Met:
        """Of all processes together."""
        whole = cls()
        for part in parts:
            whole.waits += part.waits
            whole.trained += part.trained
            whole.silences += part.silences
            whole.errors += part.errors
        return whole


class SimulatedWorker:
    """Sends the statements of a script, on its own connection, about its own trials.

    Args:
        trial: A trial that is in training, and so many of its folds that are finished.
    """

    def __init__(
        self, script: Script, study: int, trial: int, folds: int, fit: tuple[float, float], seed: int, met: Met
    ) -> None:
        self._script, self._study, self._trial, self._folds, self._fit, self._met = (
            script,
            study,
            trial,
            folds,
            fit,
            met,
        )
        self._rng = np.random.default_rng(seed)
        self._token = secrets.token_hex(8)
        self._strength = 0.0
        self._read: list[int] = []
        self._unfinished: list[int] = [0]
        self._last_finished = 0
        self._number = 0
        self._beat = 1
        self.connected = False

    async def live(self, url: str, begin: asyncio.Event, seconds: float) -> None:
        """Connect, and when told go on from the middle of a fit for so many seconds."""
        try:
            async with await psycopg.AsyncConnection.connect(url) as connection:
                self.connected = True
                await begin.wait()
                end = time.monotonic() + seconds
                seconds = float(self._rng.uniform(0, self._fit[1]))  # as if it had begun long ago
                while await self._train(connection, seconds, end):
                    began = time.monotonic()
                    await self._go_on(connection)
                    self._met.waits.append(time.monotonic() - began)
                    self._met.trained += seconds
                    seconds = float(self._rng.uniform(*self._fit))
        except Exception as error:  # counted, by kind
            self._met.errors[f"{type(error).__name__}: {str(error)[:120]}"] += 1

    async def _go_on(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Tell the fold, and begin another trial after the last one."""
        self._folds += 1
        await self._send(connection, self._script.parts[self._folds])
        if self._folds == len(self._script.parts) - 1:
            self._folds, self._strength = 0, float(10 ** self._rng.uniform(-5, 0))
            await self._send(connection, self._script.parts[0])

    async def _train(self, connection: psycopg.AsyncConnection[Any], seconds: float, end: float) -> bool:
        """Let the heart beat until the fit is over; False if all is over before."""
        over = min(time.monotonic() + seconds, end)
        heard = time.monotonic()
        await asyncio.sleep(min(float(self._rng.uniform(0, BEAT_SECONDS)), over - time.monotonic()))
        while time.monotonic() < over:
            self._beat += 1
            await self._send(connection, self._script.beat)
            self._met.silences.append(time.monotonic() - heard)
            heard = time.monotonic()
            await asyncio.sleep(max(0.0, min(BEAT_SECONDS, over - time.monotonic())))
        return over < end

    async def _send(self, connection: psycopg.AsyncConnection[Any], statements: Sequence[Statement]) -> None:
        for sql, given in statements:
            if sql == "COMMIT":
                await connection.commit()
                continue
            for text in self._texts(sql):
                cursor = await connection.execute(text, self._own(given) if "%(" in text else None, prepare=None)
            result = cursor.pgresult
            if _READING.search(sql):
                assert result is not None
                self._note([(int(_cell(result, row, 0)), _cell(result, row, 3)) for row in range(result.ntuples)])
            elif sql.startswith("INSERT INTO trials "):
                assert result is not None
                self._trial = int(_cell(result, 0, 0))
            elif sql.startswith("SELECT count("):
                assert result is not None
                self._number = int(_cell(result, 0, 0))

    def _texts(self, sql: str) -> list[str]:
        """The statement about those that are in training now."""
        if _KEYS.search(sql):
            starts = range(0, len(self._read), _MANY)
            lists = [",".join(map(str, self._read[start : start + _MANY])) for start in starts]
            return [_KEYS.sub(f"IN ({keys})", sql) for keys in lists]
        known = ",".join(map(str, self._unfinished))
        return [_READING.sub(f"(trials.trial_id IN ({known}) OR trials.trial_id > {self._last_finished})", sql)]

    def _note(self, trials: Sequence[tuple[int, bytes]]) -> None:
        """Ids and states of the trials that were read, which Optuna's cache reads again as long as they are open."""
        self._read = [trial for trial, _ in trials]
        self._last_finished = max([self._last_finished, *(t for t, state in trials if state != b"RUNNING")])
        self._unfinished = [t for t, state in trials if state == b"RUNNING" and t <= self._last_finished] or [0]

    def _own(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a statement, about this worker's trial."""
        own = {name: self._own_value(name, value) for name, value in given.items()}
        key = str(own.get("key"))
        if key == BEAT:
            own["value_json"] = str(self._beat)
        if fold_of(key) is not None:
            own["key"] = fold_key(self._folds - 1)
        return own

    def _own_value(self, name: str, value: Any) -> Any:
        script = self._script
        if name.startswith("study_id"):
            return self._study
        if name.startswith("step"):
            return self._folds - 1
        if name in ("trial_id", "trial_id_1", "trials_trial_id", "param_1") and value in script.trials:
            return self._trial
        if name == "number" and value is not None:
            return self._number
        if name == "param_value" or (name == "value_json" and value == json.dumps(script.strength)):
            return self._strength if name == "param_value" else json.dumps(self._strength)
        if name == "value_json" and script.token in str(value):
            return value.replace(script.token, self._token)
        return value


def _cell(result: PGresult, row: int, column: int) -> bytes:
    return result.get_value(row, column) or b""


@dataclass(frozen=True)
class Share:
    """The simulated workers of one process.

    Attributes:
        trials: Trial in training → folds of it that are finished; a worker each.
        fit: Shortest and longest seconds of a fit.
    """

    url: str
    study: int
    trials: Mapping[int, int]
    fit: tuple[float, float]
    seed: int


def live(share: Share, script: Script, ready: Any, begin: Any, seconds: float, met: Any) -> None:
    """A process of simulated workers: connect them all, begin when told, put what they met into the queue."""

    async def all_of_them() -> Met:
        seen, start = Met(), asyncio.Event()
        workers = [
            SimulatedWorker(script, share.study, trial, folds, share.fit, share.seed + trial, seen)
            for trial, folds in share.trials.items()
        ]
        tasks = [asyncio.create_task(worker.live(share.url, start, seconds)) for worker in workers]
        while sum(worker.connected or task.done() for worker, task in zip(workers, tasks, strict=True)) < len(workers):
            await asyncio.sleep(0.1)
        await asyncio.to_thread(ready.wait)
        await asyncio.to_thread(begin.wait)
        start.set()
        await asyncio.gather(*tasks)
        return seen

    met.put(asyncio.run(all_of_them()))


@contextmanager
def simulated(
    place: Place, script: Script, study: int, trials: Mapping[int, int], fit: tuple[float, float], seconds: float
) -> Iterator[tuple[Callable[[], None], Callable[[], Met]]]:
    """Simulated workers, connected.

    Yields:
        A function that lets them begin, and one that waits until the seconds are over and tells what they met.
    """
    context = multiprocessing.get_context("spawn")
    ids = list(trials)
    shares = [
        Share(place.url, study, {id: trials[id] for id in ids[first : first + CONNECTIONS_OF_A_PROCESS]}, fit, first)
        for first in range(0, len(ids), CONNECTIONS_OF_A_PROCESS)
    ]
    ready, begin, met = context.Barrier(len(shares) + 1), context.Event(), context.Queue()
    processes = [
        context.Process(target=live, args=(share, script, ready, begin, seconds, met), daemon=True) for share in shares
    ]
    for process in processes:
        process.start()

    def told() -> Met:
        return Met.of([met.get(timeout=seconds + 240) for _ in processes])

    try:
        ready.wait(240)
        yield begin.set, told
    finally:
        for process in processes:
            process.join(10)
            process.kill()
