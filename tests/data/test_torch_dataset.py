import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

from l2tune.data.images import assemble, from_object
from l2tune.errors import UserError

X = np.random.default_rng(0).integers(0, 256, (400, 6, 5), dtype=np.uint8)
Y = np.arange(400) % 4


class Made(Dataset):
    """Items that functions make of their index, counted."""

    def __init__(self, image=lambda index: X[index], label=lambda index: int(Y[index]), count=400, **attributes):
        self.image, self.label, self.count, self.reads = image, label, count, 0
        self.__dict__.update(attributes)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.reads += 1
        return self.image(index), self.label(index)


def refusal(value):
    with pytest.raises(UserError) as refused:
        from_object(value)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def flipped(draw):
    return lambda index: X[index, :, ::-1] if draw() < 0.5 else X[index]


OWN = np.random.default_rng(5)


@pytest.mark.parametrize(
    "draw",
    [
        random.random,
        np.random.random,
        lambda: torch.rand(()).item(),
        lambda: OWN.random(),
        lambda: np.random.default_rng().random(),
    ],
    ids=["random", "numpy", "torch", "own", "unseeded"],
)
def test_random_transforms_are_refused(draw):
    line = refusal(Made(flipped(draw)))
    assert line.startswith("data: item ")
    assert line.endswith(
        " is another image each time it is read; take the random transform out; --augment flip shift does it on the fly"
    )
    line = refusal((Made(), Made(flipped(draw))))
    assert line.startswith("data: test item ")


