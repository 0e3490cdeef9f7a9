import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from l2tune.data.decoding import decode
from l2tune.data.decoding import read_picture as read
from l2tune.data.folder import load_folder
from l2tune.errors import UserError


def pixels_of(picture, mode):
    return decode(picture, mode).pixels


def read_picture(path, side, *, grayscale):
    return read(path, side, grayscale=grayscale).pixels


def load(folder, size=None, grayscale=False):
    return load_folder(folder, size, grayscale=grayscale)


def refusal(folder, *args):
    with pytest.raises(UserError) as refused:
        load(folder, *args)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_class_folders_become_classes_in_order(make_folder):
    folder = make_folder({"dog": 10, "cat": 20, "Ähre 麦": 5})
    data = load(folder)
    assert data.class_names == ("cat", "dog", "Ähre 麦")
    assert data.shape == (3, 8, 8)
    assert len(data.images) + len(data.test_images) == 35
    assert data.name == str(folder)
    assert load(folder).fingerprint == data.fingerprint


def test_every_pixel_and_label_arrives(make_folder):
    make_folder({"a": 3, "b": 2}, "set/train")
    folder = make_folder({"a": 1, "b": 1}, "set/test").parent
    data = load(folder)
    files = sorted((folder / "train").rglob("*.png"))
    expected = np.stack([np.asarray(Image.open(file)) for file in files]).transpose(0, 3, 1, 2)
    assert np.array_equal(data.images.numpy(), expected)
    assert data.labels.tolist() == [0, 0, 0, 1, 1]
    assert data.test_labels.tolist() == [0, 1]


def test_more_pictures_than_a_thread_takes_stay_in_order(make_folder):
    make_folder({"a": 150, "b": 90}, "set/train", size=(4, 4))
    folder = make_folder({"a": 1, "b": 1}, "set/test", size=(4, 4)).parent
    data = load(folder)
    files = sorted((folder / "train" / "a").iterdir()) + sorted((folder / "train" / "b").iterdir())
    expected = np.stack([np.asarray(Image.open(file)) for file in files]).transpose(0, 3, 1, 2)
    assert np.array_equal(data.images.numpy(), expected)


def test_what_is_no_picture_is_passed_over(make_folder):
    folder = make_folder({"a": 5, "b": 5})
    for name in (".DS_Store", "Thumbs.db", "README", "labels.txt", "._0.png", "notes.pdf", "figure.eps"):
        (folder / "a" / name).write_bytes(b"x")
    for hidden in (".git", "__MACOSX", "a/.thumbnails"):
        (folder / hidden).mkdir()
        (folder / hidden / "0.png").write_bytes(b"x")
    data = load(folder)
    assert data.class_names == ("a", "b")
    assert len(data.images) + len(data.test_images) == 10


def test_inner_folders_links_and_loops(make_folder, tmp_path):
    folder = make_folder({"a/deep/er": 3, "a": 2, "b": 5})
    make_folder({"more": 4}, "elsewhere")
    (folder / "b" / "linked").symlink_to(tmp_path / "elsewhere" / "more")
    (folder / "a" / "loop").symlink_to(folder / "a")
    data = load(folder)
    labels = np.concatenate([data.labels, data.test_labels])
    assert np.bincount(labels).tolist() == [5, 9]


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "bmp", "gif", "tiff", "ppm"])
def test_the_content_decides_the_format(tmp_path, kind):
    picture = Image.new("RGB", (6, 4), (200, 100, 50))
    picture.save(tmp_path / f"x.{kind}")
    (tmp_path / f"x.{kind}").rename(tmp_path / "x.jpeg")
    pixels = read_picture(tmp_path / "x.jpeg", None, grayscale=False)
    assert pixels.shape == (4, 6, 3)
    assert np.abs(pixels.astype(int) - [200, 100, 50]).max() < 8


def test_modes_are_brought_to_colour_or_gray():
    red = np.array([255, 0, 0])
    cases = {
        "P": Image.new("RGB", (2, 2), "red").convert("P"),
        "CMYK": Image.new("CMYK", (2, 2), (0, 255, 255, 0)),
        "RGBA": Image.new("RGBA", (2, 2), (255, 0, 0, 255)),
        "HSV": Image.new("RGB", (2, 2), "red").convert("HSV"),
    }
    for mode, picture in cases.items():
        assert (pixels_of(picture, "RGB")[0, 0] == red).all(), mode
        assert pixels_of(picture, "L").tolist() == [[[76]] * 2] * 2, mode
    assert pixels_of(Image.new("1", (2, 2), 1), "L")[0, 0, 0] == 255


def test_transparency_shows_white():
    hidden = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert (pixels_of(hidden, "RGB") == 255).all()
    assert (pixels_of(Image.new("LA", (2, 2), (0, 0)), "L") == 255).all()
    palette = Image.new("P", (2, 2), 3)
    palette.info["transparency"] = 3
    assert (pixels_of(palette, "RGB") == 255).all()
    half = pixels_of(Image.new("RGBA", (1, 1), (0, 0, 0, 128)), "L")
    assert abs(int(half[0, 0, 0]) - 127) <= 1


