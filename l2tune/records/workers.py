"""Who runs a trial, or trains a final network, and its heartbeat: all that tells other workers that it is alive."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from l2tune.optuna_internals import mark_trial
from l2tune.records.keys import BEAT, WORKER, refitting_key


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker of a study.

    Attributes:
        token: Drawn anew for each: two with the same token are the same. Containers share host names and numbers of
            processes, and a restarted one has them of before.
        host: Its machine, for people.
        pid: Its process there, for people.
    """

    token: str = field(default_factory=lambda: secrets.token_hex(8))
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def write_worker(study: optuna.Study, trial: optuna.Trial | FrozenTrial, worker: Worker) -> None:
    """Write down who runs the trial."""
    mark_trial(study, trial, WORKER, asdict(worker))


def worker_of(trial: FrozenTrial) -> Worker | None:
    """Who runs the trial; None in a loop of the user's own, and in the first instant of a trial."""
    return _read(trial.user_attrs.get(WORKER))


def write_beat(study: optuna.Study, trial: optuna.Trial | FrozenTrial, beat: int) -> None:
    """Let the heart of a running trial beat.

    Raises:
        optuna.exceptions.UpdateFinishedTrialError: Another worker has given the trial up.
    """
    mark_trial(study, trial, BEAT, beat)


def signs_of_life(trial: FrozenTrial) -> tuple[object, ...]:
    """What changes while the trial's worker lives."""
    attrs = trial.user_attrs
    token = (attrs.get(WORKER) or {}).get("token")
    return token, attrs.get(BEAT), len(attrs), len(trial.params), len(trial.intermediate_values)


def write_refitting(study: optuna.Study, strength: float, seed: int, worker: Worker, beat: int) -> None:
    """Write down that this worker trains the final network of this λ and seed; again and again while it does."""
    study.set_user_attr(refitting_key(strength, seed), asdict(worker) | {"beat": beat})


def clear_refitting(study: optuna.Study, strength: float, seed: int) -> None:
    """Write down that nobody trains it."""
    study.set_user_attr(refitting_key(strength, seed), None)


def refitting(study: optuna.Study, strength: float, seed: int) -> tuple[Worker, int] | None:
    """Who trains the final network of this λ and seed, and the heartbeat; None if nobody does."""
    stored = study.user_attrs.get(refitting_key(strength, seed))
    worker = _read(stored)
    return None if worker is None or stored is None else (worker, int(stored.get("beat", 0)))


def _read(stored: Mapping[str, Any] | None) -> Worker | None:
    """A worker; earlier versions of l2tune drew no token."""
    if stored is None:
        return None
    host, pid = str(stored["host"]), int(stored["pid"])
    return Worker(str(stored.get("token") or f"{host}/{pid}"), host, pid)
