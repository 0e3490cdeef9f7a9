"""From settings to what trains: images, folds and trainer, joined once for every command and objective."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

from l2tune.errors import UserError
from l2tune.members import Refit, Trainer
from l2tune.records.tables import StudyRecord
from l2tune.settings import PenaltySettings, Settings, build

if TYPE_CHECKING:
    from l2tune.data.images import ImageData
    from l2tune.training.problem import Problem


@dataclass(frozen=True, eq=False)
class Assembled:
    """What a search trains with.

    Attributes:
        problem: What is trained on what.
        trainer: The engine that was chosen for it.
        engine: A line that says which engine was chosen and why.
        given: What was given in Python instead of by name, `data` or `model`: settings cannot find it again.
        threads: What torch was told to compute with; None where it was left as it is.
    """

    problem: Problem
    trainer: Trainer
    engine: str
    given: tuple[str, ...] = ()
    threads: int | None = None

    @property
    def data(self) -> Mapping[str, Any]:
        """What a study stores of the images; `given` with it."""
        return self.problem.data.summary() | ({"given": list(self.given)} if self.given else {})

    def with_penalty(self, penalty: PenaltySettings) -> Assembled:
        """The same images, folds and network with another penalty."""
        return _assembled(replace(self.problem, penalty=penalty), self.given, self.threads)

    def in_precision(self, precision: str) -> Assembled:
        """The same in this precision, whatever is faster here."""
        return _assembled(self.problem.in_precision(precision), self.given, self.threads)

    def refit(self, strength: float, seed: int, after_epoch: Callable[[], None] = lambda: None) -> Refit:
        """Train on all training images with this λ, and score on the test images.

        Args:
            after_epoch: Called between epochs; may raise to end the training.

        Raises:
            UserError: Training diverged or failed, or memory ran out.
        """
        from l2tune.training.refit import train_on_all

        fit = train_on_all(self.problem, strength, seed=seed, after_epoch=after_epoch)
        scores = {name: getattr(fit, name) for name in ("train_loss", "train_error", "test_loss", "test_error")}
        return Refit(
            strength,
            fit.model,
            scores,
            {"mean": fit.mean, "std": fit.std},
            fit.seconds,
            network=fit.network,
            parameters=fit.parameters,
            nonzero=fit.nonzero,
        )


def assemble(
    settings: Settings, images: ImageData | None = None, factory: Any = None, *, precision: str | None = None
) -> Assembled:
    """Load the images, split them and build the trainer that the settings ask for.

    Args:
        images: Instead of loading `settings.data.source`.
        factory: Instead of the model named in the settings.
        precision: That of the study to go on with, where the settings leave it open.

    Raises:
        UserError: Bad data, model or device.
    """
    given = (() if images is None else ("data",)) + (() if factory is None else ("model",))
    problem = make_problem(settings, images, factory)
    if precision is not None and problem.training.precision == "auto":
        problem = problem.in_precision(precision)
    return _assembled(problem, given, settings.threads)


def _assembled(problem: Problem, given: tuple[str, ...], threads: int | None) -> Assembled:
    """With the engine that is chosen for the problem, and the precision that is chosen with it."""
    from l2tune.training.engine import choose_engine

    trainer, line = choose_engine(problem)
    if threads is not None:
        line += f"; {threads} thread{'' if threads == 1 else 's'}, as asked"
    return Assembled(trainer.problem, trainer, line, given, threads)


def make_problem(settings: Settings, images: ImageData | None = None, factory: Any = None) -> Problem:
    """What the settings train on what; nothing is trained or timed yet.

    Raises:
        UserError: Bad data, model or device.
    """
    from l2tune.data.folds import make_folds
    from l2tune.data.sources import load
    from l2tune.models.registry import make_factory
    from l2tune.training.device import choose_device, use_threads
    from l2tune.training.problem import Problem

    if settings.threads is not None:
        use_threads(settings.threads)
    images = images or load(settings.data)
    search = settings.search
    folds = make_folds(
        images.labels.numpy(),
        folds=search.folds,
        repeats=search.repeats,
        seed=search.seed,
        groups=images.groups,
        class_names=images.class_names,
    )
    return Problem(
        images,
        folds,
        factory or make_factory(settings.model),
        settings.training,
        settings.penalty,
        settings.data.augment,
        choose_device(settings.device),
    )


def assemble_again(record: StudyRecord, images: ImageData | None = None, **given: Any) -> tuple[Settings, Assembled]:
    """What a study was trained with, from what it stores.

    Args:
        images: Those of the study, where they are at hand already.
        given: Settings that may change from call to call, such as `device` or `data_root`.

    Raises:
        UserError: Images or network were given in Python, or the images have changed.
    """
    where = f"study {record.name!r}"
    unknown = record.data.get("given")
    if unknown:
        what = f"its {' and '.join(unknown)} {'was' if len(unknown) == 1 else 'were'} given in Python"
        raise UserError(what, where, "in Python: tradeoff.refit(objective), with the objective that searched")
    settings = build(dict(record.settings) | {name: value for name, value in given.items() if value is not None})
    assembled = assemble(settings, images, precision=record.trainer.get("precision"))
    if images is not None:
        assembled = replace(assembled, given=())
    if assembled.problem.data.fingerprint != record.data.get("fingerprint"):
        raise UserError("the images have changed since the search", where, "search again on these")
    return settings, assembled


def check_trainable(record: StudyRecord, *, made: str, called: str) -> None:
    """Whether l2tune can train for a study from what its storage tells.

    Args:
        made: What to tell of a study of the user's own.
        called: How it is done where a function or trainer of the user's own trains.

    Raises:
        UserError: It cannot.
    """
    where = f"study {record.name!r}"
    if record.trained_by == "objective":
        raise UserError("was not made by l2tune", where, made)
    if record.trained_by != "l2tune":
        name = record.trainer.get("function", "a trainer of yours")
        raise UserError(f"was trained by {name}, which l2tune cannot call from here", where, called)


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    names = ("l2tune", "optuna", "torch", "torchvision", "numpy", "scikit-learn", "scipy")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


def named(data: Any, model: Any) -> tuple[ImageData | None, Any, dict[str, str]]:
    """Images and factory, where they are given in Python and not by name, and the settings that name both.

    Raises:
        UserError: They are no images, or the factory cannot be called.
    """
    images, factory = None, None
    if not isinstance(data, str):
        from l2tune.data.images import from_object

        images = from_object(data, "data")
        data = images.name
    if not isinstance(model, str):
        factory, model = model, name_of(model)
    return images, factory, {"data": data, "model": model}


def name_of(factory: Any) -> str:
    """`module:name` of a factory.

    Raises:
        UserError: It cannot be called.
    """
    if not callable(factory):
        raise UserError(f"{factory!r} cannot be called", "model", "give a name or a factory(shape, classes)")
    return f"{getattr(factory, '__module__', '')}:{getattr(factory, '__qualname__', type(factory).__qualname__)}"
