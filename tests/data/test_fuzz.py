"""Whatever is given for images: an `ImageData` that holds what it promises, or one line. Never anything else.

`pytest -m long tests/data/test_fuzz.py` tries fifteen to twenty times as many cases.
"""

import contextlib
import io
import json
import shutil
import tempfile
import warnings
from collections import UserDict
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from l2tune.data.folder import load_folder
from l2tune.data.folds import make_folds
from l2tune.data.images import ImageData, from_object, take_subset
from l2tune.data.keys import KEYS
from l2tune.data.sources import load
from l2tune.errors import UserError
from l2tune.settings import DataSettings

MANY, LONG = 200, 4000
RELAXED = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True, "database": None}


def holds(make):
    """What was made keeps every promise, or was refused in one line; whether it was made."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = make()
    except UserError as error:
        line = str(error)
        assert len(line.splitlines()) == 1
        return False
    assert isinstance(data, ImageData)
    fields = {name: getattr(data, name) for name in data.__dataclass_fields__}
    assert ImageData(**fields).fingerprint == data.fingerprint
    assert (data.images.device.type, data.images.layout, data.images.is_contiguous()) == ("cpu", torch.strided, True)
    assert sorted(set(data.labels.tolist())) == list(range(data.classes))
    assert len(data.class_names) == data.classes >= 2
    assert min(data.images.shape) > 0
    assert data.shape[0] in (1, 2, 3, 4)
    assert all(isinstance(name, str) and name.encode() for name in data.class_names)
    assert all(isinstance(note, str) and len(note.splitlines()) == 1 for note in data.notes)
    json.dumps(data.summary())
    part = take_subset(data, data.classes)
    assert (len(part.images), part.notes) == (data.classes, data.notes)
    with contextlib.suppress(UserError):
        make_folds(data.labels.numpy(), folds=2, groups=data.groups, class_names=data.class_names)
    return True


# ---- arrays -------------------------------------------------------------------------------------------------------

DTYPES = st.one_of(
    hnp.scalar_dtypes(),
    hnp.unicode_string_dtypes(max_len=3),
    hnp.byte_string_dtypes(max_len=3),
    st.sampled_from([np.dtype(kind) for kind in ("u1", "u2", "i8", "f4", "f8", "?", "O", "g")]),
)
SHAPES = st.one_of(
    st.sampled_from([(12, 4, 3), (12, 1, 4, 3), (12, 4, 5, 3), (12, 5, 3, 3), (6, 4, 3), (12,), (12, 1), (12, 3), ()]),
    hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
)
TYPES = st.sampled_from([
    torch.uint8, torch.bool, torch.int16, torch.int64, torch.uint16, torch.float16, torch.bfloat16, torch.float32,
    torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64,
])  # fmt: skip
FORMS = st.sampled_from(["dense", "sparse", "csr", "grad", "meta", "quantized", "nested", "conj", "list"])


@st.composite
def tensors(draw):
    shape, kind, form = draw(SHAPES), draw(TYPES), draw(FORMS)
    tensor = torch.full(shape, draw(st.sampled_from([0, 1, 3, 0.5, 200]))).to(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if form == "sparse":
                return tensor.to_sparse()
            if form == "csr":
                return tensor.to_sparse_csr()
            if form == "grad":
                return tensor.requires_grad_()
            if form == "meta":
                return tensor.to("meta")
            if form == "quantized":
                return torch.quantize_per_tensor(tensor.float(), 0.5, 0, torch.qint8)
            if form == "nested":
                return torch.nested.nested_tensor([torch.zeros(2, 2), torch.zeros(2, 3)])
            if form == "conj":
                return torch.conj(tensor)
            if form == "list":
                return list(tensor)
        except (RuntimeError, NotImplementedError, TypeError, IndexError):
            return tensor
    return tensor


SEED = st.integers(0, 5)


@st.composite
def usual_images(draw):
    """Images that are mostly fine, of twelve."""
    rng = np.random.default_rng(draw(SEED))
    shape = draw(st.sampled_from([(12, 5, 4), (12, 5, 4), (12, 1, 5, 6), (12, 5, 6, 3), (12, 5, 4, 1), (12, 1, 1)]))
    high = draw(st.sampled_from([2, 256, 256, 300, 4096, 65536, 70000]))
    values = rng.integers(0, high, shape)
    made = draw(st.sampled_from(["u1", "u2", "i4", ">i4", "i8", "f2", "f4", "f8", "unit", "?", "O", "masked", "list"]))
    with np.errstate(all="ignore"):
        if made == "unit":
            return values / high
        if made == "masked":
            return np.ma.array(values, mask=values == high - 1)
        if made == "list":
            return values.tolist()
        array = values.astype(made)
    return torch.from_numpy(array) if draw(st.booleans()) and made in ("u1", "i8", "f4") else array


@st.composite
def usual_labels(draw):
    """Labels that are mostly fine, of twelve."""
    labels = np.arange(12) % draw(st.sampled_from([2, 3, 4, 2, 3, 4, 1])) + draw(
        st.sampled_from([0, 0, 0, 0, 1, 1, 1, -1, 5])
    )
    made = draw(
        st.sampled_from(["i8", "u1", "f4", "O", "column", "one-hot", "names", "objects", "list", "bytes", "gap"])
    )
    if made == "column":
        return labels[:, None]
    if made == "one-hot":
        rows = np.eye(10)[labels][:, : draw(st.integers(2, 6))]
        rows[0, 0] = draw(st.sampled_from([0, 1, rows[0, 0]]))
        return rows
    if made in ("names", "objects", "bytes"):
        return np.array([f"k{label}" for label in labels], {"names": str, "objects": object, "bytes": "S"}[made])
    if made == "list":
        return [*labels[:-1].tolist(), draw(st.sampled_from([0, 1, None, "a", 2**64, 0.5, True, float("nan")]))]
    if made == "gap":
        return labels * 2
    with np.errstate(all="ignore"):
        return labels.astype(made)


class Failing:
    def __init__(self, error):
        self.error = error

    def __array__(self, dtype=None, copy=None):
        raise self.error

    def __iter__(self):
        raise self.error


ERRORS = st.sampled_from(
    [ValueError("no\nno"), SystemExit(3), GeneratorExit(), StopIteration(), RecursionError(), OSError(5, "x")]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.dates(),
    st.builds(Failing, ERRORS),
    st.sampled_from([np.datetime64("2020"), object(), int]),
)
ANYTHING = st.one_of(
    usual_images(),
    usual_labels(),
    tensors(),
    hnp.arrays(DTYPES, SHAPES),
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner)
                 | st.dictionaries(st.text(max_size=3) | st.integers(0, 4), inner, max_size=4), max_leaves=8),
)  # fmt: skip


def mostly(usual):
    """Nine of ten times what is usual: two odd parts at once hide each other."""
    return st.integers(0, 9).flatmap(lambda number: usual if number else ANYTHING)


IMAGES, LABELS = mostly(usual_images()), mostly(usual_labels())
NAMES = st.one_of(
    st.none(),
    st.lists(st.text(min_size=1, max_size=4), max_size=5),
    st.sampled_from(
        ["abc", {"a": 0, "b": 1}, {1: "a", 2: "b"}, {"0": "a", "1": "b", "2": "c"}, ("a", "b"), {"a", "b"}]
    ),
    ANYTHING,
)
GROUPS = mostly(st.none() | st.lists(st.integers(0, 5), min_size=12, max_size=12))
MEANINGS = [*KEYS, "x_train", "y_train", "x_test", "y_test", "X_train", "train_images", "train_labels", "val_images",
            "val_labels", "x_val", "y_val"]  # fmt: skip


@st.composite
def like(draw, images, labels):
    """Another part, mostly of the same kind."""
    images = images if draw(st.integers(0, 5)) else draw(IMAGES)
    return images, labels if draw(st.integers(0, 5)) else draw(LABELS)


@st.composite
def mappings(draw):
    kind = draw(st.sampled_from([("images", "labels"), ("x_train", "y_train"), ("train_images", "train_labels")]))
    value = {kind[0]: draw(IMAGES), kind[1]: draw(LABELS)}
    for part in ("test", "val"):
        if draw(st.booleans()):
            images, labels = draw(like(*list(value.values())[:2]))
            value |= {f"{part}_images": images, f"{part}_labels": labels}
    if draw(st.booleans()):
        value["class_names"] = draw(NAMES)
    if draw(st.booleans()):
        value["groups"] = draw(GROUPS)
    if draw(st.integers(0, 5)) == 0:
        value[draw(st.sampled_from(MEANINGS) | SCALARS.filter(lambda key: not isinstance(key, Failing)))] = draw(
            ANYTHING
        )
    if draw(st.integers(0, 5)) == 0:
        value.pop(draw(st.sampled_from(list(value))))
    return value if draw(st.booleans()) else UserDict(value)


# ---- data sets ----------------------------------------------------------------------------------------------------

MODES = ["1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr", "HSV", "LAB", "I", "I;16", "I;16B", "F"]


def picture(mode, size, value):
    return Image.frombytes(mode, size, bytes([value]) * (len(Image.new(mode, size).tobytes())))


PICTURES = st.builds(picture, st.sampled_from(MODES), st.sampled_from([(3, 4), (1, 1), (5, 3)]), st.integers(0, 255))
ITEM_IMAGES = st.one_of(PICTURES, tensors(), hnp.arrays(DTYPES, SHAPES), SCALARS)
ITEMS = st.one_of(st.tuples(ITEM_IMAGES, st.integers(0, 2) | SCALARS | ANYTHING), ANYTHING, ERRORS)


class Listed(Dataset):
    def __init__(self, items, length, classes):
        self.items, self.length, self.classes = items, length, classes

    def __len__(self):
        if isinstance(self.length, BaseException):
            raise self.length
        return len(self.items) if self.length is None else self.length

    def __getitem__(self, index):
        item = self.items[index]
        if isinstance(item, BaseException):
            raise item
        return item


@st.composite
def datasets(draw):
    images = draw(st.lists(PICTURES, min_size=1, max_size=2) | st.lists(ITEM_IMAGES, min_size=1, max_size=1))
    labels = draw(st.sampled_from([[0, 1], [1, 2], ["a", "b"], [np.int64(0), np.array([1])], [0, 0], [[0, 1], [1, 0]]]))
    items = [(images[index // 2 % len(images)], labels[index % 2]) for index in range(8)]
    if draw(st.integers(0, 3)) == 0:
        items[draw(st.integers(0, 7))] = draw(ITEMS)
    length = (
        draw(st.none() | st.sampled_from([0, -1, 2.5, 10**9, 10**30]) | ERRORS)
        if draw(st.integers(0, 5)) == 0
        else None
    )
    return Listed(items, length, draw(NAMES))


@st.composite
def objects(draw):
    kind = draw(st.sampled_from(["pair", "four", "keras", "mapping", "set", "sets", "tensors", "pictures", "any"]))
    if kind == "pair":
        return draw(IMAGES), draw(LABELS)
    if kind == "four":
        first = draw(IMAGES), draw(LABELS)
        return [*first, *draw(like(*first))]
    if kind == "keras":
        first = draw(IMAGES), draw(LABELS)
        return (first, *draw(st.lists(like(*first), min_size=1, max_size=2)))
    if kind == "mapping":
        return draw(mappings())
    if kind == "set":
        return draw(datasets())
    if kind == "sets":
        return draw(st.lists(datasets() | ANYTHING, min_size=1, max_size=3))
    if kind == "pictures":
        pictures = draw(st.lists(PICTURES, min_size=1, max_size=2))
        return [pictures[index % len(pictures)] for index in range(12)], draw(LABELS)
    if kind == "tensors":
        tensor = draw(tensors().filter(lambda t: isinstance(t, torch.Tensor) and t.ndim and not t.is_nested))
        return TensorDataset(tensor, torch.arange(len(tensor)) % 2)
    return draw(ANYTHING)


def objects_hold(value):
    holds(lambda: from_object(value))


test_objects = settings(max_examples=4 * MANY, **RELAXED)(given(objects())(objects_hold))
test_more_objects = pytest.mark.long(settings(max_examples=3 * LONG, **RELAXED)(given(objects())(objects_hold)))


def test_most_usual_objects_are_made():
    made = []

    @settings(max_examples=60, **RELAXED)
    @given(st.tuples(usual_images(), usual_labels()))
    def count(value):
        made.append(holds(lambda: from_object(value)))

    count()
    assert np.mean(made) > 0.2


# ---- files --------------------------------------------------------------------------------------------------------


@st.composite
def npz_files(draw):
    value = draw(mappings())
    written = io.BytesIO()
    arrays = {}
    for key, part in value.items():
        try:
            array = np.asarray(part)
            np.save(io.BytesIO(), array, allow_pickle=True)
            arrays[str(key).replace("\0", "") or "x"] = array
        except BaseException:
            continue
    try:
        np.savez(written, **arrays)
    except Exception:
        return b""
    stored = bytearray(written.getvalue())
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        if stored:
            stored[draw(st.integers(0, len(stored) - 1))] = draw(st.integers(0, 255))
    return bytes(stored)


def files_hold(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.npz")
        path.write_bytes(content)
        holds(lambda: load(DataSettings(source=str(path))))


test_npz_files = settings(max_examples=MANY, **RELAXED)(given(npz_files())(files_hold))
test_more_npz_files = pytest.mark.long(settings(max_examples=LONG, **RELAXED)(given(npz_files())(files_hold)))


# ---- folders ------------------------------------------------------------------------------------------------------


def encoded(image, kind="png"):
    written = io.BytesIO()
    image.save(written, kind)
    return written.getvalue()


GRAY = encoded(Image.new("L", (4, 3), 7))
CONTENTS = [
    GRAY,
    GRAY,
    encoded(Image.new("RGB", (4, 3), "red")),
    encoded(Image.fromarray(np.full((3, 4), 4095, np.uint16))),
    encoded(Image.fromarray(np.full((3, 4), 70000, np.int32)), "tiff"),
    encoded(Image.new("F", (4, 3)), "tiff"),
    encoded(Image.new("P", (4, 3)), "gif"),
    encoded(Image.new("RGBA", (4, 3)), "webp"),
    encoded(Image.new("L", (5, 3))),
    GRAY[:40],
    b"",
    b"text",
]
FOLDERS = st.sampled_from(["train", "Training", "val", "valid", "test", "Testing", "a", "b", "c", "a b", ".hidden"])
FILES = st.sampled_from(["0.png", "1.png", "2.JPG", "notes.txt", ".png", "x"])
TREES = st.recursive(
    st.dictionaries(FILES, st.sampled_from(CONTENTS), min_size=1, max_size=3),
    lambda inner: st.dictionaries(FOLDERS, inner, min_size=1, max_size=3),
    max_leaves=8,
)
CLASSES = st.fixed_dictionaries(
    {name: st.fixed_dictionaries({f"{k}.png": st.just(GRAY) for k in range(4)}) for name in "ab"},
    optional={"c": TREES, "test": TREES},
)
LINKS = st.lists(
    st.tuples(
        st.lists(FOLDERS, max_size=2),
        st.sampled_from(["link", "a", "c", "val", "9.png", "test"]),
        st.sampled_from(
            ["..", ".", "/", "a", "../a", "../b", "../..", "link", "nowhere", "../a/0.png", "../../outside"]
        ),
    ),
    max_size=3,
)


def write(tree, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, inside in tree.items():
        if isinstance(inside, dict):
            write(inside, folder / name)
        else:
            (folder / name).write_bytes(inside)


def folders_hold(tree, links, size, grayscale):
    top = Path(tempfile.mkdtemp())
    try:
        write({"z.png": GRAY, "in": {"y.png": GRAY}}, top / "outside")
        write(tree, top / "photos")
        for inside, name, target in links:
            place = top.joinpath("photos", *inside)
            if place.is_dir() and top in place.resolve().parents and not (place / name).exists():
                try:
                    (place / name).symlink_to(target)
                except FileExistsError:
                    continue
        holds(lambda: load_folder(top / "photos", size, grayscale=grayscale))
    finally:
        shutil.rmtree(top)


PARTED = st.fixed_dictionaries({"train": CLASSES}, optional={"val": CLASSES, "Test": CLASSES, "docs": TREES})
FOLDER = (TREES | CLASSES | PARTED, LINKS, st.sampled_from([None, 4]), st.booleans())

test_folders = settings(max_examples=MANY, **RELAXED)(given(*FOLDER)(folders_hold))
test_more_folders = pytest.mark.long(settings(max_examples=LONG, **RELAXED)(given(*FOLDER)(folders_hold)))
