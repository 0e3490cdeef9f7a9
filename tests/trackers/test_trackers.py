"""Each tracker against the real library: what it shows afterwards is what the study holds."""

import math
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

import l2tune
from l2tune.errors import UserError
from l2tune.tradeoff import Tradeoff

Tool = Any  # of conftest.py
MakeStudy = Callable[..., optuna.Study]

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # MLflow's own
EXACT = 1e-6
"""TensorBoard keeps single precision."""


@pytest.fixture
def study(make_study: MakeStudy) -> optuna.Study:
    """With trials that were pruned, and one whose fits diverged."""
    return make_study(
        lambda s: 0.5 + (math.log10(s + 1e-7) + 3) ** 2 / 20,
        lambda s: 0.1 + s,
        folds=3,
        fold_limit=lambda s: 1 if s in (1e-6, 1e-1) else 3,
        diverged=lambda s: s == 1.0,
    )


def expected(study: optuna.Study) -> dict[tuple[int, int], tuple[float, dict[str, Any]]]:
    """(trial, fold) → λ and the stored record, of the fits that were trained."""
    return {
        (trial.number, int(key.rpartition(":")[2])): (trial.user_attrs["l2tune:strength"], record)
        for trial in study.trials
        for key, record in trial.user_attrs.items()
        if key.startswith("l2tune:fold:") and record["reused_from"] is None
    }


def send(tool: Tool, study: optuna.Study) -> int:
    """As another process would, with a tracker of its own; returns how many fits it sent."""
    tracker = tool.tracker()
    try:
        return int(tracker.track(study))
    finally:
        tracker.close()


def check(tool: Tool, study: optuna.Study) -> None:
    """Every fit of the study is there once, with its numbers, and the study's run tells what its report does."""
    fits, wanted = tool.fits(), expected(study)
    assert set(fits) == set(wanted)
    for place, (strength, record) in wanted.items():
        logged = fits[place]
        assert float(logged.params["lambda"]) == pytest.approx(strength)
        assert float(logged.params["weight_decay"]) == pytest.approx(2 * strength)
        state = "diverged" if record["diverged"] else "truncated" if record["truncated"] else "finished"
        assert logged.params["state"] == state
        for name, curve in record["curves"].items():
            told = {epoch: value for epoch, value in enumerate(curve, start=1) if value is not None}
            final = record.get(name, record["scores"].get(name))
            if final is None:
                told.pop(len(curve), None)
            else:
                told[len(curve)] = final
            if record["diverged"]:  # its last scores are not finite, but the curve's may be
                told = {epoch: value for epoch, value in enumerate(curve, start=1) if value is not None}
            assert logged.metrics.get(name, {}) == pytest.approx(told, rel=EXACT), (place, name)
        for name in ("test_loss", "zero_fraction", "seconds"):
            final = {} if record[name] is None else {record["epochs"]: record[name]}
            assert logged.metrics.get(name, {}) == pytest.approx(final, rel=EXACT)
    tradeoff, run = Tradeoff.from_study(study), tool.study()
    assert run.verdict == tradeoff.verdict
    numbers = {
        "best_lambda": tradeoff.best_lambda,
        "interval_low": tradeoff.interval[0],
        "interval_high": tradeoff.interval[1],
        "one_se_lambda": tradeoff.one_se_lambda,
        "weight_decay": 2 * tradeoff.best_lambda,
        "best_value": tradeoff.best_value,
    }
    last = len(study.trials)
    assert {name: run.metrics[name][last] for name in numbers} == pytest.approx(numbers, rel=EXACT)


def test_a_finished_study_is_logged_as_it_is_stored(tool: Tool, study: optuna.Study) -> None:
    assert send(tool, study) == len(expected(study)) == 23
    check(tool, study)
    fit = tool.fits()[3, 1]
    given = {"model": "simple_cnn", "optimizer": "sgd", "batch_size": "128", "penalty": "l2"}
    assert {name: fit.params[name].removesuffix(".0") for name in given} == given
    assert {"lambda_range", "storage", "trials"} & set(fit.params) == set()
    assert tool.study().params["folds"] == "3"


def test_what_is_there_is_not_sent_again(tool: Tool, study: optuna.Study) -> None:
    assert send(tool, study) == 23
    assert send(tool, study) == 0
    assert set(tool.fits()) == set(expected(study))


