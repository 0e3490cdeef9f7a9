"""Settings of a search: one frozen model per concern, the single source of flags, TOML keys, arguments and help.

A setting has one place (`training.lr`) and one flat name (`lr`: the flag `--lr`, the Python argument `lr=`). The flat
name is the field's own, except where the field names its section's subject (`data.source` is `--data`, `model.name`
is `--model`, `penalty.form` is `--penalty`).
"""

from __future__ import annotations

import difflib
import math
import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

from l2tune.errors import UserError
from l2tune.given import as_kind, check_path, check_study_name, shown_value
from l2tune.penalty.strength import check_range
from l2tune.storage_url import shown_settings

DEFAULT_RANGE = {"l2": (1e-6, 1.0), "l1": (1e-7, 0.1), "elastic": (1e-7, 0.1)}
"""Of λ by the form of the penalty. |w| is to w² as ten to one at a weight of 0.1, and L1's λ are as much smaller."""
DEFAULT_L1_RATIO = 0.5
DEFAULT_LR = {"sgd": 0.1, "adam": 1e-3, "adamw": 1e-3}
FUNCTION_SETTINGS = frozenset(
    {"study", "storage", "out", "lambda_range", "extend_range", "epochs", "folds", "repeats", "seed"}
    | {"trials", "timeout", "storage_patience", "fit_timeout", "sampler", "pruner", "audit"}
)
"""Settings that mean something where a user's own function trains (`epochs`, if it yields them); all others describe
l2tune's trainer."""

TORCHVISION_SOURCES = ("mnist", "fashion-mnist", "kmnist", "cifar10", "cifar100", "svhn")


LOWEST_LAMBDA, HIGHEST_LAMBDA = 1e-12, 1e6
"""Beyond these a penalty does nothing at all, or leaves nothing of the network."""
NARROWEST_RANGE = 1.01
"""Highest over lowest λ of a range at least."""


