"""Objects that a user names as `package.module:name` or `path/file.py:name`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from l2tune.errors import UserError


def is_reference(text: str) -> bool:
    """Whether the text names an object: it has a colon that is not a drive letter's."""
    module, _, name = text.rpartition(":")
    return len(module) > 1 and name.isidentifier()


def load_callable(reference: str, where: str) -> Any:
    """Import the function or class; the current directory counts as a place of modules.

    Raises:
        UserError: The module or the name is not there, cannot be imported, or cannot be called.
    """
    source, _, name = reference.rpartition(":")
    try:
        module = _import_file(Path(source)) if source.endswith(".py") else _import_module(source)
    except FileNotFoundError:
        raise UserError(f"no such file {source!r}", where, "give path/file.py:function") from None
    except ModuleNotFoundError as error:
        raise UserError(
            f"cannot import {source!r} ({error})", where, "install it, or start in the folder that holds it"
        ) from None
    except Exception as error:
        raise UserError(f"importing {source!r} failed ({type(error).__name__}: {error})", where) from None
    if not hasattr(module, name):
        raise UserError(f"{source!r} has no {name!r}", where, "name a function that it defines")
    found = getattr(module, name)
    if not callable(found):
        raise UserError(f"{reference!r} cannot be called", where, "name a function")
    return found


def _import_module(name: str) -> Any:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return importlib.import_module(name)


def _import_file(path: Path) -> Any:
    path = path.resolve()
    if not path.is_file():
        raise FileNotFoundError(path)
    name = f"l2tune_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
