"""`l2tune dashboard` over real sockets: what other web pages can send is refused, and a slow client holds up nobody."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta

from l2tune.report.dashboard import keep_artifacts

STUDY = "/api/studies/1"


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("dashboard")
    url = f"sqlite:///{folder}/l2tune.db"
    study = optuna.create_study(storage=url, study_name="kept")
    page = folder / "report.html"
    page.write_text("<script>document.title = 'drawn'</script>")
    keep_artifacts(study, [page], folder / "artifacts")
    for name in ("own", "localhost", "typed", "script"):
        optuna.create_study(storage=url, study_name=name)
    return url


@pytest.fixture(scope="module")
def port(storage: str) -> Iterator[int]:
    folder = Path(storage.removeprefix("sqlite:///")).parent
    command = [sys.executable, "-m", "l2tune", "dashboard", "--storage", storage, "--port", "0"]
    command += ["--artifacts", str(folder / "artifacts")]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            yield int(line.partition("127.0.0.1:")[2].partition("/")[0])
        finally:
            server.terminate()
            server.wait(30)


def ask(port: int, method: str, path: str, *headers: str, body: str = "") -> tuple[int, str, str]:
    """Status, head and body of the answer to a request with exactly these headers."""
    lines = [f"{method} {path} HTTP/1.0", *headers, f"Content-Length: {len(body)}", "", body]
    with closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as client:
        client.sendall("\r\n".join(lines).encode())
        answer = b"".join(iter(lambda: client.recv(65536), b"")).decode()
    head, _, rest = answer.partition("\r\n\r\n")
    return int(head.split()[1]), head, rest


def studies(port: int) -> dict[str, int]:
    _, _, body = ask(port, "GET", "/api/studies", f"Host: 127.0.0.1:{port}")
    return {found["study_name"]: found["study_id"] for found in json.loads(body)["study_summaries"]}


@pytest.mark.parametrize(
    "hosts",
    [
        ["evil.example"],
        ["evil.example:{port}"],
        ["127.0.0.1.evil.example:{port}"],
        ["127.0.0.1:{port}@evil.example"],
        ["127.0.0.1"],
        ["localhost:1"],
        ["0.0.0.0:{port}"],
        [""],
        [],
        ["127.0.0.1:{port}", "evil.example"],
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "delete"])
def test_a_host_that_is_not_served_is_refused(port: int, hosts: list[str], method: str) -> None:
    status, head, body = ask(port, method, STUDY, *(f"Host: {host.format(port=port)}" for host in hosts))
    assert status == 403, head
    assert body == f"Refused: the host name is not this server's; open http://127.0.0.1:{port}/\n"
    assert "kept" in studies(port)


@pytest.mark.parametrize(
    "said",
    [
        "Origin: http://evil.example",
        "Origin: http://evil.example:{port}",
        "Origin: null",
        "Origin: ",
        "Origin: https://127.0.0.1:{port}",
        "Origin: http://127.0.0.1:1",
        "Origin: http://localhost:{port}",  # asked for by another name than its own page's
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
        "Origin: http://127.0.0.1:{port}\r\nSec-Fetch-Site: cross-site",
    ],
)
@pytest.mark.parametrize("method", ["DELETE", "POST", "PUT", "PATCH"])
def test_another_page_may_not_write(port: int, said: str, method: str) -> None:
    headers = (f"Host: 127.0.0.1:{port}", "Content-Type: text/plain", said.format(port=port))
    for path in (STUDY, "/api/studies", f"{STUDY}/rename", f"{STUDY}/note"):
        status, head, body = ask(port, method, path, *headers, body='{"study_name": "new", "directions": ["minimize"]}')
        assert status == 403, head
        assert body == f"Refused: another page may not write here; open http://127.0.0.1:{port}/\n"
    assert "kept" in studies(port)
    assert "new" not in studies(port)


@pytest.mark.parametrize(
    ("name", "host", "said"),
    [
        ("own", "127.0.0.1", ["Origin: http://127.0.0.1:{port}", "Sec-Fetch-Site: same-origin"]),
        ("localhost", "LocalHost", ["Origin: http://localhost:{port}"]),
        ("typed", "[::1]", ["Sec-Fetch-Site: none"]),
        ("script", "127.0.0.1", []),
    ],
)
def test_its_own_page_and_a_script_of_the_user_s_may_write(port: int, name: str, host: str, said: list[str]) -> None:
    headers = (f"Host: {host}:{port}", "Content-Type: application/json", *(line.format(port=port) for line in said))
    status, head, _ = ask(port, "DELETE", f"/api/studies/{studies(port)[name]}", *headers, body="{}")
    assert status == 204, head
    assert name not in studies(port)


def test_no_other_origin_is_told_anything(port: int, storage: str) -> None:
    [artifact] = get_all_artifact_meta(optuna.load_study(study_name="kept", storage=storage))
    stored = f"/artifacts/{studies(port)['kept']}/{artifact.artifact_id}"
    for path in ("/dashboard", "/api/studies", stored):
        for method in ("GET", "OPTIONS"):
            _, head, body = ask(port, method, path, f"Host: localhost:{port}", "Origin: http://evil.example")
            assert "access-control-" not in head.lower(), head
            assert "X-Frame-Options: SAMEORIGIN" in head
    _, head, body = ask(port, "GET", stored, f"Host: localhost:{port}")
    assert "document.title" in body
    assert "Content-Security-Policy: sandbox allow-scripts" in head


def test_a_slow_client_holds_up_nobody(port: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port))) as slow:
        slow.sendall(f"POST /api/studies HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 1000\r\n\r\n{{".encode())
        with closing(socket.create_connection(("127.0.0.1", port))) as slower:
            slower.sendall(b"GE")
            assert "kept" in studies(port)
