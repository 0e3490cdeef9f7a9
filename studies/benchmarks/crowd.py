"""Workers before one PostgreSQL: how long they wait for it, and whether anything is lost; a part of `storage.py`."""

from __future__ import annotations

import copy
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import optuna
import psycopg
from optuna.trial import TrialState
from storage_places import (
    TABLE,
    Place,
    begun_study,
    objective_of,
    settings_of,
)

from l2tune.records.fold_record import fold_records
from l2tune.records.keys import BEAT, GIVEN_UP
from l2tune.records.observations import strength_of
from l2tune.records.workers import Worker, write_beat
from l2tune.search.heartbeat import BEAT_SECONDS, Heart, Watch
from l2tune.search.runner import Budget, WorkerSearch
from l2tune.search.storage import open_study
from l2tune.search.workers import take_over_lost


@dataclass
class Seen:
    """What the workers of a crowd have met."""

    asks: list[float] = field(default_factory=list)
    tells: list[float] = field(default_factory=list)
    storage: float = 0.0
    waited: float = 0.0
    fits: int = 0
    errors: Counter[str] = field(default_factory=Counter)


def crowd(place: Place, workers: int, searching: int, seconds: float, fit: tuple[float, float]) -> dict[str, Any]:
    """So many workers for so many seconds, some of them searching, the others at a fit."""
    assert place.cpu is not None
    name = f"crowd-{workers}"
    study = begun_study(place.open(), name, finished=40, running=workers - searching)
    settings = settings_of(name, trials=10**5)
    seen, lock = Seen(), threading.Lock()
    start, end = threading.Barrier(searching + 1), threading.Event()

    def work(number: int) -> None:
        rng = np.random.default_rng(number)
        phase = [rng.uniform(0, fit[1])]  # as if they had begun long ago

        def duration() -> float:
            return phase.pop() if phase else float(rng.uniform(*fit))

        try:
            mine = open_study(place.another(), settings)
            trainer, worker = copy.copy(TABLE), Worker()
            trainer.pause, trainer.waited = lambda: end.wait(duration()), 0.0
            mine.get_trials(deepcopy=False)
            with Heart() as heart:
                watch = Watch(heart.clock)
                search = WorkerSearch(mine, objective_of(settings, trainer), Budget(10**5), worker, heart=heart)
                search.begin()
                start.wait(240)
                while not end.is_set():
                    began, waited = time.perf_counter(), trainer.waited
                    search.advance()
                    told, waited = time.perf_counter(), trainer.waited - waited
                    if end.is_set():
                        break
                    take_over_lost(mine, watch, worker)
                    search.begin()
                    asked = time.perf_counter()
                    with lock:
                        if not end.is_set():
                            seen.tells.append(told - began - waited)
                            seen.asks.append(asked - told)
                            seen.storage += asked - began - waited
                            seen.waited += waited
                            seen.fits += 1
        except Exception as error:  # counted, by kind
            with lock:
                seen.errors[f"{type(error).__name__}: {str(error)[:120]}"] += 1
            start.abort()

    standing = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.RUNNING]

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(searching)]
    with ExitStack() as hearts:
        for first in range(0, len(standing), 250):
            hearts.enter_context(beating(place, [trial._trial_id for trial in standing[first : first + 250]]))
        for thread in threads:
            thread.start()
        start.wait(240)
        server, client, began = place.cpu(), time.process_time(), time.perf_counter()
        end.wait(seconds)
        server, client = place.cpu() - server, time.process_time() - client
        took = time.perf_counter() - began
        fate = lost_or_doubled(study)
        end.set()
        for thread in threads:
            thread.join(fit[1] + 30)
    return {
        "workers": workers,
        "searching": searching,
        "seconds": took,
        "fits": seen.fits,
        "ask": {"median": 1e3 * median(seen.asks), "p95": 1e3 * float(np.quantile(seen.asks, 0.95))},
        "tell": {"median": 1e3 * median(seen.tells), "p95": 1e3 * float(np.quantile(seen.tells, 0.95))},
        "share": seen.storage / (seen.storage + seen.waited),
        "server_cores": server / took,
        "client_cores": client / took,
        "errors": dict(seen.errors),
        **fate,
    }


@contextmanager
def beating(place: Place, trials: Sequence[int]) -> Iterator[None]:
    """Beats for these trials as often as their workers would.

    With the statements of `write_beat` on a connection of their own, for Optuna's take this process a whole core.
    """
    end = threading.Event()

    def beat() -> None:
        with psycopg.connect(place.url) as connection:
            count = 0
            while not end.is_set():
                count, began = count + 1, time.monotonic()
                for trial in trials:
                    given = (trial, BEAT)
                    connection.execute("SELECT * FROM trials WHERE trial_id = %s", given[:1])
                    connection.execute("SELECT * FROM trial_user_attributes WHERE trial_id = %s AND key = %s", given)
                    update = "UPDATE trial_user_attributes SET value_json = %s WHERE trial_id = %s AND key = %s"
                    connection.execute(update, (str(count), *given))
                    connection.commit()
                    end.wait(max(0.0, BEAT_SECONDS / len(trials) - 1e-3))
                end.wait(max(0.0, began + BEAT_SECONDS - time.monotonic()))

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(30)


def lost_or_doubled(study: optuna.Study) -> dict[str, int]:
    """Trials taken from the living, λ × fold trained twice."""
    trials = study.get_trials(deepcopy=False)
    pairs = Counter((strength_of(t), fold) for t in trials if t.state != TrialState.FAIL for fold in fold_records(t))
    return {
        "taken_over": sum(t.state == TrialState.FAIL and GIVEN_UP in t.user_attrs for t in trials),
        "doubled": sum(n > 1 for n in pairs.values()),
    }


def connections(place: Place) -> dict[str, int]:
    """How many connections a worker whose heart beats all the time keeps, and has at most."""
    storage = place.open()
    study = open_study(storage, settings_of("connections"))
    trial = study.ask()
    pool: Any = storage.backend.engine.pool  # type: ignore[attr-defined]
    most = 0
    with Heart(0.01) as heart:
        heart.add(0, lambda beat: write_beat(study, trial, beat))
        for _ in range(200):
            study.get_trials(deepcopy=False)
            most = max(most, pool.checkedin() + pool.checkedout())
    return {"kept": pool.checkedin() + pool.checkedout(), "at_most": most}
