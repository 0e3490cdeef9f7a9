"""How long `l2tune search` takes to its first epoch, beside `import torch` alone: whole processes, in turns.

    python studies/benchmarks/start_up.py

A search is ended as soon as its first network is about to be trained: everything before it counts, the interpreter's
own start, the choice of precision and the storage included. Wall time depends on what else the machine does; the CPU
time of the process, user and system, hardly.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

RESULTS = Path(__file__).parent / "results" / "start-up"
TARGET = 1.5
"""Times the import of torch."""

SEARCH = """
import os, sys
class Stop:
    def find_spec(self, name, path, target=None):
        if name == "l2tune.search.runner":  # the last module that a search imports before its first epoch
            from l2tune.training.sequential import SequentialRun
            SequentialRun._train = lambda *given, **named: os._exit(0)
sys.meta_path.insert(0, Stop())
from l2tune.cli import main
main(["search", "--quiet", "--storage", "start.db", "--study", "start", "--out", "out"])
"""
"""`os._exit` spares the search the end of a process, which `import torch` pays: about 0.05 s."""

CODES = {"import torch": "import os, torch; os._exit(0)", "l2tune search, to its first epoch": SEARCH}


def seconds(code: str) -> tuple[float, float]:
    """Wall and CPU seconds of a process that runs this code in an empty folder."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        before, began = os.times(), time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, cwd=folder, env=environment)
        wall, after = time.perf_counter() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    for code in CODES.values():  # files into the cache, modules compiled
        seconds(code)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in CODES}
    for _ in range(options.repeats):
        for name, code in CODES.items():
            taken[name].append(seconds(code))
    middle = {name: [round(median(part), 3) for part in zip(*times, strict=True)] for name, times in taken.items()}
    torch, search = middle.values()
    ratios = [round(own / other, 2) for own, other in zip(search, torch, strict=True)]
    made = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "optuna", "sqlalchemy", "alembic", "l2tune")},
    }
    lines = [
        "# From `l2tune search` to its first epoch",
        "",
        f"Medians of {options.repeats} processes each, in turns; " + ", ".join(f"{k} {v}" for k, v in made.items()),
        "",
        "| | wall, s | CPU, s |",
        "|---|---|---|",
        *(f"| {name} | {wall:.2f} | {cpu:.2f} |" for name, (wall, cpu) in middle.items()),
        f"| ratio (target: {TARGET}) | {ratios[0]:.2f} | {ratios[1]:.2f} |",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    options.out.with_suffix(".md").write_text(text)
    told = made | {"repeats": options.repeats, "target": TARGET, "median": middle, "all": taken, "ratio": ratios}
    options.out.with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
