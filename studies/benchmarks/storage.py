"""What a worker's storage costs, and how many workers one storage bears.

    python studies/benchmarks/storage.py                 # all parts; ten minutes
    python studies/benchmarks/storage.py --only crowd

Servers are this script's own, on 127.0.0.1, and end with it (PostgreSQL, MariaDB where they are installed). Four parts:

- `operations`: milliseconds of each operation that a worker uses, on studies of 40 and 400 trials with whole records;
- `counts`: how often a search uses each per fit, and what that is in SQL statements and bytes on the wire;
- `fits`: CPU seconds that the server spends on a fit among so many trials in training, from which follows how many
  workers it bears: those whose fits and heartbeats together keep it at most 70 % busy;
- `crowd`: up to 1,000 workers with heartbeats, asks and tells around fits that only take time.

Searches draw λ at random and prune nothing in `fits` and `crowd`, for the curve is each worker's own arithmetic and no
matter of the storage. A machine of two cores cannot be a thousand machines: in crowds of more than 100 most workers are
simulated (see `traffic.py`): they send what a worker of a fold-aware search sends, and make nothing of the answers.
Writes `results/storage.json` and `.md`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import socket
import struct
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from crowd import CROWDS, connections, met_by
from optuna.storages import BaseStorage, get_storage
from storage_places import Place, Recorded, begun_study, objective_of, places, program, record, settings_of
from traffic import recorded_script

from l2tune.records.fold_record import write_fold
from l2tune.records.keys import STRENGTH
from l2tune.records.one_reading import one_reading
from l2tune.records.workers import Worker, write_beat, write_worker
from l2tune.search import runner
from l2tune.search.heartbeat import BEAT_SECONDS, GRACE_SECONDS, Watch
from l2tune.search.patience import Patience, PatientStorage
from l2tune.search.runner import Budget, WorkerSearch
from l2tune.search.stopping import StopWhenSettled
from l2tune.search.storage import open_study
from l2tune.search.workers import take_over_lost
from l2tune.settings import Settings

RESULTS = Path(__file__).parent / "results" / "storage.json"
BUSY = 0.7
"""A server busier than that lets everybody wait."""

WORTH = 0.1
"""Of its time a worker may spend this share on reading what others do."""

READS = ("get_all_trials", "get_trial", "get_study_user_attrs", "get_study_system_attrs")
FIT_SECONDS = (1, 10, 60)


def operations(place: Place, finished: int) -> dict[str, Any]:
    """Milliseconds of each operation of a worker, on a study of so many trials and ten in training."""
    name = f"operations-{finished}"
    began_by = place.open()
    begun_study(began_by, name, finished=finished, running=10)
    storage = began_by if place.url == "memory" else place.open()
    study = optuna.load_study(study_name=name, storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    seconds: dict[str, list[float]] = {}

    def timed(operation: str, run: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        answer = run()
        seconds.setdefault(operation, []).append(time.perf_counter() - began)
        return answer

    timed("first reading", lambda: study.get_trials(deepcopy=False))
    worker, fold = Worker(), record(1e-3, 0)
    for turn in range(30):
        trial: optuna.Trial = timed("ask", study.ask)
        timed("write worker", lambda: write_worker(study, trial, worker))  # noqa: B023
        timed("draw", lambda: trial.suggest_float("lambda", 1e-6, 1, log=True))  # noqa: B023
        trial.set_user_attr(STRENGTH, trial.params["lambda"])
        timed("write fold", lambda: write_fold(trial, 0, fold))  # noqa: B023
        timed("report", lambda: trial.report(0.5, 0))  # noqa: B023
        timed("heartbeat", lambda: write_beat(study, trial, turn))  # noqa: B023
        timed("read trials", lambda: study.get_trials(deepcopy=False))
        timed("read study", lambda: study.user_attrs)
        timed("tell", lambda: study.tell(trial, 0.5))  # noqa: B023
    return {op: {"median": 1e3 * median(t), "p95": 1e3 * float(np.quantile(t, 0.95))} for op, t in seconds.items()}


# Counts


def _counted(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.counts[name] += 1
        return getattr(self.storage, name)(*args, **kwargs)

    return method


class Counted(BaseStorage):
    """A storage that counts what is asked of it."""

    def __init__(self, storage: BaseStorage) -> None:
        self.storage, self.counts = storage, Counter[str]()


for _name in BaseStorage.__abstractmethods__:
    setattr(Counted, _name, _counted(_name))
Counted.__abstractmethods__ = frozenset()


def search_alone(study: optuna.Study, settings: Settings, trainer: Recorded, settle: StopWhenSettled | None) -> None:
    """A whole search, without hearts."""
    worker, watch = Worker(), Watch()
    search = WorkerSearch(study, objective_of(settings, trainer), Budget(settings.search.trials), worker, settle=settle)
    while True:
        with one_reading():
            take_over_lost(study, watch, worker)
            search.begin()
        if not search.active:
            return
        search.advance()


def counts(place: Place) -> dict[str, Any]:
    """Operations, SQL statements and bytes per fit, of the fold-aware search and of a random one without pruning."""
    found = {}
    searches: dict[str, dict[str, Any]] = {
        "fold-aware": {"sampler": "curve", "pruner": "racing"},
        "random": {"trials": 8},
    }
    for kind, given in searches.items():
        settings = settings_of(f"counts-{kind}", **given)
        backend = place.open().backend
        counted = Counted(get_storage(backend))  # type: ignore[abstract]
        study = open_study(PatientStorage(counted, place.url, Patience()), settings)
        statements = Counter[str]()
        engine = getattr(backend, "engine", None)
        if engine is not None:

            @sqlalchemy.event.listens_for(engine, "before_cursor_execute")
            def count(*words: Any, statements: Counter[str] = statements) -> None:
                statements[words[2].split()[0]] += 1

        counted.counts.clear()
        before, trainer = traffic(backend), Recorded()
        search_alone(study, settings, trainer, StopWhenSettled() if kind == "fold-aware" else None)
        after = traffic(backend)
        writes = sum(n for name, n in counted.counts.items() if name not in READS)
        found[kind] = {
            "fits": trainer.fits,
            "trials": len(study.trials),
            "per_fit": {name: n / trainer.fits for name, n in counted.counts.most_common()},
            "reads": (counted.counts.total() - writes) / trainer.fits,
            "writes": writes / trainer.fits,
            "statements": statements.total() / trainer.fits,
            "sent": (after[0] - before[0]) / trainer.fits,
            "received": (after[1] - before[1]) / trainer.fits,
        }
    return found


def traffic(backend: BaseStorage) -> tuple[int, int]:
    """Bytes that the pool's one connection has sent and received; 0 where that is not known."""
    engine = getattr(backend, "engine", None)
    if engine is None or engine.driver != "psycopg":
        return 0, 0
    connection = engine.raw_connection()
    with socket.socket(fileno=os.dup(connection.driver_connection.fileno())) as end:
        told = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
    connection.close()
    sent, received = struct.unpack_from("QQ", told, 120)
    return sent, received


