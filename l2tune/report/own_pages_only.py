"""A server of this machine's that answers its own pages only: other web pages can reach 127.0.0.1 as well.

A page of any site can send a request here, or have its own host name lead here (DNS rebinding), and so delete a study.
What a browser says of every request tells them apart: `Host` names the server that was asked, `Origin` and
`Sec-Fetch-Site` the page that asks. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_NAMES = ("127.0.0.1", "localhost", "[::1]")
_READING = ("GET", "HEAD", "OPTIONS")
_OWN = ("same-origin", "none")
_HEADERS = [
    ("X-Frame-Options", "SAMEORIGIN"),  # no page lays this one under its own buttons
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "same-origin"),
]
_SANDBOX = ("Content-Security-Policy", "sandbox allow-scripts allow-downloads")
"""Of files that a study keeps: a page among them can draw, but is no page of this server's."""


class OwnPagesOnly:
    """WSGI middleware: refuses with 403 a host name that is not served, and writing that another page asks for.

    Args:
        application: Answers what is let through; other origins are told nothing of its answers (no CORS headers).
        port: That the server listens on.
    """

    def __init__(self, application: WSGIApplication, port: int) -> None:
        self._application = application
        self._address = f"http://{_NAMES[0]}:{port}/"
        self._hosts = {f"{name}:{port}" for name in _NAMES} | (set(_NAMES) if port == 80 else set())

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        why = self._why_refused(environ)
        if why:
            body = f"Refused: {why}; open {self._address}\n".encode()
            start_response(
                "403 Forbidden",
                [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), *_HEADERS],
            )
            return [body]
        own = [*_HEADERS, _SANDBOX] if environ.get("PATH_INFO", "").startswith("/artifacts") else _HEADERS

        def start(
            status: str,
            headers: list[tuple[str, str]],
            exc_info: tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None = None,
        ) -> Any:
            kept = [(name, value) for name, value in headers if not name.lower().startswith("access-control-")]
            return start_response(status, [*kept, *own], exc_info)

        return self._application(environ, start)

    def _why_refused(self, environ: WSGIEnvironment) -> str:
        """Why a request is refused, in words without anything of the request's; empty if it is not."""
        host = environ.get("HTTP_HOST", "").lower()
        if host not in self._hosts:
            return "the host name is not this server's"
        if environ["REQUEST_METHOD"] in _READING:
            return ""
        origin, site = environ.get("HTTP_ORIGIN"), environ.get("HTTP_SEC_FETCH_SITE")
        if origin is not None and origin.lower() != f"http://{host}":
            return "another page may not write here"
        if site is not None and site.lower() not in _OWN:
            return "another page may not write here"
        return ""
