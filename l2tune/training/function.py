"""A user's own training function behind the trainer protocol."""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2tune.errors import UserError, innermost
from l2tune.members import EpochScores, Member
from l2tune.metrics import HIGHEST_SCORE, UNDECLARED, Metric
from l2tune.penalty.strength import StrengthScale

Fit = Callable[..., Any]
_PARTS = ("val_", "train_", "test_")
_OURS = ("val_loss", "val_error", "train_loss", "train_error")


class FunctionTrainer:
    """Trains by calling `fit(strength, fold, seed)`.

    What the trial draws beside λ, a member's `others`, is given by name.

    The function returns the final scores of one fold, or yields them epoch by epoch. Scores are a number (the metric
    λ is chosen by) or a mapping of names to numbers, the metric among them: `val_f1`, `train_f1`, `test_f1`; a name
    without such a beginning is a validation score. All are stored. NaN or infinity means that the training diverged.

    Args:
        fit: Called once per member, in one thread.
        folds: How many folds there are.
        metric: What a bare number is.
        epochs: How many times `fit` yields; 1 if it returns. None if only the function knows: then the first member
            that ends tells, and until then it is `sys.maxsize`.
        scale: Of the strength that `fit` is called with.
    """

    test_labels: NDArray[np.int64] | None = None

    def __init__(
        self,
        fit: Fit,
        folds: int,
        metric: Metric = UNDECLARED,
        epochs: int | None = 1,
        scale: StrengthScale = StrengthScale(),  # noqa: B008 a frozen value
    ) -> None:
        if not callable(fit):
            raise UserError(f"{fit!r} cannot be called", "fit", "give a function fit(strength, fold, seed)")
        self.fit, self.folds, self.metric, self.scale = fit, folds, metric, scale
        self.epochs = sys.maxsize if epochs is None else epochs

    def start(self, members: Sequence[Member]) -> FunctionRun:
        """Begin; each member is a call of the function."""
        return FunctionRun(self, members)

    def describe(self) -> Mapping[str, Any]:
        """The function's name, and a hash of its source where there is one to be read."""
        told = {"engine": "function", "function": function_name(self.fit), "source": source_hash(self.fit)}
        splits = getattr(self.fit, "splits", None)  # where the fit is given the samples of each fold
        return told if splits is None else told | {"splits": splits.fingerprint, "samples": splits.samples}


def function_name(function: Any) -> str:
    """`module:name` of a function, a bound method, a partial or a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '')}:{name}"


def source_hash(function: Any) -> str | None:
    """First 16 hexadecimal digits of the SHA-256 of a function's source; None where it cannot be read.

    Of a callable object it is the class's source. What a function closes over or calls is not part of it, but for the
    scorer that it is `scored_by`.
    """
    scorer = None
    while isinstance(function, functools.partial) or hasattr(function, "__wrapped__"):
        scorer = scorer or getattr(function, "scored_by", None)
        function = function.func if isinstance(function, functools.partial) else function.__wrapped__
    if not (inspect.isfunction(function) or inspect.ismethod(function) or inspect.isclass(function)):
        function = type(function)
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return None
    if scorer is not None:
        source += source_hash(scorer) or ""
    return hashlib.sha256(source.encode()).hexdigest()[:16]


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
                    self.drop([member])
        if not finished:
            raise StopIteration
        return finished

    def drop(self, members: Sequence[Member]) -> None:
        """Give up members; a function that yields is closed. What it raises then does not matter any more."""
        for member in members:
            epochs = self._active.pop(member, None)
            if inspect.isgenerator(epochs):
                try:
                    epochs.close()
                except Exception as error:
                    warnings.warn(f"fit raised {innermost(error)} while it was closed", RuntimeWarning, stacklevel=2)

    def _next_scores(self, member: Member) -> EpochScores | None:
        """The member's next epoch; None once it has no more."""
        began = time.perf_counter()
        epochs = self._active[member]
        if epochs is None:
            strength = self._trainer.scale.from_lambda(member.strength)
            result = self._trainer.fit(strength, member.fold, member.seed, **dict(member.others))
            epochs = result if isinstance(result, Iterator) else iter([result])
            self._active[member] = epochs
        try:
            value = next(epochs)
        except StopIteration:
            del self._active[member]
            if self._trainer.epochs == sys.maxsize and self._epoch > 1:
                self._trainer.epochs = self._epoch - 1
            return None
        self._seconds[member] += time.perf_counter() - began
        return self._scores(member, value)

    def _scores(self, member: Member, value: Any) -> EpochScores:
        metric, where = self._trainer.metric, f"fold {member.fold}"
        wanted = f"val_{metric}"
        given = value if isinstance(value, Mapping) else {wanted: value}
        named: dict[Any, Any] = {}
        for name, score in given.items():
            full = name if str(name).startswith(_PARTS) else f"val_{name}"
            if full in named:
                short = str(full).removeprefix("val_")
                what = f"fit gave both {short!r} and {full!r}, and {short!r} alone means {full!r}"
                raise UserError(what, where, f"call a training score 'train_{short}'")
            named[full] = score
        if metric.name == "accuracy" and "val_error" in named and wanted not in named:
            named[wanted] = 1 - float(named["val_error"])
        if wanted not in named:
            what = f"fit gave the scores {', '.join(map(str, given)) or 'nothing'}, no {metric.name!r} among them"
            raise UserError(what, where, f"give {wanted!r}, or name another metric=")
        numbers = {str(name): _number(name, score, where) for name, score in named.items()}
        for name in (wanted, f"train_{metric}", f"test_{metric}"):
            metric.check(numbers.get(name, math.nan), where)
        return EpochScores(
            member=member,
            epoch=self._epoch,
            train_loss=numbers.get("train_loss", math.nan),
            train_error=numbers.get("train_error", math.nan),
            val_loss=numbers.get("val_loss", math.nan),
            val_error=numbers.get("val_error", math.nan),
            seconds=self._seconds[member],
            diverged=not math.isfinite(numbers[wanted]),
            others={name: number for name, number in numbers.items() if name not in _OURS},
        )


def _number(name: Any, score: Any, where: str) -> float:
    try:
        number = float(score)
    except OverflowError:  # an integer beyond all floats
        return math.inf
    except (TypeError, ValueError):
        fix = "give a number, or a mapping of names to numbers"
        raise UserError(f"fit gave {name} = {score!r}", where, fix) from None
    return math.copysign(math.inf, number) if abs(number) > HIGHEST_SCORE else number


def yields_scores(fit: Fit) -> bool:
    """Whether a function, or an object that is called, yields its scores."""
    call = getattr(fit, "__call__", fit)  # noqa: B004 its code is wanted, not whether it can be called
    return inspect.isgeneratorfunction(inspect.unwrap(fit)) or inspect.isgeneratorfunction(call)


def count_splits(splitter: Any) -> int:
    """How many folds a number, a list of splits or a splitter of scikit-learn's kind stands for.

    Raises:
        UserError: It does not tell, or there is none.
    """
    if isinstance(splitter, int | np.integer) and not isinstance(splitter, bool):
        return _at_least_one(int(splitter))
    if isinstance(splitter, Iterable) and not isinstance(splitter, str | bytes):
        return _at_least_one(len(list(splitter)))
    try:
        return _at_least_one(int(splitter.get_n_splits()))
    except (AttributeError, TypeError):
        raise UserError(
            f"{splitter!r} does not tell its number of folds", "folds", "give a number, a list, or a splitter"
        ) from None


def _at_least_one(folds: int) -> int:
    if folds < 1:
        raise UserError(f"{folds} folds cannot be trained", "folds", "give 2 or more")
    return folds
