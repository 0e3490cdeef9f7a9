"""Storages and studies: open, create, resume, start over."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend

from l2tune.errors import UserError
from l2tune.metrics import as_metric
from l2tune.search.optuna_samplers import make_pruner, make_sampler
from l2tune.settings import Settings

HEARTBEAT_SECONDS = 30
GRACE_SECONDS = 120
STORAGE_ERRORS = (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError, OSError)
"""What a storage raises when its disk is full or its server has gone."""


def open_storage(url: str, *, must_exist: bool = False) -> BaseStorage:
    """A storage by URL, or a journal file by path.

    Args:
        url: Any URL that Optuna takes, or a path: `.db` or `.sqlite` for SQLite, `.log` or `.jsonl` for a journal.
        must_exist: Refuse a file that is not there instead of creating it.

    Raises:
        UserError: It cannot be opened.
    """
    where = f"--storage {url}"
    if "://" not in url and url.endswith((".db", ".sqlite", ".sqlite3")):
        url = f"sqlite:///{url}"
    path = _file_of(url)
    if path is not None:
        if must_exist and not path.exists():
            raise UserError("no such storage", where, "give the --storage that the search used")
        if path.is_dir():
            raise UserError("is a folder", where, "give a file in it")
        if not path.parent.is_dir():
            raise UserError(f"the folder {path.parent} does not exist", where, "make it first")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if path is not None and not url.startswith("sqlite"):
            if path.exists() and path.stat().st_size and path.read_bytes()[:1] != b"{":
                raise UserError("is not a journal", where, "give a file that Optuna's journal wrote, or a new name")
            return JournalStorage(JournalFileBackend(str(path)))
        if "://" not in url:
            raise UserError("is no storage URL", where, "give a path ending in .db or .log, or a URL")
        # Workers share the file: wait for each other's writes instead of failing at once.
        engine: dict[str, Any] = (
            {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
        )
        for _ in range(5):
            try:
                return _open_database(url, engine)
            except sqlalchemy.exc.DBAPIError as error:
                if not _is_created_elsewhere(error):
                    raise
            time.sleep(1)
        return _open_database(url, engine)
    except sqlalchemy.exc.ArgumentError:
        raise UserError("is no storage URL", where, "give sqlite:///FILE.db or another URL that Optuna takes") from None
    except ImportError as error:
        raise UserError(f"needs a package that is not installed ({error})", where, "install it with pip") from None
    except (*STORAGE_ERRORS, RuntimeError) as error:
        raise UserError(f"cannot be opened ({reason(error)})", where) from None


def _open_database(url: str, engine: dict[str, Any]) -> RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return RDBStorage(
            url,
            engine_kwargs=engine,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=3),
        )


def _is_created_elsewhere(error: sqlalchemy.exc.DBAPIError) -> bool:
    """Whether another worker is creating the same tables at this moment; each database says it in its own class."""
    return isinstance(error, sqlalchemy.exc.IntegrityError) or "already exists" in str(error.orig)


def open_study(storage: BaseStorage, settings: Settings, *, restart: bool = False) -> optuna.Study:
    """Create the study of these settings, or go on with it."""
    if restart:
        delete_study(storage, settings.study)
    study = optuna.create_study(
        storage=storage,
        study_name=settings.study,
        sampler=make_sampler(settings),
        pruner=make_pruner(settings),
        direction="maximize" if as_metric(settings.search.metric).maximize else "minimize",
        load_if_exists=True,
    )
    if len(study.directions) > 1:
        raise UserError("has two objectives", f"study {settings.study!r}", "use another --study")
    return study


def load_study(storage: BaseStorage, name: str) -> optuna.Study:
    """An existing study.

    Raises:
        UserError: There is none of this name; those that exist are named.
    """
    names = optuna.get_all_study_names(storage)
    if name not in names:
        known = "it holds " + ", ".join(repr(n) for n in names[:8]) if names else "it holds no study"
        raise UserError("no such study in this storage", repr(name), known)
    return optuna.load_study(study_name=name, storage=storage)


def study_exists(storage: BaseStorage, name: str) -> bool:
    return name in optuna.get_all_study_names(storage)


def delete_study(storage: BaseStorage, name: str) -> None:
    """Delete a study if it exists."""
    if study_exists(storage, name):
        optuna.delete_study(study_name=name, storage=storage)


def reason(error: BaseException) -> str:
    """The innermost message of an error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(getattr(error, "orig", None) or error).split()) or type(error).__name__


def _file_of(url: str) -> Path | None:
    """The file behind a SQLite URL or a journal path; None for a server."""
    if url.startswith("sqlite:///"):
        name = url.removeprefix("sqlite:///").split("?")[0]
        return Path(name) if name and name != ":memory:" else None
    if "://" not in url and url.endswith((".log", ".jsonl")):
        return Path(url)
    return None
