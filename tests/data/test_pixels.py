import numpy as np
import pytest
import torch
from PIL import Image

from l2tune.data.images import assemble, from_object
from l2tune.data.pixels import image_tensors
from l2tune.errors import UserError


def pixels(value, where):
    return image_tensors([(where, value)])[0][0]


def whole(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(5, 9, 7), (5, 1, 9, 7), (5, 9, 7, 1)])
def test_one_channel_in_every_layout(shape):
    drawn = whole((5, 9, 7))
    found = pixels(drawn.reshape(shape), "x")
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy()[:, 0], drawn)


def test_channels_last_is_turned():
    drawn = whole((5, 9, 7, 3))
    assert np.array_equal(pixels(drawn, "x").numpy(), drawn.transpose(0, 3, 1, 2))
    assert pixels(drawn, "x").is_contiguous()


def test_a_tensor_that_fits_both_layouts_is_torchs():
    assert pixels(torch.zeros(5, 3, 8, 4), "x").shape == (5, 3, 8, 4)
    assert pixels(torch.zeros(5, 8, 8, 3), "x").shape == (5, 3, 8, 8)


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.int8, np.float32, np.float64, np.float16])
def test_whole_numbers_stay_as_they_are(dtype):
    drawn = whole((3000, 5, 5)) // 2
    assert np.array_equal(pixels(drawn.astype(dtype), "x").numpy()[:, 0], drawn)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floating_point_to_one_is_scaled(dtype):
    drawn = whole((2000, 5, 5))
    drawn[0, 0, 0] = 255
    found = pixels(torch.from_numpy(drawn).to(torch.float64).div(255).to(dtype), "x").numpy()[:, 0]
    assert np.abs(found.astype(int) - drawn).max() <= (1 if dtype == torch.bfloat16 else 0)


def test_fractions_to_255_are_rounded():
    assert pixels(np.array([[[0.4, 254.6]], [[10.5, 11.5]]]), "x").flatten().tolist() == [0, 255, 10, 12]


def test_truth_values_are_black_and_white():
    assert pixels(np.array([[[True, False]]]), "x").flatten().tolist() == [255, 0]


def test_read_only_memory_is_copied():
    drawn = whole((4, 5, 5))
    drawn.flags.writeable = False
    pixels(drawn, "x")[0] = 7  # torch would warn, and writing would be undefined
    assert not (drawn[0] == 7).all()


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
            np.full((5, 5, 5), 65536),
            "x: pixels reach from 65536 to 65536; "
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
        pixels(images, "x")
    assert str(refused.value) == message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", [0, 1023, 1024, 2999])
def test_the_image_with_nan_is_named(bad, index):
    images = np.full((3000, 3, 3), 0.5, np.float32)
    images[index, 1, 2] = bad
    with pytest.raises(UserError, match=f"^x: image {index} has NaN or infinite pixels; mend or leave out that image$"):
        pixels(images, "x")


def twelve_bits(count, seed=0):
    values = np.random.default_rng(seed).integers(0, 4096, (count, 6, 5), dtype=np.uint16)
    values[0, 0, 0] = 4095
    return values


class Pictures(torch.utils.data.Dataset):
    def __init__(self, values):
        self.pictures = [Image.fromarray(value) for value in values]

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        return self.pictures[index], index % 2


