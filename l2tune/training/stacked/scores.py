"""Stacked members in evaluation mode: their scores after an epoch, and what their networks are like at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from l2tune.members import NetworkState
from l2tune.penalty.forms import first_estimates
from l2tune.training.device import send
from l2tune.training.network_state import GRADIENT_IMAGES, describe_network, transposed_groups
from l2tune.training.stacked import evaluate
from l2tune.training.stacked.layout import Layout
from l2tune.training.stacked.problem import StackedProblem
from l2tune.training.stacked.state import State


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What to evaluate, and on what; M rows."""

    problem: StackedProblem
    state: State
    layout: Layout

    def losses_and_errors(self, *, sample: bool) -> tuple[list[list[float]], list[list[float]]]:
        """Mean cross-entropies (nats) and error rates, each [member][training, validation].

        Args:
            sample: Whether only a sample of the training parts counts.
        """
        return evaluate.losses_and_errors(self._logits(), self._followed() if sample else self._counted()).means()

    def first_estimates(self, rows: Sequence[int], epoch: int) -> dict[int, dict[str, float]]:
        """Row → form of the penalty → the λ at which it would balance the training images.

        Args:
            epoch: Epochs finished.
        """
        if not rows:
            return {}
        names, which = self._regularized(), list(rows)
        weights = {name: self.state["parameters"][name][which].requires_grad_() for name in names}
        own = list(weights.values())
        gradients = evaluate.mean_gradients(self._logits(rows, weights), own, self._counted(rows))
        steps = [self.layout.streams[stream].batches * epoch for stream in self._streams(rows).tolist()]
        second = [self.state["second"][name][which] for name in names] if "second" in self.state else []
        with torch.no_grad():
            sizes = self.problem.optimizer.relative_step_sizes(own, second, steps)
            factors = [self.problem.whole.multipliers[name] for name in names]
            found = first_estimates(self.problem.whole.penalty, gradients, own, sizes, factors)
        return {
            row: {form: value for form, of in found.items() if 0 < (value := float(of[place])) < math.inf}
            for place, row in enumerate(rows)
        }

    def networks(self) -> dict[int, NetworkState]:
        """Row → what its network is like, with its scores on the test images."""
        test, size = self.problem.test, self._batch_size()
        labels = test.labels.cpu().numpy()
        log_p = evaluate.log_probabilities(self._logits(), torch.split(test.images[None], size, dim=1)).numpy()
        every = -(-len(labels) // GRADIENT_IMAGES)
        which = self.layout.stream_of
        some: Iterable[tuple[Tensor, Tensor]] = (
            (self.layout.normalized(pixels[None])[which], targets)
            for pixels, targets in zip(
                torch.split(test.images[::every], size), torch.split(test.labels[::every], size), strict=True
            )
        )
        smoothness = evaluate.input_gradient_norms(self._network(), some).tolist()
        names, transposed = self._regularized(), transposed_groups(self.problem.whole.network)
        return {
            row: describe_network(
                {name: self.state["parameters"][name][row] for name in names},
                {name: self.state["initial_rms"][name][row] for name in names},
                log_p[row],
                labels,
                smoothness[row],
                transposed,
            )
            for row in range(len(which))
        }

    def _regularized(self) -> list[str]:
        return [name for name in self.state["parameters"] if name in self.problem.whole.regularized]

    def _batch_size(self) -> int:
        return self.problem.evaluation_size(len(self.layout.stream_of))

    def _logits(
        self, rows: Sequence[int] | None = None, weights: Mapping[str, Tensor] | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Pixels (S or 1, N, C, H, W) → (M, N, K) logits of some members, with other weights if given."""
        network = self._network(rows, weights)
        which = self._streams(rows)
        return lambda pixels: network(self.layout.normalized(pixels)[which])

    def _network(
        self, rows: Sequence[int] | None = None, weights: Mapping[str, Tensor] | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Normalized images (M, N, C, H, W) → (M, N, K) logits, in evaluation mode."""
        kinds = ("parameters", "frozen", "buffers")
        parameters, frozen, buffers = (
            {n: t if rows is None else t[list(rows)] for n, t in self.state[kind].items()} for kind in kinds
        )
        everything = parameters | frozen | dict(weights or {})
        return lambda images: self.problem.model(everything, buffers, images, training=False)[0]

    def _counted(self, rows: Sequence[int] | None = None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """All images of any fold, batch by batch, the same for all members."""
        problem, which = self.problem, self._streams(rows)
        counts = torch.stack([problem.counts(stream.fold) for stream in self.layout.streams])
        here, size = problem.seen_on_device, self._batch_size()
        for place in range(0, len(here), size):  # in the images of any fold, counts' last dimension
            batch = slice(place, place + size)
            pixels = problem.pixels((here if problem.resident else problem.seen)[batch])
            yield pixels[None], problem.source.labels[here[batch]], counts[:, :, batch][which]

    def _followed(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """What learning curves are made of, batch by batch; every member has its own fold's images."""
        problem, which, size = self.problem, self._streams(None), self._batch_size()
        found = [problem.followed(stream.fold) for stream in self.layout.streams]
        indices = pad_sequence([of for of, _ in found], batch_first=True)  # (S, N)
        counts = pad_sequence([parts.T for _, parts in found], batch_first=True).mT  # (S, 2, N), 0 where nothing is
        labels = problem.source.labels[send(indices, problem.device)]  # (S, N)
        for place in range(0, indices.shape[1], size):
            batch = slice(place, place + size)
            yield problem.pixels(indices[:, batch]), labels[:, batch][which], counts[:, :, batch][which]

    def _streams(self, rows: Sequence[int] | None) -> Tensor:
        """Which stream each of the rows sees."""
        return self.layout.stream_of if rows is None else self.layout.stream_of[list(rows)]
