"""`l2tune watch`, and what a search shows while it runs."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console, RenderableType

from l2tune.commands import watch as command
from l2tune.commands.following import Follower
from l2tune.commands.progress import Progress
from l2tune.display import Display
from l2tune.errors import UserError
from l2tune.members import EpochScores, make_member
from l2tune.records.claims import claim_strength
from l2tune.records.fold_record import FoldRecord, write_fold
from l2tune.records.keys import GIVEN_UP
from l2tune.records.workers import Worker, write_beat, write_worker
from l2tune.search.state import Plan
from l2tune.search.storage import open_storage
from l2tune.search.telling import Telling, about
from l2tune.settings import build

MakeStudy = Callable[..., optuna.Study]
SURE = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 2e-3, 3e-3, 3.5e-3, 5e-3, 1e-2, 1e-1, 1.0)
RECORD = FoldRecord(epochs=4, train_loss=0.1, train_error=0.1, val_loss=0.5, val_error=0.1, seconds=60.0)


def valley(strength: float) -> float:
    return math.exp(-1 + 0.3 * (math.log10(strength + 1e-5) + 2.5) ** 2)


class Clock:
    """Seconds that pass when told."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def display_of(
    *, terminal: bool = False, width: int = 80, height: int = 24, encoding: str = "utf-8"
) -> tuple[Display, io.TextIOWrapper]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    console = Console(file=stream, force_terminal=terminal, width=width, height=height, highlight=False)
    return Display(console), stream


def shown(lines: Sequence[RenderableType]) -> list[str]:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    with console.capture() as captured:
        for line in lines:
            console.print(line, markup=False)
    return captured.get().splitlines()


def text_of(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined, no-any-return]


def begin(study: optuna.Study, strength: float, *folds: int, worker: Worker | None = None) -> optuna.Trial:
    trial = study.ask()
    if worker is not None:
        write_worker(study, trial, worker)
    if strength:
        trial.study.get_trials()
        trial.suggest_float("lambda", strength, strength, log=True)
    claim_strength(trial, strength)
    for fold in folds:
        write_fold(trial, fold, RECORD)
        trial.report(0.5, step=fold)
    return trial


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'l2tune.db'}"


def study_in(storage: str, make_study: MakeStudy, *strengths: float, **more: object) -> optuna.Study:
    return make_study(valley, lambda s: 0.1 + s, strengths=strengths, noise=1e-3, storage=open_storage(storage), **more)


def test_running_and_finished_trials_are_shown_as_they_come(storage: str, make_study: MakeStudy) -> None:
    study = study_in(storage, make_study, 0.0)
    first, second = Worker(host="here", pid=1), Worker(host="there", pid=2)
    trial = begin(study, 1e-3, 0, 1, worker=first)
    begin(study, 1e-2, worker=second)
    display, stream = display_of()
    clock = Clock()
    follower = Follower(Telling(study, now=clock), display, now=clock)
    follower.poll()
    assert text_of(stream) == "", "what was finished before is no news"
    clock.seconds = 30
    write_beat(study, trial, 1)
    follower.poll()
    clock.seconds = 32
    follower.poll()
    running = [line for line in shown(follower.area()) if line.startswith("trial ")]
    assert running == [
        "trial 2: λ 1.00e-3, fold 3 of 5, heard of 2 s ago, process 1 on here",
        "trial 3: λ 1.00e-2, fold 1 of 5, not heard of for 32 s, process 2 on there",
    ]
    study.tell(trial, state=TrialState.PRUNED)
    follower.poll()
    follower.poll()
    assert re.fullmatch(
        r"trial 2: λ 1.00e-3 \(weight decay 2.00e-3\): given up after 2 of 5 folds · about .* left\n", text_of(stream)
    )
    assert not follower.over


def test_the_time_left_runs_down_and_is_shared_by_those_alive(storage: str, make_study: MakeStudy) -> None:
    study = study_in(storage, make_study, 0.0, 1e-4)
    begin(study, 1e-3, 0, 1, worker=Worker())
    clock = Clock()
    telling = Telling(study, now=clock)
    state = telling.read()
    alone = telling._seconds
    assert alone is not None
    before = telling.left()
    clock.seconds = 0.6 * (state.seconds_per_fit or 0)
    telling.read()
    assert before.startswith("about ")
    telling = Telling(study, Plan.stored(study), deadline=clock.seconds + 10, now=clock)
    telling.read(workers=2)
    assert telling._seconds == pytest.approx(alone / 2)
    assert telling.left() == "about 10 s left", "never more than the time that is allowed"


