"""`l2tune doctor`: what a report of a bug needs to tell, and what is wrong here."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import Annotated

from cyclopts import Parameter

from l2tune.commands.flags import AsJson

_PACKAGES = (
    *("torch", "torchvision", "optuna", "optuna-dashboard", "numpy", "scipy", "pandas", "scikit-learn"),
    *("plotly", "pydantic", "cyclopts", "rich", "safetensors", "pillow"),
)
_OPTIONAL = (
    *(
        "kaleido",
        "psycopg",
        "pymysql",
        "ray",
        "grpcio",
        "pyarrow",
        "timm",
        "tensorboard",
        "mlflow",
        "mlflow-skinny",
        "wandb",
    ),
    *("skorch", "lightning", "transformers", "keras"),
)
_VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "XDG_CACHE_HOME")


def doctor_command(
    *,
    storage: Annotated[str, Parameter(help="Storage to look at", env_var="L2TUNE_STORAGE")] = "sqlite:///l2tune.db",
    as_json: AsJson = False,
) -> None:
    """Tell what a report of a bug needs: versions, devices, threads, how the default network would be trained, storage.

    Nothing is written. What is wrong is told in its line, and the exit status is 1.
    """
    import json

    from l2tune.storage_url import without_passwords
    from l2tune.terminal_text import one_line

    found: dict[str, str] = {}
    well = True
    for name, look in _examinations(storage):
        try:
            text = look()
        except Exception as error:  # whatever is broken here is what this command is for
            text, well = f"BROKEN: {error or type(error).__name__}", False
        found[name] = one_line(without_passwords(text))
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        width = max(map(len, found))
        for name, text in found.items():
            print(f"{name:<{width}}  {text}")
    sys.exit(0 if well else 1)


def _examinations(storage: str) -> Iterator[tuple[str, Callable[[], str]]]:
    """What is told, and how it is found out; each may fail by itself."""
    yield "l2tune", lambda: f"{metadata.version('l2tune')}, Python {platform.python_version()}, {platform.platform()}"
    yield "packages", _packages
    yield "installed extras", lambda: ", ".join(_versions(_OPTIONAL)) or "none"
    yield "CPU", _cpu
    yield "cards", _cards
    yield "threads", _threads
    yield "environment", _environment
    yield "cache folder", _cache_folder
    yield "training", _training
    yield "storage", lambda: _storage(storage)


def _versions(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        try:
            yield f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue


def _packages() -> str:
    found = list(_versions(_PACKAGES))
    missing = set(_PACKAGES) - {one.split()[0] for one in found}
    if missing:
        raise ImportError(f"{', '.join(sorted(missing))} not installed; {', '.join(found)}")
    return ", ".join(found)


def _cpu() -> str:
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB of memory"
    return (
        f"{platform.machine()}, {usable} of {os.cpu_count()} cores{memory}, {torch.backends.cpu.get_cpu_capability()}"
    )


def _cards() -> str:
    import torch

    from l2tune.training.device import has_native_bfloat16

    if torch.backends.mps.is_available():
        return "MPS"
    if not torch.cuda.is_available():
        return f"none (torch was built for CUDA {torch.version.cuda or '–'})"
    cards = []
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        kind = "bfloat16" if has_native_bfloat16(torch.device("cuda", index)) else "no bfloat16 of its own"
        cards.append(f"cuda:{index} {card.name}, {card.total_memory / 2**30:.0f} GiB, {kind}")
    return "; ".join(cards)


def _threads() -> str:
    import torch

    return f"{torch.get_num_threads()} within an operation, {torch.get_num_interop_threads()} beside each other"


def _environment() -> str:
    given = {name: value for name, value in os.environ.items() if name in _VARIABLES or name.startswith("L2TUNE_")}
    return ", ".join(f"{name}={value}" for name, value in sorted(given.items())) or "nothing that matters"


def _cache_folder() -> str:
    from platformdirs import user_cache_path

    path = user_cache_path("l2tune", appauthor=False)
    return f"{path}{'' if path.exists() else ' (not there yet)'}"


def _training() -> str:
    """How the default search would be trained here: its network is timed for it."""
    from l2tune.assemble import assemble
    from l2tune.settings import build

    return assemble(build({})).engine


def _storage(url: str) -> str:
    import optuna

    from l2tune.search.storage import open_storage
    from l2tune.search.storage_file import file_of
    from l2tune.storage_url import with_driver, without_password

    path = file_of(with_driver(url))
    if path is not None and not path.exists():
        return f"{without_password(url)}: not there yet"
    opened = open_storage(url, must_exist=True)
    began = time.perf_counter()
    names = optuna.get_all_study_names(opened)
    milliseconds = 1e3 * (time.perf_counter() - began)
    return f"{without_password(url)}: {len(names)} studies, listed in {milliseconds:.0f} ms"
