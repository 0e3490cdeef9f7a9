"""What comes in from outside and goes out to a terminal: names, passwords, encodings; in this process, for speed."""

import io
import json
import math
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from l2tune.cli import main
from l2tune.commands.progress import Progress
from l2tune.errors import UserError
from l2tune.records.study import stored_settings
from l2tune.records.tables import read_study
from l2tune.report.html import render as render_page
from l2tune.report.tables import results_json
from l2tune.report.terminal import render
from l2tune.search.storage import open_storage
from l2tune.settings import build
from l2tune.terminal_text import write_readably
from l2tune.tradeoff import Tradeoff

MakeStudy = Callable[..., optuna.Study]
URL = "postgresql://bob:hunter2@db/l2"


def call(*words: str, encoding: str = "utf-8") -> tuple[int, str, str]:
    """Exit status, standard output and standard error of `l2tune` on terminals of an encoding."""
    out, errors = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2))
    with redirect_stdout(out), redirect_stderr(errors), pytest.raises(SystemExit) as end:
        main(words)
    for stream in (out, errors):
        stream.flush()
    status = end.value.code
    assert isinstance(status, int)
    return status, *(s.buffer.getvalue().decode(encoding) for s in (out, errors))  # type: ignore[attr-defined, return-value]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one, in another."""
    folder = tmp_path / "outer" / "inner"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def odd_names(empty: Path) -> list[str]:
    """Studies in l2tune.db whose names steer terminals, look like markup, or lead elsewhere."""
    names = ["exp [/x]", "a[bold]b", ":smile:", "../../evil", "..", "esc\x1b[31mred", "\u202erev", "two\nlines", "λ"]
    storage = optuna.storages.RDBStorage("sqlite:///l2tune.db")
    for name in names:
        optuna.create_study(study_name=name, storage=storage)
    return names


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--epochs", "3.7"], 'Invalid value for --epochs: unable to convert "3.7" into int.'),
        (["--epochs", "3.0"], 'Invalid value for --epochs: unable to convert "3.0" into int.'),
        (["--epochs", "1_0"], 'Invalid value for --epochs: unable to convert "1_0" into int.'),
        (["--epochs", "none"], 'Invalid value for --epochs: unable to convert "none" into int.'),
        (["--optimizer", "none"], "--optimizer: none is no value; leave the flag out, or give a value"),
        (["--epochs", "9" * 5000], 'Invalid value for --epochs: unable to convert "99'),
        (["--seed", "2.5"], 'Invalid value for --seed: unable to convert "2.5" into int.'),
        (["--seed", "-1"], "--seed: -1 does not fit; it should be greater than or equal to 0"),
        (["--seed", "[/x]"], 'Invalid value for --seed: unable to convert "[/x]" into int.'),
        (["--subset", "٣٠"], 'Invalid value for --subset: unable to convert "٣٠" into int.'),
        (["--trials", str(2**70)], f"--trials: {2**70} does not fit; it should be less than or equal to 100000"),
        (["--folds", str(2**70)], f"--folds: {2**70} does not fit; it should be less than or equal to 10000"),
        (["--timeout", "nan"], "--timeout: nan does not fit; it should be a finite number"),
        (["--lr", "1_0"], 'Invalid value for --lr: unable to convert "1_0" into float.'),
        (["--lambda-range", "1e-320", "1"], "--lambda-range: 9.99989e-321 is no strength to search; stay within "),
        (["--study", "\udcff"], "--study: is not UTF-8 text; write it anew"),
        (["--out", "a\x1b[31mb"], "--out: holds the control character \\x1b; write it anew"),
        (["--out", "x" * 300], f"--out: '{'x' * 59}… (302 characters) is too long; give a shorter path"),
        (["--data", "a\0b"], "--data: holds the control character \\x00; write it anew"),
        (["--storage", "postgresql://bob:hunter2@db:x/l2"], "--storage postgresql://bob@db/l2: its port is no number"),
        (["a\x1b[31mb.toml"], "a\\x1b[31mb.toml: no such file; give the path of a TOML file, or flags alone"),
        (["\0.toml"], "\\x00.toml: is not valid TOML ("),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_odd_input_is_one_line_and_writes_nothing(empty: Path, words: list[str], line: str) -> None:
    status, out, errors = call("search", *words)
    assert (status, out) == (2, "")
    assert errors.startswith(f"l2tune: {line}"), errors
    assert errors.endswith("\n")
    assert len(errors.splitlines()) == 1
    assert not list(empty.iterdir())


