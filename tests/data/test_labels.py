import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from l2tune.data.images import assemble
from l2tune.data.labels import count_classes, read_labels
from l2tune.errors import UserError

X = np.random.default_rng(0).integers(0, 256, (40, 6, 5), dtype=np.uint8)
Y = np.arange(40) % 4


def read(labels, test=None, names=None):
    return read_labels([("y", labels)], None if test is None else ("t", test), names, "c")


def refusal(*args):
    with pytest.raises(UserError) as refused:
        read(*args)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@given(st.integers(2, 12), st.randoms(use_true_random=False))
def test_whole_labels_of_any_type_are_the_same(classes, chance):
    labels = [*range(classes), *(chance.randrange(classes) for _ in range(8))]
    chance.shuffle(labels)
    forms = [np.array(labels, dtype) for dtype in (np.int64, np.uint16, np.float64, ">i4", object)]
    forms += [labels, torch.tensor(labels), torch.tensor(labels)[:, None], np.eye(classes)[labels]]
    forms += [torch.nn.functional.one_hot(torch.tensor(labels)), np.array(labels)[:, None].astype(np.uint8)]
    for form in forms:
        found = read(form, form)
        assert found.training[0].tolist() == found.test.tolist() == labels
        assert found.training[0].dtype == torch.int64
        assert found.names == tuple(map(str, range(classes)))
        assert found.notes == ()
    found = read(np.array(labels) + 1, [1, classes])
    assert found.training[0].tolist() == labels
    assert found.test.tolist() == [0, classes - 1]
    assert found.names == tuple(map(str, range(1, classes + 1)))
    assert found.notes == (f"Labels 1..{classes} are renumbered 0..{classes - 1}.",)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1.5], "y: label 1.5 of image 1 is no whole number; give 0..K−1"),
        ([0, np.nan], "y: label nan of image 1 is no whole number; give 0..K−1"),
        ([0, 2**70], "y: label of image 1 needs more than 64 bits; give 0..K−1"),
        (np.array([0, 2**63], np.uint64), "y: label of image 1 needs more than 64 bits; give 0..K−1"),
        ([0, 1e30], "y: label of image 1 needs more than 64 bits; give 0..K−1"),
        ([0, None], "y: label of image 1 is a NoneType, no whole number; give one whole number 0..K−1 per image"),
        (["cat", 1], "y: are names and numbers mixed; give one kind of label"),
        (["cat", " "], "y: has an empty name; give a list of K names"),
        (3, "y: have shape (); give one whole number 0..K−1 per image"),
        ([], "y: there are none; give one whole number 0..K−1 per image"),
        (np.zeros((3, 0)), "y: have shape 3×0; give one whole number 0..K−1 per image"),
        (np.zeros((3, 2, 2)), "y: have shape 3×2×2; give one whole number 0..K−1 per image"),
        (np.full((3, 2), 0.5), "y: have shape 3×2; give one whole number 0..K−1 per image"),
        (
            [[1, 0, 0], [1, 1, 0]],
            "y: are multi-label: image 1 has 2 of 3 labels; give one label per image",
        ),
        ([[1, 0], [0, 0]], "y: image 1 has none of 2 labels; give one whole number 0..K−1 per image"),
        (
            np.array(["2020-01-01", "2020-01-02"], "datetime64[D]"),
            "y: have type datetime64[D]; give one whole number 0..K−1 per image",
        ),
        (np.array([1j, 2]), "y: have type complex128; give one whole number 0..K−1 per image"),
        ([0, 0, 0], "y: there is only one class, 0; give images of two classes or more"),
        ([0, -1, 2], "y: label -1 is negative; number the classes 0..K−1"),
        ([1, 2, 4], "y: labels go from 1 to 4 without a 0; number the classes 0..K−1 without gaps"),
        ([2, 3], "y: labels go from 2 to 3 without a 0; number the classes 0..K−1 without gaps"),
        ([[0, 1, 0], [0, 0, 1]], "y: labels go from 1 to 2 without a 0; number the classes 0..K−1 without gaps"),
    ],
)
def test_other_labels_are_refused(labels, message):
    assert refusal(labels) == message


def test_parts_are_numbered_alike():
    assert refusal([1, 2, 3], [0, 1]) == (
        "t: label 0 is outside 1..3, which the training images have; number the classes of all parts alike"
    )
    assert refusal([1, 2], [3]).startswith("t: label 3 is outside 1..2, which the training images have;")
    assert refusal(["a", "b"], ["c"]) == (
        "t: label 'c' is none of the training images' labels; give labels of the same classes"
    )
    assert refusal(["a", "b"], [0, 1]) == ("t: are names in one part and numbers in the other; give one kind of label")
    assert refusal(np.eye(3), np.eye(4)) == (
        "t: one-hot rows are 4 long, those of the training images 3; give one kind of label"
    )