# What a server spends


def fits(place: Place, others: Sequence[int], most: float = 20.0) -> dict[str, Any]:
    """CPU seconds of server and client per fit among so many trials in training, and per heartbeat."""
    assert place.cpu is not None
    found: dict[str, Any] = {"among": {}}
    for running in others:
        name = f"fits-{running}"
        begun_study(place.open(), name, finished=40, running=running)
        settings = settings_of(name, trials=10**5)
        study = open_study(place.another(), settings)
        study.get_trials(deepcopy=False)  # once in a worker's life
        trainer, worker, watch = Recorded(), Worker(), Watch()
        search = WorkerSearch(study, objective_of(settings, trainer), Budget(10**5), worker)
        server, client, began = place.cpu(), time.process_time(), time.perf_counter()
        while trainer.fits < 60 and time.perf_counter() - began < most:
            with one_reading():
                take_over_lost(study, watch, worker)
                search.begin()
            search.advance()
        found["among"][running] = {
            "fits": trainer.fits,
            "server": (place.cpu() - server) / trainer.fits,
            "client": (time.process_time() - client) / trainer.fits,
            "wall": (time.perf_counter() - began) / trainer.fits,
        }
        if running == others[0]:
            trial = study.ask()
            server = place.cpu()
            for beat in range(500):
                write_beat(study, trial, beat)
            found["beat"] = (place.cpu() - server) / 500
        search.give_up()
    return found


