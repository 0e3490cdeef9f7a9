import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2tune.data.folds import make_folds
from l2tune.errors import UserError


@given(st.lists(st.integers(5, 40), min_size=2, max_size=5), st.integers(2, 5), st.integers(1, 3), st.integers(0, 9))
def test_each_repeat_divides_the_images_evenly(sizes, folds, repeats, seed):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    made = make_folds(labels, folds=folds, repeats=repeats, seed=seed)
    assert len(made) == folds * repeats
    for repeat in range(repeats):
        parts = made[repeat * folds : (repeat + 1) * folds]
        assert np.array_equal(np.sort(np.concatenate([f.validation for f in parts])), np.arange(len(labels)))
        for fold in parts:
            assert fold.train.dtype == fold.validation.dtype == np.int64
            assert np.array_equal(np.union1d(fold.train, fold.validation), np.arange(len(labels)))
            assert len(fold.train) + len(fold.validation) == len(labels)
            counts = np.bincount(labels[fold.validation], minlength=len(sizes))
            assert (np.abs(counts - np.array(sizes) / folds) < 1).all()


def test_the_seed_and_the_repeat_change_the_folds():
    labels = np.arange(100) % 4
    first, again, other = (make_folds(labels, folds=5, repeats=2, seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a.train, b.train) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].validation, other[0].validation)
    assert not np.array_equal(first[0].validation, first[5].validation)


def test_the_sample_is_of_the_training_part_and_as_large_as_the_validation_part():
    fold, again = (make_folds(np.arange(100) % 4, folds=5)[0] for _ in range(2))
    assert len(fold.sample) == len(set(fold.sample.tolist())) == len(fold.validation) == 20
    assert set(fold.sample) <= set(fold.train)
    assert np.array_equal(fold.sample, again.sample)


def test_a_repeat_more_leaves_the_earlier_folds():
    labels = np.arange(60) % 3
    one, two = (make_folds(labels, folds=3, repeats=repeats, seed=4) for repeats in (1, 2))
    assert all(np.array_equal(a.validation, b.validation) for a, b in zip(one, two, strict=False))


def test_groups_never_stand_on_both_sides():
    rng = np.random.default_rng(0)
    groups, labels = rng.integers(0, 30, 300), rng.integers(0, 3, 300)
    for fold in make_folds(labels, folds=4, repeats=2, seed=0, groups=groups):
        assert not set(groups[fold.train]) & set(groups[fold.validation])
        assert set(labels[fold.train]) == {0, 1, 2}


@pytest.mark.parametrize(
    ("labels", "named", "message"),
    [
        (
            [0] * 9 + [1] * 3,
            {},
            "--folds: class 1 has 3 training images, fewer than 5 folds; "
            "use fewer folds, more images of it, or a larger --subset",
        ),
        (
            [0] * 9 + [1],
            {"class_names": ("cat", "dog")},
            "--folds: class 'dog' has 1 training image, fewer than 5 folds; "
            "use fewer folds, more images of it, or a larger --subset",
        ),
        (
            [0, 1] * 9,
            {"groups": np.arange(18) % 3},
            "--folds: 3 groups cannot fill 5 folds; use fewer folds",
        ),
        (
            [0] * 20 + [1] * 5,
            {"groups": np.concatenate([np.arange(20), np.full(5, 99)])},
            "--folds: groups leave one of 5 folds without a class or images; use fewer folds, or smaller groups",
        ),
    ],
)
def test_folds_that_cannot_be_are_refused(labels, named, message):
    with pytest.raises(UserError) as refused:
        make_folds(np.array(labels), folds=5, seed=0, **named)
    assert str(refused.value) == message


@given(st.lists(st.integers(0, 6), min_size=20, max_size=120), st.integers(2, 5), st.integers(0, 99))
def test_folds_without_groups_are_scikit_learns(drawn, folds, seed):
    from sklearn.model_selection import StratifiedKFold

    labels = np.concatenate([np.array(drawn), np.repeat(np.unique(drawn), folds)])
    state = int(np.random.SeedSequence([seed, 0]).generate_state(1)[0])
    splits = StratifiedKFold(folds, shuffle=True, random_state=state).split(labels, labels)
    made = make_folds(labels, folds=folds, seed=seed)
    for fold, (train, validation) in zip(made, splits, strict=True):
        assert np.array_equal(fold.train, train)
        assert np.array_equal(fold.validation, validation)
