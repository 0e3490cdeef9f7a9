import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2tune.data.split import split_off_test, stratified_part
from l2tune.errors import UserError


@given(st.lists(st.integers(1, 60), min_size=2, max_size=8), st.data())
def test_a_stratified_part_is_exact_and_proportional(sizes, data):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    count = data.draw(st.integers(len(sizes), len(labels)))
    part = stratified_part(labels, count)
    taken = np.bincount(labels[part], minlength=len(sizes))
    exact = np.array(sizes) * count / len(labels)
    assert len(part) == len(np.unique(part)) == count
    assert (np.diff(part) > 0).all()
    assert (taken >= 1).all()
    if (exact >= 1).all():
        assert (np.abs(taken - exact) < 1).all(), (taken, exact)


def test_a_smaller_part_of_equal_classes_lies_in_a_larger_one():
    labels = np.arange(1000) % 10
    assert set(stratified_part(labels, 100)) < set(stratified_part(labels, 300))


@given(st.lists(st.integers(2, 60), min_size=2, max_size=8))
def test_the_test_part_is_a_stratified_fifth(sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    train, test = split_off_test(labels, None, "x")
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(len(labels)))
    assert len(np.unique(labels[train])) == len(np.unique(labels[test])) == len(sizes)
    assert len(test) == max(round(0.2 * len(labels)), len(sizes))


def test_groups_stay_together():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 40, 500)
    labels = rng.integers(0, 3, 500)
    train, test = split_off_test(labels, groups, "x")
    assert not set(groups[train]) & set(groups[test])
    assert 60 < len(test) < 140


def test_what_cannot_be_split_is_refused():
    with pytest.raises(UserError) as refused:
        split_off_test(np.array([0, 0, 1]), None, "x")
    assert str(refused.value) == "x: class 1 has only one image; give at least as many of each class as folds"
    one_group_per_class = np.repeat([0, 1], 20)
    with pytest.raises(UserError) as refused:
        split_off_test(one_group_per_class, one_group_per_class, "x")
    assert str(refused.value) == "x: groups leave no test part beside all classes; give test_images, or smaller groups"
