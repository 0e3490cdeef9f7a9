"""Folds as they are stored, the observations that follow from them, and the tables."""

import math
from dataclasses import replace

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from l2tune.members import EpochScores, LayerState, Member, NetworkState
from l2tune.metrics import BUILT_IN, Metric
from l2tune.records.fold_record import FoldRecord, fold_records, write_fold
from l2tune.records.keys import STRENGTH, fold_key
from l2tune.records.observations import observations
from l2tune.records.study import describe_study
from l2tune.records.tables import read_study

LAYERS = {"conv": LayerState(3.0, 36, 9, 4, 1), "fc": LayerState(4.0, 20, 0, 2, 0)}
MAGNITUDES = [0] * 40 + [47] + [0] * 23


def history(
    values: list[float], *, strength: float = 1e-3, fold: int = 0, ratios: list[float] | None = None
) -> list[EpochScores]:
    """Scores of one member whose validation loss takes these values epoch by epoch."""
    member = Member(strength, fold, 7)
    network = NetworkState(LAYERS, 0.0, 0.1, 40.0, MAGNITUDES, test_loss=0.5, test_error=0.1)
    return [
        EpochScores(
            member,
            epoch + 1,
            train_loss=value / 2,
            train_error=0.1,
            val_loss=value,
            val_error=0.2,
            seconds=epoch + 1.0,
            diverged=not math.isfinite(value),
            first_estimates={"l2": ratios[epoch], "l1": ratios[epoch] / 9} if ratios else {},
            network=network if epoch + 1 == len(values) and math.isfinite(value) else None,
        )
        for epoch, value in enumerate(values)
    ]


def described(folds: int = 4) -> optuna.Study:
    """An empty study of l2tune's trainer."""
    study = optuna.create_study()
    trainer = {"engine": "sequential", "folds": folds}
    describe_study(study, settings={}, identity={}, versions={}, trainer=trainer, data={})
    return study


def add_trial(
    study: optuna.Study,
    strength: float,
    folds: dict[int, FoldRecord],
    state: TrialState = TrialState.COMPLETE,
    **attrs: object,
) -> None:
    scores = [record.val_loss or 9.0 for record in folds.values()]
    study.add_trial(
        create_trial(
            state=state,
            value=sum(scores) / len(scores),
            params={"lambda": strength} if strength else {},
            distributions={"lambda": FloatDistribution(1e-9, 1e3, log=True)} if strength else {},
            user_attrs={STRENGTH: strength} | {fold_key(k): as_stored(v) for k, v in folds.items()} | attrs,
        )
    )


def as_stored(record: FoldRecord) -> dict[str, object]:
    study = optuna.create_study()
    trial = study.ask()
    write_fold(trial, 0, record)
    return study.trials[0].user_attrs[fold_key(0)]  # type: ignore[no-any-return]


def test_a_fold_is_read_as_it_was_written() -> None:
    study = optuna.create_study(storage="sqlite:///:memory:")
    trial = study.ask()
    record = FoldRecord.of(history([2.0, 1.0, 1.5], ratios=[0.3, 0.2, 0.1]))
    write_fold(trial, 3, record)
    assert fold_records(study.trials[0]) == {3: record}
    assert record.weight_norm == 5.0
    assert record.first_estimates["l2"] == 0.2, "taken where validation loss is lowest"
    assert record.curves["val_loss"] == [2.0, 1.0, 1.5]
    assert record.test_loss == 0.5


def test_a_diverged_fold_scores_infinity_and_stores_no_number() -> None:
    record = FoldRecord.of(history([2.0, math.nan]))
    assert (record.diverged, record.val_loss, record.epochs) == (True, None, 2)
    assert record.cost(BUILT_IN["loss"]) == record.cost(BUILT_IN["error"]) == math.inf


def test_observations_take_each_fold_of_a_strength_once_and_no_truncated_one() -> None:
    study = described()
    full = FoldRecord.of(history([1.0]))
    add_trial(study, 0.0, {0: FoldRecord.of(history([3.0], strength=0.0, ratios=[1e-2]))})
    add_trial(study, 1e-2, {0: full, 1: FoldRecord.of(history([math.inf]))}, TrialState.PRUNED)
    add_trial(study, 1e-2, {0: FoldRecord.of(history([7.0]))})
    add_trial(study, 1e-1, {0: FoldRecord.of(history([1.0]), truncated=True)}, TrialState.PRUNED)
    seen = observations(study)
    assert list(seen.strength) == [0.0, 1e-2, 1e-2]
    assert list(seen.fold) == [0, 0, 1]
    assert list(seen.cost) == [3.0, 1.0, math.inf]
    assert list(seen.trial) == [0, 1, 1]
    assert seen.first_estimate == pytest.approx(1e-2)
    by_error = observations(study, metric=BUILT_IN["error"])
    assert list(by_error.cost) == [0.2, 0.2, math.inf]
    assert by_error.first_estimate is None, "it speaks of the loss"
    assert seen.guide is None
    for like in (by_error, observations(study, metric=BUILT_IN["accuracy"])):
        assert like.guide is not None, "the loss of the same fits"
        assert (list(like.guide.cost), like.guide.first_estimate) == (list(seen.cost), seen.first_estimate)
        assert like.guide.strength is like.strength


def test_an_error_without_a_loss_beside_it_has_no_guide() -> None:
    study = described()
    record = FoldRecord.of(history([1.0]))
    add_trial(study, 0.0, {0: record})
    add_trial(study, 1e-2, {0: replace(record, val_loss=None, scores={"val_f1": 0.5})})
    assert observations(study, metric=BUILT_IN["error"]).guide is None
    assert observations(study, metric=Metric("f1", maximize=True, kind="proportion")).guide is None, "who knows"


