"""Flags of a command, made from the settings: one source for names, types, defaults and help."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

from cyclopts import Group, Parameter

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


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command whose last parameter is `**given` one optional flag for each setting; None where not given."""
    own = [
        parameter
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    parameters = [*own, *(_flag(name) for name in PLACES)]

    def wrapped(*args: Any, **given: Any) -> Any:
        return command(*args, **given)

    wrapped.__name__, wrapped.__doc__, wrapped.__module__ = command.__name__, command.__doc__, command.__module__
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


def _flag(name: str) -> inspect.Parameter:
    field = field_of(name)
    section = PLACES[name][0] if len(PLACES[name]) > 1 else ""
    text, default = field.description or "", field.default
    if "(default" not in text and default not in (None, "", (), False):
        shown = "yes" if default is True else " ".join(map(str, default)) if isinstance(default, tuple) else default
        text += f" (default: {shown})"
    parameter = Parameter(
        help=text,
        group=_GROUPS[section],
        consume_multiple=True,
        negative=None if field.annotation is bool else (),
        negative_iterable=(),
        show_default=False,
    )
    annotation: Any = Annotated[field.annotation | None, parameter]  # type: ignore[operator]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
