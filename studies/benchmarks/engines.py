"""How many training steps a second each engine takes, for 1 to 100 members.

    python studies/benchmarks/engines.py                                   # everything, on CUDA where there is one
    python studies/benchmarks/engines.py --device cpu --members 1 5 --steps 10 --tasks simple_cnn   # shortened

Ways to train:

- `dataloader`: the loop of PyTorch's MNIST example: pictures, ToTensor and Normalize one by one, a DataLoader;
- `sequential`: l2tune's reference engine;
- `captured`: the same members in turn, each one's step a CUDA graph (CUDA only);
- `grouped`, `matmul`: l2tune's population, its convolutions as grouped ones or as matrix products.

The first three train one member at a time: their figures do not depend on the number of members and are taken on at
most three. Tasks: `simple_cnn` on MNIST with Adam (batch 128), `small_resnet` on CIFAR-10 with SGD (batch 256), read
from $L2TUNE_DATA, CIFAR-10 as an image folder from $L2TUNE_CIFAR10.

Told are member-steps per second (the median of --repeats epochs of --steps steps, evaluation not timed), their model
FLOP utilization (the network's own FLOPs, against the fastest square matrix product measured here in the same
precision), and the share of the measured copy bandwidth that the optimizer's reads and writes alone take. Writes
`results/engines-DEVICE.json`.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms import Compose, Normalize, ToTensor

from l2tune.assemble import versions
from l2tune.data.folds import Fold
from l2tune.data.images import ImageData
from l2tune.data.sources import load
from l2tune.members import Member
from l2tune.models.registry import make_factory
from l2tune.penalty.strength import weight_decay
from l2tune.penalty.weights import regularized_parameters
from l2tune.settings import DataSettings, PenaltySettings, Settings, build
from l2tune.training.device import choose_device, device_name, has_native_bfloat16, on_device
from l2tune.training.draws import initial_model
from l2tune.training.member_training import MemberTraining
from l2tune.training.pixels import DeviceImages, Normalization
from l2tune.training.problem import Problem
from l2tune.training.stacked.model import Convolution
from l2tune.training.stacked.population import populate
from l2tune.training.stacked.problem import StackedProblem

RESULTS = Path(__file__).parent / "results"
WAYS = ("dataloader", "sequential", "captured", "grouped", "matmul")
ONE_BY_ONE = 3  # members that a way is timed on which trains them in turn
FOLDS = 5
NOISE = 0.15  # ratios closer to 1 are not told apart


@dataclass(frozen=True)
class Task:
    """A network on real images."""

    name: str
    source: str
    settings: Settings
    optimizer_bytes: int
    """That a step of the optimizer reads and writes for each weight: weight, gradient and moments."""


def tasks() -> dict[str, Task]:
    cifar = os.environ.get("L2TUNE_CIFAR10", f"{os.environ.get('L2TUNE_DATA', '.')}/cifar10")
    found = [
        Task("simple_cnn", "mnist", build({"model": "simple_cnn", "optimizer": "adam", "batch_size": 128}), 28),
        Task("small_resnet", cifar, build({"model": "small_resnet", "optimizer": "sgd", "batch_size": 256}), 20),
    ]
    return {task.name: task for task in found}


class Bench:
    """A task on a device: epochs of a few full batches."""

    def __init__(self, task: Task, data: ImageData, device: torch.device, steps: int, repeats: int) -> None:
        self.task, self.device, self.steps, self.repeats = task, device, steps, repeats
        self.training = task.settings.training.model_copy(update={"epochs": repeats + 2})
        self.batch = self.training.batch_size
        needed = steps * self.batch
        if len(data.images) < needed + self.batch:
            raise SystemExit(f"{task.source} has {len(data.images)} images, too few for --steps {steps}")
        rng = np.random.default_rng(0)
        orders = [rng.permutation(len(data.images)) for _ in range(FOLDS)]
        self.folds = [Fold(np.sort(o[:needed]), np.sort(o[needed : needed + self.batch])) for o in orders]
        self.data = data
        self.factory = make_factory(task.settings.model)

    def members(self, count: int) -> list[Member]:
        return [Member(1e-5 * (1 + number // FOLDS), number % FOLDS, number % FOLDS) for number in range(count)]

    def per_second(self, way: str, members: int) -> float:
        """Member-steps per second."""
        with on_device(self.device):
            return self._per_second(way, members)

    def _per_second(self, way: str, members: int) -> float:
        if way in ("dataloader", "sequential", "captured"):
            members = min(members, ONE_BY_ONE)
        make: dict[str, Callable[[int], Callable[[], None]]] = {
            "dataloader": self._dataloader,
            "sequential": self._sequential,
            "captured": lambda count: self._population(count, size=1),
            "grouped": lambda count: self._population(count, size=count),
            "matmul": lambda count: self._population(count, size=count, convolution="matmul"),
        }
        epoch = make[way](members)
        epoch()  # warm-up; a step is captured in it
        seconds = []
        for _ in range(self.repeats):
            self._wait()
            began = time.perf_counter()
            epoch()
            self._wait()
            seconds.append(time.perf_counter() - began)
        return members * self.steps / median(seconds)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _problem(self) -> Problem:
        return Problem(
            self.data, self.folds, self.factory, self.training, self.task.settings.penalty, device=self.device
        )

    def _sequential(self, count: int) -> Callable[[], None]:
        problem = self._problem()
        source = DeviceImages.of(self.data.images, self.data.labels, self.device)
        networks = [
            MemberTraining(problem, source, self.folds[m.fold].train, problem.normalization(m.fold), m.strength, m.seed)
            for m in self.members(count)
        ]

        def epoch() -> None:
            for network in networks:
                network.train_epoch()

        return epoch

    def _population(self, count: int, size: int, convolution: Convolution = "grouped") -> Callable[[], None]:
        problem = StackedProblem.of(self._problem(), convolution=convolution)
        populations = populate(problem, self.members(count), size)

        def epoch() -> None:
            for stream in {id(s): s for p in populations for s in p.streams}.values():
                stream.draw_epoch()
            for population in populations:
                population.train_epoch()
                population.end_epoch()

        return epoch

    def _dataloader(self, count: int) -> Callable[[], None]:
        fold = self.folds[0]
        normalization = Normalization.of(self.data.images, fold.train, torch.float32, torch.device("cpu"))
        transform = Compose([ToTensor(), Normalize(normalization.mean.tolist(), normalization.std.tolist())])
        cuda = self.device.type == "cuda"
        loader = DataLoader(
            Pictures(self.data, fold, transform),
            self.batch,
            shuffle=True,
            num_workers=1 if cuda else 0,
            pin_memory=cuda,
            persistent_workers=cuda,
        )
        networks = []
        for member in self.members(count):
            model = initial_model(self.factory, self.data.shape, self.data.classes, member.seed).to(self.device)
            decay: dict[str, Any] = {
                "params": list(regularized_parameters(model, PenaltySettings()).values()),
                "weight_decay": weight_decay(1e-5),
            }
            taken = {id(p) for p in decay["params"]}
            groups: list[dict[str, Any]] = [decay, {"params": [p for p in model.parameters() if id(p) not in taken]}]
            lr = self.training.lr
            adam = self.training.optimizer == "adam"
            networks.append(
                (model, torch.optim.Adam(groups, lr) if adam else torch.optim.SGD(groups, lr, 0.9, nesterov=True))
            )

        def epoch() -> None:
            for model, optimizer in networks:
                for images, labels in loader:
                    optimizer.zero_grad()
                    loss = cross_entropy(model(images.to(self.device)), labels.to(self.device))
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()

        return epoch

    def flops(self) -> int:
        """Floating-point operations of a member's step: forward and backward, multiplications and additions."""
        model = initial_model(self.factory, self.data.shape, self.data.classes, 0)
        with FlopCounterMode(display=False) as counter:
            loss = cross_entropy(model(torch.zeros(self.batch, *self.data.shape)), torch.zeros(self.batch).long())
            loss.backward()  # type: ignore[no-untyped-call]
        return int(counter.get_total_flops())

    def weights(self) -> int:
        model = initial_model(self.factory, self.data.shape, self.data.classes, 0)
        return sum(p.numel() for p in model.parameters())