def bears(told: dict[str, Any]) -> dict[str, dict[int, str]]:
    """Storage → seconds of a fit → how many workers of a fold-aware search it bears."""
    reads = [told["counts"][kind]["per_fit"]["get_all_trials"] for kind in ("fold-aware", "random")]
    writes, times = told["counts"]["fold-aware"]["writes"], reads[0] / reads[1]
    found = {
        f"{name}, server of {cores} core{'s' if cores > 1 else ''}": {
            seconds: borne(one, seconds, cores, times) for seconds in FIT_SECONDS
        }
        for name, one in told["fits"].items()
        for cores in ((2, 16) if name == "PostgreSQL" else (1,))
    }
    sqlite = told["operations"]["SQLite"]
    return found | {"SQLite": {seconds: borne_by_file(sqlite, writes, seconds) for seconds in FIT_SECONDS}}


def borne(measured: dict[str, Any], seconds: float, cores: float, times: float) -> str:
    """Workers with fits of so many seconds that a storage bears: at its server, and as workers do themselves.

    Args:
        cores: Of the server.
        times: So much more often than the search that was measured a fit reads the trials.
    """
    number = [int(n) for n in measured["among"]]
    server, client = (
        np.maximum(times * np.polyfit(number, [one[side] for one in measured["among"].values()], 1), 1e-9)
        for side in ("server", "client")
    )
    # workers / seconds · (floor + slope · workers) + workers / BEAT_SECONDS · beat = BUSY · cores
    a, b = server[0] / seconds, server[1] / seconds + measured["beat"] / BEAT_SECONDS
    by_server = int((-b + np.sqrt(b * b + 4 * a * BUSY * cores)) / (2 * a))
    by_client = int((WORTH * seconds - client[1]) / client[0])  # floor + slope · workers = WORTH · seconds
    return f"{by_server} ({max(1, by_client)})"


def borne_by_file(told: dict[str, Any], writes: float, seconds: float) -> str:
    """The same for a SQLite file, which one process writes at a time: half of the time somebody does."""
    names = ("ask", "write worker", "draw", "write fold", "report", "tell")
    write = np.mean([told[n][op]["median"] for op in names for n in told]) / 1e3
    beat = np.mean([told[n]["heartbeat"]["median"] for n in told]) / 1e3
    return str(int(0.5 / (writes * write / seconds + beat / BEAT_SECONDS)))


# Results