HIGHEST_MULTIPLIER = 1e6
NEWER: dict[str, Any] = {"scale": {}}
"""Settings that studies of older versions lack, and what they were."""
REGULARIZE = ("weights", "all")
"""Words that name weights; all else are patterns."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_it_is(cls, value: Any, info: ValidationInfo) -> Any:
        """A value of the kind that the setting has: 3.7 is no number of epochs, nor is "3" or true."""
        assert info.field_name is not None
        return as_kind(value, cls.model_fields[info.field_name].annotation)


def _check_pattern(pattern: Any) -> None:
    """A pattern of parameter names.

    Raises:
        UserError: It is no text, or matches no name at all.
    """
    if not isinstance(pattern, str) or not pattern.strip():
        raise UserError(f"{shown_value(pattern)} is no pattern", fix="give names of parameters, e.g. 'fc*'")
    as_kind(pattern, str)


def _multiplier(word: Any) -> tuple[str, float]:
    """`fc*=0.1` → the pattern and the number."""
    pattern, sign, number = word.rpartition("=") if isinstance(word, str) else ("", "", "")
    if not sign or not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", number, re.I | re.A):
        raise UserError(f"{shown_value(word)} is no multiplier", fix="write PATTERN=NUMBER, e.g. 'fc*=0.1'")
    return pattern, float(number)


def _setting(default: Any, description: str, *, flat: str | None = None, identity: bool = True, **limits: Any) -> Any:
    """A field: `flat` names it outside its section; `identity` says whether changing it makes it another study."""
    return Field(default, description=description, json_schema_extra={"flat": flat, "identity": identity}, **limits)


class DataSettings(_Section):
    """Which images."""

    source: str = _setting(
        "digits",
        "digits, mnist, fashion-mnist, kmnist, cifar10, cifar100, svhn, a folder of class folders, an .npz file, "
        "or package.module:function",
        flat="data",
        min_length=1,
    )
    root: str | None = _setting(
        None,
        "Where torchvision's data sets lie or are downloaded to (default: $L2TUNE_DATA, else the user's cache folder)",
        flat="data_root",
        identity=False,
    )
    subset: int | None = _setting(None, "Use a stratified part of this many training images", ge=4, le=10**9)
    image_size: int | None = _setting(None, "Side in pixels that a folder's images are resized to", ge=4, le=1024)
    grayscale: bool = _setting(False, "Read a folder's images as grayscale")
    augment: tuple[Literal["flip", "shift"], ...] = _setting(
        (), "Random augmentation of training batches: flip (left-right), shift (up to an eighth of the side)"
    )

    @field_validator("source", "root")
    @classmethod
    def _path(cls, value: str | None) -> str | None:
        return None if value is None else check_path(value)


class ModelSettings(_Section):
    """Which network."""

    name: str = _setting(
        "simple_cnn",
        "simple_cnn, small_resnet, linear, a torchvision classification model by name, timm:NAME, or "
        "package.module:factory",
        flat="model",
    )
    pretrained: bool = _setting(False, "Start a torchvision or timm model from its published weights (downloads them)")

    @field_validator("name")
    @classmethod
    def _path(cls, value: str) -> str:
        return check_path(value)


class PenaltySettings(_Section):
    """How λ acts, on which weights, and where to look for it."""

    form: Literal["l2", "l2-loss", "l2-decoupled", "l1", "elastic"] = _setting(
        "l2",
        "l2: 2λw added to the gradient; l2-loss: λΣw² added to the loss; l2-decoupled: AdamW's (the default for "
        "adamw); l1: λΣ|w|, which makes weights exactly zero; elastic: λ(ρΣ|w| + (1−ρ)Σw²)",
        flat="penalty",
    )
    l1_ratio: float | None = _setting(
        None, f"ρ of the elastic net, 1 for L1 alone (default: {DEFAULT_L1_RATIO})", gt=0, le=1
    )
    regularize: str | tuple[str, ...] = _setting(
        "weights",
        "weights: of linear, convolution, attention and recurrent layers, and your layers' own; all: every parameter; "
        "or patterns of parameter names, e.g. 'fc*' conv1.weight (`l2tune layers` lists them)",
    )
    scale: dict[str, float] = _setting(
        {},
        "Multipliers of λ by patterns of parameter names, e.g. 'fc*=0.1'; the last that matches counts, 0 leaves out",
    )
    lambda_range: tuple[float, float] = _setting(
        DEFAULT_RANGE["l2"],
        "Lowest and highest λ to search, from 1e-12 to 1e6 (default: 1e-6 1.0, for l1 and elastic 1e-7 0.1)",
    )
    reference_weight_decay: float | None = _setting(
        None, "A weight decay, say a textbook's, to mark in the report", identity=False, gt=0, le=2 * HIGHEST_LAMBDA
    )

    @field_validator("regularize", mode="before")
    @classmethod
    def _patterns(cls, value: Any) -> Any:
        """`weights` and `all` as they are; else patterns, one or more."""
        given = (value,) if isinstance(value, str) else value
        if not isinstance(given, list | tuple) or not given:
            raise UserError(f"{shown_value(value)} does not fit", fix="give weights, all, or patterns of names")
        for pattern in given:
            _check_pattern(pattern)
        words = [word for word in given if word in REGULARIZE]
        if words and len(given) > 1:
            raise UserError(f"{words[0]!r} goes with no other", fix="give weights, all, or patterns alone")
        return words[0] if words else tuple(given)

    @field_validator("scale", mode="before")
    @classmethod
    def _multipliers(cls, value: Any) -> Any:
        """Pattern → multiplier; of flags, a list of `pattern=multiplier`."""
        pairs: list[tuple[Any, Any]] = []
        if isinstance(value, Mapping):
            pairs = list(value.items())
        elif isinstance(value, list | tuple):
            pairs = [_multiplier(word) for word in value]
        else:
            raise UserError(f"{shown_value(value)} does not fit", fix="give multipliers by pattern, e.g. 'fc*' = 0.1")
        found: dict[str, float] = {}
        for pattern, number in pairs:
            _check_pattern(pattern)
            factor = as_kind(number, float)
            if not (math.isfinite(factor) and 0 <= factor <= HIGHEST_MULTIPLIER):
                what = f"{shown_value(number)} is no multiplier for {shown_value(pattern)}"
                raise UserError(what, fix=f"give a number from 0 to {HIGHEST_MULTIPLIER:g}")
            found.pop(pattern, None)  # the last counts, and stands last
            found[pattern] = factor
        return found

    @field_validator("lambda_range")
    @classmethod
    def _searchable(cls, value: tuple[float, float]) -> tuple[float, float]:
        low, high = check_range(*value)
        if low < LOWEST_LAMBDA or high > HIGHEST_LAMBDA:
            beyond = low if low < LOWEST_LAMBDA else high
            raise UserError(
                f"{beyond:g} is no strength to search", fix=f"stay within {LOWEST_LAMBDA:g} and {HIGHEST_LAMBDA:g}"
            )
        if high < low * NARROWEST_RANGE:
            raise UserError(f"{low!r} to {high!r} is no range to search", fix="give a high end 1 % above the low one")
        return low, high


class TrainingSettings(_Section):
    """How one network is trained."""

    optimizer: Literal["sgd", "adam", "adamw"] = _setting("sgd", "sgd (Nesterov momentum), adam or adamw")
    lr: float = _setting(DEFAULT_LR["sgd"], "Peak learning rate (default: 0.1 for sgd, 0.001 for adam and adamw)", gt=0)
    momentum: float = _setting(0.9, "Nesterov momentum of sgd", ge=0, lt=1)
    schedule: Literal["one-cycle", "cosine", "constant"] = _setting("one-cycle", "Course of the learning rate")
    epochs: int = _setting(30, "Passes over a fold's training images", ge=1, le=10**6)
    batch_size: int = _setting(128, "Images per step", ge=1, le=10**9)
    precision: Literal["auto", "float32", "bfloat16"] = _setting(
        "auto", "auto: bfloat16 on a card that has it, and on a CPU where it is timed to be faster; else float32"
    )
    engine: Literal["auto", "sequential", "population"] = _setting(
        "auto", "sequential: one network at a time; population: stacked on the GPU", identity=False
    )

    @model_validator(mode="before")
    @classmethod
    def _lr_by_optimizer(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("lr") is None:
            values = {**values, "lr": DEFAULT_LR.get(str(values.get("optimizer", "sgd")), 1e-3)}
        return values


class SearchSettings(_Section):
    """How λ is searched and scored."""

    folds: int = _setting(5, "Folds of the cross-validation", ge=2, le=10**4)
    repeats: int = _setting(1, "Times the cross-validation is repeated with new folds", ge=1, le=10**3)
    trials: int = _setting(40, "Strengths to try at most, over all calls on this study", identity=False, ge=1, le=10**5)
    timeout: float | None = _setting(
        None, "Seconds after which no new strength is begun", identity=False, gt=0, le=10**9
    )
    storage_patience: float = _setting(
        300.0,
        "Seconds to wait for a storage whose server does not answer, or that others keep locked",
        identity=False,
        ge=0,
        le=10**6,
    )
    fit_timeout: float | None = _setting(
        None, "Seconds that one fit may take: one that takes longer fails its trial", identity=False, gt=0, le=10**9
    )
    metric: Literal["loss", "error", "accuracy"] = _setting(
        "loss", "What λ is chosen by: validation cross-entropy, error rate or accuracy"
    )
    sampler: Literal["curve", "tpe", "gp", "qmc", "random", "grid"] = _setting("curve", "What proposes the next λ")
    pruner: Literal["racing", "none", "median", "hyperband", "halving", "wilcoxon"] = _setting(
        "racing", "What stops a hopeless λ: racing and wilcoxon after a fold; median, hyperband, halving after an epoch"
    )
    extend_range: bool = _setting(True, "Widen --lambda-range when the best λ lies at its end")
    audit: int = _setting(
        0, "Finish this many pruned strengths at the end: was pruning right?", identity=False, ge=0, le=10**5
    )
    # Optuna's samplers take 32 bits
    seed: int = _setting(0, "Of folds, initial weights, batch order and proposals", ge=0, le=2**32 - 1)


class Settings(_Section):
    """All settings of a search."""

    study: str = _setting("", "Name of the study (default: from the data and the model)", identity=False)
    storage: str = _setting(
        "sqlite:///l2tune.db",
        "A path (.db for SQLite, .log for a journal), postgresql://…, mysql://…, grpc://HOST:PORT, or any URL that "
        "Optuna takes",
        identity=False,
        repr=False,  # it may hold a password
    )
    out: str = _setting("", "Folder for the results (default: runs/STUDY)", identity=False)
    device: str = _setting("auto", "auto (CUDA when there is one), cpu, cuda, cuda:1", identity=False)
    threads: int | None = _setting(
        None,
        "CPU threads of each process that trains (default: all cores, a share for a worker)",
        identity=False,
        ge=1,
        le=1024,
    )
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    penalty: PenaltySettings = PenaltySettings()
    training: TrainingSettings = TrainingSettings()
    search: SearchSettings = SearchSettings()

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        """Defaults that depend on another setting."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        data, model, penalty, training = (_plain(values.get(key)) for key in ("data", "model", "penalty", "training"))
        if training.get("optimizer") == "adamw" and penalty.get("form") is None:
            values["penalty"] = {**penalty, "form": "l2-decoupled"}
            penalty = _plain(values["penalty"])
        if isinstance(form := penalty.get("form"), str):
            if form == "elastic" and penalty.get("l1_ratio") is None:
                penalty["l1_ratio"] = DEFAULT_L1_RATIO
            if penalty.get("lambda_range") is None and form in DEFAULT_RANGE:
                penalty["lambda_range"] = DEFAULT_RANGE[form]
            values["penalty"] = penalty
        if not values.get("study"):
            source, name = str(data.get("source", "digits")), str(model.get("name", "simple_cnn"))
            values["study"] = _short_name(source) + ("" if name == "simple_cnn" else f"-{_short_name(name)}")
        if not values.get("out"):
            values["out"] = f"runs/{values['study']}"
        return values

    @field_validator("study")
    @classmethod
    def _study_name(cls, value: str) -> str:
        return check_study_name(value, fix="use letters, digits, dots and dashes")

    @field_validator("out")
    @classmethod
    def _path(cls, value: str) -> str:
        return check_path(value)

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.training.optimizer == "adamw" and self.penalty.form == "l2":
            raise UserError(
                "adamw with the coupled form l2 is Adam", "optimizer", "use --optimizer adam, or --penalty l2-decoupled"
            )
        if self.penalty.l1_ratio is not None and self.penalty.form != "elastic":
            raise UserError(
                f"{self.penalty.l1_ratio:g} has no effect on {self.penalty.form}",
                "l1_ratio",
                "use --penalty elastic, or leave it out",
            )
        return self

    def flat(self) -> dict[str, Any]:
        """Flat name → value, in the order of definition; the storage without its password."""
        return shown_settings({name: _get(self, place) for name, place in PLACES.items()})

    def identity(self) -> dict[str, Any]:
        """What makes it this study: the flat settings without those that may change from call to call."""
        return {name: value for name, value in self.flat().items() if name in IDENTITY}

    def toml(self) -> str:
        """The settings as a TOML file that `build` reads back to the same settings, but for the storage's password."""
        return tomli_w.dumps(_without_none(shown_settings(self.model_dump(mode="json"))))

    def command(self) -> str:
        """The shortest `l2tune search` command with these settings; the storage without its password."""
        return shlex.join(["l2tune", "search", *self.flags()])

    def flags(self, *, without: Sequence[str] = ()) -> list[str]:
        """The fewest flags that make these settings.

        Args:
            without: Flat names to leave out.
        """
        optimizer = self.training.optimizer
        default = build({"study": self.study, "optimizer": optimizer, "penalty": self.penalty.form}).flat()
        default |= {"optimizer": build({}).training.optimizer, "penalty": build({"optimizer": optimizer}).penalty.form}
        words: list[str] = []
        if self.study != Settings.model_validate({"data": self.data, "model": self.model}).study:
            words += _flag_words("study", self.study)
        for name, value in self.flat().items():
            if name != "study" and name not in without and value != default[name]:
                words += _flag_words(name, value)
        return words


