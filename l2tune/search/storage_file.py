"""The file behind a storage, looked at before anything opens it: opening creates tables, and a FIFO never ends."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

from l2tune.errors import UserError
from l2tune.given import check_path

_SQLITE = re.compile(r"sqlite(\+pysqlite)?:///")
_STUDIES = {"study_id", "study_name"}
"""Columns of Optuna's table `studies`, which every storage of its has."""
_OTHER_TABLES = {
    *("version_info", "alembic_version", "trials", "trial_heartbeats", "trial_intermediate_values", "trial_params"),
    *("trial_system_attributes", "trial_user_attributes", "trial_values", "study_directions"),
    *("study_system_attributes", "study_user_attributes"),
}
_CHECKED_BYTES = 2**26
"""A database of up to this size is checked whole, in a fraction of a second."""


def file_of(url: str) -> Path | None:
    """The file behind a SQLite URL or a journal path; None for a server or a database in memory."""
    found = _SQLITE.match(url)
    if found:
        name, _, options = url[found.end() :].partition("?")
        if name.startswith("file:") and "uri=true" in options:
            name = unquote(name.removeprefix("file:"))
            if "mode=memory" in options:
                return None
        return Path(name) if name and name != ":memory:" else None
    if "://" not in url and url.endswith((".log", ".jsonl")):
        return Path(url)
    return None


def check_file(path: Path, where: str, *, must_exist: bool, database: bool) -> None:
    """Refuse a file that is no storage; one that is not there yet is one, unless it must exist. Nothing is written.

    Raises:
        UserError: It cannot be a storage, cannot be written to, or holds something else.
    """
    check_path(str(path), where)
    if must_exist and not path.exists():
        raise UserError("no such storage", where, "give the --storage that the search used")
    if path.is_dir():
        raise UserError("is a folder", where, "give a file in it")
    if not path.parent.is_dir():
        raise UserError(f"the folder {path.parent} does not exist", where, "make it first")
    if path.exists() and not path.is_file():
        raise UserError("is no ordinary file", where, "give a file")
    if not must_exist:
        for place in (path, path.parent):  # SQLite keeps its journal beside the file, Optuna's journal its lock
            if place.exists() and not os.access(place, os.W_OK):
                raise UserError(f"{place} cannot be written to", where, "give another file")
    if not path.exists():
        return
    if not path.stat().st_size:
        if must_exist:
            raise UserError("is an empty file", where, "give the --storage that the search used")
        return
    if database:
        _check_database(path, where)
    else:
        _check_journal(path, where)


def _check_database(path: Path, where: str) -> None:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)) as opened:
            tables = {str(row[0]) for row in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            columns = {str(row[1]) for row in opened.execute("PRAGMA table_info(studies)")}
            whole = path.stat().st_size > _CHECKED_BYTES or opened.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError:
        return  # locked, or to be recovered first, which needs more than reading
    except sqlite3.DatabaseError as error:
        raise UserError(f"cannot be opened ({error})", where) from None
    if whole not in (True, "ok"):
        raise UserError("is damaged", where, "bring back a copy of it, or give a new name")
    # while another worker creates the storage, some of its tables are there
    ours = columns >= _STUDIES if columns else tables <= _OTHER_TABLES
    if not ours:
        raise UserError("is another program's database", where, "give a file that a search wrote, or a new name")


def _check_journal(path: Path, where: str) -> None:
    with path.open("rb") as file:
        first = file.readline(2**20)
    try:
        entry = json.loads(first) if first.endswith(b"\n") else {"op_code": 0}
        journal = first.startswith(b"{") and "op_code" in entry
    except (ValueError, RecursionError):
        journal = False
    if not journal:
        raise UserError("is not a journal", where, "give a file that Optuna's journal wrote, or a new name")
