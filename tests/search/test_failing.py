"""Searches in which training fails at some strengths, at all of them, or for want of memory."""

import time
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from l2tune.errors import SearchAborted
from l2tune.members import Member
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.records.failures import LONGEST, Failure, failed_trials, failure_of
from l2tune.records.keys import FAILURE, STRENGTH
from l2tune.search.failing import failures_line
from l2tune.search.optuna_samplers import make_sampler
from l2tune.search.runner import Budget, run_search
from l2tune.tradeoff import Tradeoff

HIGH = 1e-2


class Fit:
    """A fit with a valley, which calls `fail` first; counts its calls."""

    def __init__(self, fail: Callable[[float, int], None]) -> None:
        self.fail = fail
        self.calls: list[tuple[float, int]] = []

    def __call__(self, strength: float, fold: int, seed: int) -> float:
        self.calls.append((strength, fold))
        self.fail(strength, fold)
        return 0.5 + abs(strength - 1e-3) ** 0.2 + fold / 100


def searched(fit: Any, trials: int = 8, batch: int = 1, **settings: Any) -> optuna.Study:
    objective = CrossValidationObjective(fit=fit, folds=3, sampler="random", pruner="none", **settings)
    study = optuna.create_study(sampler=make_sampler(objective.settings), pruner=optuna.pruners.NopPruner())
    run_search(study, objective, Budget(trials, batch=batch))
    return study


def above(error: Callable[[], BaseException]) -> Callable[[float, int], None]:
    """Fails where λ is high."""

    def fail(strength: float, fold: int) -> None:
        if strength > HIGH:
            raise error()

    return fail


