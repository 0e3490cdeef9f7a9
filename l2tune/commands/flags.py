"""Flags of a command, made from the settings: one source for names, types, defaults and help."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from cyclopts import CoercionError, Group, Parameter, Token

from l2tune.errors import UserError
from l2tune.penalty.strength import ScaleName
from l2tune.settings import PLACES, field_of

_GROUPS = {
    name: Group(title, sort_key=index)
    for index, (name, title) in enumerate(
        {
            "data": "Images",
            "model": "Network",
            "penalty": "Regularization",
            "training": "Training",
            "search": "Search",
            "": "Study and output",
        }.items()
    )
}


OwnParameter = Annotated[str | None, Parameter(help="Name of the strength, where a study of your own does not tell it")]
AsJson = Annotated[bool, Parameter(name="--json", help="Print JSON, for scripts", negative=())]
Trackers = Annotated[
    tuple[str, ...],
    Parameter(
        name="--tracker",
        help="Log fits and verdict: tensorboard[=FOLDER], mlflow[=URI] or wandb[=PROJECT], each by the extra of its "
        "name; may be given several times",
        negative=(),
        negative_iterable=(),
        show_default=False,
    ),
]
OwnScale = Annotated[ScaleName | None, Parameter(help="What its numbers are")]


_ENVIRONMENT = {
    "storage": "L2TUNE_STORAGE",  # where a command line would show its password
    "device": "L2TUNE_DEVICE",
    "storage_patience": "L2TUNE_STORAGE_PATIENCE",
}
"""Settings that an environment variable may give (where data lie has one too, `L2TUNE_DATA`): those of the machine
alone, for what a search answers follows from its command and its file."""


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command whose last parameter is `**given` one optional flag for each setting; None where not given."""
    own = [
        parameter
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    parameters = [*own, *(_flag(name) for name in PLACES)]

    def wrapped(*args: Any, **given: Any) -> Any:
        for name, value in given.items():
            if value is None:  # Cyclopts takes the words `none` and `null` for it
                raise UserError(
                    "none is no value", f"--{name.replace('_', '-')}", "leave the flag out, or give a value"
                )
        return command(*args, **given)

    wrapped.__name__, wrapped.__doc__, wrapped.__module__ = command.__name__, command.__doc__, command.__module__
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


def number(kind: Any, tokens: Sequence[Token]) -> Any:
    """Numbers as they are written: `--epochs 3.7` is not 3, `1_0` not 10, `none` not left out.

    Raises:
        CoercionError: A word is no number of this kind.
    """
    kinds = [one for one in get_args(kind) if one in (int, float)] or [kind]
    values = [_number(kinds[0], token) for token in tokens]
    return values[0] if kind in (int, float) else tuple(values)


def _number(kind: Any, token: Token) -> int | float:
    form = r"[+-]?[0-9]+" if kind is int else r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?(nan|inf|infinity)"
    try:
        if re.fullmatch(form, token.value, re.IGNORECASE | re.ASCII):
            value: int | float = kind(token.value)
            return value
    except ValueError:  # thousands of digits
        pass
    raise CoercionError(token=token, target_type=kind)


def _flag(name: str) -> inspect.Parameter:
    field = field_of(name)
    section = PLACES[name][0] if len(PLACES[name]) > 1 else ""
    text, default = field.description or "", field.default
    if "(default" not in text and default not in (None, "", (), {}, False):
        shown = "yes" if default is True else " ".join(map(str, default)) if isinstance(default, tuple) else default
        text += f" (default: {shown})"
    kind: Any = field.annotation
    if NoneType in get_args(kind):
        kind = next(one for one in get_args(kind) if one is not NoneType)
    if get_origin(kind) is dict or any(get_origin(one) is tuple for one in get_args(kind)):  # words, read by settings
        kind = tuple[str, ...]
    parameter = Parameter(
        help=text,
        converter=number if kind in (int, float, tuple[float, float]) else None,
        group=_GROUPS[section],
        consume_multiple=True,
        negative=None if field.annotation is bool else (),
        negative_iterable=(),
        show_default=False,
        env_var=_ENVIRONMENT.get(name),
    )
    annotation: Any = Annotated[kind | None, parameter]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