class Pictures(Dataset[tuple[Tensor, int]]):
    """A fold's training images as a torchvision data set gives them: a picture at a time."""

    def __init__(self, data: ImageData, fold: Fold, transform: Compose) -> None:
        self.pixels = data.images[fold.train].permute(0, 2, 3, 1).numpy()
        self.labels = data.labels[fold.train].tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.pixels[index]
        return self.transform(Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)), self.labels[
            index
        ]


def fastest(work: Callable[[], object], device: torch.device, seconds: float = 0.5) -> float:
    """Seconds of the fastest call, after a warm-up."""
    found, spent = float("inf"), 0.0
    work()
    while spent < seconds:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found = min(found, time.perf_counter() - began)
        spent += time.perf_counter() - began
    return found


def matmul_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest square matrix product."""
    best = 0.0
    for size in (2048, 4096, 8192, 16384) if device.type == "cuda" else (512, 1024, 2048):
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        best = max(best, 2 * size**3 / fastest(lambda a=a, b=b: a @ b, device))  # type: ignore[misc]
    return best


def copy_bandwidth(device: torch.device) -> float:
    """Bytes read and written per second by a large copy."""
    source = torch.zeros(1 << (30 if device.type == "cuda" else 27), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * len(source) / fastest(lambda: target.copy_(source), device)


def measure(bench: Bench, members: list[int], ways: list[str]) -> Iterator[dict[str, Any]]:
    """A row for each way and number of members."""
    alone: dict[str, float] = {}
    for way in ways:
        for count in members:
            one_by_one = way in ("dataloader", "sequential", "captured")
            failure = None
            if one_by_one and way in alone:
                rate = alone[way]
            else:
                try:
                    rate = bench.per_second(way, max(members) if one_by_one else count)
                except RuntimeError as error:
                    rate, failure = 0.0, str(error).splitlines()[0]
                alone[way] = rate
            gc.collect()
            if bench.device.type == "cuda":
                torch.cuda.empty_cache()
            yield {"task": bench.task.name, "way": way, "members": count, "member_steps_per_second": rate} | (
                {"failed": failure} if failure else {}
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--members", type=int, nargs="+", default=[1, 5, 20, 50, 100])
    parser.add_argument("--steps", type=int, default=60, help="per epoch")
    parser.add_argument("--repeats", type=int, default=3, help="timed epochs")
    parser.add_argument("--tasks", nargs="+", choices=list(tasks()), default=list(tasks()))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    ways = [way for way in arguments.ways if way != "captured" or device.type == "cuda"]
    load_before = os.getloadavg()[0]  # of the machine, by whatever else it does
    precision = torch.bfloat16 if has_native_bfloat16(device) else torch.float32
    with on_device(device):
        ceiling, bandwidth = matmul_ceiling(device, precision), copy_bandwidth(device)
    print(f"{device_name(device)}: matrix products {ceiling / 1e12:.3g} TFLOP/s, copies {bandwidth / 1e9:.3g} GB/s")
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    for name in arguments.tasks:
        task = tasks()[name]
        data = load(DataSettings(source=task.source))
        bench = Bench(task, data, device, arguments.steps, arguments.repeats)
        flops, weights = bench.flops(), bench.weights()
        print(f"\n{name}, {data.name}, batch {bench.batch}, {weights:,} weights, {flops / 1e9:.3g} GFLOP a step")
        print(f"{'way':12} {'members':>7} {'member-steps/s':>15} {'of matmul':>10} {'optimizer, of copy':>19}")
        found = []
        for row in measure(bench, arguments.members, ways):
            rate = row["member_steps_per_second"]
            row |= {
                "matmul_share": rate * flops / ceiling,
                "optimizer_copy_share": rate * weights * task.optimizer_bytes / bandwidth,
            }
            found.append(row)
            failed = f"  {row['failed']}" if "failed" in row else ""
            print(
                f"{row['way']:12} {row['members']:7} {rate:15.1f} {row['matmul_share']:10.1%} "
                f"{row['optimizer_copy_share']:19.1%}{failed}",
                flush=True,
            )
        lines += verdicts(name, found)
        rows += [row | {"flops_per_step": flops, "weights": weights} for row in found]
    print("", *lines, sep="\n")
    RESULTS.mkdir(exist_ok=True)
    slug = "-".join(device_name(device).lower().split())
    result = {
        "date": datetime.date.today().isoformat(),
        "device": device_name(device),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(load_before, 2),
        "versions": versions() | {"cuda": torch.version.cuda if device.type == "cuda" else None},
        "precision": str(precision).removeprefix("torch."),
        "steps": arguments.steps,
        "repeats": arguments.repeats,
        "matmul_flops_per_second": ceiling,
        "copy_bytes_per_second": bandwidth,
        "rows": rows,
        "verdicts": lines,
    }
    path = RESULTS / f"engines-{slug}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {path}")


def verdicts(task: str, rows: list[dict[str, Any]]) -> list[str]:
    """Where the population pays, and where not."""
    rates = {(row["way"], row["members"]): row["member_steps_per_second"] for row in rows}
    lines = []
    for members in sorted({row["members"] for row in rows}):
        stacked = {way: rates[way, members] for way in ("grouped", "matmul") if (way, members) in rates}
        others = [way for way in ("dataloader", "sequential", "captured") if rates.get((way, members))]
        if not stacked or not others:
            continue
        best = max(stacked, key=lambda way: stacked[way])
        ratios = ", ".join(f"{stacked[best] / rates[way, members]:.2g}× {way}" for way in others)
        ratio = stacked[best] / max(rates[way, members] for way in others)
        word = "pays" if ratio > 1 + NOISE else "does not pay" if ratio < 1 - NOISE else "makes no difference"
        lines.append(f"{task}, {members} members: the population ({best}) {word}: {ratios}")
    return lines


if __name__ == "__main__":
    main()
