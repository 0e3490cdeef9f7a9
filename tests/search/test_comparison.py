"""Comparisons: λ = 0 trained once for all forms, nothing trained twice, the final networks stored once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

import l2tune
from l2tune.comparison_settings import FORMS, build_comparison
from l2tune.errors import UserError
from l2tune.members import Member
from l2tune.optuna_internals import mark_trial
from l2tune.records.comparison import baseline_of, comparison_studies, is_shared, membership, share_baseline
from l2tune.records.keys import WORKER
from l2tune.records.refits import RefitRecord, refit_of, write_refit
from l2tune.records.tables import StudyRecord, read_study
from l2tune.records.workers import Worker, refitting
from l2tune.report.page_tables import search as how_it_went
from l2tune.report.tables import results
from l2tune.search import comparison
from l2tune.search.comparison import assemble_parts, open_sides, run_comparison
from l2tune.search.storage import open_storage, open_study
from l2tune.training import refit, sequential

QUICK: dict[str, Any] = {"subset": 120, "epochs": 2, "folds": 3, "trials": 5, "study": "c"}
TWO = ("l2", "l1")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, int]]:
    """(form, λ, fold) of every fit begun, in order; fold -1 for a final network."""
    found: list[tuple[str, float, int]] = []
    start, train_on_all = sequential.SequentialTrainer.start, refit.train_on_all

    def noted(self: sequential.SequentialTrainer, members: Sequence[Member]) -> Any:
        found.extend((self.problem.penalty.form, m.strength, m.fold) for m in members)
        return start(self, members)

    def noted_refit(problem: Any, strength: float, **named: Any) -> Any:
        found.append((problem.penalty.form, strength, -1))
        return train_on_all(problem, strength, **named)

    monkeypatch.setattr(sequential.SequentialTrainer, "start", noted)
    monkeypatch.setattr(refit, "train_on_all", noted_refit)
    return found


def compare(storage: Any = None, penalties: Sequence[str] = TWO, **given: Any) -> l2tune.Comparison:
    return l2tune.compare("digits", "linear", penalties, storage=storage, **(QUICK | given))


def records(storage: Any) -> list[StudyRecord]:
    return [read_study(study) for study in comparison_studies(storage, "c").values()]


def at_zero(table: pd.DataFrame) -> pd.DataFrame:
    return (
        table[table["lambda"] == 0].drop(columns=["trial", "reused", "seconds"], errors="ignore").reset_index(drop=True)
    )


@pytest.mark.parametrize("pruner", ["racing", "median"])
def test_the_fits_without_a_penalty_are_trained_once_and_read_alike(
    trained: list[tuple[str, float, int]], pruner: str
) -> None:
    storage = optuna.storages.InMemoryStorage()
    compare(storage, FORMS, pruner=pruner)
    unpenalized = [fit for fit in trained if fit[1] == 0]
    assert Counter(unpenalized) == Counter([("l2", 0.0, fold) for fold in (-1, 0, 1, 2)])
    first, *others = records(storage)
    assert len(at_zero(first.epochs)) == 3 * 2
    assert len(at_zero(first.predictions)) == 1
    for other in others:
        for name in ("fits", "epochs", "layers", "magnitudes", "predictions", "refits"):
            pd.testing.assert_frame_equal(
                at_zero(getattr(other, name)), at_zero(getattr(first, name)), check_exact=True
            )
        assert other.observations.by_strength()[0.0].tolist() == first.observations.by_strength()[0.0].tolist()
        assert (other.observations.first_estimate or 0) > 0


def test_what_is_shared_is_not_counted_as_spent(trained: list[tuple[str, float, int]]) -> None:
    storage = optuna.storages.InMemoryStorage()
    comparison = compare(storage)
    spent = {form: sum(fit[0] == form and fit[2] >= 0 for fit in trained) for form in TWO}
    for form, record in zip(TWO, records(storage), strict=True):
        found = results(l2tune.Tradeoff.from_record(record))
        assert found["fits"] == spent[form]
        assert found["seconds"] == pytest.approx(record.fits["seconds"].sum())
    assert not records(storage)[1].fits.query("`lambda` == 0")["seconds"].any()
    told = [how_it_went(l2tune.Tradeoff.from_record(record)) for record in records(storage)]
    assert ["trained once for the whole comparison" in table.note for table in told] == [False, True]
    assert comparison.table["fits"].sum() == sum(spent.values())


@pytest.mark.parametrize("at", [0, 2, 4, 9, 14, "refit 1", "refit 3"])
def test_an_interrupted_comparison_goes_on_and_trains_nothing_twice(
    trained: list[tuple[str, float, int]], monkeypatch: pytest.MonkeyPatch, at: int | str
) -> None:
    whole = compare().table.drop(columns="seconds")
    expected = list(trained)
    trained.clear()
    storage = optuna.storages.InMemoryStorage()
    place = at if isinstance(at, int) else [n for n, fit in enumerate(expected) if fit[2] < 0][int(at[-1]) - 1]
    with monkeypatch.context() as patch:
        interrupt_at(patch, place)
        with pytest.raises(KeyboardInterrupt):
            compare(storage)
    assert len(trained) == place
    found = compare(storage).table.drop(columns="seconds")
    assert Counter(trained) == Counter(expected)
    counted = found.filter(regex="lambda|folds|complete|zeros|test_loss|refits|value")
    pd.testing.assert_frame_equal(counted, whole[counted.columns])
    trained.clear()
    compare(storage)
    assert trained == [], "what is settled is not begun again"


def interrupt_at(patch: pytest.MonkeyPatch, place: int) -> None:
    """Ctrl-C as the fit of this number, folds and final networks together, would begin."""
    left = iter(range(place, -1, -1))

    def before(train: Callable[..., Any]) -> Callable[..., Any]:
        def interrupted(*args: Any, **named: Any) -> Any:
            if next(left, -1) == 0:
                raise KeyboardInterrupt
            return train(*args, **named)

        return interrupted

    patch.setattr(sequential.SequentialTrainer, "start", before(sequential.SequentialTrainer.start))
    patch.setattr(refit, "train_on_all", before(refit.train_on_all))


def test_each_form_has_its_final_networks_and_they_are_stored_once(trained: list[tuple[str, float, int]]) -> None:
    storage = optuna.storages.InMemoryStorage()
    found = compare(storage)
    refits = [fit for fit in trained if fit[2] < 0]
    assert len(set(refits)) == len(refits)
    for form, study in comparison_studies(storage, "c").items():
        t = found.estimates[form]
        assert {0.0, t.best_lambda, t.one_se_lambda} == set(t.record.refits["lambda"])
        assert refit_of(study, 0.0, 0) is not None


def test_a_final_network_that_another_process_stored_just_before_it_was_claimed_is_not_trained(
    monkeypatch: pytest.MonkeyPatch, trained: list[tuple[str, float, int]]
) -> None:
    storage = optuna.storages.InMemoryStorage()
    claim = comparison._Run._claim
    stored = []

    def late(self: Any, side: Any, strength: float) -> bool:
        claimed = claim(self, side, strength)
        if not stored:  # the other process ends between this one's look and its claim
            stored.append((side.form, strength, -1))
            write_refit(side.study, RefitRecord(strength, 0, test_loss=1.0))
        return claimed

    monkeypatch.setattr(comparison._Run, "_claim", late)
    compare(storage)
    assert stored[0] not in trained
    assert not any(refitting(study, 0.0, 0) for study in comparison_studies(storage, "c").values())


def test_a_form_that_joins_later_takes_over_what_the_others_share(trained: list[tuple[str, float, int]]) -> None:
    storage = optuna.storages.InMemoryStorage()
    compare(storage)
    trained.clear()
    comparison = compare(storage, ("l2-loss", "l2"))
    assert {fit[0] for fit in trained} == {"l2-loss"}
    assert not [fit for fit in trained if fit[1] == 0]
    assert comparison.forms == ("l2", "l1", "l2-loss")
    for study in comparison_studies(storage, "c").values():
        assert membership(study).penalties == comparison.forms  # type: ignore[union-attr]


def test_a_study_that_has_its_own_fits_without_a_penalty_keeps_them(trained: list[tuple[str, float, int]]) -> None:
    storage = optuna.storages.InMemoryStorage()
    parts = assemble_parts(settings := build_comparison({"model": "linear"} | QUICK, TWO))
    own = open_study(storage, settings.sides["l1"])
    own.optimize(parts.objectives["l1"], n_trials=1)
    assert [fit[1] for fit in trained] == [0.0] * 3
    compare(storage)
    assert sum(fit[1] == 0 and fit[2] >= 0 for fit in trained) == 3, "the first study takes them from the second"
    first, second = comparison_studies(storage, "c").values()
    assert is_shared(baseline_of(first))  # type: ignore[arg-type]
    assert not is_shared(baseline_of(second))  # type: ignore[arg-type]


def begun(storage: Any, trials: int = 1) -> list[optuna.Study]:
    """A comparison of which the first study has so many trials."""
    parts = assemble_parts(settings := build_comparison({"model": "linear"} | QUICK, TWO))
    first, second = open_sides(storage, settings, parts)
    first.study.optimize(first.objective, n_trials=trials)
    return [first.study, second.study]


def test_nothing_is_copied_before_all_folds_are_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        storage = optuna.storages.InMemoryStorage()
        with pytest.raises(KeyboardInterrupt):
            begun(storage)
    first, second = comparison_studies(storage, "c").values()
    assert not share_baseline(first, second, Worker())
    assert second.trials == []


def test_processes_that_copy_at_once_leave_one_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = begun(open_storage(str(tmp_path / "s.db")))
    add_trial = optuna.Study.add_trial

    def after_another(study: optuna.Study, trial: Any) -> None:
        theirs = trial.user_attrs | {WORKER: asdict(Worker(host="elsewhere", pid=1))}
        add_trial(study, optuna.trial.create_trial(state=trial.state, user_attrs=theirs))
        add_trial(study, trial)

    monkeypatch.setattr(optuna.Study, "add_trial", after_another)
    assert not share_baseline(first, second, Worker())
    assert [trial.state for trial in second.trials] == [TrialState.RUNNING, TrialState.FAIL], "theirs goes on"
    assert not share_baseline(first, second, Worker())
    assert len(second.trials) == 2


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "interrupted"])
def test_a_copy_that_was_cut_short_is_made_again(
    trained: list[tuple[str, float, int]], monkeypatch: pytest.MonkeyPatch, quick_watch: None, killed: bool
) -> None:
    class Killed(BaseException):
        """Nothing can be done about it."""

    end = Killed if killed else KeyboardInterrupt
    first = iter([True])

    def ended(*args: Any) -> None:
        if next(first, False):
            raise end
        mark_trial(*args)

    storage = optuna.storages.InMemoryStorage()
    with monkeypatch.context() as patch:
        patch.setattr("l2tune.records.comparison.mark_trial", ended)
        with pytest.raises(end):
            compare(storage)
    _, second = comparison_studies(storage, "c").values()
    assert [t.state for t in second.trials] == [TrialState.RUNNING if killed else TrialState.FAIL]
    compare(storage)
    assert sum(fit[1] == 0 and fit[2] >= 0 for fit in trained) == 3
    assert is_shared(baseline_of(second))  # type: ignore[arg-type]


def test_a_final_network_that_diverges_is_told_and_does_not_end_the_comparison(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def diverged(*args: Any, **named: Any) -> None:
        raise UserError("training diverged at λ = 0", "fit")

    monkeypatch.setattr(refit, "train_on_all", diverged)
    storage = optuna.storages.InMemoryStorage()
    parts = assemble_parts(settings := build_comparison({"model": "linear"} | QUICK, TWO))
    lines: list[str] = []
    run_comparison(storage, "c", open_sides(storage, settings, parts), say=lines.append)
    assert "l2: no network on all training images (training diverged at λ = 0)" in lines
    assert sum("λ = 0)" in line for line in lines) <= 6
    assert l2tune.Comparison.from_storage(storage, "c").table["best_refits"].tolist() == [0, 0, 0]


def test_a_comparison_begun_otherwise_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    begun(open_storage(str(path)))
    before = path.read_bytes()
    with pytest.raises(UserError, match="comparison 'c' was begun otherwise: epochs was 2, now 3; use another --study"):
        compare(str(path), ("l2-loss", "l2"), epochs=3)
    assert path.read_bytes() == before


def test_a_study_of_the_name_stands_in_the_way_of_a_comparison() -> None:
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(study_name="c", storage=storage)
    with pytest.raises(UserError, match="comparison 'c': is the name of a study; give the comparison another --study"):
        compare(storage)
    assert len(optuna.get_all_study_names(storage)) == 1


def test_a_comparison_in_python(tmp_path: Path) -> None:
    path = str(tmp_path / "s.db")
    comparison = compare(path)
    assert list(comparison.table["penalty"]) == ["none", *TWO]
    assert set(comparison.pairs["first"]) == {"l2"}
    assert comparison.verdict
    again = l2tune.Comparison.from_storage(path, "c")
    pd.testing.assert_frame_equal(again.table, comparison.table)
    again.report(tmp_path / "out")
    assert {"compare.html", "compare.json", "compare.csv"} <= {file.name for file in (tmp_path / "out").iterdir()}
    with pytest.raises(UserError, match="'d': no such comparison in this storage; it holds 'c'"):
        l2tune.Comparison.from_storage(path, "d")


def test_images_and_network_may_be_given_in_python() -> None:
    import numpy as np
    from torch import nn

    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (80, 1, 6, 6), dtype=np.uint8), np.arange(80) % 2

    def network(shape: tuple[int, int, int], classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(36, classes))

    comparison = l2tune.compare((pixels, labels), network, "l2, l1", epochs=1, folds=2, trials=2)
    assert [t.record.data["given"] for t in comparison.estimates.values()] == [["data", "model"]] * 2