def test_trials_that_failed_are_told_and_copies_are_not(storage: str, make_study: MakeStudy) -> None:
    study = study_in(storage, make_study, 0.0)
    display, stream = display_of()
    follower = Follower(Telling(study), display)
    follower.poll()
    for mark in (True, "copy", None):
        trial = begin(study, 1e-3, 0)
        if mark is not None:
            trial.set_user_attr(GIVEN_UP, mark)
        study.tell(trial, state=TrialState.FAIL)
    follower.poll()
    assert [line.partition(" ·")[0] for line in text_of(stream).splitlines()] == [
        "trial 2: λ 1.00e-3 (weight decay 2.00e-3): its worker ended after 1 of 5 folds, which are kept",
        "trial 4: λ 1.00e-3 (weight decay 2.00e-3): failed after 1 of 5 folds",
    ]


def test_a_poll_that_finds_nothing_new_fits_no_curve(
    storage: str, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_in(storage, make_study, *SURE)
    trial = begin(study, 1e-2, 0)
    follower = Follower(Telling(study), display_of()[0])
    follower.poll()

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the state was read again")

    monkeypatch.setattr("l2tune.search.telling.read_state", refuse)
    write_beat(study, trial, 1)  # a first beat is a new key
    with pytest.raises(AssertionError):
        follower.poll()
    follower = Follower(Telling(study), display_of()[0])
    monkeypatch.undo()
    follower.poll()
    monkeypatch.setattr("l2tune.search.telling.read_state", refuse)
    write_beat(study, trial, 2)
    follower.poll()


def test_nothing_is_written(storage: str, make_study: MakeStudy, tmp_path: Path) -> None:
    study = study_in(storage, make_study, 0.0, 1e-4)
    begin(study, 1e-3, 0)
    before = (tmp_path / "l2tune.db").read_bytes()
    with pytest.raises(SystemExit) as ended:
        run("watch", "constructed", "--storage", storage, "--once")
    assert ended.value.code == 0
    assert (tmp_path / "l2tune.db").read_bytes() == before


def run(*words: str) -> None:
    from l2tune.cli import main

    main(words)


def test_once_prints_a_snapshot(storage: str, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]) -> None:
    study = study_in(storage, make_study, 0.0, 1e-6, 1e-4)
    begin(study, 1e-3, 0)
    with pytest.raises(SystemExit):
        run("watch", "constructed", "--storage", storage, "--once")
    *ended, third = capsys.readouterr().out.splitlines()[:3]
    assert [line.split(":")[0] for line in (*ended, third)] == ["trial 1", "trial 2", "trial 3"], "the last ones"
    with pytest.raises(SystemExit):
        run("watch", "constructed", "--storage", storage, "--once")
    *_, empty, first, why, best, rest = capsys.readouterr().out.splitlines()
    assert empty == ""
    assert first == "trial 4: λ 1.00e-3, fold 2 of 5"
    assert why.startswith("λ 1.00e-3 ")
    assert re.fullmatch(r"best λ so far 1.00e-\d \(95 %: .* to .*\)", best)
    assert re.match(r"━+ +16 of about \d\d fits · about .* left", rest)


