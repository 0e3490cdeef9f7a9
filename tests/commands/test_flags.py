"""Flags that several commands share."""

import pytest

from l2tune.cli import app


@pytest.mark.parametrize(
    "words",
    ["search", "compare", "worker digits", "fit digits", "show digits", "report digits", "list", "dashboard"],
)
def test_every_command_reads_the_storage_from_the_environment(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2TUNE_STORAGE", "postgresql://me:secret@db/l2tune")
    _, bound, _ = app.parse_args(words, print_error=False, exit_on_error=False)
    assert bound.arguments["storage"] == "postgresql://me:secret@db/l2tune"
    _, bound, _ = app.parse_args([*words.split(), "--storage", "s.db"], print_error=False, exit_on_error=False)
    assert bound.arguments["storage"] == "s.db"


def test_its_password_is_not_shown_in_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("L2TUNE_STORAGE", "postgresql://me:secret@db/l2tune")
    app(["search", "--help"])
    shown = capsys.readouterr().out
    assert "L2TUNE_STORAGE" in shown
    assert "secret" not in shown
