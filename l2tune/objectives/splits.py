"""The folds of a user's own samples, as index arrays: counted, split by a splitter, or given as pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.utils.multiclass import type_of_target

from l2tune.errors import UserError
from l2tune.importing import one_line

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Splits:
    """Which samples each fold trains and validates on, and which no fold sees.

    Attributes:
        pairs: (train, validation) of each fold, int64, in the splitter's order.
        samples: How many there are in all; with pairs alone, one more than the highest index.
        test: Indices that no fold holds; None where none were kept apart.
    """

    pairs: tuple[tuple[Indices, Indices], ...]
    samples: int
    test: Indices | None = None

    @property
    def development(self) -> Indices:
        """All samples that the folds may use: what a final network trains on, rising."""
        every = np.unique(np.concatenate([part for pair in self.pairs for part in pair]))
        return every if self.test is None else np.setdiff1d(every, self.test)

    @property
    def fingerprint(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of all indices, in their order."""
        digest = hashlib.sha256()
        for part in [part for pair in self.pairs for part in pair] + ([] if self.test is None else [self.test]):
            digest.update(f"{len(part)}:".encode() + part.tobytes())
        return digest.hexdigest()[:16]


def make_splits(
    folds: Any,
    *,
    count: int | None,
    y: Any = None,
    groups: Any = None,
    test: Indices | None = None,
    seed: int = 0,
    repeats: int = 1,
) -> Splits:
    """Split samples as `folds` says.

    Args:
        folds: A number, which splits shuffled: stratified where y are classes that each have as many samples, by groups
            where there are any; a splitter of scikit-learn's kind, which is called with `split(X, y, groups)`; or
            pairs (train, validation) of index arrays, or of boolean masks over all samples.
        count: How many samples there are; None where only pairs can tell.
        y: Their targets, as the splitter needs them.
        groups: A group of each sample.
        test: Samples to keep out of all folds; a splitter splits the others.
        seed: Of the shuffling, for a number.
        repeats: Times the split is made anew, for a number.

    Raises:
        UserError: It cannot be split so, or a fold would be empty, validate on what it trained on, or see test samples.
    """
    is_number = isinstance(folds, int | np.integer) and not isinstance(folds, bool)
    if repeats > 1 and not is_number:
        raise UserError(f"{repeats} repeats of given splits would be the same again", "repeats", "give more splits")
    if not is_number and (isinstance(folds, str | bytes) or not hasattr(folds, "split")):
        if groups is not None:
            raise UserError("it has no effect on pairs of indices", "groups", "leave it out, or give a splitter")
        return _checked(_listed(folds), count, test)
    if count is None:
        what = f"how {_shown(folds)} splits the samples is not known"
        raise UserError(what, "folds", "give y= (and groups=) too, or pairs of indices (train, validation)")
    kept = np.arange(count) if test is None else np.setdiff1d(np.arange(count), test)
    targets = np.zeros(len(kept)) if y is None else _taken(y, kept, count, "y")
    owners = None if groups is None else _taken(groups, kept, count, "groups")
    made: list[Any] = []
    for repeat in range(repeats):
        state = int(np.random.SeedSequence([seed, repeat]).generate_state(1)[0])
        splitter = _splitter(int(folds), None if y is None else targets, owners, state) if is_number else folds
        with one_line(f"{_shown(splitter)} cannot split the samples", "folds", "give another splitter"):
            given = list(splitter.split(np.zeros((len(kept), 1)), targets, owners))
            made += [tuple(kept[as_indices(part, "folds", len(kept))] for part in pair) for pair in given]
    return _checked(made, count, test)


def as_indices(given: Any, where: str, count: int | None = None) -> Indices:
    """An array of sample indices, from one or from a boolean mask.

    Args:
        count: How many samples there are, so many as a mask must have.

    Raises:
        UserError: It is neither, or a mask of another length.
    """
    try:
        found = _indices(given, count)
    except IndexError as error:
        raise UserError(str(error), where, "give True or False for each sample") from None
    except (TypeError, ValueError):
        raise UserError(f"{_shown(given)} is no array of indices", where, "give whole numbers from 0") from None
    if len(found) and found.min() < 0:
        raise UserError(f"{found.min()} is no index of a sample", where, "count from 0")
    return found