@pytest.mark.parametrize(
    "labels",
    [
        ["dog", "cat", "dog"],
        np.array(["dog", "cat", "dog"], object),
        np.array([b"dog", b"cat", b"dog"]),
        np.array([["dog"], ["cat"], ["dog"]]),
        np.array(["dog", "cat", "dog"], np.dtypes.StringDType())
        if hasattr(np.dtypes, "StringDType")
        else ["dog", "cat", "dog"],
    ],
)
def test_names_as_labels_become_the_classes(labels):
    found = read(labels, ["cat"])
    assert (found.training[0].tolist(), found.test.tolist(), found.names) == ([1, 0, 1], [0], ("cat", "dog"))
    assert found.notes == ("Labels are names; classes are numbered in their order: cat, dog.",)
    assert read(labels, None, ["dog", "cat"]).training[0].tolist() == [0, 1, 0]
    assert refusal(labels, None, ["dog", "horse"]) == (
        "y: label 'cat' is none of the class names; give labels of the same classes"
    )
    assert refusal(labels, None, ["dog", "cat", "dog"]) == (
        "c: has a name twice, and the labels are names; give each name once"
    )


@pytest.mark.parametrize(
    "names",
    [
        ["a", "b", "c", "d"],
        ("a", "b", "c", "d"),
        np.array(["a", "b", "c", "d"]),
        np.array([b"a", b"b", b"c", b"d"]),
        (name for name in "abcd"),
        {"b": 1, "a": 0, "d": 3, "c": 2},
        {0: "a", 1: "b", 3: "d", 2: "c"},
        {"0": "a", "1": "b", "2": "c", "3": "d"},
        {"a": 0, "b": 1, "c": 2, "d": 3}.keys(),
    ],
    ids=range(9),
)
def test_class_names_in_every_form(names):
    data = assemble(X, Y, class_names=names)
    assert data.class_names == ("a", "b", "c", "d")
    assert data.labels.unique().tolist() == [0, 1, 2, 3]


def test_numbers_may_be_names():
    assert assemble(X, Y, class_names=[10, 20, 30.5, np.int64(4)]).class_names == ("10", "20", "30.5", "4")
    assert read([1, 2], None, {"a": 1, "b": 2}).names == ("a", "b")


def test_file_names_that_are_no_text_can_be_written():
    assert assemble(X, Y, class_names=["\udce4", "b", "c", "d"]).class_names[0].encode() == b"?"


class Raising:
    def __iter__(self):
        raise OSError("gone")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("abcd", "c: is a text, 'abcd'; give a list of K names"),
        ({"a", "b"}, "c: is a set, which has no order; give a list of K names"),
        (4, "c: is a int, which has no order; give a list of K names"),
        (["a", None], "c: holds a NoneType; give a list of K names"),
        (["a", ""], "c: has an empty name; give a list of K names"),
        (Raising(), "c: cannot be read (OSError: gone); give a list of K names"),
        (
            {"a": 0, "b": 2},
            "c: is a mapping that does not number the classes 0..K−1; give {name: label} or a list of K names",
        ),
        (
            {"a": 1, "b": 2, "c": 3, "d": 4},
            "c: numbers the classes from 1, the labels go from 0 to 3; give both from 0",
        ),
    ],
)
def test_other_class_names_are_refused(names, message):
    assert refusal(Y, None, names) == message


def test_endless_names_end():
    with pytest.raises(UserError, match=r"no training image is labelled 4 \('4'\)"):
        assemble(X, Y, class_names=itertools.count())


def test_labels_from_one_with_a_name_for_zero_are_refused():
    assert refusal([1, 2, 3], None, ["background", "a", "b", "c"]) == (
        "y: labels go from 1 to 3, and there are 4 class names; number the classes 0..K−1, or give one name per class"
    )
    assert read([1, 2, 3], None, ["a", "b", "c"]).names == ("a", "b", "c")


def test_gaps_of_counted_classes_are_refused():
    with pytest.raises(UserError) as refused:
        count_classes(torch.tensor([0, 1, 3, 10**12]), "y")
    assert str(refused.value) == (
        "y: labels go from 0 to 1000000000000 without a 2; number the classes 0..K−1 without gaps"
    )
