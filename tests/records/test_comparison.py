"""Which studies are a comparison, in which order, and what a comparison reads of them."""

import optuna
import pytest

from l2tune.comparison import Comparison
from l2tune.errors import UserError
from l2tune.records.comparison import (
    Membership,
    baseline_of,
    comparison_names,
    comparison_studies,
    has_baseline,
    is_comparison,
    join_comparison,
    membership,
    share_baseline,
)
from l2tune.records.keys import STRENGTH
from l2tune.records.workers import Worker

FORMS = ("l1", "l2", "elastic")

ME = Worker()


def asked(form):
    return {"penalty": form, "lambda_range": (1e-6, 1.0)}


@pytest.fixture
def storage(make_study):
    """Three studies: L2 and L1 of comparison `a`, begun in that order, and one of none."""
    storage = optuna.storages.InMemoryStorage()
    for form in ("l2", "l1"):
        study = make_study(
            lambda s: 0.2 + s, lambda s: 0.1 + s, storage=storage, name=f"a-{form}", settings=asked(form)
        )
        join_comparison(study, "a", FORMS)
    make_study(lambda s: 0.2 + s, lambda s: 0.1 + s, storage=storage, name="alone", settings=asked("l2"))
    return storage


def study_of(storage, name):
    return optuna.load_study(study_name=name, storage=storage)


def test_studies_are_in_the_order_asked_for_not_in_that_of_beginning(storage):
    assert comparison_names(storage) == {"a-l2": "a", "a-l1": "a"}
    assert list(comparison_studies(storage, "a")) == ["l1", "l2"]
    assert comparison_studies(storage, "alone") == {}


def test_a_study_tells_what_it_is_a_part_of(storage):
    assert membership(study_of(storage, "a-l1")) == Membership("a", FORMS)
    assert membership(study_of(storage, "alone")) is None


def test_a_comparison_that_gets_another_form_tells_the_new_ones(storage):
    study = study_of(storage, "a-l1")
    join_comparison(study, "a", ("l2", "l1"))
    assert membership(study_of(storage, "a-l1")) == Membership("a", ("l2", "l1"))


def test_a_study_of_the_same_name_goes_before_the_comparison(storage, make_study):
    assert is_comparison(storage, "a")
    assert not is_comparison(storage, "a-l2")
    assert not is_comparison(storage, "alone")
    make_study(lambda s: 0.2 + s, lambda s: 0.1 + s, storage=storage, name="a", settings=asked("l2"))
    assert not is_comparison(storage, "a")


def test_lambda_zero_is_shared_only_where_it_is_finished_and_wanted(make_study):
    def study(strengths, **given):
        return make_study(lambda s: 0.2 + s, lambda s: 0.1 + s, strengths=strengths, settings=asked("l2"), **given)

    whole, without = study((0.0, 1e-3)), study((1e-3,))
    assert baseline_of(whole).user_attrs[STRENGTH] == 0.0
    assert baseline_of(without) is None
    assert has_baseline(whole)
    assert not has_baseline(without)
    raced = study((0.0, 1e-3), fold_limit=lambda s: 3)
    assert baseline_of(raced) is None
    assert not share_baseline(raced, without, ME)
    assert not share_baseline(without, whole, ME)
    assert share_baseline(whole, without, ME)
    assert baseline_of(without).value == baseline_of(whole).value
    assert not share_baseline(whole, without, ME)


def test_a_comparison_is_read_from_storage_alone(storage):
    c = Comparison.from_storage(storage, "a")
    assert list(c.estimates) == ["l1", "l2"]
    assert c.forms == FORMS
    assert c.missing == ("elastic",)
    assert [t.record.name for t in c.estimates.values()] == ["a-l1", "a-l2"]
    assert c.verdict.startswith("No form is measurably better") or "measurably better" in c.verdict


def test_a_comparison_that_is_not_there_is_one_line_that_names_those_that_are(storage):
    with pytest.raises(UserError, match="'b': no such comparison in this storage; it holds 'a'"):
        Comparison.from_storage(storage, "b")
    with pytest.raises(UserError, match="it holds none; run `l2tune compare`"):
        Comparison.from_storage(optuna.storages.InMemoryStorage(), "b")


def test_forms_that_were_begun_and_not_scored_are_missing(storage, make_study):
    study = make_study(
        lambda s: 0.2, lambda s: 0.1, storage=storage, name="a-elastic", strengths=(), settings=asked("elastic")
    )
    join_comparison(study, "a", FORMS)
    assert list(comparison_studies(storage, "a")) == list(FORMS)
    assert Comparison.from_storage(storage, "a").missing == ("elastic",)