def build(given: Mapping[str, Any], file: Path | str | None = None, *, flags: bool = False) -> Settings:
    """Settings from a TOML file and flat names over it.

    Args:
        given: Flat name → value; None means not given.
        file: TOML file with the sections `data`, `model`, `penalty`, `training` and `search`.
        flags: Whether errors should speak of flags (`--lr`) rather than of arguments (`lr`).

    Raises:
        UserError: A name, type or value is wrong; the line tells where it came from.
    """
    values = read_toml(file) if file is not None else {}
    if "penalties" in values:
        raise UserError("are of a comparison", f"{file}: penalties", f"use `l2tune compare {file}`")
    return build_from(values, given, file, flags=flags)


def build_from(
    values: dict[str, Any], given: Mapping[str, Any], file: Path | str | None = None, *, flags: bool = False
) -> Settings:
    """`build` with what a file holds, which is left as it is.

    Args:
        file: Where the values came from, for messages.

    Raises:
        UserError: As `build`.
    """
    values = deepcopy(values)
    origin: dict[tuple[str, ...], str] = {}
    for name, value in given.items():
        if name not in PLACES:
            raise UserError("no such setting", f"--{name}" if flags else str(name), did_you_mean(str(name), PLACES))
        if value is None:
            continue
        place = PLACES[name]
        origin[place] = f"--{name.replace('_', '-')}" if flags else name
        section = values
        for key in place[:-1]:
            section = section.setdefault(key, {})
            if not isinstance(section, dict):
                raise UserError("is a section, not a value", f"{file}: {key}", f"write [{key}] and its keys below it")
        section[place[-1]] = value
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise _explain(error, origin, str(file) if file is not None else "") from None


