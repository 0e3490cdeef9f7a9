"""What the trainer adds to a bare PyTorch loop, and what the usual DataLoader loop costs.

    python studies/benchmarks/overhead.py                    # digits; MNIST too where $L2TUNE_DATA is set
    python studies/benchmarks/overhead.py --device cuda

Four loops train the same network from the same weights, batch size, optimizer and images, one epoch each in turn, in
one process, so that whatever else the machine does meets them all alike. Time is the process's own on one CPU thread,
which other work on the machine disturbs less than it does the wall clock, and the wall clock's otherwise:

- `l2tune`: the sequential engine's own loop (uint8 images on the device, normalized batch by batch);
- `bare`: what one would write by hand for speed: all images normalized before, batches by index. It sees the same
  batches as `l2tune`, and the two end with the same weights, or the comparison is refused;
- `DataLoader, tensors`: a TensorDataset of images normalized before, read by a shuffling DataLoader;
- `DataLoader, pictures`, the usual loop: ToTensor and Normalize for each picture, as in PyTorch's MNIST example.

A ratio is taken within each turn, and told as the median over turns with its 95 % interval. Evaluation is not timed.
The claims are about `simple_cnn`; `linear` has next to no work of its own, and so shows what a loop itself costs.
Prints a table, writes `results/overhead.json`, and exits with 1 if a claim at the end does not hold.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.transforms import Compose, Normalize, ToTensor

from l2tune.data.folds import make_folds
from l2tune.data.images import ImageData
from l2tune.data.sources import load
from l2tune.models.linear import linear
from l2tune.models.registry import ModelFactory
from l2tune.models.simple_cnn import simple_cnn
from l2tune.penalty.strength import weight_decay
from l2tune.penalty.weights import regularized_parameters
from l2tune.settings import DataSettings, PenaltySettings, TrainingSettings
from l2tune.training.device import choose_device, device_name
from l2tune.training.draws import initial_model
from l2tune.training.member_training import MemberTraining
from l2tune.training.pixels import DeviceImages, Normalization
from l2tune.training.problem import Problem

RESULTS = Path(__file__).parent / "results" / "overhead.json"
STRENGTH, SEED, BATCH, LR, MOMENTUM = 1e-4, 0, 128, 0.01, 0.9
MOST_OVERHEAD = 0.05
WARM_UP = 2  # epochs

Epoch = Callable[[], object]


def l2tune_loop(
    data: ImageData, factory: ModelFactory, train: Tensor, normalization: Normalization, device: torch.device
) -> MemberTraining:
    """The engine's loop over one network."""
    training = TrainingSettings(
        optimizer="sgd", lr=LR, momentum=MOMENTUM, schedule="constant", batch_size=BATCH, precision="float32"
    )
    source = DeviceImages.of(data.images, data.labels, device)
    problem = Problem(data, (), factory, training, PenaltySettings(), device=device)
    return MemberTraining(problem, source, train.numpy(), normalization, STRENGTH, SEED)


