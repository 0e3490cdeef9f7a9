"""What is told of a search while it runs: how many fits are left, what it is doing and why; of constructed studies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from l2tune.records.fold_record import FoldRecord
from l2tune.records.keys import AUDIT, COMPLETE, STRENGTH, fold_key
from l2tune.search.activity import activity
from l2tune.search.outlook import Signs, expected_fits, fits_left, seconds_left
from l2tune.search.pruner import FoldRacingPruner
from l2tune.search.state import Plan, read_state

MakeStudy = Callable[..., optuna.Study]
PLAN = Plan(trials=40, settles=True, epochs=4)
RUNNING = TrialState.RUNNING
RANGE = FloatDistribution(1e-6, 1.0, log=True)
SURE = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 2e-3, 3e-3, 3.5e-3, 5e-3, 1e-2, 1e-1, 1.0)


def valley(strength: float) -> float:
    return math.exp(-1 + 0.3 * (math.log10(strength + 1e-5) + 2.5) ** 2)


def add(study: optuna.Study, strength: float, folds: int, state: TrialState, **attrs: object) -> None:
    """Add a trial with so many folds, of two seconds each."""
    record = FoldRecord(
        epochs=4, train_loss=0.1, train_error=0.1, val_loss=valley(strength), val_error=0.1, seconds=2.0
    )
    study.add_trial(
        create_trial(
            state=state,
            value=valley(strength) if state == TrialState.COMPLETE else None,
            params={"lambda": strength} if strength else {},
            distributions={"lambda": RANGE} if strength else {},
            intermediate_values=dict.fromkeys(range(folds), valley(strength)),
            user_attrs={fold_key(fold): asdict(record) for fold in range(folds)} | {STRENGTH: strength} | attrs,
        )
    )


def study_of(make_study: MakeStudy, *strengths: float, **more: object) -> optuna.Study:
    return make_study(valley, lambda s: 0.1 + s, strengths=strengths, noise=1e-3, **more)


def test_nothing_is_told_before_the_first_fit_and_of_an_unknown_budget(make_study: MakeStudy) -> None:
    study = study_of(make_study)
    assert fits_left(read_state(study, PLAN)) is None
    add(study, 0.0, 1, TrialState.RUNNING)
    left = fits_left(read_state(study, PLAN))
    assert left is not None
    assert 15 < left < 40
    assert fits_left(read_state(study, Plan())) is None


def test_a_settled_answer_lacks_its_folds_and_no_more(make_study: MakeStudy) -> None:
    study = study_of(make_study, *SURE)
    state = read_state(study, PLAN)
    assert state.settled
    assert state.over
    assert fits_left(state) == 0
    assert seconds_left(state) == 0

    study = study_of(make_study, *SURE, fold_limit=lambda s: 2 if 1e-3 < s < 1e-2 else 5)
    state = read_state(study, PLAN)
    assert state.settled
    assert not state.over
    assert 3 <= state.missing <= 8
    assert fits_left(state) == state.missing


def test_audits_come_on_top(make_study: MakeStudy) -> None:
    study = study_of(make_study, *SURE, fold_limit=lambda s: 1 if s == 1.0 else 5)
    state = read_state(study, Plan(trials=40, settles=True, epochs=4, audit=3))
    assert not state.over
    assert state.audits_left == 1, "only one was pruned"
    assert (fits_left(state) or 0) > 0
    add(study, 1.0, 5, TrialState.COMPLETE, **{COMPLETE: True, AUDIT: True})
    assert read_state(study, Plan(trials=40, settles=True, epochs=4, audit=3)).over


@pytest.mark.parametrize("settles", [True, False])
def test_never_more_than_the_budget(make_study: MakeStudy, settles: bool) -> None:
    study = study_of(make_study, 0.0, 1e-4)
    add(study, 1e-2, 3, TrialState.RUNNING)
    state = read_state(study, Plan(trials=4, settles=settles, epochs=4))
    assert fits_left(state) == 2 + 5 or (settles and (fits_left(state) or 9) <= 7)
    assert fits_left(read_state(study, Plan(trials=3, settles=settles, epochs=4))) == 2


def test_other_searches_take_their_budget_at_the_share_of_folds_seen(make_study: MakeStudy) -> None:
    study = study_of(make_study, 0.0, 1e-5, 1e-2, fold_limit=lambda s: 1 if s == 1e-5 else 5)
    state = read_state(study, Plan(trials=13, settles=False, epochs=4))
    assert state.share == pytest.approx(0.6)
    assert fits_left(state) == pytest.approx(10 * 5 * 0.6)


def test_nearer_the_end_less_is_left() -> None:
    early = Signs(fits=8, folds=5, tried=3, proportion=False, excess=1.0, missing=8)
    late = Signs(fits=20, folds=5, tried=6, proportion=False, excess=0.0, missing=2)
    assert expected_fits(early) > 2 * expected_fits(late) > 0
    assert expected_fits(Signs(5, 5, 0, True, 0.0, 0)) > expected_fits(Signs(5, 5, 0, False, 0.0, 0))
    assert expected_fits(Signs(500, 5, 9, False, 0.0, 0)) >= 1


def test_time_left_is_of_the_newest_fits_and_shared_by_the_workers(make_study: MakeStudy) -> None:
    study = study_of(make_study, 0.0, 1e-4)
    for strength in (1e-3, 1e-2):
        add(study, strength, 5, TrialState.COMPLETE)
    state = read_state(study, PLAN)
    assert state.seconds_per_fit == 2.0, "the ten newest; those before took 1.5 s"
    one, two = seconds_left(state, 1), seconds_left(state, 2)
    assert one is not None
    assert two is not None
    assert one == pytest.approx(2 * two)


def told(study: optuna.Study, plan: Plan = PLAN) -> str:
    return activity(read_state(study, plan))


def test_the_baseline(make_study: MakeStudy) -> None:
    study = study_of(make_study)
    assert told(study) == "nothing is in training"
    add(study, 0.0, 2, RUNNING)
    assert told(study) == "λ 0 (baseline), fold 3 of 5: all else is compared with it"


def test_the_first_looks(make_study: MakeStudy) -> None:
    study = study_of(make_study, 0.0, 1e-3)
    add(study, 1e-2, 0, RUNNING)
    assert told(study) == "a first look at λ 1.00e-2"
    assert told(study, Plan(40, settles=False)) == "trying λ 1.00e-2"


def test_the_first_strength_has_no_rival(make_study: MakeStudy) -> None:
    study = study_of(make_study, 0.0)
    add(study, 1e-2, 1, RUNNING)
    assert told(study) == "λ 1.00e-2, fold 2 of 5"


def test_a_new_strength_lies_where_the_minimum_may_lie_or_is_not_said_to(make_study: MakeStudy) -> None:
    study = study_of(make_study, 0.0, 1e-6, 1e-4, 1e-2, 1.0)
    curve = read_state(study, PLAN).curve
    assert curve is not None
    low, high = curve.interval
    assert 0 < low < high < 1.0
    add(study, (low * high) ** 0.5, 0, RUNNING)
    line = told(study)
    assert line.startswith("looking between λ ")
    assert line.endswith(", where the minimum may lie")
    other = study_of(make_study, 0.0, 1e-6, 1e-4, 1e-2, 1.0, name="other")
    add(other, 0.9, 0, RUNNING)
    assert told(other) == "trying λ 9.00e-1, where one more fit promised most"


def test_a_strength_that_may_still_win(make_study: MakeStudy) -> None:
    study = make_study(lambda s: 0.5 + 0.01 * s, lambda s: 0.1 + s, strengths=(0.0, 1e-6, 1e-4, 1e-2), noise=0.1)
    add(study, 1e-3, 3, RUNNING)
    state = read_state(study, PLAN)
    assert state.curve is not None
    line = activity(state)
    means = {float(s): float(state.curve.mean(s)[0]) for s in state.seen.by_strength()}
    if min(means, key=means.__getitem__) == 1e-3:
        assert line == "λ 1.00e-3 is the most promising so far: two more folds at most"
    else:
        assert line.startswith("λ 1.00e-3 cannot yet be told from ")
        assert line.endswith(": two more folds at most")


def test_a_strength_that_is_lost_is_not_said_to_be_a_rival(make_study: MakeStudy) -> None:
    study = study_of(make_study, *SURE[:-1])
    add(study, 1.0, 1, RUNNING)
    state = read_state(study, PLAN)
    assert state.curve is not None
    assert not FoldRacingPruner().may_win(state.curve, 1.0)
    assert activity(state) == "λ 1.00e0, fold 2 of 5"


def test_what_completes_the_answer(make_study: MakeStudy) -> None:
    study = study_of(make_study, *SURE, fold_limit=lambda s: 3 if 1e-3 < s < 1e-2 else 5)
    state = read_state(study, PLAN)
    assert state.best is not None
    best, missing = state.best
    assert missing == 2
    add(study, best, 0, RUNNING, **{COMPLETE: True})
    assert told(study).startswith("completing λ_best ")
    assert told(study).endswith(": two folds missing")
    other = study_of(make_study, *SURE, fold_limit=lambda s: 4 if s == 1e-5 else 5, name="other")
    add(other, 1e-5, 0, RUNNING, **{COMPLETE: True})
    assert told(other) == "completing λ 1.00e-5: one fold missing", "neither λ_best nor λ_1se"


def test_an_audit(make_study: MakeStudy) -> None:
    study = study_of(make_study, *SURE, fold_limit=lambda s: 1 if s == 1.0 else 5)
    add(study, 1.0, 0, RUNNING, **{COMPLETE: True, AUDIT: True})
    assert told(study) == "auditing λ 1.00e0, which was pruned: four folds missing"


@pytest.mark.parametrize(
    ("plan", "line"), [(PLAN, "the answer is settled"), (Plan(12, settles=False), "all trials are done")]
)
def test_the_end(make_study: MakeStudy, plan: Plan, line: str) -> None:
    study = study_of(make_study, *SURE)
    assert told(study, plan) == line
    study.enqueue_trial({"lambda": 0.1})
    assert told(study, plan) == "one trial queued"
