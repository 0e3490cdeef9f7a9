"""A user's own training function behind the trainer protocol."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2tune.errors import UserError
from l2tune.members import EpochScores, Member

Fit = Callable[[float, int, int], Any]
_NAMES = ("val_loss", "val_error", "train_loss", "train_error")


class FunctionTrainer:
    """Trains by calling `fit(strength, fold, seed)`.

    The function returns the final scores of one fold, or yields them epoch by epoch. Scores are a number (the metric
    λ is chosen by) or a mapping with any of `val_loss`, `val_error`, `train_loss`, `train_error`, the metric among
    them. NaN or infinity means that the training diverged.

    Args:
        fit: Called once per member, in one thread.
        folds: How many folds there are.
        metric: What a bare number means, `loss` or `error`.
        epochs: How many times `fit` yields; 1 if it returns.
    """

    test_labels: NDArray[np.int64] | None = None

    def __init__(self, fit: Fit, folds: int, metric: str = "loss", epochs: int = 1) -> None:
        if not callable(fit):
            raise UserError(f"{fit!r} cannot be called", "fit", "give a function fit(strength, fold, seed)")
        self.fit, self.folds, self.metric, self.epochs = fit, folds, metric, epochs

    def start(self, members: Sequence[Member]) -> FunctionRun:
        return FunctionRun(self, members)

    def describe(self) -> Mapping[str, Any]:
        name = getattr(self.fit, "__qualname__", type(self.fit).__qualname__)
        return {"engine": "function", "function": f"{getattr(self.fit, '__module__', '')}:{name}"}


class FunctionRun:
    """Members in training, each a call of the function."""

    def __init__(self, trainer: FunctionTrainer, members: Sequence[Member]) -> None:
        self._trainer = trainer
        self._active: dict[Member, Iterator[Any] | None] = dict.fromkeys(members)
        self._seconds = dict.fromkeys(members, 0.0)
        self._epoch = 0

    def __iter__(self) -> FunctionRun:
        return self

    def __next__(self) -> Sequence[EpochScores]:
        self._epoch += 1
        finished = []
        for member in list(self._active):
            scores = self._next_scores(member)
            if scores is not None:
                finished.append(scores)
                if scores.diverged:
                    del self._active[member]
        if not finished:
            raise StopIteration
        return finished

    def drop(self, members: Sequence[Member]) -> None:
        for member in members:
            epochs = self._active.pop(member, None)
            if inspect.isgenerator(epochs):
                epochs.close()

    def _next_scores(self, member: Member) -> EpochScores | None:
        """The member's next epoch; None once it has no more."""
        began = time.perf_counter()
        epochs = self._active[member]
        if epochs is None:
            result = self._trainer.fit(member.strength, member.fold, member.seed)
            epochs = result if isinstance(result, Iterator) else iter([result])
            self._active[member] = epochs
        try:
            value = next(epochs)
        except StopIteration:
            del self._active[member]
            return None
        self._seconds[member] += time.perf_counter() - began
        return self._scores(member, value)

    def _scores(self, member: Member, value: Any) -> EpochScores:
        name = f"val_{self._trainer.metric}"
        given = value if isinstance(value, Mapping) else {name: value}
        if name not in given or any(key not in _NAMES for key in given):
            raise UserError(
                f"fit gave the scores {', '.join(map(str, given)) or 'nothing'}",
                f"fold {member.fold}",
                f"give {name!r} and, if you like, others of {', '.join(_NAMES)}",
            )
        try:
            numbers = {key: float(given[key]) for key in given}
        except (TypeError, ValueError):
            raise UserError(
                f"fit gave {value!r}", f"fold {member.fold}", "give a number, or a mapping of names to numbers"
            ) from None
        return EpochScores(
            member=member,
            epoch=self._epoch,
            train_loss=numbers.get("train_loss", math.nan),
            train_error=numbers.get("train_error", math.nan),
            val_loss=numbers.get("val_loss", math.nan),
            val_error=numbers.get("val_error", math.nan),
            seconds=self._seconds[member],
            diverged=not math.isfinite(numbers[name]),
        )
