"""How much faster real searches by several processes of this machine are: `l2tune search --workers N`, N by N.

    python studies/benchmarks/speed_up.py                            # 1 and 2 workers on the default search
    python studies/benchmarks/speed_up.py --workers 1 2 4 --runs 3 -- --data mnist --subset 1000

What follows `--` goes to `l2tune search`. The numbers of workers take turns, run by run, so that what else the machine
does falls on all of them; ratios are of the medians. Seconds are those of the command, with the start of its processes.

Writes the part `speed-up` of `results/workers.json` and of `results/workers.md`; other parts stay as they are.
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
from importlib import metadata
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from tables import rows_as_markdown
from workers import HERE, write_part


def search(workers: int, words: list[str]) -> tuple[float, int, float]:
    """Seconds, fits and λ_best of one search in a folder of its own; with one worker, of one process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "l2tune", "search", "--study", "timed", "--quiet", *words]
        command += ["--workers", str(workers)] if workers > 1 else []
        began = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        result = json.loads((Path(folder) / "runs/timed/results.json").read_text())
    return seconds, int(result["fits"]), float(result["best_lambda"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    own, _, rest = " ".join(sys.argv[1:]).partition("-- ")
    given, words = parser.parse_args(own.split()), rest.split()
    rows = [(run, n, *search(n, words)) for run in range(given.runs) for n in sorted({1, *given.workers})]
    table = pd.DataFrame(rows, columns=["run", "workers", "seconds", "fits", "best λ"])
    shown = table.groupby("workers")[["seconds", "fits", "best λ"]].median().reset_index()
    one = shown.loc[shown["workers"] == 1].iloc[0]
    shown["speed-up"] = (one["seconds"] / shown["seconds"]).round(2)
    shown["per fit"] = (one["seconds"] / one["fits"] / (shown["seconds"] / shown["fits"])).round(2)
    about = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "search": " ".join(["l2tune search", *words]),
        "runs": given.runs,
        "versions": {name: metadata.version(name) for name in ("l2tune", "optuna", "torch")},
    }
    head = f"{about['date']}, {about['machine']}, `{about['search']}`, medians of {given.runs} runs.\n"
    text = f"{head}`per fit`: how many times as many fits a second as one worker.\n\n{rows_as_markdown(shown)}\n"
    write_part(given.out, "speed-up", about | {"rows": table.to_dict("records")}, text)
    print(shown.to_string(index=False))
    print(f"written to {given.out}/workers.*")


if __name__ == "__main__":
    main()
