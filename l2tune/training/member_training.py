"""One network in training on one set of images: what the sequential engine repeats and the final fit does once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from l2tune.data.augment import augment
from l2tune.errors import is_out_of_memory
from l2tune.members import NetworkState
from l2tune.penalty.forms import Factor, first_estimates
from l2tune.penalty.weights import multipliers, regularized_parameters
from l2tune.training import evaluate
from l2tune.training.draws import Seeded, batch_count
from l2tune.training.network_state import GRADIENT_IMAGES, describe_network, transposed_groups
from l2tune.training.optimizers import RegularizedOptimizer
from l2tune.training.pixels import DeviceImages, Normalization
from l2tune.training.problem import Problem
from l2tune.training.schedules import learning_rate

T = TypeVar("T")

_EVALUATION_BATCH = {"cpu": (512, 1 << 17)}
"""Images and pixels of an evaluation batch at most. On a CPU, more gain little, and 2^15 took up to 1.4 times as long
(SimpleCNN and small_resnet at 28×28 and 32×32; in float32, small_resnet took 0.9 times)."""


class Halted(Exception):
    """Training was given up from another thread."""


class MemberTraining:
    """One network, its optimizer and its random draws.

    Initial weights, batch order, augmentation and dropout come from the seed alone: neither λ nor other members
    change them.

    Args:
        source: The problem's training images on the device, of which `train` (indices) are trained on.
        normalization: By the statistics of those.
        strength: λ ≥ 0.
        halt: Once it is set, `Halted` is raised before the next batch.
    """

    def __init__(
        self,
        problem: Problem,
        source: DeviceImages,
        train: NDArray[np.int64],
        normalization: Normalization,
        strength: float,
        seed: int,
        *,
        halt: threading.Event | None = None,
    ) -> None:
        self._halt, self._problem = halt, problem
        self._source, self._normalization, self._training = source, normalization, problem.training
        self._augmentations, self._autocast, self._seed = problem.augment, problem.bfloat16, seed
        self._penalty = problem.penalty
        self.device = source.images.device
        self.train = torch.from_numpy(train)
        self.model = problem.initial_model(seed).to(self.device, problem.dtype)
        self.weights = regularized_parameters(self.model, problem.penalty)
        with torch.no_grad():
            self._initial_rms = {name: w.square().mean().sqrt() for name, w in self.weights.items()}
        self._optimizer = RegularizedOptimizer(self.model, strength, problem.training, problem.penalty)
        self._generator = torch.Generator().manual_seed(seed)
        self._batches = batch_count(len(train), problem.training.batch_size)
        self._most, self._most_pixels = _EVALUATION_BATCH.get(self.device.type, (2048, 1 << 22))
        """Of an evaluation batch; fewer images once memory did not suffice."""
        self._remembered: tuple[Mapping[str, Tensor], Sequence[Factor]] | None = None
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
        if randomness is not None:
            self._problem.note_draws(randomness.drawn)
        self.epoch += 1
        finite = bool(torch.isfinite(total))  # the one wait for the device in an epoch
        self.seconds += time.perf_counter() - began
        return finite

    def scores(self, indices: NDArray[np.int64] | Tensor, source: DeviceImages | None = None) -> tuple[float, float]:
        """(loss, error) over images, in evaluation mode and without augmentation."""
        began = time.perf_counter()
        self.model.eval()
        wanted = torch.as_tensor(indices)
        found = self._in_batches(lambda: evaluate.loss_and_error(self._forward, self._evaluation(wanted, source)))
        self.seconds += time.perf_counter() - began
        return found

    def remember(self) -> None:
        """Keep a copy of the network as it is now, for `first_estimates`."""
        state = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self._remembered = state, self._optimizer.relative_step_sizes()

    def first_estimates(self) -> dict[str, float]:
        """Form of the penalty → the λ at which it would balance the training images, in evaluation mode.

        Of the network that was remembered last; none where none was. It costs about as much as an epoch.
        """
        if self._remembered is None:
            return {}
        began = time.perf_counter()
        remembered, step_sizes = self._remembered
        now = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(remembered)
        self.model.eval()
        weights = list(self.weights.values())
        gradients = self._in_batches(
            lambda: evaluate.mean_gradients(self._forward, weights, self._evaluation(self.train))
        )
        sizes = [weights[0].new_tensor(size) if isinstance(size, float) else size for size in step_sizes]
        with torch.no_grad():
            slopes, own, steps = ([tensor[None] for tensor in group] for group in (gradients, weights, sizes))
            factors = list(multipliers(self.weights, self._penalty).values())
            found = first_estimates(self._penalty, slopes, own, steps, factors)
        self.model.load_state_dict(now)
        self.seconds += time.perf_counter() - began
        return {form: float(estimate) for form, estimate in found.items() if 0 < estimate < math.inf}

    def network_state(self, test: DeviceImages) -> NetworkState:
        """What the network is like now, with its scores on the test images."""
        self.model.eval()
        everything = torch.arange(len(test.labels))
        labels = test.labels.cpu().numpy()
        log_p = self._in_batches(lambda: evaluate.log_probabilities(self._forward, self._evaluation(everything, test)))
        some = everything[:: -(-len(everything) // GRADIENT_IMAGES)]
        smoothness = self._in_batches(lambda: evaluate.input_gradient_norm(self._forward, self._evaluation(some, test)))
        transposed = transposed_groups(self.model)
        return describe_network(self.weights, self._initial_rms, log_p, labels, smoothness, transposed)

    def _batch(
        self, indices: Tensor, source: DeviceImages | None = None, *, augmented: bool = False
    ) -> tuple[Tensor, Tensor]:
        if self._halt is not None and self._halt.is_set():
            raise Halted
        source = source or self._source
        pixels = source.images.index_select(0, indices)
        if augmented and self._augmentations:
            pixels = augment(pixels, self._augmentations, self._generator)
        return self._normalization.apply(pixels), source.labels.index_select(0, indices)

    def _in_batches(self, ask: Callable[[], T]) -> T:
        """What `ask` finds over evaluation batches, which are halved as long as one of them takes too much memory."""
        while True:
            try:
                return ask()
            except Exception as error:
                if not is_out_of_memory(error) or self._most == 1:
                    raise
            self._most = max(1, min(self._most, self._evaluation_size) // 2)

    @property
    def _evaluation_size(self) -> int:
        """Images of an evaluation batch."""
        _, height, width = self._source.images.shape[1:]
        return min(self._most, max(32, self._most_pixels // (height * width)))

    def _evaluation(self, indices: Tensor, source: DeviceImages | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        for part in torch.split(indices.to(self.device), self._evaluation_size):
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
        seed = self._seed + 1_000_003 * (self.epoch + 1)
        return Seeded(seed, self.device) if self._problem.draws else nullcontext()
