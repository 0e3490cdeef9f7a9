"""`tune` around functions that take no time: what it asks them for, what it keeps, what it refuses."""

import logging
import math
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut, ShuffleSplit

import l2tune
from l2tune import Metric, RefitFailed, SearchAborted, UserError, tune
from l2tune.records.fold_record import fold_records
from l2tune.records.observations import strength_of

BEST = 1e-2


def valley(number: float, fold: int = 0, seed: int = 0) -> float:
    """A loss that is lowest at `BEST`, with a shift of each fold and what a seed brings."""
    noise = 1e-3 * np.random.default_rng([seed % 1000, int(1e6 * number)]).normal()
    return 0.5 + 0.05 * (math.log10(number + 1e-7) - math.log10(BEST)) ** 2 + 0.1 * fold + float(noise)


Y = np.repeat([0, 1, 2], 8)
GROUPS = np.arange(24) % 6
MASK = np.arange(24) % 4 > 0


@pytest.fixture
def asked() -> list[dict[str, Any]]:
    """What a fit was called with."""
    return []


def test_one_call_searches_and_tells() -> None:
    found = tune(lambda decay, fold, seed: valley(decay, fold, seed), folds=3)
    assert 0.2 * BEST < found.weight_decay < 5 * BEST
    assert found.best_lambda == pytest.approx(found.weight_decay / 2)
    assert found.complete
    assert "weight_decay" in found.verdict
    assert (found.final, dict(found.test), found.model) == (None, {}, None)
    assert isinstance(found, l2tune.Tradeoff)
    assert "weight_decay" not in found.study.trials[0].params, "the first trial is the baseline"


def test_a_fit_gets_by_name_what_it_asks_for(asked: list[dict[str, Any]]) -> None:
    def fit(seed: int, validation: Any, weight_decay: float, train: Any) -> float:
        asked.append({"train": train, "validation": validation, "seed": seed, "number": weight_decay})
        return valley(weight_decay)

    tune(fit, folds=4, y=Y, trials=3)
    first = asked[:4]
    assert [call["number"] for call in first] == [0.0] * 4
    assert sorted(np.concatenate([call["validation"] for call in first])) == list(range(24))
    for call in first:
        assert call["train"].dtype == np.int64
        assert np.array_equal(np.union1d(call["train"], call["validation"]), np.arange(24))
        assert np.bincount(Y[call["validation"]]).tolist() == [2, 2, 2], "stratified by classes"
    again = [call for call in asked[4:] if np.array_equal(call["validation"], first[0]["validation"])]
    assert {call["seed"] for call in again} <= {first[0]["seed"]}


@pytest.mark.parametrize(
    ("fit", "number"),
    [
        (lambda decay, k, rng: valley(decay, k), 3),
        (lambda *member: valley(member[0], member[1]), 3),
        (lambda strength, fold: valley(strength, fold), 3),
        (lambda fold, strength, seed: valley(strength, fold), 3),
        (lambda decay, fold, seed, width=3: valley(decay, fold), 3),
        (partial(lambda net, decay, fold: valley(decay, fold), None), 3),
        (partial(lambda weight_decay, fold, net: valley(weight_decay, fold), net=None), 3),
    ],
)
def test_signatures_of_all_kinds_are_understood(fit: Callable[..., float], number: int) -> None:
    found = tune(fit, folds=number, trials=2)
    values = [found.study.trials[0].intermediate_values[fold] for fold in range(number)]
    assert values == pytest.approx([valley(0.0, fold) for fold in range(number)], abs=0.01)


def test_groups_are_split_and_not_only_counted(asked: list[dict[str, Any]]) -> None:
    def fit(alpha: float, train: Any, validation: Any) -> float:
        asked.append({"train": train, "validation": validation})
        return valley(alpha)

    for folds, expected in ((GroupKFold(3), 3), (LeaveOneGroupOut(), 6), (3, 3)):
        asked.clear()
        found = tune(fit, folds=folds, y=Y, groups=GROUPS, parameter="alpha", trials=1)
        assert found.record.folds == expected
        for call in asked:
            assert set(GROUPS[call["train"]]) & set(GROUPS[call["validation"]]) == set()


