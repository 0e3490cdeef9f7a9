"""What storages raise: which of it is a fault of the storage, which passes by itself, and how to say it in one line."""

from __future__ import annotations

import errno
import json
import sqlite3
import sys
from collections.abc import Iterator

import optuna
import sqlalchemy

from l2tune.errors import SearchAborted, StorageFailed

DATABASE_ERRORS = (StorageFailed, optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError)
STORAGE_ERRORS = (*DATABASE_ERRORS, OSError)
"""What a storage raises when its disk is full or its server has gone."""

_ANSWERS = (
    optuna.exceptions.UpdateFinishedTrialError,
    optuna.exceptions.DuplicatedStudyError,
    KeyError,
    sqlalchemy.exc.IntegrityError,
)
"""What a storage that is well raises: of a trial that has finished, a study that is there, one that is not."""
_UNREADABLE = (json.JSONDecodeError, UnicodeDecodeError, AssertionError, AttributeError, LookupError)
"""What Optuna raises where a storage holds what Optuna did not write."""

_PASSING_SQLSTATES = ("08", "40001", "40P01", "55P03", "53300", "57P01", "57P02", "57P03", "57P05", "25P03")
"""PostgreSQL: the connection broke; two transactions met; too many connections; the server stops or starts."""
_PASSING_MYSQL = {*(1040, 1053, 1077, 1078, 1079, 1080, 1205, 1213, 1927, 2002, 2003, 2006, 2013, 2055, 4031)}
"""MySQL, MariaDB: the same."""
_REFUSALS = ("authentication failed", "no pg_hba", "does not exist", "no password supplied")
"""What PostgreSQL's drivers say, without a number, of connections that will never be made."""

_CROWDED = ("too many clients", "too many connections", "connection slots are reserved")
"""What PostgreSQL, MySQL and MariaDB say where every connection that they allow is taken."""
_MORE_CONNECTIONS = "raise its max_connections to twice the workers, or put pgbouncer or a gRPC proxy before it"

_FULL, _READ_ONLY = "free the disk", "make it writable, or give another storage"
_DAMAGED, _GONE = "bring back a copy of it", "bring it back"
_FIXES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FULL),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), _READ_ONLY),
    errno.ENOENT: _GONE,
}
_SQLITE_FIXES = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}
_SAYS = {
    "SQLITE_READONLY_DBMOVED": "the file was removed or renamed",
    "SQLITE_IOERR_DELETE_NOENT": "the file was removed or renamed",
}


def is_fault(error: Exception, *, reading: bool) -> bool:
    """Whether an operation failed for a fault of the storage, rather than for what was asked of it.

    Args:
        reading: Whether the operation reads: then nothing but a missing study or trial can be asked wrongly.
    """
    if isinstance(error, _ANSWERS) and not (reading and _is_missing_field(error)):
        return False
    return reading or isinstance(error, (*STORAGE_ERRORS, *_UNREADABLE, sqlite3.Error)) or _grpc_code(error) != ""


def is_transient(error: BaseException) -> bool:
    """Whether the same operation may succeed soon: the server is gone or starts again, or another holds a lock."""
    return any(map(_passes, _chain(error)))


def reason(error: BaseException) -> str:
    """The innermost message of an error, in one line."""
    chain = list(_chain(error))
    for outer in chain:
        if isinstance(outer, StorageFailed):
            return outer.place_and_fault
        if _grpc_code(outer):
            return _one_line(outer.details() or _grpc_code(outer))  # type: ignore[attr-defined]
    error = next((outer for outer in chain if isinstance(outer, _UNREADABLE)), chain[-1])
    if said := _SAYS.get(str(getattr(error, "sqlite_errorname", ""))):
        return said
    numbered = len(error.args) == 2 and isinstance(error.args[0], int) and isinstance(error.args[1], str)
    if isinstance(error, OSError):
        text = (error.strerror or str(error)) + (f": {error.filename}" if error.filename else "")
    else:
        text = error.args[1] if numbered else str(error)  # of MySQL's drivers
    named = isinstance(error, _UNREADABLE) or not text.strip()
    return f"{type(error).__name__}: {_one_line(text)}".removesuffix(": ") if named else _one_line(text)


def storage_failed(error: BaseException) -> SearchAborted:
    """That a search ends because its storage failed."""
    kept = "what it holds is kept: mend it, then run the same search again"
    return SearchAborted(f"the storage failed ({reason(error)}); {kept}")


def fix_of(error: BaseException) -> str:
    """How to mend it; empty where that is not known."""
    for inner in _chain(error):
        if any(words in str(inner).lower() for words in _CROWDED):
            return _MORE_CONNECTIONS
        code = getattr(inner, "sqlite_errorcode", None)
        if isinstance(code, int):
            if getattr(inner, "sqlite_errorname", "") in _SAYS:
                return _GONE
            return _SQLITE_FIXES.get(code & 0xFF, "")
        if isinstance(inner, OSError):
            return _FIXES.get(inner.errno or 0, "")
        if isinstance(inner, _UNREADABLE):
            return _DAMAGED
    return ""


def _is_missing_field(error: Exception) -> bool:
    """Whether a part is missing of what is stored: of a study that is not there, Optuna says so in words."""
    return isinstance(error, KeyError) and bool(error.args) and str(error.args[0]).isidentifier()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes, the innermost last; what a driver raised is a cause."""
    while error is not None:
        yield error
        inner = getattr(error, "orig", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__


def _passes(error: BaseException) -> bool:
    if isinstance(error, sqlalchemy.exc.PendingRollbackError):
        return True  # Optuna asks again in a session whose connection has just broken; the next session is whole
    if isinstance(error, ConnectionError | TimeoutError) or getattr(error, "connection_invalidated", False):
        return True
    if _grpc_code(error) == "UNAVAILABLE":
        return True
    sqlite = getattr(error, "sqlite_errorcode", None)
    if isinstance(sqlite, int):
        return sqlite & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    kinds = [kind.__module__.partition(".")[0] + "." + kind.__name__ for kind in type(error).__mro__]
    if "psycopg.OperationalError" in kinds or "psycopg2.OperationalError" in kinds:
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if state is None:
            return not any(word in str(error) for word in _REFUSALS)
        return str(state).startswith(_PASSING_SQLSTATES)
    return (
        ("pymysql.MySQLError" in kinds or "MySQLdb.MySQLError" in kinds)
        and bool(error.args)
        and error.args[0] in _PASSING_MYSQL
    )


def _grpc_code(error: BaseException) -> str:
    """The name of the status code of an error of gRPC; empty for all others, and where gRPC is not even imported."""
    grpc = sys.modules.get("grpc")
    if grpc is None or not isinstance(error, grpc.RpcError):
        return ""
    code = getattr(error, "code", None)
    return str(code().name) if callable(code) and code() is not None else "UNKNOWN"


def _one_line(text: str) -> str:
    return " ".join(text.split())
