"""The benchmark of strategies: a search is replayed over a recording, and its choice is judged."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "studies" / "benchmarks"
STRATEGIES = "l2tune", "l2tune, no first estimate", "tpe, median"

REPLAY = """
import json, sys
from pathlib import Path
from search import search
found = [search(Path(sys.argv[1]), "loss", strategy, 0) for strategy in sys.argv[2:]]
print(json.dumps([{"gains": o.gains, "choices": o.choices, "regret": o.regret, "covered": o.covered} for o in found]))
"""


@pytest.fixture(scope="module")
def replayed() -> dict[str, Any]:
    """Strategy → what came of one search over one recording."""
    recording = BENCHMARKS / "recordings" / "digits-250-sgd.csv.gz"
    words = [sys.executable, "-c", REPLAY, str(recording), *STRATEGIES]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(BENCHMARKS)}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return dict(zip(STRATEGIES, json.loads(done.stdout), strict=True))


def test_a_choice_is_judged_by_the_recording(replayed: dict[str, Any]) -> None:
    assert replayed["l2tune"]["gains"][-1] > 0.8
    assert replayed["l2tune"]["regret"] < 1
    assert replayed["l2tune"]["covered"] is True
    assert replayed["tpe, median"]["covered"] is None


def test_a_search_without_first_estimate_goes_another_way(replayed: dict[str, Any]) -> None:
    assert replayed["l2tune"]["choices"] != replayed["l2tune, no first estimate"]["choices"]
