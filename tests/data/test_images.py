import hashlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from l2tune.data.images import ImageData, assemble, from_object, take_subset
from l2tune.errors import UserError

X = np.random.default_rng(0).integers(0, 256, (40, 1, 6, 5), dtype=np.uint8)
Y = np.arange(40) % 4


def tensors(**changes):
    values = {
        "images": torch.from_numpy(X),
        "labels": torch.from_numpy(Y),
        "class_names": ("a", "b", "c", "d"),
        "test_images": torch.from_numpy(X[:8]),
        "test_labels": torch.from_numpy(Y[:8]),
    }
    return values | changes


def refusal(make, *args, **named):
    with pytest.raises(UserError) as refused:
        make(*args, **named)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_plain_facts():
    data = ImageData(**tensors())
    assert (data.classes, data.shape) == (4, (1, 6, 5))
    assert data.summary() == {
        "name": "images",
        "images": 40,
        "test_images": 8,
        "shape": [1, 6, 5],
        "classes": 4,
        "class_names": ["a", "b", "c", "d"],
        "fingerprint": data.fingerprint,
        "notes": [],
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"images": torch.zeros(40, 6, 5, dtype=torch.uint8)},
            "images: images: have shape (40, 6, 5), torch.uint8; give uint8 N×C×H×W",
        ),
        (
            {"images": torch.zeros(40, 1, 6, 5)},
            "images: images: have shape (40, 1, 6, 5), torch.float32; give uint8 N×C×H×W",
        ),
        (
            {"labels": torch.zeros(39, dtype=torch.int64)},
            "images: images: 40 images but 39 labels; give one label per image",
        ),
        (
            {"labels": torch.zeros(40)},
            "images: images: labels have shape (40,), torch.float32; give int64 N",
        ),
        (
            {"test_images": torch.zeros(8, 3, 6, 5, dtype=torch.uint8)},
            "images: test_images: are 3×6×5, training images 1×6×5; give one shape",
        ),
        (
            {"test_images": torch.zeros(0, 1, 6, 5, dtype=torch.uint8), "test_labels": torch.zeros(0).long()},
            "images: test_images: there are none; give some",
        ),
        (
            {"test_labels": torch.arange(8)},
            "images: test_labels: label 7 is outside 0..3; test images must be of the training images' classes",
        ),
        ({"class_names": ("a", "b")}, "images: class_names: 4 classes but 2 names; give one name per class"),
        (
            {"class_names": ("a", "b", "c", "d", "e")},
            "images: labels: no training image is labelled 4 ('e'); give images of every class",
        ),
        (
            {"labels": torch.zeros(40).long()},
            "images: labels: there is only one class, 0; give images of two classes or more",
        ),
        (
            {"groups": np.zeros(3, np.int64)},
            "images: groups: 40 images but groups of shape (3,); give one group per image",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    assert refusal(ImageData, **tensors(**changes)) == message


def test_the_fingerprint_knows_every_part():
    other_pixel = torch.from_numpy(X.copy())
    other_pixel[3, 0, 2, 1] ^= 1
    versions = [
        {},
        {"images": other_pixel},
        {"labels": torch.from_numpy(Y[::-1].copy())},
        {"test_images": torch.from_numpy(X[1:9])},
        {"test_labels": torch.from_numpy(Y[1:9])},
        {"class_names": ("a", "b", "c", "e")},
        {"groups": np.zeros(40, np.int64)},
        {"groups": np.arange(40)},
        {
            "images": torch.from_numpy(X.reshape(40, 1, 5, 6)),
            "test_images": torch.from_numpy(X[:8].reshape(8, 1, 5, 6)),
        },
    ]
    prints = [ImageData(**tensors(**changes)).fingerprint for changes in versions]
    assert len(set(prints)) == len(versions)
    assert (
        ImageData(
            **tensors(name="other"),
        ).fingerprint
        == prints[0]
    )


def test_the_fingerprint_is_the_documented_sum():
    digest = hashlib.sha256(b"('a', 'b', 'c', 'd')")
    for array, kind in ((X, "|u1"), (Y, "<i8"), (X[:8], "|u1"), (Y[:8], "<i8")):
        digest.update(f"('{kind}', {array.shape})".encode() + array.astype(kind).tobytes())
    assert ImageData(**tensors()).fingerprint == digest.hexdigest()


def test_without_a_test_part_a_fifth_becomes_it():
    data = assemble(X, Y)
    assert (len(data.images), len(data.test_images)) == (32, 8)
    assert data.class_names == ("0", "1", "2", "3")
    everything = torch.cat([data.images, data.test_images]).flatten(1).tolist()
    assert sorted(everything) == sorted(X.reshape(40, -1).tolist())


@pytest.mark.parametrize(
    ("args", "named", "message"),
    [
        ((X, Y[:30]), {}, "images: 40 images but 30 labels; give one label per image"),
        ((X[:0], Y[:0]), {}, "images: images: there are no images; give some"),
        ((X, Y, X), {}, "images: has test_images but no test_labels; give both or none"),
        ((X, Y), {"test_labels": Y}, "images: has test_labels but no test_images; give both or none"),
        ((X, Y + 2), {}, "images: labels: labels go from 2 to 5 without a 0; number the classes 0..K−1 without gaps"),
        ((X, Y), {"class_names": [*"abc"]}, "images: class_names: 4 classes but 3 names; give one name per class"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(args, named, message):
    assert refusal(assemble, *args, **named) == message


class Pairs(Dataset):
    def __init__(self, items, classes=None):
        self.items = items
        if classes:
            self.classes = classes

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def test_every_python_form_gives_the_same_images():
    expected = assemble(X, Y, X[:8], Y[:8])
    as_tensors = TensorDataset(torch.from_numpy(X).float() / 255, torch.from_numpy(Y))
    as_pictures = Pairs([(Image.fromarray(x[0]), int(y)) for x, y in zip(X, Y, strict=True)])
    as_arrays = Pairs([(x[0], y) for x, y in zip(X, Y, strict=True)])
    forms = [
        (X, Y, X[:8], Y[:8]),
        [torch.from_numpy(X), torch.from_numpy(Y), X[:8], Y[:8]],
        {"images": X, "labels": Y, "test_images": X[:8], "test_labels": Y[:8]},
        expected,
        *((whole, torch.utils.data.Subset(whole, range(8))) for whole in (as_tensors, as_pictures, as_arrays)),
    ]
    for form in forms:
        assert from_object(form).fingerprint == expected.fingerprint, form
    assert from_object((X, Y)).fingerprint == from_object(as_pictures).fingerprint == assemble(X, Y).fingerprint


def test_a_data_set_names_its_classes_and_keeps_colours():
    colour = Image.new("RGB", (4, 5), (10, 20, 30))
    data = from_object(Pairs([(colour, k % 2) for k in range(20)], classes=["cat", "dog"]))
    assert data.class_names == ("cat", "dog")
    assert data.images[0, :, 0, 0].tolist() == [10, 20, 30]


def _failing(_):
    raise KeyError("gone")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            X,
            "data: a ndarray cannot be images with labels; give (images, labels), "
            "(images, labels, test_images, test_labels), a torch Dataset or an ImageData",
        ),
        (
            (X, Y, X),
            "data: 3 values cannot be images with labels; give (images, labels), "
            "(images, labels, test_images, test_labels), a torch Dataset or an ImageData",
        ),
        ((Pairs([]), Pairs([]), Pairs([])), "data: 3 data sets were given; give one, or (training, test)"),
        (
            {"images": X},
            "data: has no 'labels'; it has images; known are "
            "images, labels, test_images, test_labels, groups, class_names",
        ),
        ({"images": X, "labels": Y, "test_image": X}, "data: 'test_image' is unknown; did you mean 'test_images'?"),
        (Pairs([]), "data: the data set is empty; give some images"),
        (Pairs([X[0]]), "data: item 0 is no (image, label) pair; give a data set of pairs"),
        (Pairs([(X[0, 0], 0), (X[1, 0], 0.5)]), "data: labels: label 0.5 of image 1 is no whole number; give 0..K−1"),
        (Pairs([("x.png", 0)]), "data: item 0 has a str for an image; give tensors, arrays or Pillow's images"),
        (Pairs([(np.zeros(3), 0)]), "data: item 0 has an image of shape 3; give C×H×W or H×W"),
        (
            Pairs([(X[0, 0], 0), (X[0, 0, :3], 1)]),
            "data: images differ: item 0 is 1×6×5 uint8, item 1 is 1×3×5 uint8; "
            "bring them to one size with a transform",
        ),
        (
            type("Broken", (Pairs,), {"__getitem__": lambda self, index: _failing(index)})([1, 2]),
            "data: item 0 failed (KeyError: 'gone'); mend the data set",
        ),
    ],
)
def test_other_objects_are_refused(value, message):
    assert refusal(from_object, value) == message


def test_a_subset_is_stratified_and_leaves_the_test_part():
    data = ImageData(**tensors(groups=np.arange(40) // 2))
    part = take_subset(data, 12)
    assert torch.bincount(part.labels).tolist() == [3, 3, 3, 3]
    assert part.test_images is data.test_images
    kept = [X.reshape(40, -1).tolist().index(x) for x in part.images.flatten(1).tolist()]
    assert part.labels.tolist() == Y[kept].tolist()
    assert part.groups.tolist() == (np.array(kept) // 2).tolist()
    assert take_subset(data, None) is take_subset(data, 40) is data
    assert part.fingerprint != data.fingerprint


def test_a_subset_that_cannot_be_is_refused():
    data = ImageData(**tensors())
    assert (
        refusal(take_subset, data, 41)
        == "--subset 41: images has only 40 training images; ask for 40 or fewer, or leave it out"
    )
    assert refusal(take_subset, data, 3) == (
        "--subset 3: is too few for 4 classes; ask for as many of each class as folds"
    )
