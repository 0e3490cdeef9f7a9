"""Final networks, trained on all training data: what a study stores of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna

from l2tune.members import Refit
from l2tune.records.keys import REFIT, refit_key


@dataclass(frozen=True, slots=True)
class RefitRecord:
    """A final network as it is stored. Losses in nats, times in seconds; None, or empty, where not known.

    Attributes:
        strength: λ.
        seed: Of the initial weights and the draws.
        test_loss: Over all test images, like `test_error` and `calibration_error`.
        parameters: How many the network has, all of them.
        nonzero: How many of all its parameters are not exactly zero.
        layers: Layer → `[weights, zeros, units, dead_units]`, as `LayerState` counts them.
        magnitudes: How many regularized weights lie in each bin of `MAGNITUDE_EDGES`.
    """

    strength: float
    seed: int
    seconds: float = 0.0
    train_loss: float | None = None
    train_error: float | None = None
    test_loss: float | None = None
    test_error: float | None = None
    calibration_error: float | None = None
    parameters: int | None = None
    nonzero: int | None = None
    layers: Mapping[str, Sequence[int]] = field(default_factory=dict)
    magnitudes: Sequence[int] = field(default_factory=list)

    @classmethod
    def of(cls, refit: Refit, seed: int) -> RefitRecord:
        """The record of a final network."""
        network, scores = refit.network, refit.scores
        return cls(
            float(refit.strength),
            int(seed),
            round(refit.seconds, 4),
            train_loss=_finite(scores.get("train_loss")),
            train_error=_finite(scores.get("train_error")),
            test_loss=_finite(scores.get("test_loss")),
            test_error=_finite(scores.get("test_error")),
            calibration_error=_finite(network.calibration_error) if network else None,
            parameters=refit.parameters,
            nonzero=refit.nonzero,
            layers={name: layer.counts for name, layer in network.layers.items()} if network else {},
            magnitudes=list(network.magnitudes) if network else [],
        )


def write_refit(study: optuna.Study, record: RefitRecord) -> None:
    """Store a final network's record with its study, in place of one of the same λ and seed.

    Each has a key of its own: processes that write at once keep each other's.
    """
    stored = {_STORED_NAMES.get(name, name): value for name, value in asdict(record).items()}
    study.set_user_attr(refit_key(record.strength, record.seed), stored)


def refit_records(study: optuna.Study) -> list[RefitRecord]:
    """All final networks of a study, by rising λ, then seed."""
    found = [_read(value) for key, value in study.user_attrs.items() if key.startswith(REFIT)]
    return sorted(found, key=lambda record: (record.strength, record.seed))


def refit_of(study: optuna.Study, strength: float, seed: int) -> RefitRecord | None:
    """The final network of exactly this λ and seed; None if there is none."""
    stored = study.user_attrs.get(refit_key(strength, seed))
    return None if stored is None else _read(stored)


_STORED_NAMES = {"strength": "lambda"}


def _read(stored: Mapping[str, Any]) -> RefitRecord:
    names = RefitRecord.__dataclass_fields__
    return RefitRecord(**{name: stored[key] for name in names if (key := _STORED_NAMES.get(name, name)) in stored})


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