def test_it_ends_with_the_verdict_when_the_search_is_over(
    storage: str, make_study: MakeStudy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study_in(storage, make_study, *SURE)
    looks: list[float] = []
    monkeypatch.setattr(command.time, "sleep", looks.append)
    with pytest.raises(SystemExit):
        run("watch", "constructed", "--storage", storage, "--interval", "5")
    out = capsys.readouterr().out
    assert looks == [5.0], "it looks twice"
    assert len(out.splitlines()) == 1
    assert out.startswith("Use λ = 3.00e-3")
    assert "\x1b" not in out


def test_a_study_of_ones_own_is_watched_until_ctrl_c(
    storage: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = optuna.create_study(storage=open_storage(storage), study_name="mine[bold]\x1b")

    def objective(trial: optuna.Trial) -> float:
        strength = trial.suggest_float("alpha", 1e-6, 1, log=True)
        for fold in range(3):
            trial.report(valley(strength) + 0.01 * fold, step=fold)
        return valley(strength) + 0.01

    def sleep(seconds: float) -> None:
        if len(study.trials) > 6:
            raise KeyboardInterrupt
        study.optimize(objective, n_trials=1)

    study.optimize(objective, n_trials=4)
    monkeypatch.setattr(command.time, "sleep", sleep)
    with pytest.raises(SystemExit) as ended:
        run("watch", study.study_name, "--storage", storage)
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["trial 5", "trial 6", "trial 7"]
    assert "left" not in "".join(lines), "its budget is not known"


def test_a_storage_that_fails_is_asked_again(
    storage: str, make_study: MakeStudy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study_in(storage, make_study, *SURE)
    answers = iter([OSError(28, "No space"), OSError(28, "No space"), None, None])
    poll = Follower.poll

    def failing(follower: Follower) -> None:
        answer = next(answers)
        if answer is not None:
            raise answer
        poll(follower)

    monkeypatch.setattr(Follower, "poll", failing)
    monkeypatch.setattr(command.time, "sleep", lambda seconds: None)
    with pytest.raises(SystemExit) as ended:
        run("watch", "constructed", "--storage", storage)
    assert ended.value.code == 0
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first == "the storage failed (No space); trying again every 2 s, until Ctrl-C"
    assert second == "the storage answers again"


def test_a_study_that_was_deleted_is_waited_for(
    storage: str, make_study: MakeStudy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study_in(storage, make_study, 0.0)
    steps = iter(
        [
            lambda: optuna.delete_study(study_name="constructed", storage=open_storage(storage)),
            lambda: None,
            lambda: study_in(storage, make_study, *SURE),
            lambda: None,
        ]
    )
    monkeypatch.setattr(command.time, "sleep", lambda seconds: next(steps)())
    with pytest.raises(SystemExit):
        run("watch", "constructed", "--storage", storage)
    first, second, verdict = capsys.readouterr().out.splitlines()
    assert first == "the study is gone; trying again every 2 s, until Ctrl-C"
    assert second == "the storage answers again"
    assert verdict.startswith("Use λ = 3.00e-3")


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "inf"])
def test_an_interval_that_is_none(interval: str, storage: str) -> None:
    with pytest.raises(UserError, match="--interval"):
        command.watch_command("x", storage=storage, interval=float(interval))


@pytest.mark.parametrize("width", [20, 80, 120])
def test_live_lines_never_wrap(storage: str, make_study: MakeStudy, width: int) -> None:
    study = study_in(storage, make_study, 0.0, 1e-6, 1e-4)
    begin(study, 1e-3, 0, worker=Worker(host="h" * 90 + "\x1b[31m\n", pid=1))
    display, stream = display_of(terminal=True, width=width)
    with display:
        follower = Follower(Telling(study), display)
        follower.poll()
        assert [line.split(":")[0] for line in shown(follower.area()) if line.startswith("trial")] == ["trial 4"]
    drawn = re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", text_of(stream))
    assert max(map(len, re.split(r"[\r\n]", drawn))) <= width
    assert "\x1b[31m" not in text_of(stream)


@pytest.mark.parametrize(("height", "drawn"), [(24, True), (40, True), (12, False)])
def test_the_curve_is_drawn_where_there_is_room(storage: str, make_study: MakeStudy, height: int, drawn: bool) -> None:
    study = study_in(storage, make_study, 0.0, 1e-6, 1e-4, 1e-2)
    begin(study, 1e-3, 0, worker=Worker(host="here", pid=1))
    display, stream = display_of(terminal=True, height=height)
    with display:
        follower = Follower(Telling(study), display, before=2)
        follower.poll()
        lines = shown(follower.area())
    assert len(lines) < height
    assert any("├" in line and "●" in line for line in lines) == drawn
    assert any("overfits" in line for line in lines) == drawn
    ended = [line for line in text_of(stream).splitlines() if "over 5 folds" in line]
    assert len(ended) == 2, "the latest of those that had ended before"


def test_progress_tells_the_fit_and_the_time_left(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study(valley, lambda s: 0.1 + s, strengths=(0.0, 1e-4), noise=1e-3)
    trainer = SimpleNamespace(folds=5, epochs=4)
    monkeypatch.setattr("l2tune.commands.progress.Console", lambda **_: console)
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, height=24, highlight=False)
    progress = Progress(build({"epochs": 4}), trainer, quiet=False)  # type: ignore[arg-type]
    with progress.begun(study):
        trial = begin(study, 1e-3, 0)
        progress.epoch([EpochScores(make_member(0, 1e-3, 1), 2, 0.1, 0.1, 0.5, 0.1)])
        study.tell(trial, state=TrialState.PRUNED)
        progress.trial(study.trials[-1])
    shown = re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", stream.getvalue())
    assert "λ 1.00e-3, fold 2 of 5, epoch 2" in shown
    assert re.search(r"about .* left · 0 fits in 0 s", shown)
    assert "at most" not in shown.replace("folds at most", "")
    assert "trial 3: λ 1.00e-3 (weight decay 2.00e-3): given up after 1 of 5 folds\n" in shown
    assert max(map(len, re.split(r"[\r\n]", shown))) <= 80


def test_progress_looks_at_what_other_processes_train(
    make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study(valley, lambda s: 0.1 + s, strengths=(0.0, 1e-4), noise=1e-3)
    trainer = SimpleNamespace(folds=5, epochs=4)
    progress = Progress(build({"epochs": 4}), trainer, quiet=False)  # type: ignore[arg-type]
    with progress.begun(study):
        assert progress.look() == []
        study.tell(begin(study, 1e-3, 0, 1, worker=Worker()), state=TrialState.PRUNED)
        assert [trial.number for trial in progress.look()] == [2]
        assert progress.look() == []
    assert progress.summary().startswith("2 fits in ")
    assert capsys.readouterr().err.count("trial 3: λ 1.00e-3 (weight decay 2.00e-3): given up after 2 of 5 folds") == 1


def test_a_part_of_a_comparison_says_which(storage: str, make_study: MakeStudy) -> None:
    study = study_in(storage, make_study, 0.0)
    display, stream = display_of(encoding="ascii")
    follower = Follower(Telling(study), display, part="l2")
    follower.poll()
    trial = begin(study, 1e-3, *range(5))
    study.tell(trial, 0.5)
    follower.poll()
    assert text_of(stream).startswith(
        "l2: trial 2: lambda 1.00e-3 (weight decay 2.00e-3): loss 0.5 nats over 5 folds - about "
    )
    assert shown(follower.area())[-2].startswith("l2: ")


def test_comparisons_are_followed_together(
    storage: str, make_study: MakeStudy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from l2tune.records.comparison import join_comparison

    for form in ("l2", "l1"):
        study = study_in(
            storage, make_study, *SURE, name=f"both-{form}", settings={"penalty": form, "lambda_range": (1e-6, 1.0)}
        )
        join_comparison(study, "both", ("l2", "l1"))
    monkeypatch.setattr(command.time, "sleep", lambda seconds: None)
    with pytest.raises(SystemExit) as ended:
        run("watch", "both", "--storage", storage)
    assert ended.value.code == 0
    assert [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()] == ["l2", "l1"]


def test_an_unknown_study_is_named(storage: str, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]) -> None:
    study_in(storage, make_study, 0.0)
    with pytest.raises(SystemExit) as ended:
        run("watch", "other", "--storage", storage)
    assert ended.value.code == 2
    assert "no such study in this storage" in capsys.readouterr().err


def test_about() -> None:
    assert [about(s) for s in (0, 8, 61, 114, 119, 299, 3599)] == [
        "a few seconds",
        "about 10 s",
        "about 1 min",
        "about 1 min 50 s",
        "about 2 min",
        "about 5 min",
        "about 1 h",
    ]


def test_diverged_folds_are_told(storage: str, make_study: MakeStudy) -> None:
    study = study_in(storage, make_study, 0.0)
    display, stream = display_of()
    follower = Follower(Telling(study), display)
    follower.poll()
    trial = begin(study, 1.0)
    trial.set_user_attr("l2tune:fold:0", asdict(replace(RECORD, diverged=True, val_loss=None)))
    study.tell(trial, state=TrialState.PRUNED)
    follower.poll()
    assert "given up after 1 of 5 folds, 1 diverged" in text_of(stream)
