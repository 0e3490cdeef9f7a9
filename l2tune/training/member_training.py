"""One network in training on one set of images: what the sequential engine repeats and the final fit does once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from l2tune.data.augment import augment
from l2tune.members import NetworkState
from l2tune.models.registry import ModelFactory, build_model
from l2tune.penalty.weights import regularized_parameters
from l2tune.settings import PenaltySettings, TrainingSettings
from l2tune.training import evaluate
from l2tune.training.optimizers import RegularizedOptimizer
from l2tune.training.schedules import learning_rate

NEAR_ZERO = 1e-3
"""A weight is near zero below this share of its layer's initial root mean square."""

GRADIENT_IMAGES = 1000
"""Test images that the input gradient is averaged over, at most."""

_EVALUATION_PIXELS = {"cpu": 1 << 15}
"""Pixels of an evaluation batch: on a CPU its activations should fit the cache (measured: half the time of 2^19)."""

_GLOBAL_GENERATOR = threading.RLock()
"""Initial weights and dropout come from torch's global generator, which threads share."""


@dataclass(frozen=True, eq=False)
class DeviceImages:
    """Images and labels on the device; the images stay uint8 and are normalized batch by batch."""

    images: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64

    @classmethod
    def of(cls, images: Tensor, labels: Tensor, device: torch.device) -> DeviceImages:
        return cls(images.to(device), labels.to(device))


