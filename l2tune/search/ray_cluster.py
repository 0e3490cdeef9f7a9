"""A Ray cluster: found or started, what it has room for, and left again."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2tune.errors import UserError
from l2tune.search.placement import AUTO_LIMIT, MOST_WORKERS, usable_cores
from l2tune.storage_url import without_password

_KNOCK_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
"""So long a cluster may take to say that it is well."""

_CODE = ["*?.*", "!*.py", ".?*", "__pycache__", "site-packages", "node_modules"]
"""What is not sent of the working directory, in the words of a .gitignore that knows no folders: all but Python files.
Ray matches the directory itself too, as `.`."""


@dataclass(frozen=True)
class Share:
    """What one worker takes of the cluster, beside one CPU.

    Attributes:
        gpus: A GPU, a part of one, or none.
    """

    gpus: float = 0.0

    def __post_init__(self) -> None:
        if not (self.gpus == 0 or 0.01 <= self.gpus <= 1):
            fix = "a worker trains on one GPU: give 1, or a part of it such as 0.25, or 0 for none"
            raise UserError(f"{self.gpus:g} does not fit", "--gpus-per-worker", fix)

    def __str__(self) -> str:
        return "1 CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")

    def fits_into(self, resources: dict[str, float]) -> int:
        """How many workers a machine with these resources has room for."""
        cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        return cpus if not self.gpus else min(cpus, gpus * int(1 / self.gpus + 1e-6))


class RayCluster:
    """A cluster that this process is connected to, until `leave`.

    Args:
        ray: The module.
    """

    def __init__(self, ray: Any) -> None:
        self.ray = ray

    @property
    def machines(self) -> int:
        """How many machines it has, by their addresses."""
        return len({node["NodeManagerAddress"] for node in self._nodes()})

    def room(self, share: Share) -> int:
        """How many workers fit into all of it, were it idle."""
        return sum(share.fits_into(node["Resources"]) for node in self._nodes())

    def worker_count(self, asked: int | None, share: Share) -> int:
        """How many workers to start.

        Args:
            asked: None for as many as there is room for, on CPUs up to `AUTO_LIMIT`.

        Raises:
            UserError: There is no room for them.
        """
        room = self.room(share)
        if room and asked is None:
            return min(room, MOST_WORKERS if share.gpus else AUTO_LIMIT)
        if room < (asked or 1):
            workers = f"{asked or 1} worker{'s' if (asked or 1) > 1 else ''} of {share} each"
            raise UserError(f"has {self}: room for {room}, not for {workers}", "the Ray cluster", "ask for less")
        return asked or 1

    def check_storage(self, url: str) -> None:
        """Refuse a storage that not all machines see.

        Raises:
            UserError: It is a file, and there are several machines.
        """
        machines = self.machines
        if machines > 1 and ("://" not in url or url.startswith("sqlite")):
            where = f"--storage {without_password(url)}"
            fix = "give a database server, postgresql://USER:PASSWORD@HOST/DATABASE"
            raise UserError(f"is a file, and the Ray cluster has {machines} machines", where, fix)

    def leave(self) -> None:
        """Disconnect; a cluster that was started for this process ends."""
        with quiet():
            self.ray.shutdown()

    def __str__(self) -> str:
        """Its resources, in words."""
        nodes = self._nodes()
        cpus, gpus = (sum(node["Resources"].get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
        return f"{cpus:g} CPUs and {gpus:g} GPUs on {len(nodes)} node{'s' if len(nodes) != 1 else ''}"

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self.ray.nodes() if node["Alive"]]


def connect(address: str, *, send_code: bool) -> RayCluster:
    """Connect to a cluster.

    Args:
        address: `HOST:PORT`; `local` to start one on this machine; `auto` for the one that runs here or that
            `RAY_ADDRESS` names, and without any the same as `local`.
        send_code: Send the Python files of the working directory to the other machines.

    Raises:
        UserError: Ray is not installed, there is no such cluster, or it cannot be used.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers about this machine
    try:
        import ray
    except ImportError:
        raise UserError("Ray is not installed", "--ray", "pip install 'l2tune[ray]'") from None
    found = _address(address)
    how: dict[str, Any] = {"address": found}
    if found == "local":
        how |= {"num_cpus": usable_cores(), "include_dashboard": False}
    # a job that was handed in by `ray job submit` has its files already, and Ray refuses two working directories
    if send_code and "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ:
        how["runtime_env"] = {"working_dir": str(Path.cwd()), "excludes": _CODE}
    before = signal.getsignal(signal.SIGTERM)  # Ray would end this process in its own way
    try:
        with quiet():
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **how)
    except Exception as error:  # versions that differ, no node on this machine, a full disk: each in its own class
        why = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise UserError(f"cannot use the cluster ({why})", f"--ray {address}") from None
    finally:
        signal.signal(signal.SIGTERM, before)
    return RayCluster(ray)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what Ray prints about its nodes, on standard output of all places, out of ours."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _address(given: str) -> str:
    """Where to connect to, if it answers.

    Raises:
        UserError: No cluster answers there.
    """
    where = f"--ray {given}"
    address = given
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or "auto"
        where = where if address == "auto" else f"RAY_ADDRESS {address}"
    if address == "auto":
        return "auto" if _is_well() else "local"
    if address == "local":
        return address
    if "://" in address:
        fix = "start on a machine of the cluster, with auto or its HOST:PORT, or by `ray job submit`"
        raise UserError("a ray:// address is for Ray's client, which cannot be used", "--ray", fix)
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal() and 0 < int(port) < 2**16):
        raise UserError("is no address", where, "give auto, local, or HOST:PORT, as `ray start --head` tells it")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()
    except OSError as error:
        why = error.strerror or str(error)
        raise UserError(f"no cluster answers ({why})", where, "start one with `ray start --head`") from None
    if not _is_well(address):
        raise UserError("no Ray cluster answers there", where, "start one with `ray start --head`")
    return address


def _is_well(address: str | None = None) -> bool:
    """Whether a cluster answers, asked in another process: there it can be given up."""
    words = [sys.executable, "-m", "ray.scripts.scripts", "health-check"]
    words += ["--address", address] if address else []
    try:
        asked = subprocess.run(words, capture_output=True, timeout=_ANSWER_SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0