def test_observations_of_a_users_own_study_are_its_intermediate_values() -> None:
    study = optuna.create_study()
    baseline = study.ask()
    baseline.report(2.0, step=1)
    trial = study.ask()
    trial.suggest_float("lambda", 1e-6, 1, log=True)
    trial.report(1.0, step=0)
    study.ask()  # has drawn nothing and reported nothing
    seen = observations(study)
    assert [(s > 0, f, v) for s, f, v in zip(seen.strength, seen.fold, seen.cost, strict=True)] == [
        (False, 1, 2.0),
        (True, 0, 1.0),
    ]


def test_the_least_seen_fold_comes_first() -> None:
    study = described()
    record = FoldRecord.of(history([1.0]))
    add_trial(study, 0.0, {0: record, 1: record, 2: record})
    add_trial(study, 1e-3, {0: record, 1: record}, TrialState.PRUNED)
    add_trial(study, 1e-2, {0: record}, TrialState.PRUNED)
    assert observations(study).fold_order() == [3, 2, 1, 0]


def test_tables_hold_every_fold_epoch_and_layer() -> None:
    study = described()
    add_trial(study, 0.0, {0: FoldRecord.of(history([3.0, 2.0]))})
    add_trial(study, 1e-2, {1: FoldRecord.of(history([1.0, math.nan]))}, TrialState.PRUNED)
    reused = as_stored(FoldRecord.of(history([1.0, 0.5])))
    reused["reused_from"] = 0
    study.add_trial(
        create_trial(state=TrialState.COMPLETE, value=0.5, user_attrs={"l2tune:strength": 0.0, "l2tune:fold:0": reused})
    )
    study.enqueue_trial({"lambda": 0.5})
    record = read_study(study)
    assert list(record.fits["trial"]) == [0, 1, 2]
    assert list(record.fits["diverged"]) == [False, True, False]
    assert list(record.fits["reused"]) == [False, False, True]
    assert record.fits["seconds"].tolist() == [2.0, 2.0, 0.0], "what was taken over cost nothing"
    assert math.isnan(record.fits["val_loss"][1])
    assert len(record.epochs) == 4, "two epochs of each fold that was trained"
    assert record.layers["weight_norm"].tolist() == [3.0, 4.0, 3.0, 4.0]
    assert record.layers[["weights", "zeros", "units", "dead_units"]].to_numpy().tolist() == [
        *([36, 9, 4, 1], [20, 0, 2, 0]) * 2
    ]
    assert record.magnitudes[["trial", "fold"]].to_numpy().tolist() == [[0, 0], [2, 0]], "none of what diverged"
    assert record.magnitudes["counts"].tolist() == [MAGNITUDES] * 2
    assert record.fits["weight_sum"].tolist() == pytest.approx([40, math.nan, 40], nan_ok=True)
    assert record.trials["state"].tolist() == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert math.isnan(record.trials["value"][1]), "a pruned trial's value is no score"


def test_a_fold_of_an_older_version_is_read_without_what_that_did_not_count() -> None:
    study = described()
    add_trial(study, 0.0, {0: FoldRecord.of(history([3.0, 2.0]))})
    old = as_stored(FoldRecord.of(history([1.0])))
    for name in ("layers", "weight_sum", "magnitudes"):
        del old[name]
    study.add_trial(create_trial(state=TrialState.COMPLETE, value=0.5, user_attrs={STRENGTH: 0.0, fold_key(1): old}))
    (read,) = fold_records(study.trials[1]).values()
    assert (read.weight_norm, read.layers, read.weight_sum, read.magnitudes) == (5.0, {}, None, [])
    record = read_study(study)
    assert record.layers["weight_norm"].tolist() == [3.0, 4.0, 3.0, 4.0]
    assert record.layers["zeros"].tolist() == pytest.approx([9, 0, math.nan, math.nan], nan_ok=True)
    assert record.layers["zeros"].dtype == float
    assert record.magnitudes["trial"].tolist() == [0]
    assert record.fits["weight_sum"].tolist() == pytest.approx([40, math.nan], nan_ok=True)
    assert record.fits["weight_norm"].tolist() == [5.0, 5.0]


def test_the_tables_of_an_empty_study_have_their_columns() -> None:
    record = read_study(optuna.create_study())
    assert list(record.fits.columns[:4]) == ["trial", "lambda", "fold", "state"]
    assert len(record.fits) == len(record.trials) == len(record.predictions) == 0
    assert len(record.layers) == len(record.magnitudes) == len(record.refits) == 0
    assert {"lambda", "seed", "test_loss", "nonzero", "layers", "magnitudes"} <= set(record.refits.columns)
    assert record.folds == 1, "as many as a first fold needs"


def test_all_tables_are_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker tells a result between two reads: counts of λ in the tables and in the observations must agree."""
    study = described()
    add_trial(study, 0.0, {0: FoldRecord.of(history([3.0]))})
    get_trials = type(study).get_trials

    def another_worker_is_faster(self: optuna.Study, *args: object, **named: object) -> object:
        found = get_trials(self, *args, **named)  # type: ignore[arg-type]
        monkeypatch.setattr(type(study), "get_trials", get_trials)
        add_trial(study, 10.0 ** -len(found), {0: FoldRecord.of(history([1.0]))})
        monkeypatch.setattr(type(study), "get_trials", another_worker_is_faster)
        return found

    monkeypatch.setattr(type(study), "get_trials", another_worker_is_faster)
    record = read_study(study)
    assert set(record.fits.loc[record.fits["final"], "lambda"]) == set(record.observations.strength)
    assert set(record.trials["lambda"]) == set(record.observations.strength)
