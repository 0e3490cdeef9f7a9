"""Stratified parts of images: the test part of a source that has none, and subsets for quick runs."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from l2tune.errors import UserError

TEST_SHARE = 0.2

SPLIT_SEED = 0
"""Parts are the same whatever the search's seed: searches with other seeds are compared on the same images."""


def stratified_part(labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Sorted indices of `count` images: each class in proportion, by largest remainders, and at least once.

    A smaller part is drawn from the same order as a larger one.

    Args:
        labels: (N,), of at most `count` ≤ N classes.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    exact = sizes * (count / len(labels))
    taken = np.clip(np.floor(exact).astype(np.int64), 1, sizes)
    while (gap := count - int(taken.sum())) != 0:
        step = 1 if gap > 0 else -1
        movable = (taken < sizes) if gap > 0 else (taken > 1)
        taken[np.argmax(np.where(movable, step * (exact - taken), -np.inf))] += step
    rng = np.random.default_rng(SPLIT_SEED)
    parts = [rng.permutation(np.flatnonzero(labels == k))[:n] for k, n in zip(classes, taken, strict=True)]
    return np.sort(np.concatenate(parts))


def split_off_test(
    labels: NDArray[np.int64], groups: NDArray[np.int64] | None, where: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the training part and of a stratified fifth for testing; groups stay together.

    Raises:
        UserError: A class would be left without training images.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    if (sizes < 2).any():
        lonely = classes[int(sizes.argmin())]
        raise UserError(f"class {lonely} has only one image", where, "give at least as many of each class as folds")
    if groups is None:
        count = max(round(TEST_SHARE * len(labels)), len(classes))
        test = stratified_part(labels, count)
        return np.setdiff1d(np.arange(len(labels)), test), test
    for train, test in _group_splits(labels, groups):
        if len(np.unique(labels[train])) == len(classes) and len(test):
            return train.astype(np.int64), test.astype(np.int64)
    raise UserError("groups leave no test part beside all classes", where, "give test_images, or smaller groups")


def _group_splits(
    labels: NDArray[np.int64], groups: NDArray[np.int64]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    from sklearn.model_selection import StratifiedGroupKFold

    count = min(round(1 / TEST_SHARE), len(np.unique(groups)), int(np.bincount(labels).max()))
    if count < 2:
        return []
    with warnings.catch_warnings():  # that a class cannot be spread evenly is checked by the caller
        warnings.simplefilter("ignore", UserWarning)
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=SPLIT_SEED)
        return list(splitter.split(labels, labels, groups))
