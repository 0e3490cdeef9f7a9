"""A user's training function, called with what its signature asks for."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from l2tune.errors import UserError
from l2tune.objectives.splits import Indices, Splits
from l2tune.training.function import function_name

GIVEN = ("fold", "seed", "train", "validation")
"""What a fit may ask for by name, beside the strength and what the trial has drawn."""

_HOW = "name the strength first, then any of fold, seed, train, validation"


@dataclass(frozen=True)
class Scoring:
    """Scores a fitted model on some of the samples, as scikit-learn's scorers do.

    Attributes:
        score: `score(model, X, y)` gives a number.
        inputs: X, one row a sample.
        targets: y; None where the scorer takes none.
        metric: Name of the number.
    """

    score: Callable[..., Any]
    inputs: Any
    targets: Any
    metric: str

    def of(self, model: Any, part: Indices) -> Any:
        """The score on these samples."""
        targets = None if self.targets is None else rows(self.targets, part)
        return self.score(model, rows(self.inputs, part), targets)


def rows(data: Any, part: Indices) -> Any:
    """Some rows of an array, a tensor, a data frame or a list."""
    if hasattr(data, "iloc"):
        return data.iloc[part]
    return [data[i] for i in part] if isinstance(data, list | tuple) else data[part]


class AskedFit:
    """`fit(strength, fold, seed)` around a function that asks for what it wants by name.

    The strength goes to the argument that is called like the parameter, or `strength`, else to the first. `fold` (from
    0), `seed`, `train` and `validation` (index arrays), and what the trial has drawn beside the strength, go to the
    arguments of these names. A function of three arguments of other names gets (strength, fold, seed).

    Args:
        fit: The user's function.
        parameter: Name of the strength.
        splits: The folds' indices, where they are known.
        metric: What a bare number is.
        draws: Whether trials draw other parameters, so that names unknown here may be theirs.
        scoring: Scores the model that `fit` returns; None where it returns scores.
        needs_model: Refuse at once a `fit` that returns no model.

    Raises:
        UserError: The function asks for what is not known, or for nothing that tells one fold from another.
    """

    def __init__(
        self,
        fit: Callable[..., Any],
        parameter: str,
        splits: Splits | None,
        *,
        metric: str = "loss",
        draws: bool = False,
        scoring: Scoring | None = None,
        needs_model: bool = False,
    ) -> None:
        if not callable(fit):
            raise UserError(f"{fit!r} cannot be called", "fit", "give a function fit(strength, fold, seed)")
        self.fit, self.splits, self._scoring, self._needs_model = fit, splits, scoring, needs_model
        functools.update_wrapper(self, fit, updated=())  # its source is the user's
        self.__module__, self.__qualname__ = function_name(fit).split(":", 1)  # and its name, which a partial lacks
        self.scored_by = None if scoring is None else scoring.score
        self._metric = metric
        self._signature(parameter, draws)

    @property
    def asks_for_samples(self) -> bool:
        """Whether it gets the indices of its samples; else the folds are its own affair."""
        return bool(self._names & {"train", "validation"})

    def __call__(self, strength: float, fold: int, seed: int, **drawn: Any) -> Any:
        """Scores of one fold: a number or a mapping, or an iterator of them."""
        train, validation = (None, None) if self.splits is None else self.splits.pairs[fold]
        given = {"fold": fold, "seed": seed, "train": _own(train), "validation": _own(validation)}
        result = self._call(strength, given, drawn)
        if isinstance(result, Iterator):
            return self._epochs(result)
        _, scores = self._parted(result, train, validation, "val")
        return scores

    def final(self, strength: float, seed: int, drawn: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """A model of all samples but the test's, and its scores on these: `fold` and, without test samples,
        `validation` are None."""
        train = test = None
        if self.splits is not None:
            train, test = self.splits.development, self.splits.test
        result = self._call(
            strength, {"fold": None, "seed": seed, "train": _own(train), "validation": _own(test)}, drawn
        )
        if isinstance(result, Iterator):
            last, model = _exhaust(result)
            result = (model, last)
        model, scores = self._parted(result, train, test, "test")
        if test is None:
            return model, {}
        named = scores if isinstance(scores, Mapping) else {self._metric: scores}
        return model, {_as_test(str(name)): v for name, v in named.items() if not str(name).startswith("train_")}

    def check_final(self) -> None:
        """Whether `fit` can train on everything.

        Raises:
            UserError: It asks for a fold, or for validation samples, and says nothing of how it is without.
        """
        wants = "" if self._by_position else next((n for n in ("fold", "validation") if self._lacks(n)), "")
        if self._by_position or wants:
            what = f"fit cannot be asked for a final network: it always wants {wants or 'a fold'}"
            other = " or give test= indices," if wants == "validation" else ""
            default = f"give {wants or 'fold'} the default None in its signature (None: train on all),"
            raise UserError(what, "refit", f"{default}{other} or leave out refit= and test=")

    def _lacks(self, name: str) -> bool:
        """Whether an argument has no value when all samples are trained on, and no default None that says so."""
        if name not in self._names or (name == "validation" and self.splits and self.splits.test is not None):
            return False
        return self._defaults.get(name, inspect.Parameter.empty) is not None

    def _signature(self, parameter: str, draws: bool) -> None:
        self._by_position, self._strength, self._names, self._open = False, "", frozenset[str](), False
        self._defaults: dict[str, Any] = {}
        try:
            found = list(inspect.signature(self.fit).parameters.values())
        except (TypeError, ValueError):  # written in C
            self._by_position = True
            return
        kinds = inspect.Parameter
        self._open = any(p.kind == kinds.VAR_KEYWORD for p in found)
        several = any(p.kind == kinds.VAR_POSITIONAL for p in found)
        asked = [p for p in found if p.kind not in (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL)]
        names = [p.name for p in asked]
        needed = [p.name for p in asked if p.default is kinds.empty]
        self._defaults = {p.name: p.default for p in asked if p.default is not kinds.empty}
        first = next((p.name for p in asked if p.kind != kinds.KEYWORD_ONLY and p.name not in GIVEN), "")
        self._strength = next((name for name in (parameter, "strength") if name in names), first)
        unknown = [name for name in needed if name not in (*GIVEN, self._strength)]
        positions = [p for p in asked if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
        indices = {"train", "validation"} & set(names)
        if not indices and not draws and names[:1] == [self._strength] * bool(names):
            three = len(needed) == len(positions) == 3 and names[1] != "seed" and names[2] != "fold"
            if several or (three and unknown):
                self._by_position = True
                return
        if any(p.kind == kinds.POSITIONAL_ONLY and p.name in needed for p in asked) or (unknown and not draws):
            name = unknown[0] if unknown else needed[0]
            raise UserError(f"it asks for {name!r}, which is not known", "fit", _HOW)
        if not self._strength:
            raise UserError("it does not ask for the strength", "fit", f"{_HOW}, e.g. fit({parameter}, fold, seed)")
        self._names = frozenset(names) - {self._strength}
        if not self._names & {"fold", *indices}:
            what = "it asks for neither a fold nor its samples, so every fold would be the same"
            raise UserError(what, "fit", f"{_HOW}, e.g. fit({self._strength}, train, validation, seed)")
        if indices and self.splits is None:
            wanted = " and ".join(sorted(indices))
            fix = "give y= (or X=) too, or folds= as pairs of indices"
            raise UserError(f"it asks for {wanted}, but the samples are not known", "fit", fix)
        if "train" in indices and not self._names & {"fold", "validation"} and self._scoring is None:
            what = "it asks for train alone, so it cannot tell how well it did"
            raise UserError(what, "fit", "ask for validation too, or return the model and give scorer=")

    def _call(self, strength: float, given: Mapping[str, Any], drawn: Mapping[str, Any]) -> Any:
        if self._by_position:
            return self.fit(strength, given["fold"], given["seed"])
        arguments = {name: value for name, value in given.items() if name in self._names}
        for name, value in drawn.items():
            if name not in self._names and not self._open:
                what = f"the trial draws {name!r}, which fit does not ask for"
                raise UserError(what, "suggest", f"ask for it: fit({self._strength}, …, {name})")
            arguments[name] = value
        missing = sorted(self._names - arguments.keys() - self._defaults.keys())
        if missing:
            raise UserError(f"it asks for {missing[0]!r}, which no trial draws", "fit", "draw it in suggest=")
        return self.fit(**{self._strength: strength}, **arguments)

    def _epochs(self, epochs: Any) -> Generator[Any, None, None]:
        if self._scoring is not None:
            raise UserError("fit yields scores, so a scorer has nothing to score", "scorer", "leave it out")
        model = yield from epochs  # what a generator returns is its model
        if self._needs_model and model is None:
            raise _no_model()

    def _parted(self, result: Any, train: Indices | None, held_out: Indices | None, part: str) -> tuple[Any, Any]:
        """The model, if there is one, and the scores of what a fit returned."""
        if self._scoring is not None:
            if result is None or isinstance(result, Mapping) or np.isscalar(result):
                what = f"fit gave {result!r}, no model that a scorer could score"
                raise UserError(what, "scorer", "return the fitted model, or leave out scorer=")
            scores: dict[str, Any] = {}
            if held_out is not None:
                scores[f"{part}_{self._scoring.metric}"] = self._scoring.of(result, held_out)
            if train is not None and part == "val":
                scores[f"train_{self._scoring.metric}"] = self._scoring.of(result, train)
            return result, scores
        if isinstance(result, tuple) and len(result) == 2:
            return result
        if hasattr(result, "predict") or hasattr(result, "state_dict"):
            fix = "give scorer= (with X= and y=), or return (model, scores)"
            raise UserError(f"fit gave a {type(result).__name__} and no scores", "fit", fix)
        if self._needs_model and part == "val":
            raise _no_model()
        return None, result


def _no_model() -> UserError:
    what = "fit gives scores alone, but test= needs the model"
    return UserError(what, "test", "return (model, scores), or return the model at the end where scores are yielded")


def _own(part: Indices | None) -> Indices | None:
    """A copy that a fit may shuffle in place: the splits stay as they are."""
    return None if part is None else part.copy()


def _as_test(name: str) -> str:
    """`test_loss` of `val_loss` and of `loss`."""
    return name if name.startswith("test_") else f"test_{name.removeprefix('val_')}"


def _exhaust(epochs: Iterator[Any]) -> tuple[Any, Any]:
    """The last scores and the returned model of an iterator."""
    last = None
    while True:
        try:
            last = next(epochs)
        except StopIteration as end:
            return last, end.value
