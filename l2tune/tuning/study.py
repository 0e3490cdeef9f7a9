"""The study that `tune` searches in: created, or gone on with."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2tune.errors import UserError
from l2tune.given import shown_value

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

    from l2tune.objectives.asked_fit import AskedFit
    from l2tune.objectives.cross_validation import CrossValidationObjective

log = logging.getLogger("l2tune")


def open_tuned(
    objective: CrossValidationObjective,
    fit: Any,
    storage: str | Path | BaseStorage | None,
    study: str | optuna.Study | None,
    settings: Mapping[str, Any],
) -> optuna.Study:
    """The user's study, or one of our own, created or gone on with."""
    import optuna

    from l2tune.search.storage import open_storage, open_study
    from l2tune.settings import build

    if isinstance(study, optuna.Study):
        if storage is not None:
            raise UserError("storage and a study were both given", "study", "give a name of a study, or no storage=")
        if len(study.directions) > 1:
            raise UserError(
                f"it has {len(study.directions)} objectives", f"study {study.study_name!r}", "give one of one"
            )
        taken = next((name for name in ("sampler", "pruner") if name in settings), None)
        if taken is not None:
            raise UserError(f"the study has its own {taken}", taken, "leave it out, or create the study with it")
        return study
    if study is not None and not isinstance(study, str):
        raise UserError(f"{shown_value(study)} is no study", "study", "give a name, or an Optuna study")
    own_name = str(getattr(fit, "__name__", ""))
    name = study or (own_name if own_name.isidentifier() else "tune")  # a lambda has none
    asked = build({name: value for name, value in settings.items() if name != "lambda_range"} | {"study": name})
    if storage is None:
        opened: BaseStorage = optuna.storages.InMemoryStorage()
    elif isinstance(storage, str | Path):
        opened = open_storage(str(storage), patience=asked.search.storage_patience, say=log.warning)
    elif isinstance(storage, optuna.storages.BaseStorage):
        opened = storage
    else:
        raise UserError(f"{shown_value(storage)} is no storage", "storage", "give a path, a URL or Optuna's storage")
    return open_study(opened, asked, maximize=objective.metric.maximize)


def say_if_changed(study: optuna.Study, fit: AskedFit) -> None:
    """Say that folds of this study were trained by another source of the function."""
    from l2tune.records.study import accept_source, is_described
    from l2tune.training.function import source_hash

    if is_described(study) and accept_source(study, source_hash(fit)):
        scorer = "" if fit.scored_by is None else " or its scorer"
        line = (
            f"the source of {fit.__qualname__!r}{scorer} has changed since study {study.study_name!r} was begun: "
            "folds that are done count as they were; name another study= to begin anew"
        )
        log.warning("%s", line)
        warnings.warn(line, UserWarning, stacklevel=3)


def describe_tuned(study: optuna.Study, objective: CrossValidationObjective) -> None:
    """Store what the study is about.

    Raises:
        UserError: It was begun otherwise.
    """
    try:
        objective.describe(study)
    except UserError as error:
        if "--" not in error.fix:
            raise
        raise UserError(error.what, error.where, "name another study= or storage=") from None  # for here are no flags
