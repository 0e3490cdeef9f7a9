"""Fits of a scikit-learn estimator behind the trainer protocol: a member is the estimator at one λ on one fold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2tune.errors import UserError
from l2tune.members import EpochScores, Member
from l2tune.metrics import HIGHEST_SCORE, Metric

Fitted = dict[str, Any]
"""What scikit-learn's `_fit_and_score` returns: `test_scores`, `fit_time`, `fit_error`, …; and `test_loss`, the mean
cross-entropy in nats, where it was asked for and there is one."""

Evaluate = Callable[[Sequence[tuple[float, int]]], list[Fitted]]
"""Fits and scores the estimator for each (λ, fold), in any order at once."""


class FitRaised(UserError):
    """A fit raised an error that is to be raised as it is.

    Args:
        error: By the estimator or the scorer.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class FoldTrainer:
    """Trains by `evaluate`, and keeps what it returned.

    Args:
        evaluate: Fits and scores.
        folds: How many there are.
        metric: What λ is chosen by.
        key: Its name, where scores of several metrics come back.
        name: Of the estimator.
        together: How many strengths to train side by side.

    Attributes:
        fitted: λ → fold → what was returned, in the order of the first fits.
    """

    epochs = 1
    test_labels: NDArray[np.int64] | None = None

    def __init__(
        self, evaluate: Evaluate, folds: int, metric: Metric, key: str | None, name: str, together: int
    ) -> None:
        self.folds, self.metric, self.together = folds, metric, together
        self.fitted: dict[float, dict[int, Fitted]] = {}
        self._evaluate, self._key, self._name = evaluate, key, name

    def start(self, members: Sequence[Member]) -> FoldRun:
        """Begin; nothing is fitted before the run is iterated."""
        return FoldRun(self, members)

    def describe(self) -> Mapping[str, Any]:
        """The estimator's name."""
        return {"engine": "scikit-learn", "function": self._name, "source": None}

    def fit(self, members: Sequence[Member]) -> list[EpochScores]:
        """Fit and score these members.

        Raises:
            FitRaised: The estimator, or the scorer, raised an error that is not to be scored.
            UserError: Not one score of the first λs is a number.
        """
        pairs = [(member.strength, member.fold) for member in members]
        try:
            results = self._evaluate(pairs)
        except Exception as error:
            raise FitRaised(error) from error
        for (strength, fold), result in zip(pairs, results, strict=True):
            self.fitted.setdefault(strength, {})[fold] = result
        scores = [self._scores(member, result) for member, result in zip(members, results, strict=True)]
        self._check_any(scores)
        return scores

    def score_of(self, result: Fitted, part: str = "test") -> float:
        """The score of the metric λ is chosen by; NaN where there is none."""
        given = result.get(f"{part}_scores", math.nan)
        if not isinstance(given, Mapping):
            return float(given)
        if self._key not in given:
            names = ", ".join(map(repr, given))
            raise UserError(
                f"there are several metrics ({names})", "refit", "name the one that the strength is searched by"
            )
        return float(given[self._key])

    def _scores(self, member: Member, result: Fitted) -> EpochScores:
        value, train = self.score_of(result), self.score_of(result, "train")
        diverged = not abs(value) <= HIGHEST_SCORE
        if not diverged:
            self.metric.check(value, f"fold {member.fold}")
        return EpochScores(
            member=member,
            epoch=1,
            train_loss=math.nan,
            train_error=math.nan,
            val_loss=float(result.get("test_loss", math.nan)),
            val_error=math.nan,
            seconds=float(result["fit_time"] + result["score_time"]),
            diverged=diverged,
            others={f"val_{self.metric}": value, f"train_{self.metric}": train},
        )

    def _check_any(self, newest: Sequence[EpochScores]) -> None:
        """Give up where nothing can be learned: two whole λs without a score."""
        if not all(scores.diverged for scores in newest):
            return
        every = [result for folds in self.fitted.values() for result in folds.values()]
        if len(every) < 2 * self.folds or any(abs(self.score_of(result)) <= HIGHEST_SCORE for result in every):
            return
        errors = [_error_line(result["fit_error"]) for result in every if result["fit_error"]]
        if errors:
            what, fix = f"all the {len(every)} fits failed: {errors[-1]}", "error_score='raise' shows where"
        else:
            what, fix = f"all {len(every)} scores are NaN or infinite", "give another scoring="
        raise UserError(what, "RegularizationSearchCV", fix)


def _error_line(trace: str) -> str:
    """Kind and first line of the message of the error that a traceback ends with."""
    tail = trace.rpartition('  File "')[2].splitlines()[1:]
    return next((line for line in tail if line and not line[0].isspace()), trace.strip().splitlines()[-1])


class FoldRun(Iterator[Sequence[EpochScores]]):
    """One step: all members are fitted to their end."""

    def __init__(self, trainer: FoldTrainer, members: Sequence[Member]) -> None:
        self._trainer, self._members = trainer, list(members)

    def __next__(self) -> Sequence[EpochScores]:
        if not self._members:
            raise StopIteration
        members, self._members = self._members, []
        return self._trainer.fit(members)

    def drop(self, members: Sequence[Member]) -> None:
        """Give up members that are not fitted yet."""
        self._members = [member for member in self._members if member not in members]