def new_network(
    data: ImageData, factory: ModelFactory, device: torch.device
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """The engine's initial weights and its optimizer, by hand."""
    model = initial_model(factory, data.shape, data.classes, SEED).to(device)
    decayed = list(regularized_parameters(model, PenaltySettings()).values())
    plain = [p for p in model.parameters() if all(p is not q for q in decayed)]
    groups = [{"params": decayed, "weight_decay": weight_decay(STRENGTH)}, {"params": plain, "weight_decay": 0.0}]
    return model, torch.optim.SGD(groups, lr=LR, momentum=MOMENTUM, nesterov=True, fused=True)


def bare_loop(images: Tensor, labels: Tensor, model: nn.Module, optimizer: torch.optim.Optimizer) -> Epoch:
    """Batches by index from normalized images on the device."""
    generator = torch.Generator().manual_seed(SEED)

    def epoch() -> None:
        model.train()
        order = torch.randperm(len(labels), generator=generator).to(images.device)
        for indices in torch.split(order, BATCH):
            optimizer.zero_grad(set_to_none=True)
            cross_entropy(model(images[indices]), labels[indices]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return epoch


def loader_loop(dataset: Dataset[Any], device: torch.device, model: nn.Module, optimizer: Any) -> Epoch:
    """The usual loop over a DataLoader, with the settings of PyTorch's MNIST example."""
    options = {"num_workers": 1, "persistent_workers": True, "pin_memory": True} if device.type == "cuda" else {}
    generator = torch.Generator().manual_seed(SEED)
    loader = DataLoader(dataset, BATCH, shuffle=True, generator=generator, **options)  # type: ignore[arg-type]

    def epoch() -> None:
        model.train()
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            loss = cross_entropy(model(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return epoch


class Pictures(Dataset[tuple[Tensor, int]]):
    """As torchvision's data sets: a picture made from its array, and transformed, each time it is asked for."""

    def __init__(self, images: Tensor, labels: Tensor, normalization: Normalization) -> None:
        self.images, self.labels = images, labels
        mean, std = normalization.mean.tolist(), normalization.std.tolist()
        self.transform = Compose([ToTensor(), Normalize(mean, std)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.images[index]
        array = pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)
        return self.transform(Image.fromarray(array.numpy())), int(self.labels[index])


def measure(data: ImageData, factory: ModelFactory, device: torch.device, turns: int) -> dict[str, Any]:
    """Seconds per epoch of each loop, and their ratios to the bare one.

    Raises:
        RuntimeError: The bare loop and the engine's did not do the same work.
    """
    fold = make_folds(data.labels.numpy(), folds=5)[0]
    train = torch.from_numpy(fold.train)
    normalization = Normalization.of(data.images, fold.train, torch.float32, device)
    pixels, labels = data.images[train], data.labels[train]
    images = normalization.apply(pixels.to(device))
    ours = l2tune_loop(data, factory, train, normalization, device)
    bare, optimizer = new_network(data, factory, device)
    tensors = TensorDataset(images.cpu(), labels)
    pictures = Pictures(pixels, labels, normalization)
    loops: dict[str, Epoch] = {
        "l2tune": ours.train_epoch,
        "bare": bare_loop(images, labels.to(device), bare, optimizer),
        "DataLoader, tensors": loader_loop(tensors, device, *new_network(data, factory, device)),
        "DataLoader, pictures": loader_loop(pictures, device, *new_network(data, factory, device)),
    }
    clock = clock_of(device)
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(WARM_UP + turns):
        order = list(loops)
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            synchronize(device)
            began = clock()
            loops[name]()
            synchronize(device)
            if turn >= WARM_UP:
                seconds[name].append(clock() - began)
    for mine, theirs in zip(ours.model.parameters(), bare.parameters(), strict=True):
        if not torch.allclose(mine, theirs, rtol=1e-3, atol=1e-5):
            raise RuntimeError("the bare loop and l2tune's ended with different weights")
    ratios = {name: [a / b for a, b in zip(seconds[name], seconds["bare"], strict=True)] for name in loops}
    return {
        "network": factory.__name__,
        "images": len(train),
        "shape": list(data.shape),
        "batch_size": BATCH,
        "turns": turns,
        "seconds_per_epoch": {name: median(found) for name, found in seconds.items()},
        "ratio_to_bare": {name: spread(found) for name, found in ratios.items()},
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median with its 95 % interval (between order statistics, so whatever the distribution), and quartiles."""
    low, _, high = quantiles(values, n=4)
    reach = math.ceil(0.98 * math.sqrt(len(values)))
    middle = sorted(values)[max(0, len(values) // 2 - reach) : (len(values) + 1) // 2 + reach]
    return {
        "median": median(values),
        "at_least": middle[0],
        "at_most": middle[-1],
        "lower_quartile": low,
        "upper_quartile": high,
    }


def clock_of(device: torch.device) -> Callable[[], float]:
    """What to measure seconds with."""
    return time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def processor() -> str:
    """The CPU's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def claims(measured: dict[str, dict[str, Any]]) -> list[tuple[str, bool]]:
    """What the benchmark is to show, each with whether it did."""
    found = []
    for name, result in measured.items():
        if result["network"] != "simple_cnn":
            continue
        ratio = {loop: value["median"] for loop, value in result["ratio_to_bare"].items()}
        overhead = ratio["l2tune"] - 1
        found.append((f"{name}: overhead over the bare loop {overhead:+.1%}, at most 5 %", overhead <= MOST_OVERHEAD))
        times = ratio["DataLoader, pictures"] / ratio["l2tune"]
        found.append((f"{name}: {times:.2f} times as fast as the usual DataLoader loop, more than 1", times > 1))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, on a CPU")
    parser.add_argument("--turns", type=int, default=120, help="timed epochs of each loop on digits; a third on MNIST")
    parser.add_argument("--mnist-images", type=int, default=640, help="of which four fifths are trained on")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = choose_device(given.device)

    digits = load(DataSettings(source="digits"))
    measured = {
        "digits": measure(digits, simple_cnn, device, given.turns),
        "digits, linear": measure(digits, linear, device, given.turns),
    }
    if os.environ.get("L2TUNE_DATA"):
        mnist = load(DataSettings(source="mnist", subset=given.mnist_images))
        measured["mnist"] = measure(mnist, simple_cnn, device, max(4, given.turns // 3))

    print(f"{'':16}{'loop':24}{'ms per epoch':>14}{'ratio to bare':>16}{'95 % interval':>16}")
    for name, result in measured.items():
        for loop, seconds in result["seconds_per_epoch"].items():
            ratio = result["ratio_to_bare"][loop]
            interval = f"{ratio['at_least']:.3f}–{ratio['at_most']:.3f}"
            print(f"{name:16}{loop:24}{1000 * seconds:14.1f}{ratio['median']:16.3f}{interval:>16}")
    verdicts = claims(measured)
    for claim, holds in verdicts:
        print(f"{'holds' if holds else 'FAILS'}  {claim}")
    record = {
        "command": "python studies/benchmarks/overhead.py",
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": device_name(device),
        "cpu": processor(),
        "threads": given.threads,
        "clock": clock_of(device).__name__,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        },
        "measured": measured,
        "claims": [{"claim": claim, "holds": holds} for claim, holds in verdicts],
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0 if all(holds for _, holds in verdicts) else 1


if __name__ == "__main__":
    raise SystemExit(main())
