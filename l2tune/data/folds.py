"""Cross-validation folds, by scikit-learn's splitters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from l2tune.errors import UserError


@dataclass(frozen=True, eq=False, slots=True)
class Fold:
    """Image indices of one fold, each int64 and sorted."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]


def make_folds(
    labels: NDArray[np.int64],
    *,
    folds: int,
    repeats: int = 1,
    seed: int = 0,
    groups: NDArray[np.int64] | None = None,
) -> tuple[Fold, ...]:
    """Stratified folds, `repeats` times anew; with groups, all images of a group fall into one validation part.

    Args:
        labels: (N,) classes.
        groups: (N,) group of each image.

    Raises:
        UserError: A class has fewer images than folds, or a fold would train without a class.
    """
    classes, counts = np.unique(labels, return_counts=True)
    rarest = int(counts.argmin())
    if counts[rarest] < folds:
        raise UserError(
            f"class {classes[rarest]} has {counts[rarest]} training images, fewer than {folds} folds",
            "--folds",
            "use fewer folds, more images of it, or a larger --subset",
        )
    if groups is not None and len(np.unique(groups)) < folds:
        raise UserError(f"{len(np.unique(groups))} groups cannot fill {folds} folds", "--folds", "use fewer folds")
    made = []
    for repeat in range(repeats):
        state = int(np.random.SeedSequence([seed, repeat]).generate_state(1)[0])
        if groups is None:
            splits = StratifiedKFold(folds, shuffle=True, random_state=state).split(labels, labels)
        else:
            splits = StratifiedGroupKFold(folds, shuffle=True, random_state=state).split(labels, labels, groups)
        for train, validation in splits:
            if len(np.unique(labels[train])) < len(classes) or not len(validation):
                raise UserError(
                    "the groups leave a fold without a class or without images", "--folds", "use fewer folds"
                )
            made.append(Fold(np.sort(train).astype(np.int64), np.sort(validation).astype(np.int64)))
    return tuple(made)
