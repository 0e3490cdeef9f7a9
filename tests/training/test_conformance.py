"""What every trainer must do, whatever trains: the `Trainer` and `Run` protocols of `l2tune.members`."""

import json
import math
from functools import partial

import pandas as pd
import pytest

from l2tune.members import Member
from l2tune.training.function import FunctionTrainer
from l2tune.training.replay import ReplayTrainer
from l2tune.training.sequential import SequentialTrainer
from l2tune.training.stacked.population import PopulationTrainer

EPOCHS, FOLDS = 4, 3
DIVERGES = 1e9
"""λ that no engine here survives."""

MEMBERS = [Member(strength, fold, 100 + fold) for strength in (0.0, 1e-3, 1e-1) for fold in range(FOLDS)]


def course(strength, fold, seed):
    """A loss that falls epoch by epoch; NaN in the second one where λ is huge."""
    for epoch in range(1, EPOCHS + 1):
        loss = math.nan if strength >= DIVERGES and epoch > 1 else (1 + strength + 0.1 * fold) / epoch
        yield {"val_loss": loss, "train_loss": loss / 2, "val_error": 0.2, "train_error": 0.1}


def recorded():
    rows = [
        {"lambda": strength, "fold": fold, "epoch": epoch} | scores
        for strength in (0.0, 1e-3, 1e-1, DIVERGES)
        for fold in range(FOLDS)
        for epoch, scores in enumerate(course(strength, fold, 0), 1)
    ]
    return pd.DataFrame(rows)


@pytest.fixture(params=["sequential", "side by side", "population", "function", "replay"])
def trainer(request, small):
    """One of each engine. A new engine joins the suite here."""
    if request.param == "function":
        return FunctionTrainer(course, FOLDS, epochs=EPOCHS)
    if request.param == "replay":
        return ReplayTrainer(recorded())
    engines = {"sequential": SequentialTrainer, "population": PopulationTrainer}
    engine = engines.get(request.param) or partial(SequentialTrainer, side_by_side=2)
    return small.trainer(epochs=EPOCHS, schedule="constant", engine=engine)


def assert_same(trainer, found, expected):
    """Equal; for stacked members up to rounding, for sums are taken in an order that depends on their number."""
    if not isinstance(trainer, PopulationTrainer) or expected is None:
        assert found == expected
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(trainer, one, other)
    else:
        assert found == pytest.approx(expected, rel=1e-4)


def test_it_tells_folds_and_epochs(trainer):
    assert (trainer.folds, trainer.epochs) == (FOLDS, EPOCHS)


def test_its_description_can_be_stored(trainer):
    described = dict(trainer.describe())
    assert described["engine"]
    assert json.loads(json.dumps(described)) == described


def test_members_advance_in_lockstep(trainer):
    epochs = [[(scores.member, scores.epoch) for scores in found] for found in trainer.start(MEMBERS)]
    assert epochs == [[(member, epoch) for member in MEMBERS] for epoch in range(1, EPOCHS + 1)]


def test_a_run_is_its_own_iterator_and_stays_ended(trainer):
    run = trainer.start(MEMBERS[:2])
    assert iter(run) is run
    assert len(list(run)) == EPOCHS
    assert list(run) == []
    run.drop(MEMBERS[:2])


def test_no_members_no_epochs(trainer):
    assert list(trainer.start([])) == []


def test_scores_are_finite_and_seconds_add_up(trainer, train):
    for history in train(trainer, MEMBERS).values():
        for scores in history:
            assert all(math.isfinite(v) for v in (scores.train_loss, scores.val_loss))
            assert 0 <= scores.train_error <= 1
            assert 0 <= scores.val_error <= 1
            assert not scores.diverged
        seconds = [scores.seconds for scores in history]
        assert seconds == sorted(seconds)
        assert seconds[0] >= 0


def test_a_member_scores_the_same_twice(trainer, train, numbers):
    first, second = (train(trainer, MEMBERS) for _ in range(2))
    for member in MEMBERS:
        assert numbers(first[member]) == numbers(second[member])


def test_scores_do_not_depend_on_the_other_members_or_on_their_order(trainer, train, numbers):
    together = train(trainer, MEMBERS)
    backwards = train(trainer, MEMBERS[::-1])
    for member in MEMBERS:
        assert_same(trainer, numbers(together[member]), numbers(backwards[member]))
    for member in MEMBERS[::4]:
        assert_same(trainer, numbers(together[member]), numbers(train(trainer, [member])[member]))


@pytest.mark.parametrize("after", range(1, EPOCHS))
def test_dropped_members_leave_and_the_others_do_not_notice(trainer, train, numbers, after):
    complete = train(trainer, MEMBERS)
    gone = MEMBERS[::2]
    found = {member: [] for member in MEMBERS}
    run = trainer.start(MEMBERS)
    for epoch, epoch_scores in enumerate(run, 1):
        for scores in epoch_scores:
            found[scores.member].append(scores)
        if epoch == after:
            run.drop(gone)
    for member in MEMBERS:
        assert_same(trainer, numbers(found[member]), numbers(complete[member])[: after if member in gone else EPOCHS])


def test_a_run_ends_when_all_members_are_dropped(trainer):
    run = trainer.start(MEMBERS)
    next(run)
    run.drop(MEMBERS)
    assert list(run) == []


def test_members_dropped_before_the_first_epoch_are_not_trained(trainer):
    run = trainer.start(MEMBERS)
    run.drop(MEMBERS[1:])
    assert [[scores.member for scores in found] for found in run] == [MEMBERS[:1]] * EPOCHS


def test_dropping_unknown_or_dropped_members_changes_nothing(trainer):
    run = trainer.start(MEMBERS[:2])
    run.drop([Member(0.7, 0, 9)])
    next(run)
    run.drop([MEMBERS[0], Member(0.7, 0, 9)])
    run.drop([MEMBERS[0]])
    assert [[scores.member for scores in found] for found in run] == [[MEMBERS[1]]] * (EPOCHS - 1)


def test_divergence_is_the_members_last_score_and_the_others_go_on(trainer, train, numbers):
    lost = Member(DIVERGES, 1, 101)
    alone = train(trainer, MEMBERS[:4])
    found = train(trainer, [*MEMBERS[:2], lost, *MEMBERS[2:4]])
    diverged = found.pop(lost)
    assert [scores.diverged for scores in diverged] == [False] * (len(diverged) - 1) + [True]
    assert diverged[-1].network is None
    assert not diverged[-1].first_estimates
    for member in MEMBERS[:4]:
        assert numbers(found[member]) == numbers(alone[member])
