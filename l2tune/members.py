"""The seam between trainer and search: what is trained and what comes back. Imports nothing of torch or Optuna.

run = trainer.start(members)
for epoch_scores in run:          # one list per epoch, one EpochScores per member still in training
    run.drop(those_not_worth_it)  # between epochs; the caller owns the loop, so pruning never enters a trainer
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Member:
    """One network in training.

    Attributes:
        strength: λ ≥ 0.
        fold: Index into the trainer's folds, from 0; repeats continue the count.
        seed: Of the initial weights and the batch order; the same for a fold at every λ (common random numbers).
    """

    strength: float
    fold: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class NetworkState:
    """What a network is like at the end of its schedule.

    Attributes:
        weight_norms: Layer name → ‖w‖₂ of its regularized weights.
        zero_fraction: Share of regularized weights that are exactly zero.
        near_zero_fraction: Share below 1e-3 times their layer's initial root mean square.
        test_loss: Mean cross-entropy over the test images, nats.
        test_error: Share of test images classified wrongly.
        calibration_error: Expected calibration error over the test images, 15 equal-width bins (Guo et al. 2017).
        input_gradient_norm: Mean over test images of ‖∂ cross-entropy / ∂ normalized image‖₂.
        test_log_probabilities: (test images, classes), or None where a trainer has no test images.
    """

    weight_norms: Mapping[str, float]
    zero_fraction: float
    near_zero_fraction: float
    test_loss: float | None = None
    test_error: float | None = None
    calibration_error: float | None = None
    input_gradient_norm: float | None = None
    test_log_probabilities: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class EpochScores:
    """Scores of one member after an epoch.

    Attributes:
        member: Whose.
        epoch: Epochs finished, from 1.
        train_loss: Mean cross-entropy over the fold's training images in evaluation mode, without the penalty; nats.
            Before the last epoch an engine may take a sample of them; ours take as many as there are validation images.
        train_error: Share of them classified wrongly.
        val_loss: The same over the fold's validation images.
        val_error: The same.
        seconds: Spent on this member so far; a population gives each member its share.
        diverged: A loss became NaN or infinite: the member's last scores.
        gradient_ratio: For λ = 0, `‖∇E(W)‖ / (2 ‖W‖)` over the regularized weights, E the mean training
            cross-entropy (Rögnvaldsson 1998): the λ at which the penalty would balance the data here. At least after
            each epoch whose validation loss is the member's lowest so far.
        network: With the last epoch only; None if diverged.
    """

    member: Member
    epoch: int
    train_loss: float
    train_error: float
    val_loss: float
    val_error: float
    seconds: float = 0.0
    diverged: bool = False
    gradient_ratio: float | None = None
    network: NetworkState | None = None


class Run(Iterator[Sequence[EpochScores]], Protocol):
    """Members in training, in lockstep by epoch. Ends after the last epoch, or when no member is left."""

    def drop(self, members: Sequence[Member]) -> None:
        """Give up members between epochs, freeing their memory and time; unknown or finished ones are ignored."""
        ...


def together(trainer: Trainer) -> int:
    """How many strengths this trainer would have trained side by side; 1 if it does not say."""
    return int(getattr(trainer, "together", 1))


class Trainer(Protocol):
    """Anything that turns members into scores: the built-in engines, a user's function, a recorded table.

    A trainer that is faster with several members at once may say with an attribute `together` how many strengths a
    search should train side by side; without it, a search trains one after another.

    Attributes:
        folds: How many folds there are (k × repeats).
        epochs: The length of the full schedule; 1 for a trainer that only knows the end.
        test_labels: (test images,) that `NetworkState.test_log_probabilities` belong to; None without test images.
    """

    folds: int
    epochs: int
    test_labels: NDArray[np.int64] | None

    def start(self, members: Sequence[Member]) -> Run:
        """Begin training the members; nothing is trained before the run is iterated."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Plain values worth storing with a study: engine, device, precision, parameters, normalization, fold sizes."""
        ...