@pytest.mark.parametrize("top", [(256, 10), (1023, 10), (1024, 12), (4095, 12), (4096, 14), (16384, 16), (65535, 16)])
def test_the_depth_is_the_smallest_that_holds_the_largest_value(top):
    high, bits = top
    values = np.array([[[0, high // 2, high]]])
    for dtype in (np.uint16, np.int32, np.int64, np.float32, np.float64):
        found, notes = image_tensors([("x", values.astype(dtype))])
        assert found[0].flatten().tolist() == (values >> (bits - 8)).flatten().tolist()
        assert notes == (f"Pixels reach {high}: they are taken as {bits}-bit values, whose upper 8 bits are kept.",)


def test_twelve_bits_keep_their_levels_and_are_the_same_in_every_form(tmp_path):
    values, dim = twelve_bits(20), twelve_bits(8, seed=1) // 8  # the test part alone would be taken as 9 bits
    labels, test_labels = np.arange(20) % 2, np.arange(8) % 2
    for part, images in (("train", values), ("test", dim)):
        for index, value in enumerate(images):
            folder = tmp_path / part / "ab"[index % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(value).save(folder / f"{index:02}.png")
    from l2tune.data.folder import load_folder

    expected = assemble(values, labels, dim, test_labels)
    assert len(expected.images.unique()) > 200
    assert (expected.test_images.numpy()[:, 0] == dim >> 4).all()
    forms = [
        from_object((Pictures(values), Pictures(dim))),
        from_object((list(Pictures(values).pictures), labels, dim.astype(float), test_labels)),
        from_object({"x_train": values.astype(np.int64), "y_train": labels, "x_test": dim, "y_test": test_labels}),
    ]
    for data in forms:
        assert data.fingerprint == expected.fingerprint
        assert data.notes == expected.notes
    folder = load_folder(tmp_path, None, grayscale=True)
    order = np.argsort(labels, kind="stable")
    assert (folder.images.numpy() == expected.images.numpy()[order]).all()
    assert folder.notes == expected.notes
    colour = load_folder(tmp_path, None, grayscale=False)
    assert (colour.images.numpy() == folder.images.numpy()).all()


def test_the_largest_picture_may_come_last_and_from_any_thread(tmp_path):
    from l2tune.data.folder import load_folder

    for index in range(300):
        folder = tmp_path / "ab"[index % 2]
        folder.mkdir(exist_ok=True)
        value = np.full((3, 3), 4095 if index == 299 else index, np.uint16)
        Image.fromarray(value).save(folder / f"{index:03}.png")
    data = load_folder(tmp_path, None, grayscale=True)
    found = sorted(torch.cat([data.images, data.test_images])[:, 0, 0, 0].tolist())
    assert found == sorted([index >> 4 for index in range(299)] + [255])


def test_eight_bits_in_a_file_of_sixteen_stay(tmp_path):
    from l2tune.data.folder import load_folder

    for name in "ab":
        (tmp_path / name).mkdir()
        for index in range(4):
            Image.fromarray(np.full((3, 3), 50 * index + 100, np.uint16)).save(tmp_path / name / f"{index}.png")
        Image.new("L", (3, 3), 77).save(tmp_path / name / "x.png")
    data = load_folder(tmp_path, None, grayscale=True)
    assert set(torch.cat([data.images, data.test_images]).flatten().tolist()) == {77, 100, 150, 200, 250}
    assert data.notes == ()


def test_sixteen_bit_pictures_are_resized_before_they_lose_bits(tmp_path):
    from l2tune.data.decoding import read_picture

    checks = (np.indices((16, 16)).sum(0) % 2 * 4095).astype(np.uint16)
    Image.fromarray(checks).save(tmp_path / "x.png")
    picture = read_picture(tmp_path / "x.png", 4, grayscale=True)
    assert picture.top == 4095
    assert picture.pixels.shape == (4, 4, 1)
    assert (np.abs(picture.pixels.astype(int) - 2047) < 500).all()


def sixteen_bit_colour(high):
    """A PNG of 16 bits a colour, which Pillow does not write."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + np.array([0, high, high // 2] * 4, ">u2").tobytes()
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", zlib.compress(row * 4)) + chunk(b"IEND", b"")


def test_colour_of_sixteen_bits_is_read_only_if_its_upper_bits_hold_it(tmp_path):
    from l2tune.data.folder import load_folder

    for high in (65535, 4095):
        for name in "ab":
            (tmp_path / name).mkdir(exist_ok=True)
            for index in range(4):
                (tmp_path / name / f"{index}.png").write_bytes(sixteen_bit_colour(high))
        if high == 65535:
            data = load_folder(tmp_path, None, grayscale=False)
            assert data.images[0, :, 0, 0].tolist() == [0, 255, 127]
    with pytest.raises(UserError) as refused:
        load_folder(tmp_path, None, grayscale=False)
    assert str(refused.value) == (
        f"{tmp_path}: images: colour pictures use 12 of 16 bits, and only the upper 8 of 16 can be read; "
        "save them with 8 bits a channel"
    )


def test_parts_share_one_scale():
    unit, byte = np.full((4, 3, 3), 0.5), np.full((4, 3, 3), 200.5)
    with pytest.raises(UserError) as refused:
        image_tensors([("x", byte), ("t", unit)])
    assert str(refused.value) == (
        "t: fractional pixels reach up to 0.5, those of x up to 200.5; give all parts on one scale"
    )
    with pytest.raises(UserError) as refused:
        image_tensors([("x", np.full((4, 3, 3), 4095)), ("t", byte)])
    assert str(refused.value) == (
        "t: fractional pixels reach up to 200.5, those of x up to 4095; give all parts on one scale"
    )
    mixed = image_tensors([("x", np.full((1, 1, 1), 7, np.uint8)), ("t", unit)])[0]
    assert [part.flatten()[0].item() for part in mixed] == [7, 128]
    assert image_tensors([("x", np.full((1, 1, 1), 1.0)), ("t", np.zeros((1, 1, 1)))])[0][0].item() == 255


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((0, 4, 4)), "x: there are no images; give some"),
        (np.zeros((4, 0, 4)), "x: have no pixels (shape 4×0×4); give some"),
        (torch.zeros(4, 3, 0, 0), "x: have no pixels (shape 4×3×0×0); give some"),
        (
            np.full((2, 2, 2), 1e6),
            "x: pixels reach from 1e+06 to 1e+06; give 0..255, or 0..1 in floating point "
            "(normalization is done in training)",
        ),
        (
            [Image.new("L", (4, 4)), Image.new("L", (4, 5))],
            "x: images differ: picture 0 is 1×4×4, picture 1 is 1×5×4; bring them to one size and mode",
        ),
        (
            [Image.new("F", (4, 4))],
            "x: picture 0 has floating-point pixels, whose range is unknown; save it with 8 or 16 bits",
        ),
    ],
)
def test_what_holds_no_pixels_or_no_known_scale_is_refused(value, message):
    with pytest.raises(UserError) as refused:
        pixels(value, "x")
    assert str(refused.value) == message


def test_a_list_of_palette_pictures_shows_their_colours():
    picture = Image.new("RGB", (3, 2), (0, 204, 51)).convert("P")
    assert pixels([picture] * 2, "x")[0, :, 0, 0].tolist() == [0, 204, 51]


def test_a_file_that_tells_its_range_is_scaled_by_it(tmp_path):
    from l2tune.data.decoding import read_picture

    (tmp_path / "x.pgm").write_bytes(b"P5 3 1 4095\n" + np.array([0, 2048, 4095], ">u2").tobytes())
    picture = read_picture(tmp_path / "x.pgm", None, grayscale=True)
    assert (picture.top, (picture.pixels >> 8).ravel().tolist()) == (65535, [0, 128, 255])
