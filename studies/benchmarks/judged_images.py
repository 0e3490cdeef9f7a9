"""Images for recordings with a judge: a small set as a user would have it, and thousands more of the same distribution.

Wrong labels are part of the small set, in training and validation folds alike. The judge's images keep their right
labels, and its scores are expected over the wrong ones (`expected_scores`): what validation measures, without the luck
of the draw.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d

from l2tune.data.images import ImageData


@dataclass(frozen=True)
class Draw:
    """What is drawn from a large set.

    Attributes:
        count: Images for the cross-validation.
        judges: Further images for the judge, of the same classes in the same shares.
        wrong: Share of the `count` labels that are replaced by another class, each other class as likely.
        decline: Images of a class, as a share of those of the class before; 1 leaves the classes as they are.
        side: Pixels that images are averaged down to; None leaves them as they are.
        seed: Of all that is drawn.
    """

    count: int = 1000
    judges: int = 6000
    wrong: float = 0.0
    decline: float = 1.0
    side: int | None = None
    seed: int = 0


def draw_images(source: ImageData, draw: Draw) -> ImageData:
    """The small set as training part, the judge's images as test part; no image is in both.

    Both come from the training part of `source`.
    """
    labels = source.labels.numpy()
    rng = np.random.default_rng(draw.seed)
    shares = np.bincount(labels, minlength=source.classes) / len(labels)
    if draw.decline != 1:
        shares = draw.decline ** np.arange(source.classes, dtype=float)
    kept, judges = disjoint_parts(labels, shares / shares.sum(), (draw.count, draw.judges), rng)
    given = with_wrong(labels[kept], draw.wrong, source.classes, rng)
    return replace(
        source,
        images=_shrunk(source.images[kept], draw.side),
        labels=torch.from_numpy(given),
        test_images=_shrunk(source.images[judges], draw.side),
        test_labels=source.labels[judges],
        groups=None,
    )


def disjoint_parts(
    labels: NDArray[np.int64], shares: NDArray[np.float64], counts: tuple[int, int], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorted indices of two parts of about so many images, each class with its share of either."""
    parts: tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]] = ([], [])
    for label, share in enumerate(shares):
        order = rng.permutation(np.flatnonzero(labels == label))
        first, second = (max(1, round(share * count)) for count in counts)
        if first + second > len(order):
            raise ValueError(f"class {label} has {len(order)} images, {first + second} are asked for")
        parts[0].append(order[:first])
        parts[1].append(order[first : first + second])
    return np.sort(np.concatenate(parts[0])), np.sort(np.concatenate(parts[1]))


def with_wrong(labels: NDArray[np.int64], share: float, classes: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The labels, a share of them replaced by one of the other classes."""
    found = labels.copy()
    chosen = rng.choice(len(labels), round(share * len(labels)), replace=False)
    found[chosen] = (found[chosen] + rng.integers(1, classes, len(chosen))) % classes
    return found


def expected_scores(
    log_p: NDArray[np.float32], labels: NDArray[np.int64], wrong: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cross-entropy and error of each image, expected over labels of which a share is wrong as by `with_wrong`.

    Args:
        log_p: (N, K) log-probabilities.
        labels: (N,) right ones.

    Returns:
        (N,) and (N,).
    """
    others = log_p.shape[1] - 1
    right = log_p[np.arange(len(labels)), labels].astype(float)
    rest = log_p.sum(axis=1, dtype=float) - right
    loss = -(1 - wrong) * right - wrong / others * rest
    hit = log_p.argmax(axis=1) == labels
    return loss, np.where(hit, wrong, 1 - wrong / others)


def _shrunk(images: torch.Tensor, side: int | None) -> torch.Tensor:
    """(N, C, side, side) uint8."""
    return images if side is None else adaptive_avg_pool2d(images.float(), side).round().to(torch.uint8)
