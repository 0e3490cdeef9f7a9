"""One fold's training as a trial stores it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial

from l2tune.members import EpochScores
from l2tune.metrics import Metric
from l2tune.records.keys import fold_key, fold_of

SCORES = ("train_loss", "train_error", "val_loss", "val_error")
"""What our own trainers score; a user's function may give others."""

Part = Literal["train", "val"]


@dataclass(frozen=True, slots=True)
class FoldRecord:
    """One member's training as it is stored. Losses in nats, norms are L2, times in seconds; None where not known.

    Attributes:
        epochs: Epochs trained.
        truncated: A pruner stopped it before its last epoch; its scores are no final ones.
        diverged: A loss became NaN or infinite; the scores that are not finite are None.
        scores: Further scores by name, e.g. `val_f1`.
        weight_norms: Layer → ‖w‖₂ of its regularized weights.
        layers: Layer → `[weights, zeros, units, dead_units]`, as `LayerState` counts them; none in older records.
        weight_sum: Σ|w| over all regularized weights.
        magnitudes: How many weights lie in each bin of `MAGNITUDE_EDGES`; empty where not known.
        first_estimates: For λ = 0, `EpochScores.first_estimates` at the epoch of lowest validation loss.
        reused_from: Number of the trial that trained it, when this trial took it over.
        curves: Score name → value after each epoch.
        ended: When it was trained to its end, by the clock of the worker, in seconds since 1970; not known of older
            records.
    """

    epochs: int
    train_loss: float | None = None
    train_error: float | None = None
    val_loss: float | None = None
    val_error: float | None = None
    truncated: bool = False
    diverged: bool = False
    seconds: float = 0.0
    scores: Mapping[str, float | None] = field(default_factory=dict)
    weight_norms: Mapping[str, float] = field(default_factory=dict)
    layers: Mapping[str, Sequence[int]] = field(default_factory=dict)
    weight_sum: float | None = None
    magnitudes: Sequence[int] = field(default_factory=list)
    zero_fraction: float | None = None
    near_zero_fraction: float | None = None
    test_loss: float | None = None
    test_error: float | None = None
    calibration_error: float | None = None
    input_gradient_norm: float | None = None
    first_estimates: Mapping[str, float] = field(default_factory=dict)
    reused_from: int | None = None
    curves: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    ended: float | None = None

    @classmethod
    def of(cls, history: Sequence[EpochScores], *, truncated: bool = False) -> FoldRecord:
        """The record of one member's epochs, in order; at least one."""
        last = history[-1]
        measured = [s for s in history if s.first_estimates and math.isfinite(s.val_loss)]
        lowest = min(measured, key=lambda s: s.val_loss, default=None)
        record = cls(
            epochs=last.epoch,
            train_loss=_finite(last.train_loss),
            train_error=_finite(last.train_error),
            val_loss=_finite(last.val_loss),
            val_error=_finite(last.val_error),
            truncated=truncated,
            diverged=last.diverged,
            seconds=round(last.seconds, 4),
            scores={name: _finite(value) for name, value in last.others.items()},
            first_estimates=dict(lowest.first_estimates) if lowest else {},
            curves={name: [_short(s.score(name)) for s in history] for name in (*SCORES, *last.others)},
        )
        network = last.network
        if network is None:
            return record
        return replace(
            record,
            weight_norms=network.weight_norms,
            layers={name: layer.counts for name, layer in network.layers.items()},
            weight_sum=_finite(network.weight_sum),
            magnitudes=list(network.magnitudes),
            zero_fraction=network.zero_fraction,
            near_zero_fraction=network.near_zero_fraction,
            test_loss=_finite(network.test_loss),
            test_error=_finite(network.test_error),
            calibration_error=_finite(network.calibration_error),
            input_gradient_norm=_finite(network.input_gradient_norm),
        )

    def value(self, part: Part, metric: Metric | str) -> float | None:
        """Final score of the training or validation part; None where not known."""
        name = f"{part}_{metric}"
        if name == f"{part}_accuracy" and name not in self.scores:
            error = self.value(part, "error")
            return None if error is None else 1 - error
        return getattr(self, name) if name in SCORES else self.scores.get(name)

    def cost(self, metric: Metric, part: Part = "val") -> float | None:
        """`Metric.cost` of the final score: infinite if the fold diverged; None unless it is final and known.

        This is the one rule for what a finished fold is.
        """
        if self.truncated:
            return None
        if self.diverged:
            return math.inf
        value = self.value(part, metric)
        return None if value is None else metric.cost(value)

    @property
    def weight_norm(self) -> float | None:
        """‖w‖₂ over all regularized weights."""
        return math.sqrt(sum(norm**2 for norm in self.weight_norms.values())) if self.weight_norms else None


def write_fold(trial: optuna.Trial, fold: int, record: FoldRecord) -> None:
    """Store a fold's training with its trial."""
    trial.set_user_attr(fold_key(fold), asdict(record))


def fold_records(trial: FrozenTrial | optuna.Trial) -> dict[int, FoldRecord]:
    """Fold → record of a trial, in the order of the folds; empty for a trial of the user's own objective."""
    found = {fold: _read(value) for key, value in trial.user_attrs.items() if (fold := fold_of(key)) is not None}
    return dict(sorted(found.items()))


def _read(stored: Mapping[str, Any]) -> FoldRecord:
    """A record; schema 2 had one first estimate, that of every L2 form."""
    known = {name: value for name, value in stored.items() if name in FoldRecord.__dataclass_fields__}
    if stored.get("first_estimate"):
        known.setdefault("first_estimates", dict.fromkeys(("l2", "l2-loss", "l2-decoupled"), stored["first_estimate"]))
    return FoldRecord(**known)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _short(value: float) -> float | None:
    """Six significant digits: curves are drawn, not computed with."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
