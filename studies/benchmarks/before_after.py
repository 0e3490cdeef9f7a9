"""How long searches take now, against an earlier commit: the same commands by both, in turns, run by run.

    python studies/benchmarks/before_after.py f4f34db                    # all cases that the data are there for
    python studies/benchmarks/before_after.py f4f34db --cases digits busy --runs 3

Seconds are those of the whole command, with imports and report; a ratio is of medians. `two at once`: two searches at
the same time, against one alone; `busy`: one search beside a loop on every core, likewise. Both are of the code as it
is now, for they tell how it bears company, and come after `digits`, which is the one alone. MNIST is read from
$L2TUNE_DATA, CIFAR-10 from the folder $L2TUNE_CIFAR10. Writes `results/before-after.{json,md}`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))
from tables import rows_as_markdown  # noqa: E402

MNIST = ["--data", "mnist", "--data-root", os.environ.get("L2TUNE_DATA", "."), "--subset", "1000", "--epochs", "10"]
CIFAR = [
    "--data",
    os.environ.get("L2TUNE_CIFAR10", "."),
    "--subset",
    "1000",
    "--model",
    "small_resnet",
    "--epochs",
    "10",
]
CASES: dict[str, list[str]] = {
    "digits": [],
    "digits, float32": ["--precision", "float32"],
    "mnist-1000": MNIST,
    "cifar10-1000 small_resnet": CIFAR,
}
"""Case → words of `l2tune search`."""

COMPANY = ("two at once", "busy")
TARGETS = dict.fromkeys(CASES, 0.4) | {"digits, float32": 0.65, "two at once": 1.6, "busy": 2.3}
"""Case → the ratio aimed at: to the earlier commit, or to one search alone."""


def start(code: Path, words: list[str], folder: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "l2tune", "search", "--study", "timed", "--quiet", *words]
    return subprocess.Popen(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(code)}, stdout=subprocess.DEVNULL)


def searches(code: Path, words: list[str], at_once: int = 1) -> tuple[float, dict[str, Any]]:
    """Seconds until so many searches, started together, have ended; and what one of them found."""
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / str(number) for number in range(at_once)]
        for folder in folders:
            folder.mkdir()
        began = time.perf_counter()
        running = [start(code, words, str(folder)) for folder in folders]
        for process in running:
            if process.wait():
                raise SystemExit(f"a search by {code} failed")
        seconds = time.perf_counter() - began
        return seconds, json.loads((folders[0] / "runs/timed/results.json").read_text())


def in_company(case: str, runs: int, alone: float) -> dict[str, Any]:
    """A row of two searches at once, or of one beside a loop on every core, against the seconds of one alone."""
    taken = []
    for _ in range(runs):
        with busy_cores() if case == "busy" else nullcontext():
            seconds, found = searches(ROOT, CASES["digits"], at_once=1 if case == "busy" else 2)
        taken.append(seconds)
    now = median(taken)
    row = {"case": case, "now (s)": now, "times one alone": now / alone, "target": TARGETS[case]}
    return row | {"fits now": found["fits"], "λ now": f"{found['best_lambda']:.3g}"}


@contextmanager
def busy_cores() -> Iterator[None]:
    """A loop on every core."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@contextmanager
def earlier_code(commit: str) -> Iterator[Path]:
    """A commit's files."""
    with tempfile.TemporaryDirectory() as place:
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", place], input=archive, check=True)
        yield Path(place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("commit", help="to compare with")
    parser.add_argument("--cases", nargs="*", default=[*CASES, *COMPANY], choices=[*CASES, *COMPANY])
    parser.add_argument("--runs", type=int, default=2)
    given = parser.parse_args()
    if set(given.cases) & set(COMPANY) and given.cases[0] != "digits":
        parser.error("searches in company are told against `digits` alone: give it first")
    rows = earlier_rows(given.commit, given.cases)
    with earlier_code(given.commit) as before:
        codes = {"before": before, "now": ROOT}
        alone: list[float] = []
        for case in given.cases:
            if case in COMPANY:
                rows.append(in_company(case, given.runs, median(alone)) | measured(given.runs))
                print(rows[-1], flush=True)
                write(given.commit, rows)
                continue
            taken: dict[str, list[float]] = {name: [] for name in codes}
            found: dict[str, dict[str, Any]] = {}
            for _ in range(given.runs):
                for name, code in codes.items():
                    seconds, found[name] = searches(code, CASES[case])
                    taken[name].append(seconds)
            alone = taken["now"] if case == "digits" else alone
            one = {name: median(seconds) for name, seconds in taken.items()}
            row: dict[str, Any] = {"case": case, "before (s)": one["before"], "now (s)": one["now"]}
            row["ratio"] = one["now"] / one["before"]
            row["target"] = TARGETS[case]
            for name in codes:
                row[f"fits {name}"] = found[name]["fits"]
                row[f"λ {name}"] = f"{found[name]['best_lambda']:.3g}"
            row |= measured(given.runs)
            rows.append(row)
            print(row, flush=True)
            write(given.commit, rows)


FILE = HERE / "results" / "before-after.json"


def earlier_rows(commit: str, cases: list[str]) -> list[dict[str, Any]]:
    """Those of other cases against the same commit, measured before; each row tells when."""
    told = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    same = told.get("before") == commit
    return [row for row in told["rows"] if row["case"] not in cases] if same else []


def measured(runs: int) -> dict[str, Any]:
    """When a row was measured, and how often."""
    return {"runs": runs, "measured": datetime.date.today().isoformat()}


def shown(value: Any) -> str:
    """A cell of the table."""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def write(commit: str, rows: list[dict[str, Any]]) -> None:
    """The results so far."""
    used = {name: metadata.version(name) for name in ("torch", "numpy", "optuna")}
    about = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": used,
        "before": commit,
    }
    FILE.write_text(json.dumps(about | {"rows": rows}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    versions = ", ".join(f"{name} {version}" for name, version in used.items())
    head = (
        f"Searches now and at commit {commit}, by `before_after.py` on {about['date']}: {about['machine']}, {versions}."
    )
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pd.DataFrame([{name: shown(row.get(name, "")) for name in names} for row in rows])
    text = f"{head} Seconds of the whole command, medians of runs in turns.\n\n{rows_as_markdown(table)}\n"
    FILE.with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