def test_floating_point_pictures_are_refused(tmp_path):
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "x.tiff")
    with pytest.raises(UserError) as refused:
        read_picture(tmp_path / "x.tiff", None, grayscale=False)
    what = "has floating-point pixels, whose range is unknown; save it with 8 or 16 bits"
    assert str(refused.value) == f"{tmp_path / 'x.tiff'}: {what}"


def test_exif_turns_the_picture(tmp_path):
    picture = Image.new("L", (4, 2))
    picture.putpixel((0, 0), 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to view
    picture.save(tmp_path / "x.png", exif=exif)
    pixels = read_picture(tmp_path / "x.png", None, grayscale=True)
    assert pixels.shape == (4, 2, 1)
    assert pixels[0, 1, 0] == 255


def test_resizing_is_antialiased_and_square(tmp_path):
    checks = (np.indices((64, 32)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(checks).save(tmp_path / "x.png")
    pixels = read_picture(tmp_path / "x.png", 8, grayscale=True)
    assert pixels.shape == (8, 8, 1)
    assert 100 < pixels.min() <= pixels.max() < 155  # without antialiasing they would be 0 or 255


def test_a_large_jpeg_decoded_small_looks_the_same(tmp_path):
    rng = np.random.default_rng(0)
    blobs = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((1200, 900))
    blobs.save(tmp_path / "x.jpg", quality=95)
    pixels = read_picture(tmp_path / "x.jpg", 32, grayscale=False)
    exact = np.asarray(blobs.resize((32, 32), Image.Resampling.BILINEAR))
    assert np.abs(pixels.astype(int) - exact).mean() < 3


def test_sizes_must_be_one(make_folder):
    folder = make_folder({"a": 2, "b": 2})
    Image.new("RGB", (10, 12)).save(folder / "b" / "large.png")
    assert refusal(folder) == (
        f"--data {folder}: pictures differ in size: {folder}/a/0.png is 8×8 pixels, {folder}/b/large.png is 10×12; "
        "give --image-size"
    )
    assert load(folder, 6).shape == (3, 6, 6)
    assert load(folder, 6, grayscale=True).shape == (1, 6, 6)


def test_parts_of_another_size_are_refused(make_folder):
    make_folder({"a": 2, "b": 2}, "set/train")
    folder = make_folder({"a": 2, "b": 2}, "set/test", size=(9, 8)).parent
    assert refusal(folder) == (
        f"--data {folder}: training pictures are 8×8 pixels, test pictures 9×8; give --image-size"
    )


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda png: b"", "is damaged or no picture"),
        (lambda png: b"hello", "is damaged or no picture"),
        (lambda png: png[: len(png) // 2], "cannot be read as a picture"),
        (lambda png: png[:60] + b"\xff" + png[61:], "cannot be read as a picture"),
    ],
)
@pytest.mark.parametrize("index", [0, 3])
def test_a_damaged_picture_is_named(make_folder, damage, what, index):
    folder = make_folder({"a": 5, "b": 5})
    file = folder / "a" / f"{index}.png"
    file.write_bytes(damage(file.read_bytes()))
    message = refusal(folder)
    assert message.startswith(f"{file}: {what}")
    assert message.endswith("; mend or remove the file")


def test_a_picture_that_would_fill_the_memory_is_refused(make_folder):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    folder = make_folder({"a": 5, "b": 5})
    for side in (10_000, 60_000):
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        (folder / "a" / "3.png").write_bytes(png)
        assert refusal(folder) == f"{folder}/a/3.png: is too large to be opened safely; scale it down"


def test_links_to_nothing_and_pipes_are_refused(make_folder):
    folder = make_folder({"a": 5, "b": 5})
    (folder / "a" / "7.png").symlink_to("nowhere.png")
    end = "; mend or remove the file"
    assert refusal(folder) == f"{folder}/a/7.png: cannot be read as a picture (there is no such file){end}"
    (folder / "a" / "7.png").unlink()
    os.mkfifo(folder / "a" / "7.png")
    assert refusal(folder) == f"{folder}/a/7.png: cannot be read as a picture (it is no ordinary file){end}"


def test_folders_without_classes_are_refused(make_folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    one = make_folder({"a": 3}, "one")
    hollow = make_folder({"a": 3, "b": 0}, "hollow")
    assert refusal(empty) == (
        f"--data {empty}: has no class folders; put the pictures of each class into a folder of its own"
    )
    assert refusal(one) == f"--data {one}: has only one class ('a'); give pictures of two classes or more"
    assert refusal(hollow) == f"--data {hollow}: {hollow}/b has no pictures; add some, or remove the folder"


@pytest.mark.long
def test_cifar_folder(real_data, tmp_path):
    import tarfile

    with tarfile.open(real_data / "cifar10-jpeg.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    data = load(tmp_path)
    assert (len(data.images), len(data.test_images), data.shape) == (50000, 10000, (3, 32, 32))
    assert np.bincount(data.labels).tolist() == [5000] * 10
