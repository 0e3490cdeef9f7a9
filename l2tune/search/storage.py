"""Storages and studies: open, create, resume, start over."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage

from l2tune.errors import StorageFailed, UserError
from l2tune.metrics import as_metric
from l2tune.optuna_internals import OnceDatabase
from l2tune.records.check import check_stored
from l2tune.search.journal import MEND, Journal
from l2tune.search.optuna_samplers import make_pruner, make_sampler
from l2tune.search.patience import Patience, PatientStorage
from l2tune.search.storage_faults import DATABASE_ERRORS, STORAGE_ERRORS, fix_of, is_transient, reason
from l2tune.search.storage_file import check_file, file_of
from l2tune.settings import Settings
from l2tune.storage_url import hide_password, is_ambiguous, with_driver, without_password
from l2tune.terminal_text import steering_sign

__all__ = [
    "DATABASE_ERRORS",
    "STORAGE_ERRORS",
    "delete_study",
    "load_study",
    "open_storage",
    "open_study",
    "reason",
    "study_exists",
]

_BRACES = re.compile(r"\{(?!SCHEMA_VERSION\})|(?<!\{SCHEMA_VERSION)\}")
"""Those that Optuna, which takes a URL for a template, must not replace."""

_ANSWER_SECONDS = 10
"""A server that does not answer at all is given up after so long."""

_BUSY_SECONDS, _LOCKED_SECONDS, _LOCKED_QUIETLY = 1.0, 60.0, 10.0
"""SQLite: how long an operation waits for another process's lock, deaf to signals; it is tried again for how long at
least; and after how long people are told."""

_SOCKET_OPTIONS = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
"""For PostgreSQL: a server whose machine has gone is noticed in a minute, not in two hours."""

_OF_DRIVERS: dict[str, dict[str, Any]] = {
    "postgresql+psycopg": {"connect_timeout": _ANSWER_SECONDS, **_SOCKET_OPTIONS},
    "postgresql+psycopg2": {"connect_timeout": _ANSWER_SECONDS, **_SOCKET_OPTIONS},
    "mysql+pymysql": {"connect_timeout": _ANSWER_SECONDS, "read_timeout": 120, "write_timeout": 120},
}


def open_storage(
    url: str, *, must_exist: bool = False, patience: float = 0.0, say: Callable[[str], None] = lambda line: None
) -> PatientStorage:
    """A storage by URL, or a journal file by path.

    Args:
        url: `sqlite:///FILE.db`, `postgresql://…`, `mysql://…`, `grpc://HOST:PORT` or another URL that Optuna takes, or
            a path: `.db` or `.sqlite` for SQLite, `.log` or `.jsonl` for a journal.
        must_exist: Refuse a file that is not there instead of creating it.
        patience: Seconds to wait for a server that does not answer once the storage is open.
        say: Told, in one line, that it does not answer, and that it does again.

    Returns:
        A storage that raises `StorageFailed` where it cannot be read or written.

    Raises:
        UserError: It cannot be opened; the URL is named without its password.
    """
    where = f"--storage {without_password(url)}"
    if steering_sign(url):
        raise UserError("holds a control character or is not UTF-8 text", where, "write it anew")
    given, url = url, with_driver(url)
    if "://" not in url and url.endswith((".db", ".sqlite", ".sqlite3")):
        if "?" in url:
            raise UserError("holds a `?`, where options would begin", where, "give the file another name")
        url = f"sqlite:///{url}"
    path = file_of(url)
    if path is not None:
        check_file(path, where, must_exist=must_exist, database=url.startswith("sqlite"))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    is_new = path is not None and not path.exists()
    try:
        found = Patience(patience, say)
        if url.startswith("sqlite"):
            found = Patience(max(patience, _LOCKED_SECONDS), say, quiet=_LOCKED_QUIETLY, whole=True)
        return PatientStorage(_open(url, path, where), given, found)
    except UserError:
        raise
    except StorageFailed as error:  # a damaged journal
        raise UserError(error.what, where, error.fix) from None
    except sqlalchemy.exc.ArgumentError:
        raise UserError("is no storage URL", where, "give sqlite:///FILE.db or another URL that Optuna takes") from None
    except ImportError as error:
        why = hide_password(reason(error), url)
        raise UserError(f"needs a package that is not installed ({why})", where, _how_to_install(url)) from None
    except Exception as error:  # drivers and damaged files raise what they like
        if path is not None and is_new and path.is_file() and not path.stat().st_size:
            path.unlink()
        if is_ambiguous(url):  # what the driver takes for host or name may be a part of the password
            fix = "write an @ inside the password or a name as %40"
            raise UserError(f"cannot be opened ({type(error).__name__})", where, fix) from None
        raise UserError(f"cannot be opened ({hide_password(reason(error), url)})", where, fix_of(error)) from None


def _open(url: str, path: Path | None, where: str) -> BaseStorage:
    if path is not None and not url.startswith("sqlite"):
        return _open_journal(path, where)
    if "://" not in url:
        raise UserError("is no storage URL", where, "give a path ending in .db or .log, or a URL")
    if url.startswith("grpc://"):
        return _open_proxy(url, where)
    if not _has_port(url):
        raise UserError("its port is no number", where, "write USER:PASSWORD@HOST:PORT/DATABASE after the ://")
    if url.startswith("sqlite"):
        # workers share the file: wait for each other's writes instead of failing at once
        engine: dict[str, Any] = {"connect_args": {"timeout": _BUSY_SECONDS}}
    else:
        driver = url.partition("://")[0]
        options = {name: value for name, value in _OF_DRIVERS.get(driver, {}).items() if f"{name}=" not in url}
        # a worker asks for one thing at a time but for its heartbeats: it keeps one connection, not two
        engine = {"pool_pre_ping": True, "pool_size": 1, "max_overflow": 14, "connect_args": options}
    end, created = time.monotonic() + _LOCKED_SECONDS, 5
    while True:
        try:
            return OnceDatabase(_BRACES.sub(r"\g<0>\g<0>", url), engine_kwargs=engine)
        except DATABASE_ERRORS as error:
            if _is_created_elsewhere(error) and created:
                created -= 1
            elif not (url.startswith("sqlite") and is_transient(error) and time.monotonic() < end):
                raise
        time.sleep(1)


def _open_journal(path: Path, where: str) -> JournalStorage:
    journal = Journal(path, where)
    try:
        storage = JournalStorage(journal)
    except (StorageFailed, OSError):
        raise
    except Exception as error:  # an entry that tells of what there is not, or of a distribution that is none
        what = f"line {journal.entries} is no entry of a journal ({type(error).__name__}: {error})"
        raise StorageFailed(what, where, MEND) from None
    if journal.damage:
        raise StorageFailed(journal.damage, where, MEND)
    return storage


def _open_proxy(url: str, where: str) -> GrpcStorageProxy:
    """Optuna's gRPC proxy, a server that keeps the storage for others."""
    try:
        server = urlsplit(url)
        host, port = server.hostname, server.port
    except ValueError:
        host = port = None
    if not host or not port or server.path.strip("/") or server.query or server.username is not None:
        raise UserError("names no server", where, "write grpc://HOST:PORT")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = GrpcStorageProxy(host=f"[{host}]" if ":" in host else host, port=port)
    try:
        storage.wait_server_ready(timeout=_ANSWER_SECONDS)
    except ConnectionError:
        storage.close()
        fix = "start the proxy there (optuna.storages.run_grpc_proxy_server)"
        raise UserError(f"no gRPC server has answered for {_ANSWER_SECONDS} s", where, fix) from None
    with suppress(KeyError):  # a server of something else says so
        storage.get_study_id_from_name("")
    return storage


