"""What λ is chosen by: a metric's name, direction, unit and kind, and what guessing scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from l2tune.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Number = TypeVar("Number", float, NDArray[np.float64])
else:
    Number = TypeVar("Number")

_GUESSES: Mapping[str, Callable[[int], float]] = {
    "ln K": math.log,
    "1 - 1/K": lambda classes: 1 - 1 / classes,
    "1/K": lambda classes: 1 / classes,
}

HIGHEST_SCORE = 1e150
"""A score beyond it, whose square is no float, counts as infinite: the fit diverged."""

Kind = Literal["positive", "proportion", "real"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A score of a fitted network on held-out images.

    Inside, everything is compared as a *cost*, of which less is better: `cost` turns a score round where more is
    better, `score` turns it back.

    >>> Metric("psnr", maximize=True, unit="dB").cost(31.5)
    -31.5
    >>> BUILT_IN["accuracy"].cost(0.75), BUILT_IN["error"].cost(0.25)
    (0.25, 0.25)

    Args:
        name: What scores are called: a fit's `val_NAME` and `train_NAME`.
        maximize: Whether more is better.
        kind: `positive`: never below 0, and 0 is perfect; `proportion`: within 0..1; `real`: any number. A kind is
            a promise, and a score that breaks it is refused.
        unit: Of a value as it is written, e.g. `nats`; `%` writes proportions as percentages.
        guess: What guessing scores, a number or a formula of K equally frequent classes; None where neither is known.

    Raises:
        UserError: The name cannot be one, or the kind is unknown.
    """

    name: str
    maximize: bool = False
    kind: Kind = "real"
    unit: str = ""
    guess: float | Literal["ln K", "1 - 1/K", "1/K"] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip() or not self.name.isprintable():
            raise UserError(f"{self.name!r} cannot name a metric", "metric", "give a word, e.g. Metric('f1')")
        if self.kind not in get_args(Kind):
            kinds = ", ".join(get_args(Kind))
            raise UserError(f"{self.kind!r} is no kind of metric", f"metric {self.name!r}", f"give one of {kinds}")

    def __str__(self) -> str:
        return self.name

    def cost(self, score: Number) -> Number:
        """The score, or an array of them, as a cost, of which less is better."""
        if not self.maximize:
            return score
        return 1.0 - score if self.kind == "proportion" else -score

    def score(self, cost: Number) -> Number:
        """The score of a cost, or of an array of them."""
        return self.cost(cost)  # turning round twice is turning back

    @property
    def better(self) -> Literal["lower", "higher"]:
        """Which scores are better."""
        return "higher" if self.maximize else "lower"

    def guessing(self, classes: int | None) -> float | None:
        """What guessing among equally frequent classes scores; None where that is not known."""
        if not isinstance(self.guess, str):
            return self.guess
        return None if classes is None or classes < 2 else _GUESSES[self.guess](classes)

    def check(self, score: float, where: str = "") -> float:
        """The score, if it is one that this kind of metric can have; NaN and infinity mean a fit that diverged.

        Raises:
            UserError: A proportion outside 0..1, or a negative value of a positive metric.
        """
        if not math.isfinite(score):
            return score
        at = where or f"metric {self.name!r}"
        if self.kind == "proportion" and not -1e-9 <= score <= 1 + 1e-9:
            fix = f"give a share, or name the metric otherwise, e.g. Metric('{self.name}_percent', kind='real')"
            raise UserError(f"{self.name} {score:g} is outside 0..1", at, fix)
        if self.kind == "positive" and score < 0:
            fix = "it is never negative; a metric of another name, Metric('NAME'), may have any number"
            raise UserError(f"{self.name} {score:g} is below 0", at, fix)
        return min(max(score, 0.0), 1.0) if self.kind == "proportion" else score

    def asdict(self) -> dict[str, Any]:
        """As a study stores it."""
        return asdict(self)


BUILT_IN: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("loss", kind="positive", unit="nats", guess="ln K"),
        Metric("error", kind="proportion", unit="%", guess="1 - 1/K"),
        Metric("accuracy", maximize=True, kind="proportion", unit="%", guess="1/K"),
        Metric("mse", kind="positive"),
        Metric("r2", maximize=True, guess=0.0),
        Metric("auc", maximize=True, kind="proportion", guess=0.5),
        Metric("nll", unit="nats"),
    )
}
"""Mean cross-entropy, error rate, accuracy; for other heads mean squared error, coefficient of determination, area
under the ROC curve, and the negative log-likelihood of a density, which may be negative."""

CLASSIFICATION = ("loss", "error", "accuracy")
"""What our own trainers score."""

UNDECLARED = Metric("loss")
"""The number of a user's own function that says nothing about it: less is better, and it may be negative."""

_HIGHER_IS_BETTER = (
    "f1", "precision", "recall", "jaccard", "iou", "miou", "dice", "map", "mcc", "kappa", "psnr", "ssim", "bleu",
    "roc_auc", "average_precision", "balanced_accuracy", "top_5_accuracy", "explained_variance", "d2",
)  # fmt: skip


def as_metric(given: str | Metric, *, maximize: bool | None = None) -> Metric:
    """The metric that a name stands for.

    >>> as_metric("f1_macro").maximize, as_metric("mse").maximize
    (True, False)

    Args:
        given: A metric, one of `BUILT_IN`, or any other name. Names of scikit-learn's scorers (`neg_…`, `f1_macro`,
            `roc_auc_ovr`, …) and a few more that the field uses are of the kind `real`, and more is better.
        maximize: What the study's maker asked for, where the name does not tell.

    Raises:
        UserError: The name does not tell whether more or less is better.
    """
    if isinstance(given, Metric):
        return given
    if given in BUILT_IN:
        return BUILT_IN[given]
    stem = str(given).lower()
    if stem.startswith("neg_") or any(stem == word or stem.startswith(f"{word}_") for word in _HIGHER_IS_BETTER):
        return Metric(given, maximize=True)
    if maximize:
        return Metric(given, maximize=True)
    raise UserError(
        f"whether more or less of {given!r} is better is not known",
        "metric",
        f"give Metric({given!r}, maximize=True) or Metric({given!r}), or one of {', '.join(BUILT_IN)}",
    )


def metric_from(stored: Mapping[str, Any]) -> Metric:
    """The metric that `Metric.asdict` stored."""
    return Metric(**{name: stored[name] for name in Metric.__dataclass_fields__ if name in stored})