def test_a_transform_that_is_rarely_random_is_refused():
    random.seed(0)
    line = refusal(Made(lambda index: X[index] // 2 if random.random() < 0.1 else X[index]))
    assert " is another image each time it is read; " in line


def test_a_seed_set_by_the_data_set_itself_does_not_hide_it():
    def image(index):
        torch.manual_seed(0)
        return (X[index] if torch.rand(()) < 2 else X[0]) // 2 if image.count % 2 else X[index]

    image.count = 0

    def counted(index):
        image.count += 1
        return image(index)

    assert " is another image each time" in refusal(Made(counted))


def test_labels_and_orders_that_change_are_refused():
    end = "give a data set whose order and labels stay"
    line = refusal(Made(label=lambda index: random.randrange(4)))
    assert line.endswith(f" has another label each time it is read; {end}")
    endless = iter(range(10**6))
    line = refusal(Made(lambda index: X[0], lambda index: next(endless) % 4))
    assert line.endswith(f" has another label each time it is read; {end}")
    endless = iter(range(10**6))
    line = refusal(Made(lambda index: X[next(endless) % 400], lambda index: 0))
    assert " is another image each time it is read; " in line


def test_few_items_are_read_again_and_generators_are_left_alone():
    def state():
        return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002

    def image(index):  # draws, and does not use it
        random.random()
        np.random.random()  # noqa: NPY002
        torch.rand(3)
        return X[index]

    before = state()
    data = Made(image)
    found = from_object(data)
    after = state()
    assert before[0] == after[0]
    assert all(np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True))
    assert torch.equal(before[2], after[2])
    assert found.fingerprint == assemble(X, Y).fingerprint
    assert 400 < data.reads <= 400 + 64
    few = Made(count=8)
    from_object(few)
    assert few.reads <= 8 + 8
    failing = Made(lambda index: 1 / 0)
    before = random.getstate()
    refusal(failing)
    assert random.getstate() == before


def test_a_data_set_that_is_random_by_its_index_only_is_the_same_each_time():
    def image(index):
        return np.random.default_rng(index).integers(0, 256, (4, 4), dtype=np.uint8)

    assert len(from_object(Made(image)).images) == 320


@pytest.mark.parametrize(
    "label",
    [
        lambda index: Y[index],
        lambda index: np.array([Y[index]]),
        lambda index: torch.tensor(Y[index]),
        lambda index: torch.tensor([Y[index]]),
        lambda index: float(Y[index]),
        lambda index: torch.nn.functional.one_hot(torch.tensor(Y[index]), 4),
    ],
)
def test_labels_in_every_form(label):
    assert from_object(Made(label=label)).fingerprint == assemble(X, Y).fingerprint


def test_names_as_labels_and_classes_in_every_form():
    def named(index):
        return "abcd"[Y[index]]

    expected = assemble(X, Y, class_names=["a", "b", "c", "d"]).fingerprint
    assert from_object(Made(label=named)).fingerprint == expected
    for classes in (["a", "b", "c", "d"], ("a", "b", "c", "d"), np.array(["a", "b", "c", "d"])):
        assert from_object(Made(classes=classes)).fingerprint == expected
    assert from_object(Made(class_to_idx={"b": 1, "a": 0, "c": 2, "d": 3})).fingerprint == expected
    for nothing in (4, None, [], lambda: 3):
        assert from_object(Made(classes=nothing)).class_names == ("0", "1", "2", "3")


def sized(length):
    def __len__(self):
        return length() if callable(length) else length

    return type("Sized", (Made,), {"__len__": __len__})()


def failing(error):
    def fail(*_):
        raise error

    return fail


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            sized(failing(OSError("gone"))),
            "data: the length of the data set cannot be had (OSError: gone); give one with __len__ and __getitem__",
        ),
        (
            sized(-3),
            "data: the length of the data set cannot be had (ValueError: __len__() should return >= 0); "
            "give one with __len__ and __getitem__",
        ),
        (
            sized(2.5),
            "data: the length of the data set cannot be had (TypeError: 'float' object cannot be interpreted as an "
            "integer); give one with __len__ and __getitem__",
        ),
        (sized(0), "data: the data set is empty; give some images"),
        (sized(2**62), "data: item 148764065110560900 failed (IndexError: "),
        (
            type("Stream", (IterableDataset,), {"__iter__": lambda self: iter(())})(),
            "data: the data set has no length; give one with __len__ and __getitem__",
        ),
        (Made(failing(SystemExit(5))), "data: item 0 failed (SystemExit: 5); mend the data set"),
        (Made(failing(StopIteration())), "data: item 0 failed (StopIteration); mend the data set"),
        (
            Made(lambda index: torch.empty(3, 3, device="meta")),
            "data: item 0 has an image whose pixels have no values (a tensor on the meta device); "
            "give tensors, arrays or Pillow's images",
        ),
        (
            Made(label=lambda index: 2**70 if index else 0),
            "data: labels: label of image 1 needs more than 64 bits; give 0..K−1",
        ),
        (Made(label=lambda index: None), "data: labels: label of image 0 is a NoneType, no whole number; "),
        (Made(label=lambda index: "ab"[index % 2] if index % 4 else 3), "data: labels: are names and numbers mixed; "),
        (Made(label=lambda index: np.eye(3)), "data: item 0 has a label of shape 3×3; give one whole number"),
        (
            Made(label=lambda index: [0, 1] if index < 300 else 1, image=lambda index: X[index]),
            "data: labels of items 0 and 300 have shapes 2 and (); give one label per image",
        ),
        (Made(lambda index: X[index] + 0j), "data: item 0 has an image of type complex128; "),
        (Made(lambda index: np.zeros((0, 4), np.uint8)), "data: images: have no pixels (shape 400×1×0×4); give some"),
        (
            Made(lambda index: Image.fromarray(X[index]) if index < 300 else X[index]),
            "data: images differ: item 0 is 1×6×5 picture, item 300 is 1×6×5 uint8; ",
        ),
        (Made(classes="abcd"), "data: class_names: is a text, 'abcd'; give a list of K names"),
        (Made(classes=["a", None, "c", "d"]), "data: class_names: holds a NoneType; give a list of K names"),
        ([Made(), 3], "data: images: "),
    ],
    ids=range(20),
)
def test_odd_data_sets_are_refused(value, message):
    line = refusal(value)
    assert line.startswith(message)


def test_ctrl_c_passes_through():
    with pytest.raises(KeyboardInterrupt):
        from_object(Made(failing(KeyboardInterrupt())))


@pytest.mark.parametrize(
    "image",
    [
        lambda index: torch.from_numpy(X[index]).to_sparse(),
        lambda index: torch.from_numpy(X[index]).float().requires_grad_(),
        lambda index: torch.from_numpy(X[index])[None].to(torch.bfloat16),
        lambda index: X[index].astype(">u2"),
        lambda index: X[index].astype(np.longdouble),
        lambda index: X[index][:, :, None],
        lambda index: Image.fromarray(X[index]),
        lambda index: Image.fromarray(X[index].astype(np.uint16)) if index % 3 else Image.fromarray(X[index]),
    ],
    ids=range(8),
)
def test_images_in_odd_forms(image):
    assert from_object(Made(image)).fingerprint == assemble(X, Y).fingerprint
