import os

import numpy as np
import pytest

from l2tune.data.folder import load_folder
from l2tune.errors import UserError

TWO = {"c0": 10, "c1": 10}


def load(folder):
    return load_folder(folder, None, grayscale=False)


def refusal(folder):
    with pytest.raises(UserError) as refused:
        load(folder)
    line = str(refused.value)
    assert "\n" not in line
    start = f"--data {folder}: "
    assert line.startswith(start)
    return line.removeprefix(start)


def sizes(data):
    return len(data.images), len(data.test_images)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Train", "Test"),
        ("Training", "Testing"),
        ("TRAIN", "testing"),
        ("training_set", "test_set"),
        ("train-data", "Test Data"),
    ],
)
def test_parts_by_their_usual_names(make_folder, train, test):
    make_folder(TWO, f"set/{train}")
    folder = make_folder({"c0": 2, "c1": 3}, f"set/{test}").parent
    data = load(folder)
    assert (data.class_names, sizes(data), data.notes) == (("c0", "c1"), (20, 5), ())


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("train", "valid", "test"), ("Training", "Validation", "Testing")]
)
def test_the_validation_part_joins_the_training_part(make_folder, names):
    train, val, _ = names
    for name, count in zip(names, (10, 4, 3), strict=True):
        folder = make_folder({"c0": count, "c1": count}, f"set/{name}").parent
    data = load(folder)
    assert (data.class_names, sizes(data)) == (("c0", "c1"), (28, 6))
    assert data.labels.tolist() == [0] * 10 + [1] * 10 + [0] * 4 + [1] * 4
    assert data.notes == (f"{val}/ joins {train}/: cross-validation makes its own validation parts.",)
    assert data.summary()["notes"] == list(data.notes)


def test_without_a_test_part_a_fifth_of_all_becomes_it(make_folder):
    make_folder(TWO, "set/train")
    folder = make_folder({}, "set")
    data = load(folder)
    assert sizes(data) == (16, 4)
    assert data.notes == ("There is no test/: a fifth of the pictures in train/ becomes the test part.",)
    make_folder({"c0": 5, "c1": 5}, "set/val")
    data = load(folder)
    assert sizes(data) == (24, 6)
    assert data.notes == (
        "val/ joins train/: cross-validation makes its own validation parts.",
        "There is no test/: a fifth of the pictures in train/ and val/ becomes the test part.",
    )


def test_folders_without_pictures_beside_the_parts_are_left_out(make_folder):
    make_folder(TWO, "set/train")
    folder = make_folder(TWO, "set/test").parent
    (folder / "annotations").mkdir()
    (folder / "annotations" / "a.json").write_text("{}")
    (folder / "val").mkdir()
    data = load(folder)
    assert sizes(data) == (20, 20)
    assert data.notes == (
        "annotations/ has no pictures and is left out.",
        "val/ has no pictures and is left out.",
    )


def test_classes_may_have_names_of_parts(make_folder):
    folder = make_folder({"train": 5, "bus": 5, "test": 5})
    assert load(folder).class_names == ("bus", "test", "train")
    steam = make_folder({"train": 5, "train/steam": 5, "bus": 5}, "steam")
    assert load(steam).class_names == ("bus", "train")


def test_parts_that_cannot_be_understood_are_refused(make_folder):
    def of(*folders):
        of.number += 1
        for inside, counts in folders:
            folder = make_folder(counts, f"set{of.number}{inside}")
        root = folder
        while root.name != f"set{of.number}":
            root = root.parent
        return refusal(root), root

    of.number = 0
    line, root = of(("/train", TWO), ("", {"test": 5}))
    assert line == (
        "train/ has class folders, and test/ beside it has pictures, but no class folders; "
        f"give --data {root}/train, or move test/ away"
    )
    line, root = of(("/train", TWO), ("", {"bus": 5}))
    assert line == (
        f"train/ has class folders, and bus/ beside it has pictures, too; give --data {root}/train, or move bus/ away"
    )
    line, root = of(("/train", TWO), ("/tset", TWO))
    assert line.startswith("train/ has class folders, and tset/ beside it has pictures, too; ")
    line, _ = of(("/train", TWO), ("", {"train": 1}), ("/test", TWO))
    assert line == "train/ has pictures beside its class folders; move them away, or into the class folders"
    line, _ = of(("", {"train": 5, "test": 5}))
    assert line == (
        "test/ and train/ hold pictures, not only class folders; "
        "put the pictures of each class into a folder of its own"
    )
    line, _ = of(("/train", TWO), ("/training", TWO))
    assert line == "train/ and training/ are both the training part; leave one of them"
    line, root = of(("/val", TWO), ("/test", TWO))
    assert line == (
        "has test/ with class folders but no such train/; "
        f"add train/, or give --data {root}/test: a fifth of it becomes the test part"
    )
    line, _ = of(("/train", {"a": 3, "b": 3, "c": 3}), ("/test", {"a": 3, "b": 3}))
    assert line == "class 'c' is in train/ only; train/ and test/ must hold the same classes"
    line, _ = of(("/train", {"a": 3}), ("/test", {"a": 3}))
    assert line == "train/ has only one class ('a'); give pictures of two classes or more"
    line, root = of(("/inner", TWO))
    assert line == (
        "has only one class ('inner'); give pictures of two classes or more, "
        f"or --data {root}/inner if the folders in it are the classes"
    )
    fix = "put class folders at the top with pictures directly inside, or below train/ and test/"
    line, _ = of(("/north", TWO), ("/south", TWO | {"c2": 2}))
    assert line == f"north/ and south/ hold the same folders (c0, c1): which are the classes?; {fix}"
    line, _ = of(("/cat", {"train": 3, "test": 2}), ("/dog", {"train": 3, "test": 2}))
    assert line == f"cat/ and dog/ hold the same folders (test, train): which are the classes?; {fix}"


