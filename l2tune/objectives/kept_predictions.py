"""What fits predict for the test images, kept as long as bias and variance of their λ may still be asked for."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from l2tune.analysis.bias_variance import decompose

LIMIT_BYTES = 2**26
"""160 fits on CIFAR-10, 4,600 on digits: a λ that a pruner gave up so long ago is hardly completed."""


class KeptPredictions:
    """Predictions by (λ, fold).

    Args:
        limit: Bytes to keep at most; beyond it the oldest are forgotten.
    """

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self._limit = limit
        self._kept: dict[tuple[float, int], NDArray[np.float32]] = {}

    def keep(self, strength: float, fold: int, predictions: NDArray[np.float32]) -> None:
        """Keep a fit's predictions, (test images, classes)."""
        self._kept.pop((strength, fold), None)  # so that it counts as the newest
        self._kept[strength, fold] = predictions
        total = sum(kept.nbytes for kept in self._kept.values())
        while total > self._limit:
            total -= self._kept.pop(next(iter(self._kept))).nbytes

    def of(self, strength: float, folds: Iterable[int]) -> list[NDArray[np.float32]]:
        """Those of these folds that are at hand, in the order of the folds."""
        kept = (self._kept.get((strength, fold)) for fold in folds)
        return [predictions for predictions in kept if predictions is not None]

    def decompose(
        self, strength: float, folds: Iterable[int], labels: NDArray[np.int64] | None
    ) -> tuple[int, dict[str, float]] | None:
        """Over how many of the folds bias and variance are known, and what they are; None for fewer than two.

        Args:
            labels: Of the test images; None where there are none.
        """
        predictions = self.of(strength, folds)
        if len(predictions) < 2 or labels is None:
            return None
        parts = decompose(np.stack(predictions), labels)
        return len(predictions), {name: float(getattr(parts, name)) for name in parts.__dataclass_fields__}

    def forget_whole(self, folds: int) -> None:
        """Forget every λ that has all its folds: nothing is trained of it any more."""
        seen: dict[float, int] = {}
        for strength, _ in self._kept:
            seen[strength] = seen.get(strength, 0) + 1
        self._kept = {key: kept for key, kept in self._kept.items() if seen[key[0]] < folds}