def field_of(name: str) -> FieldInfo:
    """The field of a flat name: its annotation, default, limits and description."""
    model: type[BaseModel] = Settings
    *sections, key = PLACES[name]
    for section in sections:
        model = model.model_fields[section].default.__class__
    return model.model_fields[key]


def differences(stored: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """What differs between two identities, one phrase each: `epochs was 30, now 10`.

    A setting that an older version did not know was what `NEWER` says.
    """
    names = [*current, *(name for name in stored if name not in current)]
    sides = {name: [side.get(name, NEWER.get(name)) for side in (stored, current)] for name in names}
    return [
        f"{name} was {_shown(old)}, now {_shown(new)}"
        for name, (old, new) in sides.items()
        if _listed(old) != _listed(new)
    ]


def _places() -> dict[str, tuple[str, ...]]:
    places: dict[str, tuple[str, ...]] = {}
    for key, field in Settings.model_fields.items():
        if isinstance(field.default, _Section):
            for inner, inner_field in field.default.__class__.model_fields.items():
                places[_extra(inner_field)["flat"] or inner] = (key, inner)
        else:
            places[key] = (key,)
    return places


def _extra(field: FieldInfo) -> dict[str, Any]:
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    return extra


OF_THE_FORM = ("penalty", "l1_ratio", "lambda_range")
"""Settings in which the studies of a comparison may differ."""

PLACES = _places()
"""Flat name → where the setting lies, e.g. `lr` → `("training", "lr")`."""

IDENTITY = frozenset(name for name in PLACES if _extra(field_of(name))["identity"])
"""Flat names of what makes a study this study."""


def _get(settings: BaseModel, place: tuple[str, ...]) -> Any:
    value: Any = settings
    for key in place:
        value = getattr(value, key)
    return value


def _plain(section: Any) -> dict[str, Any]:
    if isinstance(section, BaseModel):
        return section.model_dump()
    return section if isinstance(section, dict) else {}


def _listed(value: Any) -> Any:
    """As JSON keeps it; of multipliers the order counts."""
    if isinstance(value, Mapping):
        return [list(pair) for pair in value.items()]
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> Any:
    return " ".join(_words(value)) or "none" if isinstance(value, Mapping) else _listed(value)


def _words(multipliers: Mapping[str, float]) -> list[str]:
    return [f"{pattern}={factor!r}" for pattern, factor in multipliers.items()]


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if value is not None and value != {}
    }