def tables(told: dict[str, Any]) -> str:
    """The results as a page of Markdown."""
    lines = [f"Storage of a search, measured by `storage.py` on {told['when'][:10]}: {told['machine']}.", ""]
    lines += [", ".join(f"{name} {version}" for name, version in told["versions"].items()), ""]
    if "operations" in told:
        names = list(told["operations"])
        lines += [
            "Milliseconds of an operation, median (95th percentile), 40 / 400 trials in the study, 10 in training:",
            "",
        ]
        lines += ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
        for op in told["operations"][names[0]]["40"]:
            cells = (told["operations"][name] for name in names)
            shown = (
                " / ".join(f"{cell[n][op]['median']:.2g} ({cell[n][op]['p95']:.2g})" for n in ("40", "400"))
                for cell in cells
            )
            lines.append(f"| {op} | " + " | ".join(shown) + " |")
        lines.append("")
    for title in ("counts", "counts_before"):
        for kind, one in told.get(title, {}).items():
            per = ", ".join(f"{name} {n:.2f}" for name, n in one["per_fit"].items() if n >= 0.1)
            when = "" if title == "counts" else ", before a decision was one reading"
            lines += [
                f"Per fit of a {kind} search{when} ({one['fits']} fits, {one['trials']} trials): "
                f"{one['reads']:.1f} reads, "
                f"{one['writes']:.1f} writes, {one['statements']:.0f} SQL statements, {one['sent'] / 1e3:.1f} kB sent, "
                f"{one['received'] / 1e3:.1f} kB received ({per}).",
                "",
            ]
    if "fits" in told:
        lines += ["CPU milliseconds of server / client per fit, among so many trials in training:", ""]
        for name, one in told["fits"].items():
            among = ", ".join(
                f"{n}: {1e3 * c['server']:.0f} / {1e3 * c['client']:.0f}" for n, c in one["among"].items()
            )
            lines.append(f"- {name}: {among}; a heartbeat {1e3 * one['beat']:.2f} of the server")
        lines += [
            "",
            "Workers of a fold-aware search that one storage bears, computed from these (see `borne`): as many as keep "
            f"the server {BUSY:.0%} busy; in brackets, as many as leave each {1 - WORTH:.0%} of its time for training:",
            "",
        ]
        lines += ["| | fits of 1 s | 10 s | 60 s |", "|---|---|---|---|"]
        lines += [f"| {name} | " + " | ".join(map(str, row.values())) + " |" for name, row in told["bears"].items()]
        lines.append("")
    if "crowd" in told:
        lines += [
            "Crowds before PostgreSQL. `wait`: from the end of a fit to the beginning of the worker's next; `share`: "
            "of its time, which the storage takes; `silence`: the longest between two heartbeats of a simulated worker "
            f"(after {GRACE_SECONDS:g} s it would be taken for dead):",
            "",
            "| workers | fits take s | who | fits | wait ms (95 %) | share | server cores | silence s | errors "
            "| taken over | doubled |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for one in told["crowd"]:
            for kind in ("real", "simulated"):
                if kind not in one:
                    continue
                seen: dict[str, Any] = one[kind]
                number = one["real_workers"] if kind == "real" else one["workers"] - one["real_workers"]
                row = [one["workers"], "{:g} to {:g}".format(*one["fit"]), f"{number} {kind}", seen["fits"]]
                row += [f"{seen['wait']['median']:.0f} ({seen['wait']['p95']:.0f})", f"{seen['share']:.1%}"]
                row += [f"{one['server_cores']:.2f}", f"{one['silence']:.1f}" if one["silence"] else ""]
                row += [sum(seen["errors"].values()), one["taken_over"], one["doubled"]]
                lines.append("| " + " | ".join(map(str, row)) + " |")
        lines += [
            "",
            "Server and clients share the machine's cores, and a real worker's own arithmetic is in its wait.",
            "",
            f"Connections of a worker: {told['connections']['kept']}; "
            f"{told['connections']['at_most']} where a heartbeat and a question meet.",
            "",
        ]
    return "\n".join(lines)


def main() -> int:
    parts = ("operations", "counts", "fits", "crowd")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--only", nargs="*", choices=parts, default=parts)
    parser.add_argument("--before", action="store_true", help="keep the counts as those of an earlier version")
    parser.add_argument("--seconds", type=float, default=40, help="of each crowd")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    told: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    told |= {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} CPU cores shared with other work, servers and clients on it alike",
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in ("optuna", "sqlalchemy", "psycopg", "grpcio", "pymysql")},
    }

    def keep() -> None:
        if {"operations", "counts", "fits"} <= told.keys():
            told["bears"] = bears(told)
        RESULTS.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        RESULTS.with_suffix(".md").write_text(tables(told), encoding="utf-8")

    with tempfile.TemporaryDirectory() as folder, places(Path(folder)) as found:
        for name, server in (("PostgreSQL", "postgres"), ("MariaDB", "mariadbd")):
            if name in found:
                said = subprocess.run([program(server), "--version"], capture_output=True, text=True).stdout
                told["versions"][name] = next((word for word in said.split() if word[0].isdigit()), said.strip())
        if "operations" in given.only:
            told["operations"] = {
                name: {str(n): operations(place, n) for n in (40, 400)} for name, place in found.items()
            }
            keep()
        if "counts" in given.only:
            told["counts_before" if given.before else "counts"] = counts(found["PostgreSQL"])
            keep()
        vars(runner)["fit_curve"] = lambda seen: None  # each worker's own arithmetic, which here all would share
        if "fits" in given.only:
            told["fits"] = {
                name: fits(found[name], others)
                for name, others in (("PostgreSQL", (1, 100, 300, 1000)), ("gRPC proxy", (1, 30, 100, 300)))
            }
            keep()
        if "crowd" in given.only:
            told["connections"] = connections(found["PostgreSQL"])
            script = recorded_script(found["PostgreSQL"])
            told["crowd"] = []
            for crowd in CROWDS:
                told["crowd"].append(met_by(crowd, found["PostgreSQL"], script, given.seconds))
                keep()
    print(tables(told))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
