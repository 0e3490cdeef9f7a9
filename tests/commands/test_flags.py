"""Flags that several commands share."""

import pytest

from l2tune.cli import app


@pytest.mark.parametrize(
    "words",
    [
        "search",
        "compare",
        "worker digits",
        "fit digits",
        "show digits",
        "report digits",
        "list",
        "dashboard",
        "export digits",
        "doctor",
    ],
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


def test_the_environment_gives_what_is_the_machine_s_and_nothing_that_changes_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("L2TUNE_DEVICE", "cuda:1")
    monkeypatch.setenv("L2TUNE_STORAGE_PATIENCE", "7")
    for name in ("LR", "EPOCHS", "SEED", "MODEL", "FOLDS"):
        monkeypatch.setenv(f"L2TUNE_{name}", "3")
    _, bound, _ = app.parse_args(["search"], print_error=False, exit_on_error=False)
    assert bound.arguments == {"device": "cuda:1", "storage_patience": 7.0}
