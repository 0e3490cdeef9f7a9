"""Storages and studies: open, create, resume, start over."""

from __future__ import annotations

import re
import time
import warnings
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend

from l2tune.errors import UserError
from l2tune.metrics import as_metric
from l2tune.records.check import check_stored
from l2tune.search.optuna_samplers import make_pruner, make_sampler
from l2tune.search.storage_file import check_file, file_of
from l2tune.settings import Settings
from l2tune.storage_url import hide_password, is_ambiguous, without_password
from l2tune.terminal_text import steering_sign

HEARTBEAT_SECONDS = 30
GRACE_SECONDS = 120
DATABASE_ERRORS = (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError)
STORAGE_ERRORS = (*DATABASE_ERRORS, OSError)
"""What a storage raises when its disk is full or its server has gone."""

_BRACES = re.compile(r"\{(?!SCHEMA_VERSION\})|(?<!\{SCHEMA_VERSION)\}")
"""Those that Optuna, which takes a URL for a template, must not replace."""


def open_storage(url: str, *, must_exist: bool = False) -> BaseStorage:
    """A storage by URL, or a journal file by path.

    Args:
        url: Any URL that Optuna takes, or a path: `.db` or `.sqlite` for SQLite, `.log` or `.jsonl` for a journal.
        must_exist: Refuse a file that is not there instead of creating it.

    Raises:
        UserError: It cannot be opened; the URL is named without its password.
    """
    where = f"--storage {without_password(url)}"
    if steering_sign(url):
        raise UserError("holds a control character or is not UTF-8 text", where, "write it anew")
    if "://" not in url and url.endswith((".db", ".sqlite", ".sqlite3")):
        if "?" in url:
            raise UserError("holds a `?`, where options would begin", where, "give the file another name")
        url = f"sqlite:///{url}"
    path = file_of(url)
    if path is not None:
        check_file(path, where, must_exist=must_exist, database=url.startswith("sqlite"))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if path is not None and not url.startswith("sqlite"):
            return JournalStorage(JournalFileBackend(str(path)))
        if "://" not in url:
            raise UserError("is no storage URL", where, "give a path ending in .db or .log, or a URL")
        if not _has_port(url):
            raise UserError("its port is no number", where, "write USER:PASSWORD@HOST:PORT/DATABASE after the ://")
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
    except UserError:
        raise
    except sqlalchemy.exc.ArgumentError:
        raise UserError("is no storage URL", where, "give sqlite:///FILE.db or another URL that Optuna takes") from None
    except ImportError as error:
        why = hide_password(reason(error), url)
        raise UserError(f"needs a package that is not installed ({why})", where, "install it with pip") from None
    except Exception as error:  # drivers and damaged files raise what they like
        if is_ambiguous(url):  # what the driver takes for host or name may be a part of the password
            fix = "write an @ inside the password or a name as %40"
            raise UserError(f"cannot be opened ({type(error).__name__})", where, fix) from None
        raise UserError(f"cannot be opened ({hide_password(reason(error), url)})", where) from None


def _has_port(url: str) -> bool:
    """Whether the port, if one is given, is a number."""
    try:
        sqlalchemy.engine.make_url(url)
    except sqlalchemy.exc.ArgumentError:
        raise
    except ValueError:
        return False
    return True


def _open_database(url: str, engine: dict[str, Any]) -> RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return RDBStorage(
            _BRACES.sub(r"\g<0>\g<0>", url),
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
    check_stored(study)
    if len(study.directions) > 1:
        raise UserError("has two objectives", f"study {settings.study!r}", "use another --study")
    return study


def load_study(storage: BaseStorage, name: str) -> optuna.Study:
    """An existing study.

    Raises:
        UserError: There is none of this name; those that exist are named. Or another program has written to it.
    """
    names = optuna.get_all_study_names(storage)
    if name not in names:
        known = "it holds " + ", ".join(repr(n) for n in names[:8]) if names else "it holds no study"
        raise UserError("no such study in this storage", repr(name), known)
    study = optuna.load_study(study_name=name, storage=storage)
    check_stored(study)
    return study


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