ERRORS = {
    "value": lambda: ValueError("too large"),
    "runtime": lambda: RuntimeError("too large"),
    "assertion": lambda: AssertionError("too large"),
    "key": lambda: KeyError("too large"),
    "file": lambda: FileNotFoundError("too large"),
    "exit": lambda: SystemExit("too large"),
    "bare": lambda: type("Odd", (BaseException,), {})("too large"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_at_some_strengths_fails_those_trials_only(kind: str) -> None:
    fit = Fit(above(ERRORS[kind]))
    study = searched(fit)
    failed = failed_trials(study.trials)
    assert failed
    assert {t.state for t in failed} == {TrialState.FAIL}
    assert sum(t.state == TrialState.COMPLETE for t in study.trials) == 8
    assert all(t.user_attrs[STRENGTH] > HIGH for t in failed)
    assert all("too large" in t.user_attrs[FAILURE]["line"] for t in failed)
    assert all(", in fail\n" in t.user_attrs[FAILURE]["traceback"] for t in failed)
    tried = [strength for strength, _ in fit.calls if strength > HIGH]
    assert len(tried) == len(set(tried)), "a strength that has failed is not tried again"
    line = failures_line(study)
    assert line.startswith(f"{len(failed)} of {len(study.trials)} trials failed: ")
    assert f"study.trials[{failed[-1].number}].user_attrs['l2tune:failure']" in line
    tradeoff = Tradeoff.from_study(study)
    caveat = next(f for f in tradeoff.findings if f.kind == "failed")
    assert caveat.part == "caveat"
    assert "too large" in caveat.text
    assert caveat.text in tradeoff.verdict


def test_a_search_without_failures_says_nothing_of_them() -> None:
    study = searched(Fit(lambda strength, fold: None), trials=4)
    assert failures_line(study) == ""
    assert not [f for f in Tradeoff.from_study(study).findings if f.kind == "failed"]


def test_failing_everywhere_stops_the_search_with_the_innermost_message() -> None:
    def fail(strength: float, fold: int) -> None:
        try:
            raise KeyError("weights")
        except KeyError as error:
            raise RuntimeError("the network\ncannot be built") from error

    fit = Fit(fail)
    with pytest.raises(
        SearchAborted, match=r"^3 times in a row training failed: KeyError: 'weights' at λ = "
    ) as caught:
        searched(fit)
    assert "\n" not in str(caught.value)
    assert len(fit.calls) == 3
    assert [strength == 0 for strength, _ in fit.calls] == [True, False, True], "λ = 0 is not tried again at once"


def test_a_fit_that_fails_in_its_last_fold_everywhere_stops_the_search() -> None:
    def fail(strength: float, fold: int) -> None:
        if fold == 2:
            raise ValueError("the third fold")

    with pytest.raises(SearchAborted, match="3 times in a row training failed: ValueError: the third fold"):
        searched(Fit(fail))


def test_a_network_that_cannot_do_without_a_penalty_is_searched_all_the_same() -> None:
    def fail(strength: float, fold: int) -> None:
        if strength == 0:
            raise ValueError("no penalty")

    fit = Fit(fail)
    study = searched(fit)
    assert sum(t.state == TrialState.COMPLETE for t in study.trials) == 8
    assert len([strength for strength, _ in fit.calls if strength == 0]) == 3


def test_memory_says_nothing_of_a_strength_and_is_tried_again() -> None:
    raised = []

    def fail(strength: float, fold: int) -> None:
        if fold == 1 and not raised:
            raised.append(strength)
            raise MemoryError

    def always(strength: float, fold: int) -> None:
        raise MemoryError

    study = searched(Fit(fail), trials=3)
    assert len(study.trials) == 4
    assert not failed_trials(study.trials)
    with pytest.raises(SearchAborted, match=r"training failed: out of memory .*; give a smaller --batch-size"):
        searched(Fit(always))


def test_ctrl_c_is_never_swallowed() -> None:
    def fail(strength: float, fold: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        searched(Fit(fail))


@pytest.mark.parametrize("pruner", [optuna.pruners.NopPruner(), optuna.pruners.MedianPruner()], ids=["fold", "epoch"])
def test_of_trials_trained_together_only_the_culprit_fails(pruner: optuna.pruners.BasePruner) -> None:
    def fit(strength: float, fold: int, seed: int) -> Any:
        for epoch in range(3):
            if strength > HIGH and fold == 1 and epoch == 1:
                raise ValueError("too large")
            yield 1 / (epoch + 1) + strength + fold / 100

    objective = CrossValidationObjective(fit=fit, folds=2, epochs=3)
    study = optuna.create_study(pruner=pruner)
    for strength in (1e-4, 0.1, 1e-3):
        study.enqueue_trial({"lambda": strength})
    run_search(study, objective, Budget(3, batch=3))
    first = study.trials[:3]
    assert [t.state.name for t in first] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert failure_of(first[1]) is not None
    assert failures_line(study).startswith("1 of ")
    assert [len(t.intermediate_values) for t in (first[0], first[2])] == ([2, 2] if "Nop" in repr(pruner) else [3, 3])


class Stacked:
    """A trainer that gains by training together and fails as a whole where one member cannot be trained."""

    folds, epochs, test_labels, together = 2, 1, None, 4

    def __init__(self) -> None:
        self.inner = CrossValidationObjective(fit=lambda strength, fold, seed: 1 + strength + fold, folds=2).trainer
        self.started: list[int] = []

    def start(self, members: list[Member]) -> Any:
        self.started.append(len(members))
        if any(member.strength > HIGH and member.fold == 1 for member in members):
            raise ValueError("too large")
        return self.inner.start(members)

    def describe(self) -> dict[str, Any]:
        return {"engine": "stacked"}


def test_of_a_population_the_culprit_is_found_member_by_member() -> None:
    trainer = Stacked()
    objective = CrossValidationObjective(trainer=trainer)
    study = optuna.create_study(pruner=optuna.pruners.NopPruner())
    for strength in (1e-4, 0.1, 1e-3):
        study.enqueue_trial({"lambda": strength})
    run_search(study, objective, Budget(3, batch=3))
    assert [t.state.name for t in study.trials[:3]] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert trainer.started[:7] == [6, 1, 1, 1, 1, 1, 1]
    assert len(study.trials[1].intermediate_values) == 1, "the fold that could be trained is kept"


def test_in_a_loop_of_the_users_own_the_error_comes_out_as_it_is() -> None:
    def fail(strength: float, fold: int) -> None:
        if fold == 1:
            raise LookupError("mine")

    objective = CrossValidationObjective(fit=Fit(fail), folds=3)
    study = optuna.create_study()
    with pytest.raises(LookupError, match="mine"):
        study.optimize(objective, n_trials=1)
    study.optimize(objective, n_trials=2, catch=LookupError)
    assert {t.state for t in study.trials} == {TrialState.FAIL}
    record = Tradeoff.from_study(study).record
    assert set(record.fits["fold"]) == {0}, "a fold that was trained to its end is kept, no other is"


def test_a_fit_that_takes_too_long_fails_its_trial() -> None:
    def fail(strength: float, fold: int) -> None:
        if strength > HIGH:
            while True:
                time.sleep(0.001)

    study = searched(Fit(fail), fit_timeout=0.05)
    failed = failed_trials(study.trials)
    assert failed
    assert all(t.user_attrs[FAILURE]["line"] == "a fit took longer than 0.05 s" for t in failed)
    assert ", in fail\n" in failed[0].user_attrs[FAILURE]["traceback"]


def test_a_fit_that_raises_while_it_is_closed_does_not_end_the_search() -> None:
    def fit(strength: float, fold: int, seed: int) -> Any:
        try:
            for epoch in range(4):
                yield 1 / (epoch + 1) + strength
        finally:
            if strength > HIGH:
                raise OSError("its file is gone")

    objective = CrossValidationObjective(fit=fit, folds=2, epochs=4)
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=1))
    for strength in (1e-4, 0.5):
        study.enqueue_trial({"lambda": strength})
    with pytest.warns(RuntimeWarning, match="fit raised OSError: its file is gone while it was closed"):
        run_search(study, objective, Budget(2))
    assert [t.state.name for t in study.trials] == ["COMPLETE", "PRUNED"]


def test_a_traceback_is_kept_short_and_without_passwords() -> None:
    try:
        raise ValueError("postgresql://me:secret@host/db " + "é" * 20_000 + " the end")
    except ValueError as error:
        failure = Failure.of(error)
    assert len(failure.traceback.encode()) < 8_000
    assert failure.traceback.startswith("Traceback")
    assert failure.traceback.endswith("the end\n")
    assert len(failure.line) <= 300
    assert "secret" not in failure.line + failure.traceback
    assert LONGEST < 8_000