def course(strength: float, fold: int, seed: int) -> Any:
    for epoch in (1, 2, 3):
        loss = 0.3 + 0.2 * abs(math.log10(strength + 1e-7) + 3) / epoch + 0.01 * fold
        yield {"val_loss": loss, "train_loss": loss / 2, "val_f1": 1 - loss / 3}


def test_as_a_callback_of_optuna_it_keeps_up_with_the_search(tool: Tool) -> None:
    objective = l2tune.CrossValidationObjective(fit=course, folds=2)
    study = optuna.create_study(study_name="it's λ/../", sampler=l2tune.FoldCurveSampler(seed=0))
    first, seen = tool.tracker(), []
    study.optimize(objective, n_trials=3, callbacks=[first, lambda *_: seen.append(len(tool.runs(closed=False)[1]))])
    first.close()
    assert seen == [2, 4, 6]
    second = tool.tracker()
    study.optimize(objective, n_trials=2, callbacks=[second])  # as another process would go on
    second.close()
    wanted = expected(study)
    fits = tool.fits()
    assert set(fits) == set(wanted)
    for place, (strength, record) in wanted.items():
        assert float(fits[place].params["lambda"]) == pytest.approx(strength)
        assert fits[place].metrics["val_f1"] == pytest.approx(dict(enumerate(record["curves"]["val_f1"], 1)), rel=1e-5)
    steps = [step for run in tool.runs()[0] for step in run.metrics["trials"]]
    assert sorted(steps) == [1, 2, 3, 4, 5]


def test_tune_logs_each_fit_and_its_verdict(tool: Tool) -> None:
    def fit(weight_decay: float, fold: int) -> Any:
        return course(weight_decay / 2, fold, 0)

    found = l2tune.tune(fit, folds=2, trials=3, tracker=tool.tracker(), n_jobs=1)
    fits, wanted = tool.fits(), expected(found.study)
    assert set(fits) == set(wanted)
    for place, (strength, record) in wanted.items():
        assert float(fits[place].params["weight_decay"]) == pytest.approx(2 * strength)
        assert fits[place].metrics["val_f1"] == pytest.approx(dict(enumerate(record["curves"]["val_f1"], 1)), rel=1e-5)
    assert tool.study().verdict == found.verdict
    assert send(tool, found.study) == 0


def test_several_trackers_by_name_or_made_already(tmp_path: Path) -> None:
    made = l2tune.TensorBoardTracker(tmp_path / "mine")
    found = l2tune.tune(course, folds=2, trials=2, parameter="lambda", tracker=["tensorboard", made])
    for folder in (tmp_path / "mine", Path("runs/tensorboard")):
        assert len(list(folder.glob("course-*/trial-*-fold-*"))) == 4
    assert found.best_lambda > 0


def test_a_comparison_in_python_is_logged_too(tmp_path: Path) -> None:
    found = l2tune.compare(
        penalties=("l2", "l1"), subset=100, epochs=2, folds=2, trials=2, device="cpu", tracker="tensorboard"
    )
    assert len(list(Path("runs/tensorboard").glob("digits-compare-l[12]-*/trial-*-fold-*"))) == 8
    assert set(found.estimates) == {"l2", "l1"}


def test_a_study_of_the_users_own_is_told_by_its_scores(tool: Tool) -> None:
    def objective(trial: optuna.Trial) -> float:
        decay, lr = trial.suggest_float("weight_decay", 1e-6, 1, log=True), trial.suggest_float("lr", 0.1, 1)
        trial.suggest_categorical("fold", ["a", None])
        for fold in range(3):
            trial.report(decay + lr + fold, fold)
        return decay + lr + 1

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    tracker = tool.tracker()
    study.optimize(objective, n_trials=4, callbacks=[tracker])
    tracker.close()
    fits = tool.fits()
    assert set(fits) == {(trial, fold) for trial in range(4) for fold in range(3)}
    for (number, fold), fit in fits.items():
        params = study.trials[number].params
        assert float(fit.params["lambda"]) == pytest.approx(params["weight_decay"] / 2)
        assert float(fit.params["weight_decay"]) == pytest.approx(params["weight_decay"])
        assert float(fit.params["lr"]) == pytest.approx(params["lr"])
        assert fit.params.get("params_fold") == params["fold"]
        assert fit.metrics == {"val_value": pytest.approx({1: params["weight_decay"] + params["lr"] + fold})}


