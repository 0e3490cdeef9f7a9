"""Objects that a user names as `package.module:name` or `path/file.py:name`, and what their code may raise."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from l2tune.errors import UserError, mend


def is_reference(text: str) -> bool:
    """Whether the text names an object: it has a colon that is not a drive letter's."""
    module, _, name = text.rpartition(":")
    return len(module) > 1 and name.isidentifier()


def load_callable(reference: str, where: str) -> Any:
    """Import the function or class; the current directory, and a file's own, count as places of modules.

    Raises:
        UserError: The module or the name is not there, cannot be imported, or cannot be called.
    """
    source, _, name = reference.rpartition(":")
    with one_line(f"importing {source!r} failed", where, "mend the module"):
        if source.endswith(".py"):
            path = user_path(source)
            if not path.is_file():
                raise UserError(f"no such file {source!r}", where, "give path/file.py:function")
        try:
            module = _import_file(path) if source.endswith(".py") else _import_module(source)
        except ModuleNotFoundError as error:
            fix = "install it, or start in the folder that holds it"
            raise UserError(f"cannot import {source!r} ({error})", where, fix) from None
        if not hasattr(module, name):
            raise UserError(f"{source!r} has no {name!r}", where, "name a function that it defines")
        found = getattr(module, name)
        if not callable(found):
            raise UserError(f"{name!r} in {source!r} cannot be called", where, "name a function")
    return found


@contextmanager
def one_line(what: str, where: str, fix: str = "") -> Iterator[None]:
    """Tell in one line, with its cause, whatever a user's code raises inside.

    Exits count: `sys.exit()` in a user's file would end the program without a word, and with the user's status.
    Ctrl-C and lines of our own pass through.

    Raises:
        UserError: Anything else was raised.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # GeneratorExit and the like are no less foreign here
        raise UserError(f"{what} ({cause_of(error)})", where, mend(error, fix)) from None


def cause_of(error: BaseException) -> str:
    """Kind and message, even of an exception whose message cannot be had."""
    kind = type(error).__name__
    try:
        return f"{kind}: {error}" if str(error) else kind
    except Exception:
        return kind


def user_path(text: str) -> Path:
    """The path with `~` expanded; as it stands where there is no such user, as a shell leaves it."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def _import_module(name: str) -> ModuleType:
    _add_to_path(Path.cwd(), first=True)
    return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
    file = path.resolve()
    _add_to_path(Path.cwd(), first=False)
    _add_to_path(file.parent, first=False)
    # two files of one name must not replace each other
    name = f"l2tune_user_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _add_to_path(folder: Path, *, first: bool) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0 if first else len(sys.path), str(folder))
