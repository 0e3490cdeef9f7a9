"""What tests of commands share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from l2tune.cli import main


@pytest.fixture
def l2tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`l2tune(*words)` runs a command in this process, in an empty folder; returns the exit status."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(words)
        return int(ended.value.code or 0)

    return run