def mask_length(given: Any) -> int | None:
    """How many samples a boolean mask is over; None of what is no mask."""
    try:
        array = np.asarray(given)
    except ValueError:  # rows of several lengths
        return None
    return len(array) if array.dtype == bool and array.ndim == 1 else None


def _indices(given: Any, count: int | None) -> Indices:
    array = np.asarray(given)
    if array.ndim == 1 and array.dtype == bool:
        if count is not None and len(array) != count:
            raise IndexError(f"a mask of {len(array)} values for {count} samples")
        return np.flatnonzero(array).astype(np.int64)
    if array.ndim != 1 or (len(array) and not np.issubdtype(array.dtype, np.integer)):
        raise TypeError("no indices")
    return array.astype(np.int64)


def _listed(folds: Any) -> list[tuple[Any, Any]]:
    fix = "give a number, a splitter, or pairs of indices or masks (train, validation)"
    if not isinstance(folds, Iterable) or isinstance(folds, str | bytes):
        raise UserError(f"{_shown(folds)} does not tell the folds", "folds", fix)
    pairs = list(folds)
    for pair in pairs:
        if isinstance(pair, str | bytes) or not isinstance(pair, Sequence | np.ndarray) or len(pair) != 2:
            raise UserError(f"{_shown(pair)} is no pair of index arrays", "folds", fix)
    return [(pair[0], pair[1]) for pair in pairs]


def _checked(pairs: Sequence[tuple[Any, Any]], count: int | None, test: Indices | None) -> Splits:
    if not pairs:
        raise UserError("0 folds cannot be trained", "folds", "give 2 or more")
    if count is None:  # a mask tells, and all others must agree
        count = next((length for pair in pairs for part in pair if (length := mask_length(part)) is not None), None)
    if test is not None and count is not None and test.max() >= count:
        raise UserError(f"its index {test.max()} is beyond the {count} samples", "test", "count from 0")
    made = []
    for number, pair in enumerate(pairs, 1):
        where = f"folds: fold {number}"
        train, validation = (as_indices(part, where, count) for part in pair)
        for name, part in (("training", train), ("validation", validation)):
            if not len(part):
                raise UserError(f"it has no {name} samples", where, "give each fold both")
            if count is not None and part.max() >= count:
                raise UserError(f"its index {part.max()} is beyond the {count} samples", where, "count from 0")
            if test is not None and len(np.intersect1d(part, test)):
                raise UserError(f"its {name} samples are test samples too", where, "keep test= out of all folds")
        if len(shared := np.intersect1d(train, validation)):
            what = f"sample {shared[0]} is trained on and validated on"
            raise UserError(what, where, "keep validation samples out of training")
        made.append((train, validation))
    highest = max(int(part.max()) for pair in made for part in pair)
    return Splits(tuple(made), highest + 1 if count is None else count, test)


def _splitter(folds: int, y: Any, groups: Any, state: int) -> Any:
    """The shuffled splitter that fits these targets.

    Raises:
        UserError: There are too few samples or groups.
    """
    if folds < 2:
        raise UserError(f"{folds} folds cannot be split", "folds", "give 2 or more, or one pair of indices")
    stratify = y is not None and is_classes(y) and np.unique(y, return_counts=True)[1].min() >= folds
    if groups is None:
        return (StratifiedKFold if stratify else KFold)(folds, shuffle=True, random_state=state)
    return (StratifiedGroupKFold if stratify else GroupKFold)(folds, shuffle=True, random_state=state)


def is_classes(y: Any) -> bool:
    """Whether targets are classes, as scikit-learn tells them."""
    try:
        return type_of_target(y) in ("binary", "multiclass")
    except ValueError:
        return False


def _taken(values: Any, kept: Indices, count: int, where: str) -> Any:
    array = np.asarray(values)
    if array.ndim == 0 or len(array) != count:
        found = "a single value" if array.ndim == 0 else f"{len(array)} values"
        raise UserError(f"{found} for {count} samples", where, "give one of each sample")
    return array[kept]


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:60]}…"