def _flag_words(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if isinstance(value, Mapping):
        value = tuple(_words(value))
    if isinstance(value, tuple) and name != "lambda_range":
        return [word for item in value for word in _flag_words(name, str(item))]
    if isinstance(value, str) and (not value or value.startswith("-")):  # else it would be taken for a flag
        return [f"--{flag}={value}"]
    return [f"--{flag}", *(str(item) for item in (value if isinstance(value, tuple) else (value,)))]


def _short_name(source: str) -> str:
    """`photos/` → photos, `a/b.npz` → b, `pkg.module:function` → function."""
    name = re.split(r"[:/\\]", source.rstrip("/\\"))[-1]
    name = re.sub(r"[^\w.-]+", "-", name.removesuffix(".npz")).strip("-.")
    return name.encode()[:90].decode(errors="ignore").strip("-.") or "study"


def read_toml(file: Path | str) -> dict[str, Any]:
    """What a TOML file holds.

    Raises:
        UserError: There is no such file, or it is none.
    """
    path = Path(file)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("no such file", str(path), "give the path of a TOML file, or flags alone") from None
    except IsADirectoryError:
        raise UserError(
            "is a folder, not a TOML file", str(path), "to search on a folder of images use --data FOLDER"
        ) from None
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", str(path)) from None
    except UnicodeDecodeError:
        raise UserError("is not UTF-8 text", str(path), "give a TOML file") from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # TOMLDecodeError, numbers of thousands of digits, null bytes in a path
        raise UserError(f"is not valid TOML ({error})", str(path)) from None


def _explain(error: ValidationError, origin: Mapping[tuple[str, ...], str], file: str) -> UserError:
    """The first problem that pydantic found, in one line that names key, value and fix."""
    problem = error.errors()[0]
    place = tuple(str(key) for key in problem["loc"])
    where = next((origin[place[:n]] for n in range(len(place), 0, -1) if place[:n] in origin), "")
    key = ".".join(part for part in problem["loc"] if isinstance(part, str))
    where = where or (f"{file}: {key}" if file else key)
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, UserError):
        if not key:  # a rule over several settings names its own culprit
            named = PLACES.get(cause.where, ())
            where = origin.get(named, cause.where)
        return UserError(cause.what, where, cause.fix)
    if problem["type"] == "extra_forbidden":
        section = Settings.model_fields[place[0]].default if place[0] in Settings.model_fields else None
        known = list((section.__class__ if isinstance(section, _Section) else Settings).model_fields)
        right = PLACES.get(place[-1], ())
        if len(right) > 1 and right != place:
            return UserError("no such key", where, f"write {right[-1]} in the section [{right[0]}]")
        return UserError("no such key", where, did_you_mean(place[-1], known))
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    message = message.replace("input should", "it should")
    return UserError(f"{shown_value(problem['input'])} does not fit", where, message)


def did_you_mean(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    """How to mend an unknown name: the one that is close, else all there are."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else "known are " + ", ".join(known)
