"""Cross-validation folds, as scikit-learn's splitters make them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l2tune.errors import UserError


@dataclass(frozen=True, eq=False, slots=True)
class Fold:
    """Image indices of one fold, each int64 and sorted."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]

    @property
    def sample(self) -> NDArray[np.int64]:
        """As many training images as there are validation images, always the same: a learning curve needs no more."""
        count = min(len(self.train), len(self.validation))
        return np.sort(np.random.default_rng(0).choice(self.train, count, replace=False))


def make_folds(
    labels: NDArray[np.int64],
    *,
    folds: int,
    repeats: int = 1,
    seed: int = 0,
    groups: NDArray[np.int64] | None = None,
    class_names: Sequence[str] | None = None,
) -> tuple[Fold, ...]:
    """Stratified folds, `repeats` times anew; with groups, all images of a group fall into one validation part.

    Args:
        labels: (N,) classes.
        groups: (N,) group of each image.
        class_names: For messages.

    Returns:
        folds × repeats folds; the validation parts of one repeat divide the images among them.

    Raises:
        UserError: A class has fewer images than folds, or a fold would train without a class.
    """
    classes, counts = np.unique(labels, return_counts=True)
    rarest = int(counts.argmin())
    if counts[rarest] < folds:
        rare = classes[rarest] if class_names is None else repr(class_names[rarest])
        images = "1 training image" if counts[rarest] == 1 else f"{counts[rarest]} training images"
        raise UserError(
            f"class {rare} has {images}, fewer than {folds} folds",
            "--folds",
            "use fewer folds, more images of it, or a larger --subset",
        )
    if groups is not None and len(np.unique(groups)) < folds:
        raise UserError(f"{len(np.unique(groups))} groups cannot fill {folds} folds", "--folds", "use fewer folds")
    made: list[Fold] = []
    for repeat in range(repeats):
        state = int(np.random.SeedSequence([seed, repeat]).generate_state(1)[0])
        for train, validation in _split(labels, folds, state, groups):
            if len(np.unique(labels[train])) < len(classes) or not len(validation):
                fix = "use fewer folds, or smaller groups"
                raise UserError(f"groups leave one of {folds} folds without a class or images", "--folds", fix)
            made.append(Fold(np.sort(train).astype(np.int64), np.sort(validation).astype(np.int64)))
    return tuple(made)


def _split(
    labels: NDArray[np.int64], folds: int, state: int, groups: NDArray[np.int64] | None
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    if groups is None:
        everything, part = np.arange(len(labels)), _stratified(labels, folds, state)
        return [(everything[part != fold], everything[part == fold]) for fold in range(folds)]
    from sklearn.model_selection import StratifiedGroupKFold

    with warnings.catch_warnings():  # that a class cannot be spread evenly is checked by the caller
        warnings.simplefilter("ignore", UserWarning)
        return list(StratifiedGroupKFold(folds, shuffle=True, random_state=state).split(labels, labels, groups))


def _stratified(labels: NDArray[np.int64], folds: int, state: int) -> NDArray[np.int64]:
    """(N,) the fold that validates each image, as `StratifiedKFold(folds, shuffle=True, random_state=state)` has it.

    Written out, for the import of scikit-learn takes nearly as long as that of torch.
    """
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    codes = np.argsort(np.argsort(first))[inverse]  # classes by their first image
    in_turn = np.sort(codes)
    random = np.random.RandomState(state)
    part = np.empty(len(labels), dtype=np.int64)
    for code in range(len(first)):
        counts = [np.count_nonzero(in_turn[fold::folds] == code) for fold in range(folds)]
        of_class = np.repeat(np.arange(folds), counts)
        random.shuffle(of_class)
        part[codes == code] = of_class
    return part
