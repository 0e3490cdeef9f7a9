"""Is what a study stores what l2tune writes? Anybody may have written to a storage.

Looked at once, when a study is loaded, so that all that reads it can take it as it stands.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Annotated, Any, Literal, get_type_hints

import optuna
from optuna.trial import FrozenTrial
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from l2tune.errors import UserError
from l2tune.members import MAGNITUDE_EDGES
from l2tune.metrics import Kind, Metric
from l2tune.penalty.strength import ScaleName
from l2tune.records.fold_record import FoldRecord
from l2tune.records.keys import (
    BEAT,
    BIAS_VARIANCE,
    CONTINUES,
    FOLD,
    METRIC,
    PARAMETER,
    PART,
    PREFIX,
    RANGE,
    REFIT,
    REFITTING,
    SCHEMA_KEY,
    STRENGTH,
    WORKER,
)
from l2tune.records.refits import RefitRecord
from l2tune.settings import PLACES, field_of

MOST_FOLDS = 10**5
"""More than any cross-validation has; tables are made of so many rows."""

Whole = Annotated[int, Field(strict=True, ge=0, le=2**53)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Strength = Annotated[Number, Field(ge=0, le=1e12)]
Text = Annotated[str, Field(strict=True)]
Truth = Annotated[bool, Field(strict=True)]
Folds = Annotated[int, Field(strict=True, ge=1, le=MOST_FOLDS)]
Norm = Annotated[Number, Field(ge=0, le=1e100)]
Counts = Annotated[list[Whole], Field(min_length=4, max_length=4)]


def _rising(ends: tuple[float, float]) -> tuple[float, float]:
    if not 0 < ends[0] < ends[1]:
        raise ValueError("it does not rise from above 0")
    return ends


def _bins(counts: list[int]) -> list[int]:
    if len(counts) not in (0, len(MAGNITUDE_EDGES) - 1):
        raise ValueError(f"it has {len(counts)} bins, not {len(MAGNITUDE_EDGES) - 1}")
    return counts


def _no_fold(value: object) -> object:
    raise ValueError("it names no fold")


Range = Annotated[tuple[Strength, Strength], AfterValidator(_rising)]
Magnitudes = Annotated[list[Whole], AfterValidator(_bins)]


class _Regularization(BaseModel):
    tensors: Whole
    matrices: Whole
    left_out: Whole
    largest: list[tuple[Text, Whole, Text | None]]
    directions: Whole
    everything: Truth
    exceptions: dict[Text, list[Text]] | None


class _Trainer(BaseModel):
    engine: Text | None = None
    function: Text | None = None
    source: Text | None = None
    splits: Text | None = None
    samples: Whole | None = None
    folds: Folds | None = None
    epochs: Annotated[int, Field(strict=True, ge=1)] | None = None
    lambda_max: Annotated[Number, Field(gt=0)] | None = None
    parameters: Whole | None = None
    regularized_parameters: Whole | None = None
    regularization: _Regularization | None = None
    train_sizes: list[Annotated[Whole, Field(ge=1)]] | None = None
    validation_sizes: list[Whole] | None = None


class _Data(BaseModel):
    images: Whole | None = None
    classes: Whole | None = None
    class_names: list[Text] | None = None
    fingerprint: Text | None = None
    given: list[Text] | None = None


class _Metric(BaseModel):
    name: Annotated[Text, AfterValidator(lambda name: Metric(name).name)]
    maximize: Truth
    kind: Kind = "real"
    unit: Text = ""
    guess: Number | Literal["ln K", "1 - 1/K", "1/K"] | None = None


class _Parameter(BaseModel):
    name: Text
    scale: ScaleName


class _Worker(BaseModel):
    token: Text | None = None
    host: Text
    pid: Whole
    beat: Whole | None = None


class _BiasVariance(BaseModel):
    folds: Folds
    loss: Number
    bias_loss: Number
    variance_loss: Number
    error: Number
    bias_error: Number
    variance_error: Number


def check_stored(study: optuna.Study) -> None:
    """Whether all that a study stores for l2tune is of the kind that l2tune stores.

    Raises:
        UserError: It is not; the attribute is named.
    """
    where = f"study {study.study_name!r}"
    for key, value in study.user_attrs.items():
        if key.startswith(PREFIX):
            _check(_study_kind(key), value, key, where)
    for name, value in dict(study.user_attrs.get(PREFIX + "settings", {})).items():
        if name in PLACES:
            _check(_setting_kind(name), value, f"{PREFIX}settings, {name}", where)
    for trial in study.get_trials(deepcopy=False):
        _check_trial(trial, f"{where}, trial {trial.number}")


def _check_trial(trial: FrozenTrial, where: str) -> None:
    for key, value in trial.user_attrs.items():
        if key.startswith(PREFIX):
            _check(_trial_kind(key), value, key, where)


def _check(kind: TypeAdapter[Any] | None, value: Any, key: str, where: str) -> None:
    if kind is None:
        return
    try:
        kind.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = "".join(f", {part}" for part in first["loc"])
        raise UserError(
            f"its attribute {key!r}{place} is not as l2tune stores it ({first['msg']})",
            where,
            "another program wrote it: use a copy of the storage from before, or another study",
        ) from None


@cache
def _study_kind(key: str) -> TypeAdapter[Any] | None:
    """What a study's attribute must be; None where nothing reads it or its reader looks itself."""
    kinds: dict[str, Any] = {
        SCHEMA_KEY: Whole,
        PREFIX + "settings": dict[Text, Any],
        PREFIX + "versions": dict[Text, Text],
        PREFIX + "trainer": _Trainer,
        PREFIX + "data": _Data,
        METRIC: _Metric,
        PARAMETER: _Parameter,
        RANGE: Range,
    }
    if key.startswith(REFITTING):
        return TypeAdapter(_Worker | None)
    if key.startswith(REFIT):
        return _kind_of(RefitRecord, **{"lambda": Strength, "seed": Whole})
    return TypeAdapter(kinds[key]) if key in kinds else None


@cache
def _setting_kind(name: str) -> TypeAdapter[Any]:
    """What a stored setting must be: of its field's type, within its limits."""
    field = field_of(name)
    if name == "lambda_range":
        return TypeAdapter(Range)
    kind: Any = field.annotation
    return TypeAdapter(Annotated[kind, *field.metadata] if field.metadata else kind)


@cache
def _trial_kind(key: str) -> TypeAdapter[Any] | None:
    """What a trial's attribute must be."""
    kinds: dict[str, Any] = {STRENGTH: Strength, WORKER: _Worker, BIAS_VARIANCE: _BiasVariance}
    kinds |= dict.fromkeys((BEAT, CONTINUES, PART), Whole)
    if key.startswith(FOLD):
        if not re.fullmatch(r"[0-9]{1,5}", key.removeprefix(FOLD)):
            return TypeAdapter(Annotated[Any, AfterValidator(_no_fold)])
        return _kind_of(FoldRecord, epochs=Annotated[Whole, Field(le=10**6)])
    return TypeAdapter(kinds[key]) if key in kinds else None


def _kind_of(record: type, **needed: Any) -> TypeAdapter[Any]:
    """A stored record: a mapping with the fields of a dataclass, of which these may not be missing."""
    own = {"weight_norms": dict[Text, Norm], "layers": dict[Text, Counts], "magnitudes": Magnitudes}
    hints = get_type_hints(record) | own | needed
    parts: dict[str, Any] = {name: (hint, ... if name in needed else None) for name, hint in hints.items()}
    config = ConfigDict(strict=True, allow_inf_nan=False)
    return TypeAdapter(create_model(record.__name__, __config__=config, **parts))
