"""Searches that are killed at a random moment and started again tell what they would have told undisturbed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from processes import Process, begin

from l2tune.records.fold_record import fold_records
from l2tune.records.observations import strength_of
from l2tune.search.storage import open_storage

SEARCH = ("--storage", "s.db", "--subset", "300", "--folds", "3", "--epochs", "30", "--model", "linear")
QUICK_WATCH = """
import sys
import l2tune.search.heartbeat as heartbeat
heartbeat.BEAT_SECONDS, heartbeat.GRACE_SECONDS = 0.2, 2.0
from l2tune.cli import main
main(sys.argv[1:])
"""
"""l2tune, with workers taken for dead after two seconds instead of twenty."""
BIRTH_SECONDS = 5.0


def search(folder: Path) -> Process:
    return begin(folder, "search", "--study", "digits", *SEARCH, script=QUICK_WATCH)


def told(folder: Path) -> dict[str, Any]:
    """All that a search tells but the time that it took."""
    found: dict[str, Any] = _timeless(json.loads((folder / "runs/digits/results.json").read_text()))
    return found


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if "seconds" not in key and key != "created"}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def trained(folder: Path) -> list[tuple[float | None, int]]:
    """(λ, fold) of each fit of the study, in order."""
    study = optuna.load_study(study_name="digits", storage=open_storage(str(folder / "s.db")))
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))
    fits = [(t, fold) for t in study.trials for fold, r in fold_records(t).items() if r.reused_from is None]
    return sorted((strength_of(trial) or 0.0, fold) for trial, fold in fits)


def moments(folder: Path, process: Process, seconds: float, rng: random.Random, early: bool) -> None:
    """Wait until the moment to kill: early in the life of a trial, or anywhere in the search."""
    if not early:
        with suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0.0, seconds))
        return
    wanted, since = rng.randrange(1, 12), rng.uniform(0.0, min(BIRTH_SECONDS, 0.3))
    while process.poll() is None:
        with suppress(Exception):
            study = optuna.load_study(study_name="digits", storage=open_storage(str(folder / "s.db")))
            if len(study.get_trials(deepcopy=False)) >= wanted:
                break
        time.sleep(0.01)
    time.sleep(since)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[Any], float]:
    """What the search tells, its fits, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    began = time.monotonic()
    process = search(folder)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return told(folder), trained(folder), time.monotonic() - began


def check(folder: Path, undisturbed: tuple[dict[str, Any], list[Any], float], seed: int) -> None:
    expected, fits, seconds = undisturbed
    rng = random.Random(seed)
    process = search(folder)
    moments(folder, process, seconds, rng, early=seed % 2 == 0)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    process = search(folder)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert trained(folder) == fits, "no fold twice, none lost"
    assert told(folder) == expected


@pytest.mark.parametrize("seed", [0, 1])
def test_a_search_that_was_killed_tells_the_same(tmp_path: Path, undisturbed: Any, seed: int) -> None:
    check(tmp_path, undisturbed, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 200))
def test_soak(tmp_path: Path, undisturbed: Any, seed: int) -> None:
    check(tmp_path, undisturbed, seed)