def test_pairs_and_test_samples_are_taken_as_they_are(asked: list[dict[str, Any]]) -> None:
    def fit(weight_decay: float, train: Any, validation: Any, fold: int | None = None) -> tuple[str, float]:
        asked.append({"train": train, "validation": validation, "fold": fold})
        return f"net {len(train)}", valley(weight_decay)

    pairs = [([0, 1], [2, 3]), (np.array([2, 3]), np.array([0, 1]))]
    found = tune(fit, folds=pairs, test=[5, 4], trials=3)
    assert [call["train"].tolist() for call in asked[:2]] == [[0, 1], [2, 3]]
    assert asked[-1]["fold"] is None
    assert (asked[-1]["train"].tolist(), asked[-1]["validation"].tolist()) == ([0, 1, 2, 3], [4, 5])
    assert sum(call["fold"] is None for call in asked) == 1, "the test samples are used once"
    assert found.model == "net 4"
    assert found.test == {"test_loss": pytest.approx(valley(found.weight_decay), abs=0.01)}
    asked.clear()
    tune(fit, folds=5, y=np.arange(20.0), test=[0, 19], trials=1)
    seen = np.concatenate([part for call in asked[:-1] for part in (call["train"], call["validation"])])
    assert set(seen) == set(range(1, 19))


def test_masks_are_the_indices_that_they_tell(asked: list[dict[str, Any]]) -> None:
    def fit(weight_decay: float, train: Any, validation: Any) -> float:
        asked.append({"train": train.tolist(), "validation": validation.tolist()})
        return valley(weight_decay)

    held_out = GROUPS == 5
    masks = [((GROUPS < 4) & ~part & ~held_out, part) for part in (GROUPS == 0, GROUPS == 1)]
    by_mask = tune(fit, folds=masks, test=held_out, trials=2)
    mine = asked.copy()
    asked.clear()
    by_index = tune(
        fit, folds=[tuple(np.flatnonzero(m) for m in pair) for pair in masks], test=range(5, 24, 6), trials=2
    )
    assert mine == asked
    assert by_mask.record.trainer["splits"] == by_index.record.trainer["splits"]
    assert mine[-1]["validation"] == [5, 11, 17, 23]
    asked.clear()
    tune(fit, folds=[(list(masks[0][0]), [0])], trials=1)
    assert asked[0] == {"train": np.flatnonzero(masks[0][0]).tolist(), "validation": [0]}


def test_a_splitter_that_only_counts_is_said(caplog: pytest.LogCaptureFixture) -> None:
    found = tune(one_fold, folds=GroupKFold(3), y=Y, groups=GROUPS, trials=1)
    assert found.record.folds == 3
    line = "of GroupKFold only the number of folds counts, for fit asks for neither train nor validation"
    assert [record.message for record in caplog.records] == [line]


def test_guessing_is_known_from_y_or_classes() -> None:
    def fit(weight_decay: float, train: Any, validation: Any) -> float:
        return 0.5

    for found in (
        tune(fit, folds=2, y=Y, metric="error", trials=1),
        tune(lambda d, fold: 0.5, folds=2, classes=3, metric="error", trials=1),
    ):
        assert found.study.user_attrs["l2tune:data"]["classes"] == 3


def test_epochs_are_kept_and_the_model_is_what_the_generator_returns() -> None:
    def fit(weight_decay: float, fold: int | None = None, seed: int = 0) -> Iterator[dict[str, float]]:
        for epoch in (2, 1):
            yield {"val_loss": valley(weight_decay, fold or 0) + epoch - 1, "train_loss": 0.1 * epoch}
        return f"net of fold {fold}"

    found = tune(fit, folds=2, trials=4, refit="one_se", test=lambda net: {"accuracy": len(net)})
    assert len(fold_records(found.study.trials[0])[0].curves["val_loss"]) == 2
    assert found.final is not None
    assert found.final.strength == found.one_se_lambda
    assert (found.model, dict(found.test)) == ("net of fold None", {"test_accuracy": 16.0})
    assert found.refit(strength=0.3).strength == 0.3


