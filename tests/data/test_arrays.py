import warnings

import numpy as np
import pytest
import torch

from l2tune.data.arrays import as_array, group_ids
from l2tune.data.images import assemble
from l2tune.errors import UserError

X = np.random.default_rng(0).integers(0, 256, (40, 6, 5), dtype=np.uint8)
Y = np.arange(40) % 4


def refusal(value):
    with pytest.raises(UserError) as refused:
        as_array(value, "x", "give an array")
    assert "\n" not in str(refused.value)
    return str(refused.value)


def quantized():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.from_numpy(X).float(), 1.0, 0, torch.quint8)


@pytest.mark.parametrize(
    "images",
    [
        torch.from_numpy(X).to_sparse(),
        torch.from_numpy(X).float().requires_grad_(),
        [torch.from_numpy(x).float().requires_grad_() for x in X],
        tuple(X),
        X.tolist(),
        quantized(),
        np.array([*X, None], object)[:-1],
        np.ma.array(X, mask=False),
        X.astype(">i4"),
        np.asfortranarray(X),
    ],
    ids=range(10),
)
def test_images_in_odd_forms_are_the_same_images(images):
    assert assemble(images, Y).fingerprint == assemble(X, Y).fingerprint


def test_float8_is_read():
    values = torch.tensor([[[0.5, 1.0]]] * 8).to(torch.float8_e4m3fn)
    assert as_array(values, "x", "").tolist() == [[[0.5, 1.0]]] * 8


class Raising:
    def __array__(self, dtype=None, copy=None):
        raise ZeroDivisionError("no array\nat all")


class Leaving:
    def __array__(self, dtype=None, copy=None):
        raise SystemExit(3)


class Interrupted:
    def __array__(self, dtype=None, copy=None):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("value", "start"),
    [
        (torch.empty(4, 3, 3, device="meta"), "x: have no values (a tensor on the meta device); give an array"),
        (Raising(), "x: are no array (ZeroDivisionError: no array at all); give an array"),
        (Leaving(), "x: are no array (SystemExit: 3); give an array"),
        ([[1, 2], [3]], "x: are no array (ValueError: "),
        (np.array([np.zeros((2, 2)), np.zeros((2, 3)), None], object)[:-1], "x: are no array (ValueError: "),
        (
            np.ma.array(X, mask=X > 200),
            "x: have masked values; fill them or leave those images out",
        ),
        ([torch.zeros(2, 2), torch.zeros(2, 3)], "x: are no array (ValueError: "),
    ],
)
def test_what_is_no_array_is_refused(value, start):
    assert refusal(value).startswith(start)


def test_nested_tensors_are_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nested = torch.nested.nested_tensor([torch.zeros(2, 2), torch.zeros(2, 3)])
    assert refusal(nested) == "x: are a nested tensor; give an array"


def test_ctrl_c_passes_through():
    with pytest.raises(KeyboardInterrupt):
        as_array(Interrupted(), "x", "")


def test_groups_may_be_names():
    assert group_ids(["b", "a", "b"], 3, "g").tolist() == [1, 0, 1]
    with pytest.raises(UserError, match=r"^g: 3 images but groups of shape 2; give one group per image$"):
        group_ids([1, 2], 3, "g")
    with pytest.raises(UserError, match=r"^g: have type float64; give whole numbers or names$"):
        group_ids([1.5, 2, 3], 3, "g")


def test_groups_of_objects_may_be_names():
    assert group_ids(np.array(["b", "a", "b"], object), 3, "g").tolist() == [1, 0, 1]
    with pytest.raises(UserError, match=r"^g: have type object; give whole numbers or names$"):
        group_ids(np.array(["b", None, "b"], object), 3, "g")
