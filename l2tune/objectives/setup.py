"""What an objective trains with: settings, trainer and data, joined from what the user gave."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import optuna

from l2tune.assemble import Assembled, assemble, named, versions
from l2tune.errors import UserError
from l2tune.members import Trainer
from l2tune.metrics import BUILT_IN, CLASSIFICATION, UNDECLARED, Metric, as_metric
from l2tune.penalty.strength import StrengthScale
from l2tune.records.parameter import StrengthParameter, parameter_of
from l2tune.records.study import describe_study, precision_of
from l2tune.settings import FUNCTION_SETTINGS, Settings, build
from l2tune.training.function import Fit, FunctionTrainer, count_splits, yields_scores


@dataclass(frozen=True, eq=False)
class Setup:
    """What an objective trains with.

    Attributes:
        settings: Of all that the user decides by settings.
        trainer: Trains.
        metric: What λ is chosen by.
        data: What the study keeps of the data.
        assembled: Where l2tune's trainer trains, what it was made of; None where another does.
        known: Settings that mean something where another trains; None for all.
    """

    settings: Settings
    trainer: Trainer
    metric: Metric
    data: Mapping[str, Any] = field(default_factory=dict)
    assembled: Assembled | None = None
    known: frozenset[str] | None = None

    @classmethod
    def of_images(
        cls, data: Any, model: Any, folds: Any, metric: str | Metric | None, given: Mapping[str, Any]
    ) -> Setup:
        """Load the images and build l2tune's trainer.

        Args: as of `CrossValidationObjective`; `given` are the other settings.

        Raises:
            UserError: Bad settings or data.
        """
        if not isinstance(folds, int | np.integer) or isinstance(folds, bool):
            fix = "give a number of folds (a splitter goes with your own fit)"
            raise UserError(f"{folds!r} is not a number", "folds", fix)
        images, factory, names = named(data, model)
        name = metric.name if isinstance(metric, Metric) else metric
        if name is not None and name not in CLASSIFICATION:
            fix = f"choose λ by {', '.join(CLASSIFICATION)}, or give your own fit"
            raise UserError(f"l2tune's trainer does not score {name!r}", "metric", fix)
        settings = build(names | {"metric": name, "folds": int(folds)} | dict(given))
        assembled = assemble(settings, images, factory)
        return cls(settings, assembled.trainer, as_metric(settings.search.metric), assembled.data, assembled)

    @classmethod
    def of_function(
        cls,
        fit: Fit,
        folds: Any,
        metric: str | Metric | None,
        scale: StrengthScale,
        classes: int | None,
        given: Mapping[str, Any],
    ) -> Setup:
        """Train by calling a user's function.

        Args: as of `CrossValidationObjective`; `given` are the other settings.

        Raises:
            UserError: A setting has no effect, or the folds cannot be counted.
        """
        metric = UNDECLARED if metric is None else as_metric(metric)
        count = count_splits(folds)
        _check_effect(given, "fit")
        settings = build({"folds": max(count, 2)} | dict(given))
        epochs = given.get("epochs", None if yields_scores(fit) else 1)
        trainer = FunctionTrainer(fit, count * settings.search.repeats, metric, epochs, scale)
        return cls(settings, trainer, metric, _data(classes), known=_known(given))

    @classmethod
    def of_trainer(
        cls, trainer: Trainer, metric: str | Metric | None, classes: int | None, given: Mapping[str, Any]
    ) -> Setup:
        """Train by another trainer.

        Args: as of `CrossValidationObjective`; `given` are the other settings.

        Raises:
            UserError: A setting has no effect.
        """
        metric = BUILT_IN["loss"] if metric is None else as_metric(metric)  # a Trainer's loss is in nats
        _check_effect(given, "trainer")
        settings = build({"folds": max(trainer.folds, 2)} | dict(given))
        return cls(settings, trainer, metric, _data(classes), known=_known(given))

    @property
    def engine(self) -> str:
        """A line that says how l2tune's trainer trains, and why; empty for another trainer."""
        return "" if self.assembled is None else self.assembled.engine

    def in_precision_of(self, study: optuna.Study) -> Setup:
        """The same in the precision that a study was begun in, where the settings leave it open.

        Scores of both would differ by more than their folds' luck lets one see.
        """
        if self.assembled is None or self.settings.training.precision != "auto":
            return self
        began = precision_of(study)
        if began in (None, self.trainer.describe()["precision"]):
            return self
        assembled = self.assembled.in_precision(began)
        return replace(self, assembled=assembled, trainer=assembled.trainer)

    def describe(self, study: optuna.Study, parameter: StrengthParameter, steps: str) -> None:
        """Store what a study is about.

        Args:
            steps: What a step means in it.

        Raises:
            UserError: It was begun otherwise.
        """
        told = dict(self.trainer.describe())
        stored, identity = self.settings.flat(), self.settings.identity()
        if self.known is not None:  # all other settings are the function's own affair
            stored, identity = ({k: v for k, v in s.items() if k in self.known} for s in (stored, identity))
        describe_study(
            study,
            settings=_plain(stored),
            identity=_plain(identity),
            versions=versions(),
            trainer=told
            | {
                "folds": self.trainer.folds,
                "epochs": self.trainer.epochs if self.trainer.epochs < sys.maxsize else None,
                "steps": steps,
            },
            data=self.data,
            metric=self.metric,
            parameter=parameter,
        )
        parameter_of(study, parameter.name, parameter.scale)  # refuses another one


def _check_effect(given: Mapping[str, Any], trains: str) -> None:
    idle = next((name for name in given if name not in FUNCTION_SETTINGS), None)
    if idle is not None:
        known = f"leave it out; {', '.join(sorted(FUNCTION_SETTINGS))} can be given"
        raise UserError(f"{idle!r} has no effect, for {trains} trains", "CrossValidationObjective", known)


def _known(given: Mapping[str, Any]) -> frozenset[str]:
    return FUNCTION_SETTINGS if "epochs" in given else FUNCTION_SETTINGS - {"epochs"}


def _data(classes: int | None) -> Mapping[str, Any]:
    return {} if classes is None else {"classes": classes}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON keeps them."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