def test_a_scorer_scores_the_model_on_both_parts() -> None:
    rng = np.random.default_rng(0)
    X, noise = rng.normal(size=(60, 10)), rng.normal(size=60)
    y = X[:, 0] + noise

    def fit(alpha: float, train: Any) -> Ridge:
        return Ridge(alpha=alpha).fit(X[train], y[train])

    found = tune(fit, folds=3, X=X, y=y, parameter="alpha", scorer="r2", test=np.arange(10), trials=6)
    first = found.study.trials[0]
    assert found.record.metric.name == "r2"
    records = fold_records(first)
    assert all(
        record.value("train", found.record.metric) > record.value("val", found.record.metric)
        for record in records.values()
    )  # type: ignore[operator]
    assert found.model.alpha == pytest.approx(found.best_lambda)
    assert found.test["test_r2"] == pytest.approx(found.model.score(X[:10], y[:10]))


def test_the_number_of_an_inverse_scale_points_the_other_way(asked: list[dict[str, Any]]) -> None:
    def fit(C: float, fold: int) -> float:
        asked.append({"C": C})
        return valley(1 / C, fold)

    found = tune(fit, folds=2, parameter="C", range=(1e-1, 1e6), trials=8, extend_range=False)
    numbers = [call["C"] for call in asked]
    assert math.isinf(numbers[0]), "no penalty at all"
    assert all(0.1 <= number <= 1e6 * (1 + 1e-9) for number in numbers[2:])
    assert found.record.range == pytest.approx((1e-6, 10))
    assert "C = " in found.verdict


def test_what_suggest_draws_is_given_by_name_and_kept_apart() -> None:
    def fit(weight_decay: float, fold: int | None = None, *, lr: float) -> tuple[str, float]:
        return f"net {lr}", valley(weight_decay, fold or 0) + abs(math.log10(lr) + 2)

    found = tune(
        fit, folds=2, suggest=lambda trial: trial.suggest_categorical("lr", [1e-3, 1e-2]), trials=12, refit=True
    )
    assert found.record.others == {"lr": 1e-2}
    assert found.model == "net 0.01"
    for trial in found.study.trials:
        for fold, value in trial.intermediate_values.items():
            strength = 2 * strength_of(trial, found.record.parameter)  # type: ignore[operator]
            assert value == pytest.approx(valley(strength, fold) + abs(math.log10(trial.params["lr"]) + 2), abs=0.01)


def test_the_metric_gives_the_direction() -> None:
    found = tune(lambda d, fold: -valley(d, fold), folds=2, metric=Metric("psnr", maximize=True), trials=10)
    assert found.study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert 0.1 * BEST < found.weight_decay < 10 * BEST
    named = tune(lambda d, fold: {"accuracy": 1 / (1 + valley(d, fold))}, folds=2, metric="accuracy", trials=2)
    assert named.record.metric.maximize


def test_a_second_call_goes_on_with_what_is_stored(tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    def fit(weight_decay: float, fold: int, seed: int) -> float:
        asked.append({"number": weight_decay, "fold": fold})
        return valley(weight_decay, fold, seed)

    tune(fit, folds=2, storage=tmp_path / "s.db", trials=3)
    before = len(asked)
    found = tune(fit, folds=2, storage=tmp_path / "s.db", trials=3, report=tmp_path / "out")
    assert len(asked) == before, "all trials are done"
    assert found.study.study_name == "fit"
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"report.html", "results.json", "trials.csv", "curve.csv"}
    own = optuna.create_study()
    assert tune(fit, folds=2, study=own, trials=2).study is own
    with pytest.raises(UserError, match="begun otherwise: folds was 2, now 3"):
        tune(fit, folds=3, storage=tmp_path / "s.db", trials=3)


