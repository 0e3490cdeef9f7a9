"""The seam between trainer and search: what is trained and what comes back. Imports nothing of torch or Optuna.

run = trainer.start(members)
for epoch_scores in run:          # one list per epoch, one EpochScores per member still in training
    run.drop(those_not_worth_it)  # between epochs; the caller owns the loop, so pruning never enters a trainer
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from l2tune.errors import UserError


@dataclass(frozen=True, slots=True)
class Member:
    """One network in training.

    Attributes:
        strength: λ ≥ 0.
        fold: Index into the trainer's folds, from 0; repeats continue the count.
        seed: Of the initial weights and the batch order; the same for a fold at every λ (common random numbers).
        others: (name, value) of what its trial draws beside λ, for a user's own training; by name.
    """

    strength: float
    fold: int
    seed: int
    others: tuple[tuple[str, Any], ...] = ()


def make_member(search_seed: int, strength: float, fold: int, others: tuple[tuple[str, Any], ...] = ()) -> Member:
    """The member of a fold; its seed comes from the search's seed and the fold alone, whatever λ is."""
    return Member(strength, fold, int(np.random.SeedSequence([search_seed, fold]).generate_state(1)[0]), others)


MAGNITUDE_EDGES: tuple[float, ...] = tuple(10 ** (-6 + place / 8) for place in range(8 * 8 + 1))
"""Edges of the bins in which |w| is counted: eight a decade from 1e-6 to 1e2, but for rounding right at an edge. What
lies outside counts in the bin at that end; exact zeros count in none."""


@dataclass(frozen=True, slots=True)
class LayerState:
    """What one layer's regularized weights are like.

    A unit is an output of the layer: a row of a linear layer's weight, a filter of a convolution's, a gate's row of a
    recurrent layer's. A unit without a single weight that is not exactly zero is dead.

    Attributes:
        weight_norm: ‖w‖₂.
        weights: How many there are.
        zeros: How many of them are exactly zero.
        units: How many units there are; 0 for a bias or another vector, which has none.
        dead_units: How many of them are dead.
    """

    weight_norm: float
    weights: int
    zeros: int
    units: int
    dead_units: int

    @property
    def counts(self) -> list[int]:
        """`[weights, zeros, units, dead_units]`, as a study stores them."""
        return [self.weights, self.zeros, self.units, self.dead_units]