@dataclass(frozen=True, eq=False)
class Normalization:
    """Mean and standard deviation of each channel of the training images, pixels in 0..1."""

    mean: Tensor  # (C,)
    std: Tensor  # (C,)

    @classmethod
    def of(cls, images: Tensor, indices: NDArray[np.int64], dtype: torch.dtype, device: torch.device) -> Normalization:
        """Exact statistics of some images: from counts of the 256 values, so every device gets the same."""
        values = torch.arange(256, dtype=torch.float64) / 255
        means, stds = [], []
        for channel in range(images.shape[1]):
            counts = torch.zeros(256, dtype=torch.float64)
            for part in np.array_split(indices, max(1, len(indices) // 4096)):
                pixels = images[torch.from_numpy(part), channel].flatten()
                counts += torch.bincount(pixels.int(), minlength=256).double()
            share = counts / counts.sum()
            mean = (share * values).sum()
            means.append(mean)
            stds.append((share * (values - mean).square()).sum().sqrt())
        std = torch.stack(stds)
        std = torch.where(std > 1e-6, std, torch.ones_like(std))  # a constant channel stays zero, not NaN
        return cls(torch.stack(means).to(device, dtype), std.to(device, dtype))

    def apply(self, batch: Tensor) -> Tensor:
        """uint8 (N, C, H, W) → normalized floating point."""
        return torch.addcmul(self._shift, batch.to(self.mean.dtype), self._scale)

    @cached_property
    def _scale(self) -> Tensor:  # (C, 1, 1)
        return (1 / (255 * self.std))[:, None, None]

    @cached_property
    def _shift(self) -> Tensor:  # (C, 1, 1)
        return (-self.mean / self.std)[:, None, None]


class MemberTraining:
    """One network, its optimizer and its random draws.

    Initial weights, batch order, augmentation and dropout come from the seed alone: neither λ nor other members
    change them.

    Args:
        source: Images, of which `train` (indices) are trained on.
        normalization: Its data type is that of the weights too.
        autocast: Whether the forward pass runs in bfloat16.
    """

    def __init__(
        self,
        source: DeviceImages,
        train: NDArray[np.int64],
        normalization: Normalization,
        factory: ModelFactory,
        classes: int,
        strength: float,
        seed: int,
        training: TrainingSettings,
        penalty: PenaltySettings,
        *,
        augmentations: Sequence[str] = (),
        autocast: bool = False,
    ) -> None:
        self._source, self._normalization, self._training = source, normalization, training
        self._augmentations, self._autocast, self._seed = augmentations, autocast, seed
        self.device = source.images.device
        self.train = torch.from_numpy(train)
        dtype = normalization.mean.dtype
        self.model = initial_model(factory, tuple(source.images.shape[1:]), classes, seed).to(self.device, dtype)  # type: ignore[arg-type]
        self.weights = regularized_parameters(self.model, penalty.regularize)
        with torch.no_grad():
            self._initial_rms = {name: w.square().mean().sqrt() for name, w in self.weights.items()}
        self._optimizer = RegularizedOptimizer(self.model, strength, training, penalty)
        self._generator = torch.Generator().manual_seed(seed)
        self._batches = batch_count(len(train), training.batch_size)
        self._draws = True
        self.epoch = 0
        self.seconds = 0.0

    def train_epoch(self) -> bool:
        """Train one pass over the training images; False if a loss became NaN or infinite."""
        began = time.perf_counter()
        self.model.train()
        order = self.train[torch.randperm(len(self.train), generator=self._generator)].to(self.device)
        size, steps = self._training.batch_size, self._batches * self._training.epochs
        total = torch.zeros((), device=self.device)
        with self._own_randomness() as randomness:
            for batch in range(self._batches):
                indices = order[batch * size : (batch + 1) * size]
                images, labels = self._batch(indices, augmented=True)
                with self._casting():
                    loss = cross_entropy(self.model(images), labels)
                step = self.epoch * self._batches + batch
                self._optimizer.step(loss, learning_rate(self._training.schedule, step, steps, self._training.lr))
                total += loss.detach()
        self._draws = randomness is not None and randomness.drawn
        self.epoch += 1
        finite = bool(torch.isfinite(total))  # the one wait for the device in an epoch
        self.seconds += time.perf_counter() - began
        return finite

    def scores(self, indices: NDArray[np.int64] | Tensor, source: DeviceImages | None = None) -> tuple[float, float]:
        """(loss, error) over images, in evaluation mode and without augmentation."""
        began = time.perf_counter()
        self.model.eval()
        found = evaluate.loss_and_error(self._forward, self._evaluation(torch.as_tensor(indices), source))
        self.seconds += time.perf_counter() - began
        return found

    def gradient_ratio(self) -> float:
        """`‖∇E(W)‖ / (2 ‖W‖)` over the regularized weights and the training images, in evaluation mode."""
        began = time.perf_counter()
        self.model.eval()
        weights = list(self.weights.values())
        found = evaluate.gradient_ratio(self._forward, weights, self._evaluation(self.train))
        self.seconds += time.perf_counter() - began
        return found

    def network_state(self, test: DeviceImages) -> NetworkState:
        """What the network is like now, with its scores on the test images."""
        self.model.eval()
        everything = torch.arange(len(test.labels))
        labels = test.labels.cpu().numpy()
        log_p = evaluate.log_probabilities(self._forward, self._evaluation(everything, test))
        some = everything[:: -(-len(everything) // GRADIENT_IMAGES)]
        smoothness = evaluate.input_gradient_norm(self._forward, self._evaluation(some, test))
        return describe_network(self.weights, self._initial_rms, log_p, labels, smoothness)

    def _batch(
        self, indices: Tensor, source: DeviceImages | None = None, *, augmented: bool = False
    ) -> tuple[Tensor, Tensor]:
        source = source or self._source
        pixels = source.images.index_select(0, indices)
        if augmented and self._augmentations:
            pixels = augment(pixels, self._augmentations, self._generator)
        return self._normalization.apply(pixels), source.labels.index_select(0, indices)

    def _evaluation(self, indices: Tensor, source: DeviceImages | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        _, height, width = self._source.images.shape[1:]
        pixels = _EVALUATION_PIXELS.get(self.device.type, 1 << 22)
        size = max(32, min(2048, pixels // (height * width)))
        for part in torch.split(indices.to(self.device), size):
            yield self._batch(part, source)

    def _forward(self, images: Tensor) -> Tensor:
        with self._casting():
            logits: Tensor = self.model(images)
        return logits.float() if self._autocast else logits

    def _casting(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16) if self._autocast else nullcontext()

    def _own_randomness(self) -> AbstractContextManager[Seeded | None]:
        """Dropout draws from the member's seed and the epoch, and leaves torch's global generator as it was.

        Whether the network draws at all, the first epoch tells: functional dropout has no module to look for. One
        that does not draw leaves the global generator to other threads.
        """
        return Seeded(self._seed + 1_000_003 * (self.epoch + 1), self.device) if self._draws else nullcontext()


class Seeded:
    """torch's global generators seeded inside, and as they were outside; one thread at a time.

    Attributes:
        drawn: Whether anything was drawn inside; known afterwards.
    """

    drawn = False

    def __init__(self, seed: int, device: torch.device) -> None:
        self._seed, self._device = seed, device
        self._fork = torch.random.fork_rng([device] if device.type == "cuda" else [])

    def __enter__(self) -> Seeded:
        _GLOBAL_GENERATOR.acquire()
        self._fork.__enter__()
        torch.manual_seed(self._seed)
        self._start = self._states()
        return self

    def __exit__(self, *exception: object) -> None:
        self.drawn = not all(map(torch.equal, self._start, self._states()))
        self._fork.__exit__(None, None, None)
        _GLOBAL_GENERATOR.release()

    def _states(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        if self._device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self._device))
        elif self._device.type == "mps":
            states.append(torch.mps.get_rng_state())
        return states


def describe_network(
    weights: Mapping[str, Tensor],
    initial_rms: Mapping[str, Tensor],
    log_p: NDArray[np.float32],
    labels: NDArray[np.int64],
    smoothness: float,
) -> NetworkState:
    """The state of a network.

    Args:
        weights: The regularized ones.
        initial_rms: Root mean square of each at the start.
        log_p: (test images, classes) log-probabilities.
        labels: (test images,).
        smoothness: Mean norm of the input gradient.
    """
    with torch.no_grad():
        count = sum(w.numel() for w in weights.values()) or 1
        zeros = sum(int((w == 0).sum()) for w in weights.values())
        small = sum(int((w.abs() < NEAR_ZERO * initial_rms[n]).sum()) for n, w in weights.items())
        norms = {name.removesuffix(".weight"): float(w.norm()) for name, w in weights.items()}
    return NetworkState(
        weight_norms=norms,
        zero_fraction=zeros / count,
        near_zero_fraction=small / count,
        test_loss=float(-log_p[np.arange(len(labels)), labels].mean(dtype=np.float64)),
        test_error=float((log_p.argmax(1) != labels).mean()),
        calibration_error=evaluate.calibration_error(log_p, labels),
        input_gradient_norm=smoothness,
        test_log_probabilities=log_p,
    )


def initial_model(factory: ModelFactory, shape: tuple[int, int, int], classes: int, seed: int) -> nn.Module:
    """A network with the initial weights of this seed, the same on every device."""
    with _GLOBAL_GENERATOR, torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return build_model(factory, shape, classes)


def batch_count(images: int, batch_size: int) -> int:
    """Batches of an epoch. The last may be short, but a single image is left out: batch norm cannot take it."""
    full, rest = divmod(images, batch_size)
    return max(1, full + (rest > 1))