def test_other_splits_are_refused_on_resume(tmp_path: Path) -> None:
    def fit(weight_decay: float, train: Any, validation: Any) -> float:
        return valley(weight_decay)

    go = partial(tune, fit, y=Y, storage=tmp_path / "s.db", trials=2)
    go(folds=KFold(3, shuffle=True, random_state=0))
    go(folds=KFold(3, shuffle=True, random_state=0))
    with pytest.raises(UserError, match="the splits into folds are others") as refused:
        go(folds=KFold(3, shuffle=True, random_state=1))
    assert str(refused.value).endswith("; name another study= or storage=")


def test_a_changed_fit_goes_on_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def named(body: str) -> Callable[..., float]:
        path = tmp_path / f"module_{len(body)}.py"
        path.write_text(f"def fit(weight_decay, fold):\n    {body}\n")
        scope: dict[str, Any] = {"__name__": "mine"}
        exec(compile(path.read_text(), str(path), "exec"), scope)
        return scope["fit"]  # type: ignore[no-any-return]

    go = partial(tune, folds=2, storage=tmp_path / "s.db", trials=2)
    go(named("return 0.5 + weight_decay + fold"))
    with pytest.warns(UserWarning, match="the source of 'fit' has changed since study 'fit' was begun"):
        go(named("return 0.25 + weight_decay + fold"))
    assert "has changed" in caplog.text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go(named("return 0.25 + weight_decay + fold"))


