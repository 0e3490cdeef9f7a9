"""Storage URLs without their secrets: what may be kept, shown and printed. Standard library only.

A password that holds `@`, `:`, `/` or `?` as it is makes a URL ambiguous, and a mistyped one has no grammar at all.
Where in doubt, more is hidden: what is left names the storage, the one who opens it holds the real URL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, unquote_plus

_FILE = re.compile(r"sqlite(\+\w+)?:///", re.IGNORECASE)
_START = re.compile(r"[A-Za-z]:(?=\\)|[\w+.-]*:?/{2,}|")
_SECRET = re.compile(r"pass(?!file)|pwd|secret|token|credential|api_?key", re.IGNORECASE)
_WEB = re.compile(r"[A-Za-z][\w+.-]*://\S+")
_HIDDEN = "…"
_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}


def with_driver(url: str) -> str:
    """The URL with the driver that l2tune's extras install, where it names a kind of server and no driver."""
    kind, mark, rest = url.partition("://")
    return _DRIVERS.get(kind, kind) + mark + rest


def without_password(url: str) -> str:
    """The URL without password, secret options, and what stands for a port but is no number.

    Whatever lies between the first `:` and the last `@` counts as password, so one that was not percent-encoded is
    hidden whole. Paths and SQLite URLs come back as they are, but for secret options; doing it twice changes nothing.
    """
    shown = _without_secrets_once(url)
    return shown if shown == url else without_password(shown)


def without_passwords(text: str) -> str:
    """A text, say a traceback, with every URL in it shown without its password."""
    return _WEB.sub(lambda found: without_password(found.group()), text)


def hide_password(message: str, url: str) -> str:
    """What a driver says about this URL, without the secrets that it may repeat."""
    message = message.replace(url, without_password(url))
    for secret in sorted(_secrets(url), key=len, reverse=True):
        # as a word of its own: a password `a` must not spoil every word
        message = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _HIDDEN, message)
        if len(secret) > 3:
            message = message.replace(secret, _HIDDEN)
    return without_passwords(message)


def is_ambiguous(url: str) -> bool:
    """Whether a server's URL holds an `@` beyond the one that ends the password, so that parts may be mistaken."""
    return not _FILE.match(url) and url.count("@") > 1


def shown_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Flat settings with the storage as it may be shown."""
    shown = dict(settings)
    if isinstance(shown.get("storage"), str):
        shown["storage"] = without_password(shown["storage"])
    return shown


def _without_secrets_once(url: str) -> str:
    file = _FILE.match(url)
    if file:
        return file.group() + _without_secret_options(url[file.end() :])
    start = _START.match(url)
    assert start is not None  # it matches the empty text, too
    user, at, server = url[start.end() :].rpartition("@")
    user = user.partition(":")[0]
    if start.group():
        server = _without_odd_port(server)
    return start.group() + (user + at if user else "") + _without_secret_options(server)


def _without_odd_port(server: str) -> str:
    """`host:5432/name` as it is, `host:secret/name` without the port: somebody forgot the host."""
    found = re.match(r"(\[[^\]/?]*\]|[^:/?]*)(:[^/?]*)(.*)", server, re.DOTALL)
    if found is None or re.fullmatch(r":[0-9]*", found[2]):
        return server
    return _without_odd_port(found[1] + found[3])


def _without_secret_options(rest: str) -> str:
    """The part after the `@`, or a path: without the options `password=…` and their like."""
    path, mark, options = rest.partition("?")
    if not mark:  # an `@` among the options has taken the `?` with it
        return path if "&" not in path else _without_secrets(path)
    options = _without_secrets(options)
    return path + (mark + options if options else "")


def _without_secrets(options: str) -> str:
    return "&".join(option for option in options.split("&") if not _is_secret(option))


def _is_secret(option: str) -> bool:
    """Whether an option is a secret, or holds one: `odbc_connect` is a whole connection string."""
    key, equals, value = option.partition("=")
    while unquote_plus(key) != key:
        key = unquote_plus(key)
    return bool(equals) and bool(_SECRET.search(key) or _SECRET.search(unquote_plus(value)) or "://" in unquote(value))


def _secrets(url: str) -> set[str]:
    """The password and secret options as they stand, and decoded."""
    user = url.rpartition("@")[0]
    start = _START.match(user)
    assert start is not None
    password = user[start.end() :].partition(":")[2]
    options = [option.partition("=")[2] for option in re.split(r"[?&]", url) if _is_secret(option)]
    inner = [word for option in options for word in re.findall(r"=([^;=]+)", unquote_plus(option))]
    secrets = [password, *options, *inner]
    return {form for secret in secrets for form in (secret, unquote(secret), unquote_plus(secret)) if form}