def test_a_study_that_was_deleted_and_begun_anew_is_another(tool: Tool, make_study: MakeStudy) -> None:
    for _ in range(2):
        assert send(tool, make_study(lambda s: 1 + s, lambda s: 0.5, strengths=(0.0, 1e-3), folds=2)) == 4
    studies, fits = tool.runs()
    assert (len(studies), len(fits)) == (2, 8)
    assert len({run.parent for run in fits}) == 2


def test_a_tool_that_breaks_down_ends_no_search_and_gets_the_rest_later(tool: Tool) -> None:
    objective = l2tune.CrossValidationObjective(fit=course, folds=2)
    study = optuna.create_study(sampler=l2tune.FoldCurveSampler(seed=0))

    def after(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if trial.number == 1:
            tracker.close()
            tool.break_down()

    told: list[str] = []
    tracker = tool.tracker(say=told.append)
    study.optimize(objective, n_trials=5, callbacks=[tracker, after])
    tracker.finish(study)
    [line] = told
    assert re.match(rf"the tracker {tracker.name} failed \(.+\): the search goes on without it", line)
    assert len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))) == 5
    with pytest.raises(UserError, match=f"the tracker {tracker.name}: cannot be written to"):
        send(tool, study)
    tool.mend()
    assert send(tool, study) == 10
    assert len(tool.fits()) == 10


def test_a_fit_that_was_sent_in_part_is_sent_again(
    tool: Tool, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, broken = tool.tracker(), RuntimeError("the power fails")
    fatal = 90 if tracker.name == "tensorboard" else 20
    calls = iter(range(1000))

    def fails(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            if next(calls) == fatal:
                raise broken
            return real(*given, **named)

        return call

    match tracker.name:
        case "tensorboard":
            from torch.utils.tensorboard import SummaryWriter

            monkeypatch.setattr(SummaryWriter, "add_scalar", fails(SummaryWriter.add_scalar))
        case "mlflow":
            from mlflow import MlflowClient

            monkeypatch.setattr(MlflowClient, "log_batch", fails(MlflowClient.log_batch))
        case "wandb":
            import wandb

            monkeypatch.setattr(wandb.Run, "log", fails(wandb.Run.log))
    with pytest.raises(UserError, match="the power fails"):
        tracker.track(study)
    tracker.close()
    monkeypatch.undo()
    assert 0 < send(tool, study) < 23
    if tracker.name != "wandb":  # which has the part, too: the server lets the whole one take its place, by its id
        check(tool, study)


@pytest.mark.parametrize(
    ("name", "package"), [("TensorBoard", "torch.utils.tensorboard"), ("MLflow", "mlflow"), ("Wandb", "wandb")]
)
def test_a_package_that_is_not_installed_is_one_line(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"pip install 'l2tune\[{name.lower()}\]'") as told:
        getattr(l2tune, f"{name}Tracker")()
    assert "\n" not in str(told.value)


def test_a_server_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match="the tracker mlflow: cannot be written to") as told:
        l2tune.MLflowTracker("http://user:secret@127.0.0.1:9")
    assert "secret" not in str(told.value)


def test_a_run_of_the_users_own_stays_theirs(study: optuna.Study, tmp_path: Path) -> None:
    import wandb

    quiet = wandb.Settings(silent=True, console="off")
    with wandb.init(mode="offline", dir=str(tmp_path), settings=quiet) as mine:
        tracker = l2tune.WandbTracker(folder=tmp_path)
        tracker.track(study)
        tracker.close()
        assert wandb.run is mine
        mine.log({"own": 1})


def test_several_threads_may_tell_at_once(tool: Tool) -> None:
    objective = l2tune.CrossValidationObjective(fit=course, folds=2)
    study = optuna.create_study(sampler=l2tune.FoldCurveSampler(seed=0))
    tracker = tool.tracker()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.optimize(objective, n_trials=6, n_jobs=3, callbacks=[tracker])
    tracker.close()
    assert set(tool.fits()) == set(expected(study))
