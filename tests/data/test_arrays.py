import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from l2tune.data.arrays import count_classes, group_ids, image_tensor, label_tensor
from l2tune.errors import UserError


def whole(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(5, 9, 7), (5, 1, 9, 7), (5, 9, 7, 1)])
def test_one_channel_in_every_layout(shape):
    pixels = whole((5, 9, 7))
    found = image_tensor(pixels.reshape(shape), "x")
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy()[:, 0], pixels)


def test_channels_last_is_turned():
    pixels = whole((5, 9, 7, 3))
    assert np.array_equal(image_tensor(pixels, "x").numpy(), pixels.transpose(0, 3, 1, 2))
    assert image_tensor(pixels, "x").is_contiguous()


def test_a_tensor_that_fits_both_layouts_is_torchs():
    assert image_tensor(torch.zeros(5, 3, 8, 4), "x").shape == (5, 3, 8, 4)
    assert image_tensor(torch.zeros(5, 8, 8, 3), "x").shape == (5, 3, 8, 8)


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.int8, np.float32, np.float64, np.float16])
def test_whole_numbers_stay_as_they_are(dtype):
    pixels = whole((3000, 5, 5)) // 2
    assert np.array_equal(image_tensor(pixels.astype(dtype), "x").numpy()[:, 0], pixels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floating_point_to_one_is_scaled(dtype):
    pixels = whole((2000, 5, 5))
    pixels[0, 0, 0] = 255
    found = image_tensor(torch.from_numpy(pixels).to(torch.float64).div(255).to(dtype), "x").numpy()[:, 0]
    assert np.abs(found.astype(int) - pixels).max() <= (1 if dtype == torch.bfloat16 else 0)


def test_fractions_to_255_are_rounded():
    assert image_tensor(np.array([[[0.4, 254.6]], [[10.5, 11.5]]]), "x").flatten().tolist() == [0, 255, 10, 12]


def test_truth_values_are_black_and_white():
    assert image_tensor(np.array([[[True, False]]]), "x").flatten().tolist() == [255, 0]


def test_read_only_memory_is_copied():
    pixels = whole((4, 5, 5))
    pixels.flags.writeable = False
    image_tensor(pixels, "x")[0] = 7  # torch would warn, and writing would be undefined
    assert not (pixels[0] == 7).all()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((5, 5)), "x: have shape 5×5; give N×H×W, N×C×H×W or N×H×W×C"),
        (
            np.zeros((5, 9, 8, 7)),
            "x: have shape 5×9×8×7, without channels; give N×H×W, N×C×H×W or N×H×W×C with 1 to 4 channels",
        ),
        (
            np.zeros((5, 3, 8, 3)),
            "x: shape 5×3×8×3 can be N×C×H×W or N×H×W×C; give a torch tensor N×C×H×W",
        ),
        (
            np.full((5, 5, 5), 256),
            "x: pixels reach from 256 to 256; "
            "give 0..255, or 0..1 in floating point (normalization is done in training)",
        ),
        (
            np.linspace(-1, 1, 50).reshape(2, 5, 5),
            "x: pixels reach from -1 to 1; give 0..255, or 0..1 in floating point (normalization is done in training)",
        ),
        (
            np.linspace(0, 1.5, 50).reshape(2, 5, 5),
            "x: fractional pixels reach up to 1.5, neither 0..1 nor 0..255; give whole numbers 0..255, or 0..1",
        ),
        (
            np.zeros((5, 5, 5), complex),
            "x: have type complex128; give numbers: 0..255, or 0..1 in floating point",
        ),
        (np.full((5, 5, 5), "a"), "x: have type <U1; give numbers: 0..255, or 0..1 in floating point"),
    ],
)
def test_other_images_are_refused(images, message):
    with pytest.raises(UserError) as refused:
        image_tensor(images, "x")
    assert str(refused.value) == message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", [0, 1023, 1024, 2999])
def test_the_image_with_nan_is_named(bad, index):
    images = np.full((3000, 3, 3), 0.5, np.float32)
    images[index, 1, 2] = bad
    with pytest.raises(UserError, match=f"^x: image {index} has NaN or infinite pixels; mend or leave out that image$"):
        image_tensor(images, "x")


def test_ragged_lists_are_refused():
    with pytest.raises(UserError, match=r"^x: are no array \(.*\); give one shape and one type of number$"):
        image_tensor([[[1, 2]], [[1]]], "x")


@given(st.lists(st.integers(0, 300), min_size=1, max_size=20))
def test_whole_labels_of_any_type_are_the_same(labels):
    for dtype in (np.int64, np.uint16, np.float64):
        assert label_tensor(np.array(labels, dtype), "y").tolist() == labels
    assert label_tensor(torch.tensor(labels)[:, None], "y").tolist() == labels
    assert label_tensor(labels, "y").dtype == torch.int64


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1.5], "y: label 1.5 of image 1 is no whole number; give 0..K−1"),
        ([0, np.nan], "y: label nan of image 1 is no whole number; give 0..K−1"),
        (["cat", "dog"], "y: have type <U3; give whole numbers 0..K−1"),
        (np.eye(3), "y: have shape 3×3; give one whole number per image"),
        (3, "y: have shape (); give one whole number per image"),
    ],
)
def test_other_labels_are_refused(labels, message):
    with pytest.raises(UserError) as refused:
        label_tensor(labels, "y")
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0, 0], "y: there is only one class, 0; give images of two classes or more"),
        ([7, 7], "y: there is only one class, 7; give images of two classes or more"),
        ([0, -1, 2], "y: label -1 is negative; number the classes 0..K−1"),
        ([1, 2, 3], "y: labels go from 1 to 3 without a 0; number the classes 0..K−1 without gaps"),
        ([0, 1, 3, 10**12], "y: labels go from 0 to 1000000000000 without a 2; number the classes 0..K−1 without gaps"),
    ],
)
def test_labels_with_gaps_are_refused(labels, message):
    with pytest.raises(UserError) as refused:
        count_classes(torch.tensor(labels), "y")
    assert str(refused.value) == message


def test_groups_may_be_names():
    assert group_ids(["b", "a", "b"], 3, "g").tolist() == [1, 0, 1]
    with pytest.raises(UserError, match=r"^g: 3 images but groups of shape 2; give one group per image$"):
        group_ids([1, 2], 3, "g")
    with pytest.raises(UserError, match=r"^g: have type float64; give whole numbers or names$"):
        group_ids([1.5, 2, 3], 3, "g")
