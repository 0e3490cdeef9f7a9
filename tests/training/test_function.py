"""A user's own training function as a trainer. `test_conformance.py` has the protocol."""

import functools
import math

import pytest

from l2tune.errors import UserError
from l2tune.members import Member
from l2tune.metrics import BUILT_IN, Metric
from l2tune.penalty.strength import StrengthScale
from l2tune.training.function import FunctionTrainer, source_hash

MEMBER = Member(1e-3, 2, 17)


def scores_of(fit, **settings):
    """All scores of one member."""
    return [found[0] for found in FunctionTrainer(fit, 3, **settings).start([MEMBER])]


def test_it_is_called_once_with_strength_fold_and_seed():
    calls = []

    def fit(strength, fold, seed):
        calls.append((strength, fold, seed))
        return 0.5

    assert scores_of(fit)[0].val_loss == 0.5
    assert calls == [(1e-3, 2, 17)]


def test_nothing_is_called_before_the_run_is_iterated():
    calls = []
    FunctionTrainer(lambda *member: calls.append(member), 3).start([MEMBER])
    assert calls == []


@pytest.mark.parametrize("metric", ["loss", "error"])
def test_a_bare_number_is_the_metric(metric):
    (scores,) = scores_of(lambda *_: 0.25, metric=BUILT_IN[metric])
    found = {"loss": scores.val_loss, "error": scores.val_error}
    assert found.pop(metric) == 0.25
    assert math.isnan(*found.values())
    assert math.isnan(scores.train_loss)
    assert (scores.member, scores.epoch, scores.diverged) == (MEMBER, 1, False)


def test_further_scores_keep_their_names_and_the_metric_may_be_any():
    (scores,) = scores_of(lambda *_: {"f1": 0.75, "train_f1": 1.0, "test_auc": 0.5}, metric=Metric("f1", maximize=True))
    assert scores.others == {"val_f1": 0.75, "train_f1": 1.0, "test_auc": 0.5}
    assert scores.score("val_f1") == 0.75
    assert not scores.diverged
    (scores,) = scores_of(lambda *_: {"val_error": 0.25}, metric=BUILT_IN["accuracy"])
    assert scores.score("val_accuracy") == 0.75


def test_it_is_called_with_the_strength_on_its_scale():
    calls = []
    scores_of(lambda strength, *_: calls.append(strength) or 0.5, scale=StrengthScale("C"))
    assert calls == [1e3]


def test_the_length_of_a_schedule_that_only_the_function_knows_is_learnt():
    def fit(strength, fold, seed):
        yield from (3.0, 2.0, 1.0)

    trainer = FunctionTrainer(fit, 3, epochs=None)
    assert trainer.epochs > 10**9
    list(trainer.start([MEMBER]))
    assert trainer.epochs == 3


def test_the_hash_tells_sources_apart_and_reads_partials_objects_and_closures():
    def one(strength, fold, seed):
        return 1.0

    def other(strength, fold, seed):
        return 2.0

    class Callable:
        def __call__(self, strength, fold, seed):
            return 1.0

    assert source_hash(one) != source_hash(other)
    assert source_hash(functools.partial(one, fold=1)) == source_hash(one)
    assert source_hash(Callable()) == source_hash(Callable)
    assert source_hash(math.sin) is None


def test_a_mapping_gives_any_of_the_four_scores():
    (scores,) = scores_of(lambda *_: {"val_loss": 1, "train_error": 0.5, "train_loss": 0.75})
    assert (scores.val_loss, scores.train_loss, scores.train_error) == (1.0, 0.75, 0.5)
    assert math.isnan(scores.val_error)


def test_yielded_scores_are_epochs():
    def fit(strength, fold, seed):
        yield 3.0
        yield {"val_loss": 2.0}
        yield 1.0

    scores = scores_of(fit, epochs=3)
    assert [(s.epoch, s.val_loss) for s in scores] == [(1, 3.0), (2, 2.0), (3, 1.0)]


def test_members_that_end_early_leave_the_others_to_go_on():
    def fit(strength, fold, seed):
        yield from [1.0] * (fold + 1)

    members = [Member(0.1, fold, 0) for fold in (2, 0, 1)]
    run = FunctionTrainer(fit, 3, epochs=3).start(members)
    assert [[s.member.fold for s in found] for found in run] == [[2, 0, 1], [2, 1], [2]]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, {"val_loss": math.nan, "train_loss": 1.0}])
def test_a_metric_that_is_not_finite_means_divergence(value):
    def fit(strength, fold, seed):
        yield 1.0
        yield value
        yield 1.0

    assert [s.diverged for s in scores_of(fit, epochs=3)] == [False, True]


def test_another_score_that_is_not_finite_does_not():
    (scores,) = scores_of(lambda *_: {"val_loss": 1.0, "train_loss": math.nan})
    assert not scores.diverged


def test_dropping_closes_the_generator():
    closed = []

    def fit(strength, fold, seed):
        try:
            while True:
                yield 1.0
        finally:
            closed.append(fold)

    run = FunctionTrainer(fit, 3, epochs=5).start([MEMBER])
    next(run)
    run.drop([MEMBER])
    assert closed == [2]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"accuracy": 0.9},
            "fold 2: fit gave the scores accuracy, no 'loss' among them; give 'val_loss', or name another metric=",
        ),
        ({"train_loss": 0.9}, "fit gave the scores train_loss, no 'loss' among them; give 'val_loss'"),
        ({"val_loss": 0.9, "f1": "high"}, "fit gave val_f1 = 'high'; give a number"),
        ({}, "fit gave the scores nothing, no 'loss' among them; give 'val_loss'"),
        (None, "fit gave val_loss = None; give a number, or a mapping of names to numbers"),
        ("good", "fit gave val_loss = 'good'; give a number"),
        ({"val_loss": [1, 2]}, "give a number"),
    ],
)
def test_wrong_scores_are_named(value, message):
    with pytest.raises(UserError) as refused:
        scores_of(lambda *_: value)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_cannot_be_called_is_refused():
    with pytest.raises(UserError, match=r"'train\.py' cannot be called; give a function"):
        FunctionTrainer("train.py", 3)


def test_an_error_inside_the_function_is_the_users_to_see():
    def fit(strength, fold, seed):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        scores_of(fit)


def test_description_names_the_function():
    described = FunctionTrainer(test_description_names_the_function, 3).describe()
    assert described["function"].endswith(":test_description_names_the_function")


def test_a_score_that_is_given_under_two_names_is_refused():
    with pytest.raises(UserError, match=r"^fold 2: fit gave both 'loss' and 'val_loss'"):
        scores_of(lambda *member: {"val_loss": 0.4, "loss": 0.1})  # as Keras writes its logs


@pytest.mark.parametrize("huge", [10**400, 1.7e308, -1e300])
def test_a_score_too_large_to_compute_with_counts_as_diverged(huge):
    assert scores_of(lambda *member: huge)[0].diverged