@pytest.mark.parametrize("words", [["--port", "8080.5"], ["--port", "1_0"]])
def test_a_port_is_a_whole_number(empty: Path, words: list[str]) -> None:
    status, _, errors = call("dashboard", *words)
    assert (status, errors) == (2, f'l2tune: Invalid value for --port: unable to convert "{words[1]}" into int.\n')


def test_artifacts_are_named_by_a_path(empty: Path) -> None:
    status, _, errors = call("dashboard", "--artifacts", "x" * 300)
    assert status == 2
    assert errors == f"l2tune: --artifacts: '{'x' * 59}… (302 characters) is too long; give a shorter path\n"


@pytest.mark.parametrize("command", ["report", "fit"])
@pytest.mark.parametrize("name", ["../../evil", "..", "esc\x1b[31mred", "two\nlines"])
def test_a_name_from_a_storage_does_not_lead_elsewhere(odd_names: list[str], command: str, name: str) -> None:
    top = Path.cwd().parents[1]
    before = files(top)
    status, out, errors = call(command, name)
    assert (status, out) == (2, "")
    assert errors == f"l2tune: study: {name!r} cannot name a folder; give --out FOLDER\n"
    assert files(top) == before
    assert not list(top.rglob("runs"))


def test_names_are_listed_as_they_are(odd_names: list[str]) -> None:
    status, out, errors = call("list")
    assert (status, errors) == (0, "")
    rows = [row.split("  ")[0] for row in out.splitlines()[1:]]
    shown = ["exp [/x]", "a[bold]b", ":smile:", "../../evil", "..", "esc\\x1b[31mred", "\\u202erev", "two lines", "λ"]
    assert sorted(rows) == sorted(shown)
    for encoding in ("ascii", "cp1252"):
        head, *others = call("list", encoding=encoding)[1].splitlines()
        assert "best lambda" in head
        assert any(row.startswith("lambda ") for row in others)
        assert len({len(row) for row in [head, *others]}) == 1, "columns stand below each other"


def test_an_unknown_study_names_the_others_on_one_line(odd_names: list[str]) -> None:
    status, _, errors = call("show", "no[/x]\x1b", encoding="ascii")
    assert status == 2
    assert errors.startswith("l2tune: 'no[/x]\\x1b': no such study in this storage; it holds ")
    assert len(errors.splitlines()) == 1
    assert "\x1b" not in errors


@pytest.mark.parametrize("words", [["--help"], ["search", "--help"], ["fit", "--help"], ["estimate", "--help"]])
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_help_can_be_read_on_any_terminal(words: list[str], encoding: str) -> None:
    status, out, _ = call(*words, encoding=encoding)
    assert status == 0
    assert "lambda" in out
    assert "\\" not in out, "no escapes"


def test_progress_can_be_read_on_any_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    monkeypatch.setattr(sys, "stderr", stream)
    write_readably(stream)
    progress = Progress(build({}), SimpleNamespace(folds=5, epochs=3), quiet=False)  # type: ignore[arg-type]
    progress.say("trial 1: λ 0 · [bold] :smile: \x1b[31m")
    stream.flush()
    assert stream.buffer.getvalue() == b"trial 1: lambda 0 - [bold] :smile: \\x1b[31m\n"  # type: ignore[attr-defined]


def test_the_verdict_can_be_read_on_any_terminal(make_study: MakeStudy) -> None:
    study = make_study(lambda s: 0.5 + (math.log10(s + 1e-5) + 3) ** 2 / 10, lambda s: 0.1 + s)
    text = render(Tradeoff.from_study(study), 60, ascii_only=True)
    assert "lambda" in text
    assert text.isascii()
    assert "?" not in text
    assert max(map(len, text.splitlines())) <= 60