@dataclass(frozen=True, slots=True, eq=False)
class NetworkState:
    """What a network is like at the end of its schedule.

    Attributes:
        layers: Layer name → what its regularized weights are like; a weight's name without `.weight`.
        zero_fraction: Share of regularized weights that are exactly zero.
        near_zero_fraction: Share below 1e-3 times their layer's initial root mean square.
        weight_sum: Σ|w| over all regularized weights; None where not known.
        magnitudes: How many regularized weights lie in each bin of `MAGNITUDE_EDGES`; empty where not known.
        test_loss: Mean cross-entropy over the test images, nats.
        test_error: Share of test images classified wrongly.
        calibration_error: Expected calibration error over the test images, 15 equal-width bins (Guo et al. 2017).
        input_gradient_norm: Mean over test images of ‖∂ cross-entropy / ∂ normalized image‖₂.
        test_log_probabilities: (test images, classes), or None where a trainer has no test images.
    """

    layers: Mapping[str, LayerState]
    zero_fraction: float
    near_zero_fraction: float
    weight_sum: float | None = None
    magnitudes: Sequence[int] = ()
    test_loss: float | None = None
    test_error: float | None = None
    calibration_error: float | None = None
    input_gradient_norm: float | None = None
    test_log_probabilities: NDArray[np.float32] | None = None

    @property
    def weight_norms(self) -> dict[str, float]:
        """Layer name → ‖w‖₂ of its regularized weights."""
        return {name: layer.weight_norm for name, layer in self.layers.items()}


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
        seconds: Spent on this member so far; of members trained at the same time each has its share.
        diverged: A loss became NaN or infinite: the member's last scores.
        first_estimates: For λ = 0, form of the penalty → the λ at which it would balance the data here, by the gradient
            of the mean training cross-entropy over the regularized weights (`Form.first_estimate`). Of the epoch whose
            validation loss is the member's lowest: told with that epoch, or with the member's last scores.
        network: With the last epoch only; None if diverged.
        others: Further scores by name, `val_f1` or `train_f1` for the metric `f1`, as a user's function gives them.
    """

    member: Member
    epoch: int
    train_loss: float
    train_error: float
    val_loss: float
    val_error: float
    seconds: float = 0.0
    diverged: bool = False
    first_estimates: Mapping[str, float] = field(default_factory=dict)
    network: NetworkState | None = None
    others: Mapping[str, float] = field(default_factory=dict)

    def score(self, name: str) -> float:
        """A score by its name, e.g. `val_loss`, `val_accuracy` or `train_f1`; NaN where it was not given."""
        if name in self.others:
            return self.others[name]
        if name in ("val_accuracy", "train_accuracy"):
            return 1 - float(getattr(self, name.replace("accuracy", "error")))
        known = name in ("train_loss", "train_error", "val_loss", "val_error")
        return float(getattr(self, name)) if known else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Refit:
    """A final network, trained on all training data with the chosen λ.

    Attributes:
        strength: λ.
        model: Of l2tune's trainer, a `torch.nn.Module` on the CPU in evaluation mode; else whatever `refit` gave.
        scores: Name → value, e.g. `test_loss`, as far as they are known.
        normalization: `mean` and `std` of each channel, pixels in 0..1, that images are normalized with; l2tune's only.
        seconds: Of training; 0 where not known.
        network: What it is like, by all test images; l2tune's only.
        parameters: How many it has, all of them; None where not known.
        nonzero: How many of all its parameters are not exactly zero; None where not known.
    """

    strength: float
    model: Any
    scores: Mapping[str, float] = field(default_factory=dict)
    normalization: Mapping[str, Sequence[float]] = field(default_factory=dict)
    seconds: float = 0.0
    network: NetworkState | None = None
    parameters: int | None = None
    nonzero: int | None = None

    @classmethod
    def of(cls, given: Any, strength: float) -> Refit:
        """From what a user's `refit` returned: a model, or (model, scores), scores a number or a mapping.

        Raises:
            UserError: A score is no number.
        """
        if isinstance(given, tuple) and len(given) == 2:
            model, scores = given
            named = scores if isinstance(scores, Mapping) else {"test_score": scores}
            try:
                return cls(strength, model, {str(name): float(value) for name, value in named.items()})
            except (TypeError, ValueError):
                raise UserError(
                    f"it gave the scores {scores!r}",
                    "refit",
                    "return a model, or (model, scores) with numbers as scores",
                ) from None
        return cls(strength, given)


class Run(Iterator[Sequence[EpochScores]], Protocol):
    """Members in training, in lockstep by epoch. Ends after the last epoch, or when no member is left."""

    def drop(self, members: Sequence[Member]) -> None:
        """Give up members between epochs, freeing their memory and time; unknown or finished ones are ignored."""
        ...


def together(trainer: Trainer) -> int:
    """How many strengths this trainer would have trained side by side; 1 if it does not say."""
    return int(getattr(trainer, "together", 1))


def in_runs(trainer: Trainer, members: Sequence[Member]) -> list[Sequence[Member]]:
    """The members, as many to a run as this trainer trains at once; all in one if it does not say."""
    size = int(getattr(trainer, "at_once", 0)) or max(1, len(members))
    return [members[start : start + size] for start in range(0, len(members), size)] or [members]


class Trainer(Protocol):
    """Anything that turns members into scores: the built-in engines, a user's function, a recorded table.

    A trainer that is faster with several members at once may say with an attribute `together` how many strengths a
    search should train side by side; without it, a search trains one after another. One that gains nothing by more
    members in a run than it trains at once may say how many with an attribute `at_once`: others wait without memory.

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
