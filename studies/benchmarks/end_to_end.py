"""`l2tune search` against the script that a competent user writes with Optuna, on digits, end to end.

    python studies/benchmarks/end_to_end.py --seeds 3

Both run as processes of their own, in turn, on the same cores; wall time includes imports. The λ that each chose is
then refitted on all training images (`l2tune fit`) and scored on the test images, which neither saw, beside λ = 0.
Writes `results/end-to-end.json`.
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
from typing import Any

HERE = Path(__file__).parent


def timed(command: list[str], folder: Path) -> tuple[float, str]:
    """Wall seconds and standard output of a command."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return time.perf_counter() - began, done.stdout


def test_scores(strength: float, seed: int, folder: Path) -> dict[str, float]:
    """Loss and error on the test images after refitting with λ."""
    out = folder / f"fit-{strength:.3e}"
    words = ["fit", f"seed{seed}", "--lambda", repr(strength), "--out", str(out)]
    timed([sys.executable, "-m", "l2tune", *words], folder)
    fit = json.loads((out / "fit.json").read_text())
    return {"loss": fit["test_loss"], "error": fit["test_error"]}


def compare(seed: int, folder: Path) -> list[dict[str, Any]]:
    """One search by each; every other seed the script goes first."""

    def l2tune() -> dict[str, Any]:
        words = ["search", "--seed", str(seed), "--study", f"seed{seed}", "--quiet"]
        seconds, _ = timed([sys.executable, "-m", "l2tune", *words], folder)
        found = json.loads((folder / f"runs/seed{seed}/results.json").read_text())
        return {"tool": "l2tune search", "seconds": seconds, "fits": found["fits"], "lambda": found["best_lambda"]}

    def script() -> dict[str, Any]:
        seconds, output = timed([sys.executable, str(HERE / "usual_script.py"), str(seed)], folder)
        found = json.loads(output)
        strength = found["weight_decay"] / 2
        return {"tool": "script: TPE, MedianPruner", "seconds": seconds, "fits": found["fits"], "lambda": strength}

    rows = [l2tune(), script()] if seed % 2 == 0 else [script(), l2tune()]
    unregularized = test_scores(0.0, seed, folder)
    return [
        {"seed": seed} | row | {"test": test_scores(row["lambda"], seed, folder), "test_at_zero": unregularized}
        for row in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    print(
        f"{'seed':>4}  {'tool':26}{'seconds':>9}{'fits':>7}{'λ':>11}{'test loss':>11}{'at λ = 0':>10}{'test error':>12}"
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            for row in compare(seed, Path(folder)):
                rows.append(row)
                test = row["test"]
                print(
                    f"{seed:4}  {row['tool']:26}{row['seconds']:9.0f}{row['fits']:7.1f}{row['lambda']:11.2e}"
                    f"{test['loss']:11.4f}{row['test_at_zero']['loss']:10.4f}{100 * test['error']:11.2f}%",
                    flush=True,
                )
    result = {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "on": f"{platform.machine()}, {os.cpu_count()} CPU cores, {os.environ.get('OMP_NUM_THREADS', 'all')} threads",
        "versions": {name: metadata.version(name) for name in ("l2tune", "torch", "optuna", "scikit-learn")},
        "rows": rows,
    }
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results/end-to-end.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
