"""`l2tune search --tracker` and `l2tune track`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from l2tune.cli import main
from l2tune.search.storage import load_study, open_storage

Tool = Any  # of conftest.py
MakeStudy = Callable[..., optuna.Study]
QUICK = ("--subset", "100", "--epochs", "2", "--folds", "2", "--storage", "s.db", "--device", "cpu")

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # MLflow's own


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def test_a_search_logs_each_fit_once_and_its_verdict(tool: Tool, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("search", *QUICK, "--trials", "2", "--tracker", tool.word) == 0
    assert run("search", *QUICK, "--trials", "3", "--tracker", tool.word) == 0  # goes on
    study = load_study(open_storage("s.db", must_exist=True), "digits")
    trained = {
        (trial.number, fold)
        for trial in study.trials
        for fold in range(2)
        if trial.user_attrs.get(f"l2tune:fold:{fold}", {"reused_from": 0})["reused_from"] is None
    }
    fits, results = tool.fits(), json.loads(Path("runs/digits/results.json").read_bytes())
    assert set(fits) == trained
    assert all(len(fit.metrics["val_loss"]) == 2 for fit in fits.values())
    *_, last = tool.runs()[0]  # of Weights & Biases there is one a process, which have one id
    assert last.verdict == results["verdict"]
    found = {name: series[max(series)] for name, series in last.metrics.items()}
    known = ("best_lambda", "one_se_lambda", "best_value", "baseline_value", "fits")
    assert {name: found[name] for name in known} == pytest.approx({name: results[name] for name in known})
    assert [found["interval_low"], found["interval_high"]] == pytest.approx(results["interval"])
    capsys.readouterr()
    assert run("track", "digits", "--storage", "s.db", "--tracker", tool.word) == 0
    assert capsys.readouterr().out == f"digits: 0 fits to {tool.word.partition('=')[0]}\n"


def test_a_comparison_logs_the_fits_of_each_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--penalties", "l2,l1", "--trials", "2", "--tracker", "tensorboard=tb")
    assert run("compare", *QUICK, *words, "--quiet") == 0
    for form in ("l2", "l1"):
        assert len(list(tmp_path.glob(f"tb/digits-compare-{form}-*/trial-*-fold-*"))) == 4
    capsys.readouterr()
    assert run("track", "digits-compare", "--storage", "s.db", "--tracker", "tensorboard=tb") == 0
    assert capsys.readouterr().out.count(": 0 fits to ") == 2


def test_several_trackers_get_the_same(
    make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(lambda s: 1 + s, lambda s: 0.5, strengths=(0.0, 1e-3), folds=2, storage=open_storage("s.db"), name="a")
    assert run("track", "a", "--storage", "s.db", "--tracker", "tensorboard", "--tracker", "wandb=mine") == 0
    assert capsys.readouterr().out == "a: 4 fits to tensorboard\na: 4 fits to wandb\n"
    assert len(list(tmp_path.glob("runs/tensorboard/a-*/trial-*-fold-*/*tfevents*"))) == 4
    assert len(list(tmp_path.glob("wandb/offline-run-*/l2tune-whole"))) == 4


def test_a_tracker_that_fails_under_way_is_said_once_and_ends_no_search(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from torch.utils.tensorboard import SummaryWriter

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    words = ("--trials", "2", "--tracker", "tensorboard")
    with monkeypatch.context() as broken:
        broken.setattr(SummaryWriter, "add_scalar", full)
        assert run("search", *QUICK, *words, "--quiet") == 0
    told = capsys.readouterr()
    assert told.err.count("the tracker tensorboard failed (OSError: [Errno 28] No space left on device)") == 1
    assert Path("runs/digits/report.html").is_file()
    assert not list(Path("runs/tensorboard").rglob("trial-*"))
    assert not list(Path("runs/tensorboard").glob(".l2tune-*"))
    assert run("track", "digits", "--storage", "s.db", "--tracker", "tensorboard") == 0
    assert "digits: 4 fits to tensorboard" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--tracker", "neptune"],
            "--tracker: 'neptune' is no tracker; give tensorboard, mlflow, wandb, or NAME=PLACE",
        ),
        (
            ["--tracker", "mlflow="],
            "--tracker: 'mlflow=' is no tracker; give tensorboard, mlflow, wandb, or NAME=PLACE",
        ),
        (
            ["--tracker", "tensorboard=file"],
            "the tracker tensorboard: cannot be written to (FileExistsError: [Errno 17] File exists: 'file'); nothing "
            "of the study is lost: mend it, then try again",
        ),
    ],
)
def test_what_cannot_be_tracked_is_one_line_before_anything_is_written(
    words: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert run("search", *QUICK, *words) == 2
    assert capsys.readouterr().err.splitlines() == [f"l2tune: {line}"]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["mine"], "l2tune: --tracker: is missing; give tensorboard, mlflow or wandb"),
        (["nobody", "--tracker", "tensorboard"], "l2tune: 'nobody': no such study in this storage; it holds 'mine'"),
    ],
)
def test_what_track_cannot_do_is_one_line(
    words: list[str], line: str, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(lambda s: 1 + s, lambda s: 0.5, strengths=(0.0,), folds=2, storage=open_storage("s.db"), name="mine")
    assert run("track", *words, "--storage", "s.db") == 2
    assert capsys.readouterr().err.strip() == line


def test_a_study_without_a_score_is_logged_without_a_verdict(tool: Tool) -> None:
    optuna.create_study(storage=open_storage("s.db"), study_name="empty")
    assert run("track", "empty", "--storage", "s.db", "--tracker", tool.word) == 0
    assert tool.runs()[1] == []
    assert tool.study().verdict == ""
