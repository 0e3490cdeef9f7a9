"""A search as commands run it, against a bare PyTorch loop of the same steps: whole processes, in turns.

    python studies/benchmarks/bare_loop.py                          # all cases that the data are there for
    python studies/benchmarks/bare_loop.py --cases mnist-1000 --turns 5

The bare loop is what one would write by hand for speed: float32, all images normalized before, batches by index, torch
left as it is. It evaluates nothing. Three ratios to it:

- `step`: seconds of a training step as a search takes it on this machine (precision, networks side by side and memory
  as commands choose them; two networks side by side take two steps at once), without evaluation;
- `search`: a whole `l2tune search` of two strengths with nothing pruned, from the start of the process to its end,
  imports, evaluation, baseline, first estimate, storage and report included, against as many fits of the bare loop,
  imports included; of those it trains two, and the others are reckoned to take as long;
- `memory`: the most that each process holds, on all 60,000 images of MNIST.

MNIST is read from $L2TUNE_DATA, CIFAR-10 from the folder $L2TUNE_CIFAR10. Ratios are within a turn, and told as medians
over turns with the least and the largest. Writes `results/bare-loop.{json,md}`; rows of other cases stay, with their
date.
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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
RESULTS = HERE / "results" / "bare-loop.json"
MNIST, CIFAR = os.environ.get("L2TUNE_DATA", ""), os.environ.get("L2TUNE_CIFAR10", "")
FITS = 2
"""That the bare loop trains."""


@dataclass(frozen=True)
class Case:
    """What is trained, and the ratios aimed at; None where there is no target."""

    settings: dict[str, Any]
    needs: str = "."
    step: float | None = 1.02
    search: float | None = None
    memory: float | None = None


def cifar(model: str) -> dict[str, Any]:
    return {"data": CIFAR, "subset": 1000, "model": model, "epochs": 10}


CASES = {
    "digits": Case({"data": "digits"}),
    "digits, linear": Case({"data": "digits", "model": "linear"}),
    "mnist-1000": Case(
        {"data": "mnist", "data_root": MNIST, "subset": 1000, "epochs": 10}, MNIST, step=0.45, search=0.6
    ),
    "cifar10-1000": Case(cifar("simple_cnn"), CIFAR, step=0.45, search=0.6),
    "cifar10-1000 small_resnet": Case(cifar("small_resnet"), CIFAR),
    "mnist-60000": Case({"data": "mnist", "data_root": MNIST, "epochs": 1}, MNIST, memory=1.3),
}


def assembled(case: str) -> Any:
    from l2tune.assemble import assemble
    from l2tune.settings import build

    return assemble(build({"engine": "sequential", **CASES[case].settings}))


def bare(case: str) -> dict[str, float]:
    """Train `FITS` networks by hand; seconds of a step, and of a fit."""
    import torch
    from torch.nn.functional import cross_entropy

    from l2tune.assemble import make_problem
    from l2tune.settings import build
    from l2tune.training.pixels import Normalization

    problem = make_problem(build(CASES[case].settings))
    data, given, train = problem.data, problem.training, torch.from_numpy(problem.folds[0].train)
    normalization = Normalization.of(data.images, problem.folds[0].train, torch.float32, torch.device("cpu"))
    images, labels = normalization.apply(data.images[train]), data.labels[train]
    del problem
    fits, steps = [], []
    for seed in range(FITS):
        began = time.perf_counter()
        torch.manual_seed(seed)
        model = assembled_network(case, data)
        optimizer = torch.optim.SGD(model.parameters(), lr=given.lr, momentum=0.9, weight_decay=1e-4, fused=True)
        for _ in range(given.epochs):
            start = time.perf_counter()
            batches = torch.split(torch.randperm(len(labels)), given.batch_size)
            for indices in batches:
                optimizer.zero_grad(set_to_none=True)
                cross_entropy(model(images[indices]), labels[indices]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            steps.append((time.perf_counter() - start) / len(batches))
        fits.append(time.perf_counter() - began)
    return {"step": median(steps), "fit": sum(fits) / len(fits)}


def assembled_network(case: str, data: Any) -> Any:
    from l2tune.models.registry import make_factory
    from l2tune.settings import build

    return make_factory(build(CASES[case].settings).model)(data.shape, data.classes)


def steps(case: str) -> dict[str, float]:
    """Seconds of a training step as commands take it, over all networks side by side."""
    from l2tune.process import own_process

    own_process()
    import torch

    from l2tune.training.member_training import MemberTraining
    from l2tune.training.pixels import DeviceImages

    trainer = assembled(case).trainer
    problem, beside = trainer.problem, trainer.together
    source = DeviceImages.of(problem.data.images, problem.data.labels, problem.device)
    train, normalization = problem.folds[0].train, problem.normalization(0)
    networks = [MemberTraining(problem, source, train, normalization, 1e-4, seed) for seed in range(beside)]
    torch.set_num_threads(max(1, torch.get_num_threads() // beside))
    count = -(-len(train) // problem.training.batch_size)
    taken = []
    with ThreadPoolExecutor(beside) as pool:
        for _ in range(max(2, problem.training.epochs)):
            began = time.perf_counter()
            list(pool.map(MemberTraining.train_epoch, networks))
            taken.append((time.perf_counter() - began) / (count * beside))
    return {"step": median(taken[1:]), "side by side": beside, "bfloat16": float(problem.bfloat16)}


def run(words: list[str], folder: str) -> tuple[float, float, str]:
    """Wall seconds, the most memory held (MiB) and standard output of a process."""
    began = time.perf_counter()
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(words)} failed")
    return time.perf_counter() - began, usage.ru_maxrss / 1024, output


def flags(settings: dict[str, Any]) -> list[str]:
    return [word for name, value in settings.items() for word in ("--" + name.replace("_", "-"), str(value))]


def turn(case: str) -> dict[str, Any]:
    """One of each."""
    me = [sys.executable, str(Path(__file__).resolve())]
    search = [sys.executable, "-m", "l2tune", "search", "--study", "timed", "--quiet", "--pruner", "none"]
    with tempfile.TemporaryDirectory() as folder:
        wall, memory, _ = run([*search, "--trials", "2", *flags(CASES[case].settings)], folder)
        fits = json.loads((Path(folder) / "runs/timed/results.json").read_text())["fits"]
        bare_wall, bare_memory, said = run([*me, "--bare", case], folder)
        by_hand = json.loads(said)
        _, _, said = run([*me, "--steps", case], folder)
        ours = json.loads(said)
    reckoned = bare_wall + (fits - FITS) * by_hand["fit"]
    return {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "fits": fits,
        "step": ours["step"] / by_hand["step"],
        "search": wall / reckoned,
        "memory": memory / bare_memory,
        "ms of a step": 1000 * ours["step"],
        "ms of a bare one": 1000 * by_hand["step"],
        "seconds of the search": wall,
        "seconds of the bare loop": reckoned,
        "MiB of the search": memory,
        "MiB of the bare loop": bare_memory,
        "side by side": ours["side by side"],
        "precision": "bfloat16" if ours["bfloat16"] else "float32",
    }


def told(ratios: list[float], target: float | None) -> str:
    spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
    aim = f"; target {target}, {'met' if median(ratios) <= target else 'missed'}" if target is not None else ""
    return f"{median(ratios):.2f}{spread}{aim}"


def write(measured: dict[str, list[dict[str, Any]]]) -> str:
    """The results so far, as JSON and as a table."""
    import pandas as pd
    from tables import rows_as_markdown

    used = {name: metadata.version(name) for name in ("torch", "torchvision", "numpy", "optuna", "l2tune")}
    about = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": used,
    }
    RESULTS.write_text(json.dumps(about | {"turns": measured}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    rows = []
    for name, turns in measured.items():
        case, last = CASES[name], turns[-1]
        ratios = {what: [turn[what] for turn in turns] for what in ("step", "search", "memory")}
        rows.append(
            {
                "case": name,
                "when": last["when"],
                "turns": str(len(turns)),
                "chosen": f"{last['precision']}, {int(last['side by side'])} side by side",
                "step": told(ratios["step"], case.step),
                "search": told(ratios["search"], case.search),
                "memory": told(ratios["memory"], case.memory),
                "ms of a step": f"{median(turn['ms of a step'] for turn in turns):.1f}",
                "bare": f"{median(turn['ms of a bare one'] for turn in turns):.1f}",
            }
        )
    table = rows_as_markdown(pd.DataFrame(rows))
    versions = ", ".join(f"{name} {version}" for name, version in used.items())
    head = f"Ratios to a bare PyTorch loop, by `bare_loop.py`; the last run on {about['machine']}, {versions}."
    RESULTS.with_suffix(".md").write_text(f"{head}\n\n{table}\n", encoding="utf-8")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--cases", nargs="*", default=[name for name, case in CASES.items() if case.needs])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--bare", help=argparse.SUPPRESS)
    parser.add_argument("--steps", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare or given.steps:
        print(json.dumps(bare(given.bare) if given.bare else steps(given.steps)))
        return
    measured: dict[str, list[dict[str, Any]]] = json.loads(RESULTS.read_text())["turns"] if RESULTS.exists() else {}
    for case in given.cases:
        measured.pop(case, None)
    for _ in range(given.turns):
        for case in given.cases:
            measured.setdefault(case, []).append(turn(case))
            print(case, measured[case][-1], flush=True)
            table = write(measured)
    print(table)


if __name__ == "__main__":
    main()
