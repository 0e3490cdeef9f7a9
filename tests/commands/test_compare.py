"""`l2tune compare` as a user meets it: in processes of its own, and whatever ends them."""

from __future__ import annotations

import io
import re
import signal
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import processes
import pytest

from l2tune.cli import main
from l2tune.records.comparison import comparison_studies, is_shared
from l2tune.records.fold_record import fold_records
from l2tune.records.observations import strength_of
from l2tune.records.refits import refit_records
from l2tune.search.storage import open_storage

QUICK = ("--subset", "120", "--epochs", "2", "--folds", "3", "--model", "linear")
FLAGS = ("compare", *QUICK, "--trials", "5", "--penalties", "l2,l2-decoupled")
LONG = ("compare", *QUICK[:3], "150", *QUICK[4:], "--trials", "3", "--sampler", "random", "--pruner", "none")
LONG = (*LONG, "--penalties", "l2,l2-decoupled")
NAME = "digits-linear-compare"
OUT = Path("runs") / NAME
FILES = ("compare.html", "compare.json", "compare.csv")


def call(*words: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of `l2tune` in this process."""
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors), pytest.raises(SystemExit) as end:
        main(words)
    assert isinstance(end.value.code, int)
    return end.value.code, out.getvalue(), errors.getvalue()


def begin(folder: Path, *words: str) -> processes.Process:
    return processes.begin(folder, *words, PYTHONWARNINGS="default")


def cut_short(folder: Path, after: str, number: int) -> subprocess.CompletedProcess[str]:
    """A comparison that gets a signal once it has told a line."""
    process = begin(folder, *LONG)
    process.until(after)
    process.send_signal(number)
    try:
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    return subprocess.CompletedProcess([], process.wait(), out, errors)


def trained_of(folder: Path) -> list[tuple[str, float, int]]:
    """(form, λ, fold) of every fit that a storage tells was trained to its end."""
    studies = comparison_studies(open_storage(str(folder / "l2tune.db")), NAME)
    return [
        (form, strength, fold)
        for form, study in studies.items()
        for trial in study.get_trials(deepcopy=False)
        if (strength := strength_of(trial)) is not None and not is_shared(trial)
        for fold, record in fold_records(trial).items()
        if record.reused_from is None
    ]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a quick comparison has run."""
    folder = tmp_path_factory.mktemp("compared")
    out, errors = begin(folder, *FLAGS).communicate(timeout=300)
    (folder / "stdout.txt").write_text(out)
    (folder / "stderr.txt").write_text(errors)
    return folder


def test_it_says_which_form_of_how_many_and_what_is_shared(compared: Path) -> None:
    lines = (compared / "stderr.txt").read_text()
    assert "l2 (1 of 2): trial 1: λ 0 (baseline): loss" in lines
    assert f"λ 0 (baseline) is taken from study '{NAME}-l2': without a penalty its form does nothing" in lines
    assert "l2-decoupled (2 of 2): trial 2: λ" in lines
    assert lines.count("λ 0 (baseline):") == 1
    assert lines.count("trained on all training images with λ 0 in") == 1
    assert "going on" not in lines
    assert "Warning" not in lines
    assert "\x1b" not in lines


def test_page_and_verdict_come_from_storage_alone(compared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(compared)
    kept = {name: (OUT / name).read_bytes() for name in FILES}
    for name in FILES:
        (OUT / name).unlink()
    status, out, errors = call("report", NAME)
    assert (status, errors) == (0, "")
    assert {name: (OUT / name).read_bytes() for name in FILES} == kept
    assert f"Report: {OUT / 'compare.html'}" in out
    status, shown, errors = call("show", NAME)
    assert (status, errors) == (0, "")
    assert shown.strip()
    assert shown in out


def test_studies_of_a_comparison_are_listed_below_its_name(compared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(compared)
    _, out, _ = call("list")
    assert [re.split(r"(?<=\S)  ", line)[0].rstrip() for line in out.splitlines()[1:]] == [
        f"{NAME} (comparison)",
        f"  {NAME}-l2",
        f"  {NAME}-l2-decoupled",
    ]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("fit", NAME),
            f"{NAME!r}: is a comparison of several studies; give one of them: {NAME}-l2, {NAME}-l2-decoupled",
        ),
        (("search", "--study", NAME, *QUICK), f"study {NAME!r}: is the name of a comparison; use another --study"),
        (
            ("report", NAME, "--format", "png"),
            "--format png: is for one study, and this is a comparison of several; leave it out",
        ),
        (
            ("show", NAME, "--parameter", "x"),
            "--parameter: is for one study, and this is a comparison of several; leave it out",
        ),
        (
            ("compare", *QUICK, "--study", f"{NAME}-l2", "--penalties", "l2,l2-loss"),
            f"comparison '{NAME}-l2': is the name of a study; give the comparison another --study",
        ),
        (
            ("compare", *QUICK[:3], "3", *QUICK[4:], "--penalties", "l2,l2-decoupled"),
            f"comparison {NAME!r} was begun otherwise: epochs was 2, now 3; use another --study, or --restart to "
            "delete the comparison and start over",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_a_comparison_is_not_for_is_one_line(
    compared: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], line: str
) -> None:
    monkeypatch.chdir(compared)
    before = {path: path.read_bytes() for path in compared.rglob("*") if path.is_file()}
    status, out, errors = call(*words)
    assert (status, out, errors) == (2, "", f"l2tune: {line}\n")
    assert {path: path.read_bytes() for path in compared.rglob("*") if path.is_file()} == before


def test_again_nothing_is_trained(compared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(compared)
    before = trained_of(compared)
    status, out, errors = call(*FLAGS)
    assert status == 0
    assert errors.count("; 0 fits in") == 2
    assert "trained on all" not in errors
    assert trained_of(compared) == before
    assert out.startswith((compared / "stdout.txt").read_text()[:100])


def test_restart_begins_all_of_it_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*FLAGS, "--quiet")[2] == ""
    status, _, errors = call(*FLAGS, "--restart")
    assert status == 0
    assert f"deleting study '{NAME}-l2' with its " in errors
    assert f"deleting study '{NAME}-l2-decoupled' with its " in errors
    assert "l2 (1 of 2): trial 1: λ 0 (baseline)" in errors


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--penalties", "l2,l3"), "--penalties: 'l3' is no form of the penalty; did you mean 'l2"),
        (("--penalties", "l2"), "--penalties: l2 alone is no comparison; name two or more of l2, "),
        (("--penalties", "l2", "l2"), "--penalties: l2 is named twice; name each form once"),
        (("--penalties=", "--quiet"), "--penalties: '' is no form of the penalty; known are l2, "),
        (("--penalty", "l2"), "--penalty: is one form, and a comparison has several; use --penalties"),
        (("--penaltys", "l2"), "Unknown option: --penaltys. Did you mean --penalty?"),
        (("--penalties", "l2,l2-loss", "--epochs", "0"), "--epochs: 0 does not fit; it should be greater than or"),
        (
            ("--penalties", "l2,l2-loss", "--data", "mnits"),
            "--data mnits: no such data set, folder or file; did you mean 'mnist'?",
        ),
        (
            ("--penalties", "l2,l2-decoupled", "--optimizer", "adamw"),
            "--optimizer: adamw with the coupled form l2 is Adam; use --optimizer adam for all forms: l2-decoupled "
            "with it is AdamW",
        ),
        (("no.toml",), "no.toml: no such file; give the path of a TOML file, or flags alone"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, errors = call("compare", *words)
    assert (status, out) == (2, "")
    assert errors.startswith(f"l2tune: {line}"), errors
    assert errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_file_of_a_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.toml").write_text(
        'study = "c"\npenalties = ["l2-decoupled", "l2"]\n[data]\nsubset = 120\n[model]\nname = "linear"\n'
        '[training]\noptimizer = "adam"\nepochs = 1\n[search]\nfolds = 2\ntrials = 2\n'
    )
    status, _, errors = call("search", "c.toml")
    assert (status, errors) == (2, "l2tune: c.toml: penalties: are of a comparison; use `l2tune compare c.toml`\n")
    status, _, errors = call("compare", "c.toml")
    assert status == 0
    assert "l2-decoupled (1 of 2): trial 1: λ 0 (baseline)" in errors
    assert "all forms are trained with adam, and l2-decoupled with adam is AdamW" in errors
    assert (tmp_path / "runs/c/compare.html").exists()


@pytest.mark.parametrize(
    ("after", "number"),
    [("(1 of 2): trial 1:", signal.SIGINT), ("(2 of 2): trial 2:", signal.SIGKILL)],
    ids=["Ctrl-C", "kill -9"],
)
def test_a_comparison_that_was_cut_short_goes_on(tmp_path: Path, after: str, number: int) -> None:
    done = cut_short(tmp_path, after, number)
    assert done.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL), done.stderr
    assert "Traceback" not in done.stderr
    if number == signal.SIGINT:
        assert "interrupted" in done.stderr
        assert (tmp_path / OUT / "compare.html").exists()
        assert done.stdout.strip()
    process = begin(tmp_path, *LONG)
    assert process.wait(120) == 0, process.output
    trained = trained_of(tmp_path)
    assert len(set(trained)) == len(trained), "no fit that was finished is trained again"
    # a trial killed in the instant of its birth counts as another worker's for some seconds
    assert 3 + 2 * 2 * 3 - (3 if number == signal.SIGKILL else 0) <= len(trained) <= 3 + 2 * 2 * 3
    assert [form for form, strength, _ in trained if strength == 0] == ["l2"] * 3


def test_two_at_once_share_the_work(tmp_path: Path) -> None:
    both = [begin(tmp_path, *LONG) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0], [process.output for process in both]
    trained = trained_of(tmp_path)
    assert len(set(trained)) == len(trained) == 3 + 2 * 2 * 3
    assert [form for form, strength, _ in trained if strength == 0] == ["l2"] * 3
    studies = comparison_studies(open_storage(str(tmp_path / "l2tune.db")), NAME)
    stored = {(form, r.strength) for form, study in studies.items() for r in refit_records(study)}
    told = [process.output[1].count("trained on all training images") for process in both]
    assert sum(told) == len(stored) - 1, "λ = 0 once for both forms"