def test_folders_inside_classes_are_told(make_folder):
    folder = make_folder({"a/deep": 3, "a/other": 2, "b": 5})
    data = load(folder)
    assert data.class_names == ("a", "b")
    assert data.notes == (f"Pictures in folders inside a class folder, such as {folder}/a/deep, belong to that class.",)


def counts(data):
    return np.bincount(np.concatenate([data.labels, data.test_labels])).tolist()


def test_links_back_into_the_folder_do_not_count_twice(make_folder):
    folder = make_folder({"a": 10, "b": 10})
    (folder / "a" / "up").symlink_to("..")
    (folder / "a" / "top").symlink_to("/")
    (folder / "a" / "sibling").symlink_to(folder / "b")
    data = load(folder)
    assert counts(data) == [10, 10]
    assert data.notes == tuple(
        f"{folder}/a/{name} leads back or around the data folder and is left out." for name in ("sibling", "top", "up")
    )


def test_links_to_elsewhere_are_read(make_folder, tmp_path):
    folder = make_folder({"a": 5, "b": 5})
    store = make_folder({"c": 5, "more": 4}, "store")
    make_folder({"d": 5}, "photos/.cache")
    (folder / "c").symlink_to(store / "c")
    (folder / "d").symlink_to(folder / ".cache" / "d")
    (folder / "a" / "more").symlink_to(store / "more")
    (folder / "b" / "one.png").symlink_to(store / "0.png")
    (store / "0.png").write_bytes((store / "c" / "0.png").read_bytes())
    data = load(folder)
    assert counts(data) == [9, 6, 5, 5]
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    assert load(linked).fingerprint == data.fingerprint


def test_a_class_that_is_a_link_to_another_is_refused(make_folder):
    folder = make_folder({"a": 5, "b": 5})
    (folder / "c").symlink_to("a")
    assert refusal(folder) == (
        f"{folder}/c is a link to {os.path.realpath(folder)}/a, inside or around the data folder itself; "
        "remove the link"
    )


def test_a_part_that_is_a_link_to_another_is_refused(make_folder):
    make_folder(TWO, "set/train")
    folder = make_folder(TWO, "set/test").parent
    (folder / "val").symlink_to("test")
    assert refusal(folder).startswith(f"{folder}/val is a link to ")


def test_a_file_in_two_classes_by_links_is_refused(make_folder, tmp_path):
    folder = make_folder({"a": 5, "b": 5})
    (folder / "b" / "x.png").symlink_to(folder / "a" / "3.png")
    message = f"{folder}/a/3.png and {folder}/b/x.png are the same file, in two classes; remove one of them"
    assert refusal(folder) == message
    (folder / "b" / "x.png").unlink()
    store = make_folder({"c": 5}, "store")
    for name in "ab":
        (folder / name / "store").symlink_to(store / "c")
    assert refusal(folder).endswith(f"{folder}/b/store/0.png are the same file, in two classes; remove one of them")


def test_a_file_in_one_class_by_two_links_counts_once(make_folder):
    folder = make_folder({"a": 5, "b": 5})
    (folder / "a" / "x.png").symlink_to("3.png")
    data = load(folder)
    assert counts(data) == [5, 5]
    assert data.notes == ("Linked pictures that are there under another name, too, count once (1).",)


def test_a_file_in_both_parts_by_links_is_refused(make_folder):
    make_folder(TWO, "set/train")
    folder = make_folder({"c0": 2, "c1": 2}, "set/test").parent
    (folder / "test" / "c0" / "x.png").symlink_to(folder / "train" / "c0" / "0.png")
    assert refusal(folder) == (
        f"{folder}/train/c0/0.png and {folder}/test/c0/x.png are the same file, in the training and the test part; "
        "remove one of them: the test part is for images that no fold sees"
    )


def test_loops_outside_end(make_folder):
    folder = make_folder({"a": 5, "b": 5})
    store = make_folder({"c": 5}, "store")
    (store / "c" / "again").symlink_to(store / "c")
    (store / "c" / "back").symlink_to(folder)
    (folder / "a" / "store").symlink_to(store)
    assert counts(load(folder)) == [10, 5]


def test_links_to_nothing_and_to_themselves_are_refused(make_folder):
    folder = make_folder({"a": 5, "b": 5})
    for place, target in ((folder / "c", "nowhere"), (folder / "loop", "loop"), (folder / "a" / "more", "/no/where")):
        place.symlink_to(target)
        assert refusal(folder) == f"{place} is a link to {target}, which is not there; mend or remove the link"
        place.unlink()
    (folder / "a" / "loop.png").symlink_to("loop.png")
    with pytest.raises(UserError, match=r"loop\.png: cannot be read as a picture"):
        load(folder)


def test_pictures_beside_the_class_folders_are_told(make_folder):
    folder = make_folder({"a": 5, "b": 5, "": 3})
    data = load(folder)
    assert counts(data) == [5, 5]
    assert data.notes == ("3 pictures beside the class folders belong to no class and are left out.",)
