"""Joining a study that another process began: what to train with comes from its storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna
from optuna.storages import BaseStorage

from l2tune.assemble import Assembled, assemble_again, check_trainable, versions
from l2tune.errors import UserError
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.records.tables import read_study
from l2tune.search.storage import load_study, open_study

if TYPE_CHECKING:
    from l2tune.data.images import ImageData


def join_study(
    storage: BaseStorage,
    name: str,
    *,
    device: str | None = None,
    threads: int | None = None,
    data_root: str | None = None,
    timeout: float | None = None,
    images: ImageData | None = None,
) -> tuple[optuna.Study, CrossValidationObjective, Assembled]:
    """The study, and the objective to go on with.

    Args:
        device: Of this worker, instead of the study's.
        threads: The same.
        data_root: Where torchvision's data sets lie on this machine.
        timeout: Seconds after which this worker begins no trial; by default as the search asks.
        images: Those of the study, where they are at hand already.

    Raises:
        UserError: There is no such study, l2tune cannot train for it, or images or versions are others than those it
            was begun with.
    """
    record = read_study(load_study(storage, name))
    where = f"study {name!r}"
    check_trainable(
        record,
        made="workers join a study that `l2tune search` began",
        called="in Python, in each process: study.optimize(objective) on the same storage",
    )
    began, here = record.versions.get("l2tune"), versions()["l2tune"]
    if began != here:
        raise UserError(f"was begun with l2tune {began}, this is {here}", where, f"pip install l2tune=={began}")
    settings, assembled = assemble_again(
        record, images=images, device=device, threads=threads, data_root=data_root, timeout=timeout
    )
    study = open_study(storage, settings)
    objective = CrossValidationObjective.from_settings(settings, assembled.trainer, assembled.data, assembled)
    objective.describe(study)
    return study, objective, assembled
