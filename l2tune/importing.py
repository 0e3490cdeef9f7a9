"""Objects that a user names as `package.module:name` or `path/file.py:name`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from l2tune.errors import UserError


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
    try:
        module = _import_file(Path(source).expanduser()) if source.endswith(".py") else _import_module(source)
    except FileNotFoundError as error:
        if error.filename != source:  # the user's module was looking for another file
            raise UserError(f"importing {source!r} failed ({error})", where, "mend the module") from None
        raise UserError(f"no such file {source!r}", where, "give path/file.py:function") from None
    except ModuleNotFoundError as error:
        fix = "install it, or start in the folder that holds it"
        raise UserError(f"cannot import {source!r} ({error})", where, fix) from None
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        raise UserError(f"importing {source!r} failed ({cause})", where, "mend the module") from None
    if not hasattr(module, name):
        raise UserError(f"{source!r} has no {name!r}", where, "name a function that it defines")
    found = getattr(module, name)
    if not callable(found):
        raise UserError(f"{name!r} in {source!r} cannot be called", where, "name a function")
    return found


def _import_module(name: str) -> ModuleType:
    _add_to_path(Path.cwd(), first=True)
    return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
    file = path.resolve()
    if not file.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
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
        del sys.modules[name]
        raise
    return module


def _add_to_path(folder: Path, *, first: bool) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0 if first else len(sys.path), str(folder))
