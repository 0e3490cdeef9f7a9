"""How to do a study again, as far as that is known: a command, a few lines of Python, or what the study tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2tune.errors import UserError
from l2tune.importing import is_reference
from l2tune.metrics import BUILT_IN, Metric
from l2tune.records.tables import StudyRecord
from l2tune.settings import TORCHVISION_SOURCES, build
from l2tune.storage_url import shown_settings

_OF_THE_OBJECTIVE = ("epochs", "repeats", "lambda_range", "extend_range", "seed")
"""Settings that an objective around a user's own training follows. The others are those of a search that it may be
part of, which nothing tells."""

_OF_A_SEARCH = (
    *("study", "storage", "out", "trials", "timeout", "storage_patience", "fit_timeout", "sampler", "pruner", "audit"),
)
"""Settings that an objective inside a study of the user's own does not follow."""


@dataclass(frozen=True)
class Again:
    """What to show.

    Attributes:
        notes: What is to be known of it, a sentence each.
        listings: To be copied: commands, TOML, Python.
    """

    notes: tuple[str, ...] = ()
    listings: tuple[str, ...] = ()


def again(record: StudyRecord) -> Again:
    """How the study is done again, by who trained."""
    match record.trained_by:
        case "l2tune":
            return _of_settings(record)
        case "function" | "trainer":
            return Again(
                ("Its sampler and pruner are not stored, nor is what the function calls or closes over.",)
                if record.trained_by == "function"
                else ("Its sampler and pruner are not stored.",),
                (_python(record),),
            )
    return Again((_own_objective(record),))


def known_settings(record: StudyRecord) -> dict[str, Any]:
    """The settings that the study was trained with, as far as they are known; without any password."""
    settings = shown_settings(record.settings)
    if record.trained_by != "l2tune":
        return {name: value for name, value in settings.items() if name in _OF_THE_OBJECTIVE}
    if is_search(record):
        return settings
    return {name: value for name, value in settings.items() if name not in _OF_A_SEARCH}


def is_search(record: StudyRecord) -> bool:
    """Whether a search of l2tune's own made the study, rather than one with l2tune's objective inside."""
    return record.trained_by == "l2tune" and record.settings.get("study") == record.name


def known_trainer(record: StudyRecord) -> dict[str, Any]:
    """What the trainer told of itself; for a function that yields no epochs, none are known."""
    trainer = {name: value for name, value in record.trainer.items() if value is not None}
    if not knows_epochs(record):
        trainer.pop("epochs", None)
    return trainer


def knows_epochs(record: StudyRecord) -> bool:
    """Whether the number of epochs of a fit is known: a function that returns, and an objective, tell none."""
    epochs = record.fits["epochs"]
    return record.trained_by in ("l2tune", "trainer") or (len(epochs) > 0 and int(epochs.max()) > 1)


def _of_settings(record: StudyRecord) -> Again:
    stored = known_settings(record)
    notes = []
    if not is_search(record):
        notes.append(
            "It ran inside a study of your own: sampler, pruner and number of trials are those of a search with "
            "l2tune's defaults, and its storage is not stored."
        )
        stored |= {"study": record.name}
    if record.others:
        notes.append("The study drew other parameters beside λ, which no command does.")
    known = build({}).flat()
    try:
        settings = build({name: value for name, value in stored.items() if name in known})
    except UserError as error:  # another version of l2tune took them
        return Again((*notes, str(error)), (json.dumps(stored, indent=2, ensure_ascii=False),))
    given = _given_in_python(stored)
    if given:
        what = " and ".join(f"{name} ({value!r})" for name, value in given.items())
        names = f"The {what} {'was' if len(given) == 1 else 'were'} given in Python, or cannot be found from here"
        notes.append(f"{names}, so no command repeats it: call CrossValidationObjective with them and these settings.")
        return Again(tuple(notes), (settings.toml(),))
    return Again(tuple(notes), (settings.command(), settings.toml()))


def _given_in_python(settings: Mapping[str, Any]) -> dict[str, str]:
    """Data and model that a command could not name: neither one of ours, nor a path or reference."""
    data, model = str(settings.get("data", "digits")), str(settings.get("model", "simple_cnn"))
    given = {}
    if not (
        data in ("digits", *TORCHVISION_SOURCES)
        or _can_be_imported(data)
        or any(sign in data for sign in ("/", "\\", ".npz"))
        or _is_there(data)
    ):
        given["data"] = data
    if ":" in model and not _can_be_imported(model):
        given["model"] = model
    return given


def _can_be_imported(reference: str) -> bool:
    module = reference.rpartition(":")[0]
    return is_reference(reference) and module not in ("__main__", "functools")


def _is_there(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def _python(record: StudyRecord) -> str:
    """The objective as it was made, as far as it is stored."""
    settings, trainer = known_settings(record), record.trainer
    name = str(trainer.get("function") or "")
    repeats = int(settings.get("repeats", 1))
    arguments = []
    if record.trained_by == "function":
        source = f", source {trainer['source']}" if trainer.get("source") else ""
        arguments.append(f"fit={_dotted(name)},  # {name}{source}")
        arguments.append(f"folds={record.folds // repeats},")
        if repeats > 1:
            arguments.append(f"repeats={repeats},")
    else:
        told = ", ".join(f"{k}={v!r}" for k, v in known_trainer(record).items() if k not in ("folds", "steps"))
        arguments.append(f"trainer=…,  # your own{': ' if told else ''}{told}")
    arguments.append(f"metric={_written_metric(record.metric)},")
    parameter = record.parameter
    if parameter.name != "lambda" or parameter.scale.name != "lambda":
        arguments += [f"parameter={parameter.name!r},", f"scale={parameter.scale.name!r},"]
    if record.asked_range is not None:
        arguments.append(f"lambda_range={record.asked_range!r},")
    for key in ("epochs", "extend_range", "seed"):
        if key in settings and (key, settings[key]) != ("extend_range", True):
            arguments.append(f"{key}={settings[key]!r},")
    direction = "maximize" if record.metric.maximize else "minimize"
    lines = ["objective = CrossValidationObjective(", *(f"    {line}" for line in arguments), ")"]
    return "\n".join(
        [*lines, f"study = optuna.create_study(study_name={record.name!r}, direction={direction!r})"]
        + [f"# beside λ it drew {', '.join(map(repr, record.others))}" for _ in (1,) if record.others]
        + ["study.optimize(objective)"]
    )


def _dotted(name: str) -> str:
    """`package.module:function` as Python names it; `…` where it has no name of its own."""
    module, _, function = name.rpartition(":")
    parts = [*([] if module in ("", "__main__") else module.split(".")), *function.split(".")]
    return ".".join(parts) if all(part.isidentifier() for part in parts) else "…"


def _written_metric(metric: Metric) -> str:
    """The metric as Python has it; a name where that is enough."""
    if metric == BUILT_IN.get(metric.name):
        return repr(metric.name)
    default = Metric(metric.name)
    told = [repr(metric.name)]
    told += [
        f"{field}={value!r}"
        for field, value in metric.asdict().items()
        if field != "name" and value != getattr(default, field)
    ]
    return f"Metric({', '.join(told)})"


def _own_objective(record: StudyRecord) -> str:
    parameter, direction = record.parameter, "maximizes" if record.metric.maximize else "minimizes"
    scale = "" if parameter.scale.name == "lambda" else f" (on the scale of {parameter.scale.name})"
    return (
        f"An objective of your own trained. All that is known: the study {record.name!r} {direction} what is called "
        f"{record.metric.name!r} here, over its parameter {parameter.name!r}{scale}."
    )
