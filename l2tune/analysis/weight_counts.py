"""How many weights of the folds' networks are zero, by layer, and how large the others are; each fold counts once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from l2tune.analysis.by_strength import Array
from l2tune.analysis.estimates import Estimates


@dataclass(frozen=True, slots=True, eq=False)
class CountedWeights:
    """The penalized weights of all folds' networks at one λ.

    Attributes:
        weights: How many there are.
        zeros: How many of them are exactly zero.
        counts: (bins,) how many of the others lie between two of `MAGNITUDE_EDGES`.
    """

    weights: int
    zeros: int
    counts: Array

    @property
    def shares(self) -> Array:
        """(bins,) of all weights."""
        return self.counts / self.weights


def counted_layers(t: Estimates) -> pd.DataFrame:
    """The rows of `StudyRecord.layers` whose zeros were counted, one per λ, fold and layer."""
    rows = t.record.layers
    known = rows[rows["zeros"].notna() & rows["weights"].notna()]
    return known.drop_duplicates(["lambda", "fold", "layer"], keep="last")  # a fold taken over is there twice


def counted_weights(t: Estimates | None, strength: float) -> CountedWeights | None:
    """What was counted of all folds at a λ; None where nothing was."""
    if t is None:
        return None
    rows = t.record.magnitudes
    rows = rows[rows["lambda"] == strength].drop_duplicates("fold", keep="last")
    layers = counted_layers(t)
    own = layers[layers["lambda"] == strength]
    counts = [np.asarray(counted, float) for counted in rows["counts"] if counted]
    weights = int(own["weights"].sum())
    if not counts or not weights:
        return None
    return CountedWeights(weights, int(own["zeros"].sum()), np.sum(counts, axis=0))