def test_a_changed_scorer_is_said(tmp_path: Path) -> None:
    def fit(alpha: float, train: Any) -> Ridge:
        return Ridge(alpha=alpha + 1e-9).fit(Y[train, None], Y[train])

    def first(model: Ridge, inputs: Any, targets: Any) -> float:
        return float(model.score(inputs, targets))

    def second(model: Ridge, inputs: Any, targets: Any) -> float:
        return float(model.score(inputs, targets)) / 2

    given: dict[str, Any] = {"X": Y[:, None], "y": Y, "metric": "r2", "parameter": "alpha", "trials": 2, "folds": 2}
    go = partial(tune, fit, storage=tmp_path / "s.db", **given)
    go(scorer=first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go(scorer=first)
    with pytest.warns(UserWarning, match="the source of .*fit' or its scorer has changed since"):
        go(scorer=second)


def test_a_fit_may_shuffle_its_indices_in_place() -> None:
    def fit(weight_decay: float, train: Any, validation: Any) -> float:
        found = valley(weight_decay) + 0.01 * float(np.sum(validation[:3]))
        np.random.default_rng(0).shuffle(train)
        train[0] = validation[:] = -1
        return found

    found = tune(fit, folds=3, y=Y, trials=4)
    again = tune(fit, folds=3, y=Y, trials=4)
    assert found.strengths["validation"].tolist() == again.strengths["validation"].tolist()
    assert (found.strengths["validation"] > 0.5).all()


def test_l1_is_no_weight_decay() -> None:
    found = tune(lambda l1, fold: valley(l1, fold), folds=3, parameter="l1", trials=3).record
    assert (found.form, found.decays) == ("l1", False)
    found = tune(lambda l2, fold: valley(l2, fold), folds=3, parameter="l2", trials=3).record
    assert (found.form, found.decays) == ("l2", True)


def test_ctrl_c_keeps_what_was_told_and_a_second_call_goes_on(tmp_path: Path) -> None:
    calls = 0

    def fit(weight_decay: float, fold: int, seed: int) -> float:
        nonlocal calls
        calls += 1
        if calls == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return valley(weight_decay, fold, seed)

    go = partial(tune, fit, folds=3, storage=tmp_path / "s.db", trials=5)
    with pytest.raises(KeyboardInterrupt):
        go()
    found = go()
    assert sum(trial.state.name == "COMPLETE" for trial in found.study.trials) >= 2
    assert calls <= 5 * 3 + 1, "no fold that was told is trained again"


def seeded(weight_decay: float, fold: int, seed: int) -> dict[str, float]:
    """Sets a global generator, as fits do."""
    np.random.seed(seed % 2**32)  # noqa: NPY002
    return {"val_loss": valley(weight_decay, fold, seed), "process": float(os.getpid()), "drawn": np.random.rand()}  # noqa: NPY002


@pytest.fixture
def sent_whole() -> Iterator[None]:
    """Functions of this module go to other processes as they are: `pytest` imports it from where those do not look."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.usefixtures("sent_whole")
def test_fits_in_processes_are_the_same_as_here() -> None:
    apart = tune(seeded, folds=2, n_jobs=2, trials=6)
    processes = {record.scores["val_process"] for t in apart.study.trials for record in fold_records(t).values()}
    assert os.getpid() not in processes
    first = fold_records(tune(seeded, folds=2, trials=1).study.trials[0])
    found = {
        k: v
        for t in apart.study.trials
        if strength_of(t, apart.record.parameter) == 0
        for k, v in fold_records(t).items()
    }
    for fold, record in first.items():
        assert found[fold].val_loss == record.val_loss
        assert found[fold].scores["val_drawn"] == record.scores["val_drawn"]


def slow(weight_decay: float, fold: int, seed: int) -> float:
    time.sleep(0.2)
    return valley(weight_decay, fold, seed)


@pytest.mark.usefixtures("sent_whole")
def test_ctrl_c_ends_the_processes_and_leaves_no_trial_under_way() -> None:
    study = optuna.create_study(sampler=l2tune.FoldCurveSampler(seed=0), pruner=l2tune.FoldRacingPruner())

    def interrupt() -> None:
        while not any(fold_records(trial) for trial in study.get_trials(deepcopy=False)):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        tune(slow, folds=3, n_jobs=2, study=study)
    assert not [trial for trial in study.trials if trial.state == TrialState.RUNNING]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("l2tune")]
    told = {(t.number, fold) for t in study.trials for fold in fold_records(t)}
    tune(slow, folds=3, study=study, trials=1)
    assert told <= {(t.number, fold) for t in study.trials for fold in fold_records(t)}


def test_an_error_in_a_process_is_told_with_its_traceback() -> None:
    def fit(weight_decay: float, fold: int) -> float:
        raise ZeroDivisionError("no such network")

    with pytest.raises(SearchAborted, match=r"failed: ZeroDivisionError: no such network at λ = 0"):
        tune(fit, folds=2, n_jobs=2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("l2tune-")]


def test_a_fit_that_no_other_process_can_have_is_refused() -> None:
    lock = threading.Lock()

    def fit(weight_decay: float, fold: int) -> float:
        with lock:
            return 0.5

    with pytest.raises(UserError, match=r"^n_jobs: fit cannot be sent to another process"):
        tune(fit, folds=2, n_jobs=2)


def test_nothing_of_the_process_is_changed(capfd: pytest.CaptureFixture[str]) -> None:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    before = (
        random.getstate(),
        list(np.random.get_state())[1].tolist(),  # noqa: NPY002
        list(warnings.filters),
        signal.getsignal(signal.SIGINT),
    )
    handlers = [list(logging.getLogger(name).handlers) for name in ("", "l2tune")]
    tune(lambda d, fold: valley(d, fold), folds=2, trials=3)
    after = (
        random.getstate(),
        list(np.random.get_state())[1].tolist(),  # noqa: NPY002
        list(warnings.filters),
        signal.getsignal(signal.SIGINT),
    )
    assert after == before
    assert [list(logging.getLogger(name).handlers) for name in ("", "l2tune")] == handlers
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    optuna.logging.set_verbosity(verbosity)
    assert capfd.readouterr() == ("", ""), "no terminal, no progress"


def test_progress_and_log_tell_each_trial(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "l2tune")
    tune(lambda d, fold: valley(d, fold), folds=2, trials=3, progress=True)
    lines = [line for line in capfd.readouterr().err.splitlines() if "trial" in line]
    assert lines[0].startswith("l2tune: trial 1: weight_decay 0 (λ 0): validation loss ")
    assert len([record for record in caplog.records if record.message.startswith("trial ")]) == 3


IN_TERMINAL = """
import l2tune, math, sys
def train(weight_decay, fold):
    print("printed by a fit")
    for epoch in range(3):
        yield 0.5 + abs(math.log10(weight_decay + 1e-7) + 2) + 0.1 * fold
l2tune.tune(train, folds=3, trials=6)
print(f"out {sys.stdout.isatty()}")
"""


@pytest.mark.skipif(os.name == "nt", reason="has no pseudoterminals")
@pytest.mark.parametrize("everything", [True, False], ids=["terminal", "errors only"])
def test_a_terminal_shows_what_is_going_on(everything: bool) -> None:
    """In a pseudoterminal of 100 columns; what a fit prints to a file is left as it is."""
    import pty
    import subprocess

    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "LINES": "30", "TERM": "xterm", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", IN_TERMINAL],
        stdout=theirs if everything else subprocess.PIPE,
        stderr=theirs,
        env=environment,
    ) as started:
        os.close(theirs)
        shown = b""
        while True:
            try:
                read = os.read(ours, 65536)
            except OSError:  # how Linux tells that nobody writes any more
                break
            if not read:
                break
            shown += read
        printed = b"" if everything else started.stdout.read()  # type: ignore[union-attr]
    os.close(ours)
    assert started.returncode == 0, shown.decode()
    text = shown.decode()
    assert "l2tune: trial 1: weight_decay 0 (λ 0): validation loss " in text
    for word in ("weight_decay 0 (λ 0), fold 1 of 3", "fold 2 of 3", "compared with it", "best λ so far", " fits in "):
        assert word in text
    assert (text if everything else printed.decode()).count("printed by a fit") >= 3
    assert "printed by a fit" in text or not everything
    assert ("out True" in text) == everything


def test_a_final_network_that_fails_loses_nothing() -> None:
    def fit(weight_decay: float, fold: int | None = None) -> float:
        if fold is None:
            raise MemoryError
        return valley(weight_decay, fold)

    with pytest.raises(RefitFailed, match="the final network could not be trained") as failed:
        tune(fit, folds=2, trials=4, refit=True)
    assert failed.value.tradeoff.best_lambda > 0


def one_fold(weight_decay: float, fold: int) -> float:
    return valley(weight_decay, fold)


def by_index(weight_decay: float, train: Any, validation: Any) -> float:
    return valley(weight_decay)


def gives_model(weight_decay: float, train: Any) -> LogisticRegression:
    return LogisticRegression(C=1).fit(np.zeros((3, 1)), [0, 1, 0])


@pytest.mark.parametrize(
    ("fit", "given", "line"),
    [
        (3, {}, "fit: 3 cannot be called"),
        (lambda decay: 0.5, {}, "fit: it asks for neither a fold nor its samples"),
        (lambda fold, seed: 0.5, {}, "fit: it does not ask for the strength"),
        (lambda decay, seed, k: 0.5, {}, "fit: it asks for 'k', which is not known"),
        (lambda decay, fold, lr: 0.5, {"suggest": 3}, "CrossValidationObjective: suggest=3 cannot be used"),
        (lambda decay, fold, *, lr: 0.5, {}, "fit: it asks for 'lr', which is not known"),
        (lambda decay, fold, *, lr: 0.5, {"suggest": lambda t: None}, "fit: it asks for 'lr', which no trial draws"),
        (one_fold, {"suggest": lambda t: t.suggest_float("lr", 0, 1)}, "suggest: the trial draws 'lr', which fit"),
        (by_index, {}, "fit: it asks for train and validation, but the samples are not known"),
        (lambda d, train: 0.5, {"y": Y}, "fit: it asks for train alone"),
        (by_index, {"folds": KFold(3)}, "folds: how KFold.* splits the samples is not known"),
        (by_index, {"folds": GroupKFold(3), "y": Y}, "folds: GroupKFold.* cannot split the samples"),
        (by_index, {"folds": 1, "y": Y}, "folds: 1 folds cannot be split"),
        (by_index, {"folds": 30, "y": Y}, "folds: .* cannot split the samples"),
        (by_index, {"folds": "5", "y": Y}, "folds: '5' does not tell the folds"),
        (by_index, {"folds": None, "y": Y}, "folds: None does not tell the folds"),
        (by_index, {"folds": []}, "folds: 0 folds cannot be trained"),
        (by_index, {"folds": [1, 2]}, "folds: 1 is no pair of index arrays"),
        (by_index, {"folds": [([0], [])]}, "folds: fold 1: it has no validation samples"),
        (by_index, {"folds": [([0], [0])]}, "folds: fold 1: sample 0 is trained on and validated on"),
        (by_index, {"folds": [([0], [-1])]}, "folds: fold 1: -1 is no index"),
        (by_index, {"folds": [([0.5], [1])]}, "folds: fold 1: .* is no array of indices"),
        (
            by_index,
            {"folds": [(MASK, ~MASK)], "y": Y[1:]},
            "folds: fold 1: a mask of 24 values for 23 samples; give True",
        ),
        (by_index, {"folds": [(MASK, ~MASK[1:])]}, "folds: fold 1: a mask of 23 values for 24 samples; give True or"),
        (by_index, {"folds": [(MASK, [24])]}, "folds: fold 1: its index 24 is beyond the 24 samples"),
        (by_index, {"folds": [(MASK, MASK & False)]}, "folds: fold 1: it has no validation samples"),
        (by_index, {"folds": [(MASK[None], ~MASK)]}, "folds: fold 1: .* is no array of indices"),
        (by_index, {"folds": [(MASK, ~MASK)], "test": ~MASK}, "folds: fold 1: its validation samples are test samples"),
        (by_index, {"folds": [([0], [1])], "test": MASK & False}, "test: there are no test samples"),
        (by_index, {"folds": 3, "y": Y, "test": MASK[1:]}, "test: a mask of 23 values for 24 samples; give True or"),
        (one_fold, {"y": Y}, "y: it has no effect, for fit asks for neither train nor validation; ask for them: fit"),
        (one_fold, {"X": Y, "groups": GROUPS}, "X: it has no effect, for fit asks for neither train nor validation"),
        (one_fold, {"test": MASK}, "test: it has no effect, for fit asks for neither train nor validation"),
        (one_fold, {"tracker": "neptune"}, "tracker: 'neptune' is no tracker; give tensorboard, mlflow, wandb, or"),
        (one_fold, {"tracker": 3}, "tracker: 3 is no tracker; give .*, or a tracker such as TensorBoardTracker"),
        (by_index, {"folds": [([0], [24])], "y": Y}, "folds: fold 1: its index 24 is beyond the 24 samples"),
        (by_index, {"folds": [([0], [1])], "groups": [0, 1]}, "groups: it has no effect on pairs"),
        (by_index, {"folds": [([0], [1])], "test": [1]}, "folds: fold 1: its validation samples are test samples"),
        (by_index, {"folds": ShuffleSplit(2), "y": Y, "repeats": 2}, "repeats: 2 repeats of given splits"),
        (by_index, {"y": Y, "groups": [1, 2]}, "groups: 2 values for 24 samples"),
        (by_index, {"y": Y, "X": np.zeros((3, 1))}, "X: 3 samples and 24 targets"),
        (by_index, {"y": 3}, "y: a int has no samples"),
        (by_index, {"y": Y, "test": [24]}, "test: its index 24 is beyond the 24 samples"),
        (by_index, {"y": Y, "test": []}, "test: there are no test samples"),
        (by_index, {"y": Y, "test": "all"}, "test: 'all' is no array of indices"),
        (one_fold, {"test": [1]}, "test: which samples there are is not known"),
        (one_fold, {"groups": GROUPS}, "groups: which samples there are is not known"),
        (one_fold, {"refit": True}, "refit: fit cannot be asked for a final network: it always wants fold"),
        (by_index, {"y": Y, "refit": True}, "refit: fit cannot be asked for .*: it always wants validation"),
        (lambda d, k, r: 0.5, {"refit": True}, "refit: fit cannot be asked for .*: it always wants a fold"),
        (one_fold, {"refit": "worst"}, "refit: 'worst' is no place to refit at"),
        (one_fold, {"refit": False, "test": len}, "test: there is no final network"),
        (lambda d, fold=None: 0.5, {"test": len}, "test: fit gives scores alone, but test= needs the model"),
        (one_fold, {"metric": "niceness"}, "metric: whether more or less of 'niceness' is better is not known"),
        (one_fold, {"scorer": "r2"}, "scorer: which samples to score is not known"),
        (gives_model, {"X": Y, "y": Y, "scorer": "nice", "metric": "r2"}, "scorer: scikit-learn has no scorer 'nice'"),
        (gives_model, {"X": Y, "y": Y, "scorer": 3, "metric": "r2"}, "scorer: 3 cannot be called"),
        (gives_model, {"X": Y, "y": Y, "scorer": len}, "metric: what the scorer's numbers are is not known"),
        (by_index, {"X": Y, "y": Y, "scorer": "r2"}, "scorer: fit gave .*, no model that a scorer could score"),
        (one_fold, {"parameter": ""}, "parameter: '' cannot name the strength"),
        (one_fold, {"parameter": "gamma"}, "parameter: how 'gamma' relates to the strength of a penalty is not known"),
        (one_fold, {"storage": 5}, "storage: 5 is no storage"),
        (one_fold, {"scale": "decay"}, "scale: 'decay' is no scale"),
        (one_fold, {"range": (1, 0.1)}, "range: 1 is not below 0.1"),
        (one_fold, {"range": (0, 1)}, "range: 0 cannot start a log range"),
        (one_fold, {"range": 3}, "range: 3 is no range"),
        (one_fold, {"range": (1, 2), "lambda_range": (1, 2)}, "range: range and lambda_range were both given"),
        (one_fold, {"n_jobs": 0}, "n_jobs: 0 fits cannot run at a time"),
        (one_fold, {"n_jobs": 2, "fit_timeout": 3}, "fit_timeout: a fit in another process cannot be stopped"),
        (one_fold, {"study": 3}, "study: 3 is no study"),
        (one_fold, {"storage": "here"}, "--storage here: is no storage URL"),
        (one_fold, {"lr": 0.1}, "CrossValidationObjective: 'lr' has no effect, for fit trains"),
        (one_fold, {"trials": 0}, "trials: "),
        (lambda d, fold: "bad", {}, "fold 0: fit gave val_loss = 'bad'"),
        (gives_model, {"y": Y, "folds": [([0, 8], [1])]}, "fit: it asks for train alone"),
        (lambda d, fold: Ridge(), {}, "fit: fit gave a Ridge and no scores; give scorer="),
        (lambda d, fold: None, {}, "fold 0: fit gave val_loss = None"),
        (lambda d, fold: {"f1": 1}, {}, "fold 0: fit gave the scores f1, no 'loss' among them"),
    ],
)
def test_what_cannot_be_done_rightly_is_refused_in_one_line(fit: Any, given: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match="^" + line) as refused:
        tune(fit, **given)
    assert "\n" not in str(refused.value)


def test_a_study_of_ones_own_takes_no_second_storage_or_sampler() -> None:
    study = optuna.create_study()
    with pytest.raises(UserError, match=r"^study: storage and a study were both given"):
        tune(one_fold, study=study, storage="s.db")
    with pytest.raises(UserError, match=r"^sampler: the study has its own sampler"):
        tune(one_fold, study=study, sampler="tpe")
    with pytest.raises(UserError, match="it has 2 objectives"):
        tune(one_fold, study=optuna.create_study(directions=["minimize"] * 2))
    with pytest.raises(UserError, match="it minimizes, but of the metric 'accuracy' more is better"):
        tune(one_fold, study=study, metric="accuracy")
