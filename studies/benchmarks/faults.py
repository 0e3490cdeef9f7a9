"""Faults that a search survives: each is made to happen by a test, and this runs those tests and tells how they went.

    python studies/benchmarks/faults.py                    # about ten minutes; needs what `.ci/run` installs
    python studies/benchmarks/faults.py --soak 20          # and 20 of the 100 searches that are killed at random

Writes the part `faults` of `results/workers.json` and of `results/workers.md`; other parts stay as they are.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from importlib import metadata
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from tables import rows_as_markdown
from workers import HERE, write_part

ROOT = HERE.parent.parent
_WORKERS, _STORAGES = "tests/commands/test_workers.py", "tests/search/test_storages.py"
_ENDINGS, _FAILING = "tests/commands/test_endings.py", "tests/search/test_failing.py"

FAULTS = {
    "a worker is killed (SIGKILL) in the middle of a fit": f"{_WORKERS} killed_is_replaced",
    "the coordinator is killed, and started again": f"{_WORKERS} coordinator_that_is_killed",
    "a container is killed, and starts again with the same host name and process number": f"{_WORKERS} container",
    "a worker is suspended (SIGSTOP) until it is taken for dead, and wakes": f"{_WORKERS} suspended",
    "clocks are eight hours apart": f"{_WORKERS} clocks",
    "Ctrl-C with several workers": f"{_WORKERS} ctrl_c",
    "Ctrl-C, SIGTERM, SIGHUP; Ctrl-C twice": f"{_ENDINGS} signal or ctrl_c",
    "a search is killed at a random moment, and started again": "tests/commands/test_soak.py killed",
    "an interrupt at any write to the storage": "tests/search/test_runner.py interrupt_at_any_write",
    "a node of a Ray cluster is lost, and a worker killed": "tests/search/test_ray.py lost_node",
    "PostgreSQL is restarted under load": f"{_STORAGES} restarted",
    "a server stays away": f"{_STORAGES} stays_away",
    "eight writers of one SQLite file": f"{_STORAGES} eight_writers",
    "an answer of the storage is lost, whichever": "tests/search/test_patience.py whichever_answer",
    "the disk of the database fills up": f"{_STORAGES} disk_that_fills",
    "the disk of the report is full": f"{_ENDINGS} disk",
    "a journal is damaged, or its writer was killed in the middle of a line": "tests/search/test_journal.py",
    "a storage is no storage, or read-only, or of another program": "tests/search/test_storage.py",
    "memory runs out, on the CPU too": "tests/training/test_memory.py",
    "a network or a fit raises at some λ": f"{_FAILING} some_strengths or culprit",
    "it raises everywhere": f"{_FAILING} everywhere",
    "a fit hangs": f"{_FAILING} too_long",
    "a fit hangs and cannot be stopped": f"{_ENDINGS} cannot_be_stopped",
    "hostile names and attributes in a storage": "tests/commands/test_foreign_storages.py",
    "a web page writes to the dashboard": "tests/report/test_own_pages_only.py",
}
"""Fault → the file of its tests, and the words (as of `pytest -k`) that pick them."""


def outcome(*words: str) -> tuple[int, int]:
    """Run the tests that these words of pytest's pick; returns how many passed and how many did not."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *words]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"L2TUNE_CI": "1"}, stdout=subprocess.DEVNULL)
        suite = xml.parse(report).getroot()[0].attrib
    bad = int(suite["failures"]) + int(suite["errors"]) + int(suite["skipped"])
    return int(suite["tests"]) - bad, bad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--soak", type=int, default=0, choices=range(101), metavar="SEARCHES")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    rows = []
    for fault, tests in FAULTS.items():
        file, _, words = tests.partition(" ")
        rows.append((fault, *outcome(file, *(["-k", words] if words else [])), file))
    if given.soak:
        searches = [f"tests/commands/test_soak.py::test_soak[{seed}]" for seed in range(100, 100 + given.soak)]
        name = f"{given.soak} searches, each killed once at a random moment, half of them early in a trial, and resumed"
        rows.append((name, *outcome("-m", "long", *searches), "tests/commands/test_soak.py -m long"))
    table = pd.DataFrame(rows, columns=["fault", "survived", "not", "tests"])
    names = ("l2tune", "optuna", "torch")
    about = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": {name: metadata.version(name) for name in names},
    }
    head = f"{about['date']}, {about['machine']}. `survived`: cases in which all held that the tests ask for.\n\n"
    text = head + rows_as_markdown(table) + "\n"
    write_part(given.out, "faults", about | {"rows": table.to_dict("records")}, text)
    print(table.to_string(index=False))
    print(f"written to {given.out}/workers.*")
    sys.exit(int(table["not"].sum() > 0))


if __name__ == "__main__":
    main()