def _how_to_install(url: str) -> str:
    extras = {"postgresql+psycopg://": "postgresql", "mysql+pymysql://": "mysql", "grpc://": "grpc"}
    extra = next((extra for start, extra in extras.items() if url.startswith(start)), None)
    return f"pip install 'l2tune[{extra}]'" if extra else "install it with pip"


def _has_port(url: str) -> bool:
    """Whether the port, if one is given, is a number."""
    try:
        sqlalchemy.engine.make_url(url)
    except sqlalchemy.exc.ArgumentError:
        raise
    except ValueError:
        return False
    return True


def _is_created_elsewhere(error: Exception) -> bool:
    """Whether another worker is creating the same tables at this moment; each database says it in its own class."""
    if not isinstance(error, sqlalchemy.exc.DBAPIError):
        return False
    return isinstance(error, sqlalchemy.exc.IntegrityError) or "already exists" in str(error.orig)


def open_study(
    storage: BaseStorage, settings: Settings, *, restart: bool = False, maximize: bool | None = None
) -> optuna.Study:
    """Create the study of these settings, or go on with it.

    Args:
        maximize: Whether more of the metric is better; by default as the settings' metric has it.
    """
    maximize = as_metric(settings.search.metric).maximize if maximize is None else maximize
    if restart:
        delete_study(storage, settings.study)
    study = optuna.create_study(
        storage=storage,
        study_name=settings.study,
        sampler=make_sampler(settings),
        pruner=make_pruner(settings),
        direction="maximize" if maximize else "minimize",
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