def test_a_study_keeps_no_password(make_study: MakeStudy) -> None:
    study = make_study(lambda s: 0.5 + s, lambda s: 0.1 + s, settings={"storage": URL})
    assert "hunter2" not in json.dumps(study.user_attrs)
    assert study.user_attrs["l2tune:settings"]["storage"] == "postgresql://bob@db/l2"


def test_a_password_in_an_old_study_is_not_shown(make_study: MakeStudy) -> None:
    study = make_study(lambda s: 0.5 + s, lambda s: 0.1 + s)
    study.set_user_attr("l2tune:settings", study.user_attrs["l2tune:settings"] | {"storage": URL})
    assert stored_settings(study)["storage"] == "postgresql://bob@db/l2"
    assert read_study(study).settings["storage"] == "postgresql://bob@db/l2"
    tradeoff = Tradeoff.from_study(study)
    page = render_page(tradeoff)
    assert "hunter2" not in results_json(tradeoff).decode() + page
    assert "--storage postgresql://bob@db/l2" in page


def test_settings_that_are_refused_today_do_not_hinder_the_report(make_study: MakeStudy) -> None:
    study = make_study(lambda s: 0.5 + s, lambda s: 0.1 + s)
    study.set_user_attr("l2tune:settings", study.user_attrs["l2tune:settings"] | {"study": "v1.", "seed": 2**40})
    page = render_page(Tradeoff.from_study(study))
    assert "seed: 1099511627776 does not fit" in page
    assert f"&quot;seed&quot;: {2**40}" in page


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> optuna.storages.BaseStorage:
    """What every storage URL opens instead."""
    storage = optuna.storages.InMemoryStorage()
    monkeypatch.setattr("l2tune.search.storage.open_storage", lambda url, **named: storage)
    return storage


def test_list_prints_no_password(in_memory: optuna.storages.BaseStorage) -> None:
    assert call("list", "--storage", URL) == (0, "No study in postgresql://bob@db/l2.\n", "")


def test_restart_prints_no_password(
    empty: Path, in_memory: optuna.storages.BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna.create_study(study_name="digits", storage=in_memory)

    def stop(*words: object) -> None:
        raise UserError("that is all")

    monkeypatch.setattr("l2tune.search.storage.delete_study", stop)
    status, _, errors = call("search", "--restart", "--subset", "100", "--storage", URL)
    assert status == 2
    assert errors.splitlines() == [
        "deleting study 'digits' with its 0 trials from postgresql://bob@db/l2",
        "l2tune: that is all",
    ]


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (RuntimeError(f"a fault with {URL}\x1b"), 1, "RuntimeError: a fault with postgresql://bob@db/l2\\x1b"),
        (
            optuna.exceptions.StorageInternalError(f"gone: {URL}"),
            2,
            "l2tune: the storage cannot be read or written (gone: postgresql://bob@db/l2)",
        ),
    ],
)
def test_no_traceback_prints_a_password(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, line: str
) -> None:
    def fail(url: str, **named: Any) -> None:
        raise error

    monkeypatch.setattr("l2tune.search.storage.open_storage", fail)
    found, _, errors = call("list", "--storage", URL)
    assert (found, errors.splitlines()[-1]) == (status, line)
    assert "hunter2" not in errors


def test_a_study_whose_strength_is_beyond_sense_is_not_trained(empty: Path, make_study: MakeStudy) -> None:
    make_study(lambda s: 0.5 + s, lambda s: 0.1 + s, name="x", storage=open_storage("s.db"))
    before = files(empty)
    status, _, errors = call("fit", "x", "--storage", "s.db", "--lambda", "1e300")
    assert status == 2
    assert errors == "l2tune: --lambda: 1e+300 cannot be used; give one λ from 0 to 1e6, without --one-se\n"
    assert files(empty) == before
    assert not os.path.exists("runs")
