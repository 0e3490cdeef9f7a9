"""Workers before one PostgreSQL: how long they wait for it, and whether anything is lost; a part of `storage.py`."""

from __future__ import annotations

import copy
import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState
from storage_places import TABLE, Place, begun_study, objective_of, settings_of
from traffic import Met, Script, simulated

from l2tune.records.fold_record import fold_records
from l2tune.records.keys import GIVEN_UP
from l2tune.records.observations import strength_of
from l2tune.records.one_reading import one_reading
from l2tune.records.workers import Worker, write_beat
from l2tune.search.heartbeat import Heart, Watch
from l2tune.search.runner import Budget, WorkerSearch
from l2tune.search.storage import open_study
from l2tune.search.workers import take_over_lost


@dataclass(frozen=True)
class Crowd:
    """So many workers, some of them real and the others simulated, and the shortest and longest seconds of a fit."""

    workers: int
    real: int
    fit: tuple[float, float]


CROWDS = (
    Crowd(10, 10, (10, 30)),
    Crowd(100, 100, (10, 30)),
    Crowd(100, 4, (10, 30)),
    Crowd(300, 4, (10, 30)),
    Crowd(1000, 4, (60, 180)),
    Crowd(1000, 4, (30, 90)),
    Crowd(1000, 4, (10, 30)),
)


def met_by(crowd: Crowd, place: Place, script: Script, seconds: float) -> dict[str, Any]:
    """What a crowd meets in so many seconds before a PostgreSQL."""
    assert place.cpu is not None
    name = f"crowd-{crowd.workers}-{crowd.real}-{crowd.fit[1]}"
    study = begun_study(place.open(), name, finished=40, running=crowd.workers - crowd.real)
    standing = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.RUNNING]
    folds = {trial._trial_id: len(fold_records(trial)) for trial in standing}
    met, end = [Met() for _ in range(crowd.real)], threading.Event()
    start = threading.Barrier(crowd.real + 1)
    with simulated(place, script, study._study_id, folds, crowd.fit, seconds) as (begin, told):
        work = partial(search_for_real, place, name, crowd.fit, start, end)
        threads = [threading.Thread(target=work, args=(one, seed), daemon=True) for seed, one in enumerate(met)]
        for thread in threads:
            thread.start()
        start.wait(240)
        server, began = place.cpu(), time.monotonic()
        begin()
        end.wait(seconds)
        took, server = time.monotonic() - began, place.cpu() - server
        fate = lost_or_doubled(study)  # before anybody's heart stops for good
        end.set()
        both = {"real": Met.of(met), "simulated": told()}
        for thread in threads:
            thread.join(60)
    return {
        "workers": crowd.workers,
        "real_workers": crowd.real,
        "fit": crowd.fit,
        "seconds": took,
        **{kind: seen_by(one) for kind, one in both.items() if one.waits or one.errors},
        "server_cores": server / took,
        "silence": max(both["simulated"].silences, default=None),
        **fate,
    }


def seen_by(met: Met) -> dict[str, Any]:
    """Fits, milliseconds that a worker waits after one, the share of its time that this is, errors."""
    return {
        "fits": len(met.waits),
        "wait": {"median": 1e3 * median(met.waits), "p95": 1e3 * float(np.quantile(met.waits, 0.95))},
        "share": sum(met.waits) / (sum(met.waits) + met.trained),
        "errors": dict(met.errors),
    }


def search_for_real(
    place: Place,
    name: str,
    fit: tuple[float, float],
    start: threading.Barrier,
    end: threading.Event,
    met: Met,
    seed: int,
) -> None:
    """A real worker of the study around a trainer that waits."""
    rng = np.random.default_rng(seed)
    phase = [rng.uniform(0, fit[1])]  # as if it had begun long ago
    settings = settings_of(name, trials=10**5)
    trainer, worker = copy.copy(TABLE), Worker()
    trainer.pause = lambda: end.wait(phase.pop() if phase else float(rng.uniform(*fit)))
    trainer.waited = 0.0
    try:
        mine = open_study(place.another(), settings)
        mine.get_trials(deepcopy=False)
        with Heart() as heart:
            watch = Watch(heart.clock)
            search = WorkerSearch(mine, objective_of(settings, trainer), Budget(10**5), worker, heart=heart)
            search.begin()
            start.wait(240)
            while not end.is_set():
                began, trained = time.monotonic(), trainer.waited
                search.advance()
                with one_reading():
                    take_over_lost(mine, watch, worker)
                    search.begin()
                trained = trainer.waited - trained
                if not end.is_set():
                    met.waits.append(time.monotonic() - began - trained)
                    met.trained += trained
            search.give_up()
    except Exception as error:  # counted, by kind
        met.errors[f"{type(error).__name__}: {str(error)[:120]}"] += 1
        start.abort()


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
