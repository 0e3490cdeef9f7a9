import gc

import numpy as np
import pytest

from l2tune.data.images import from_object
from l2tune.data.sources import load
from l2tune.errors import UserError
from l2tune.settings import DataSettings

X = np.random.default_rng(0).integers(0, 256, (40, 6, 5), dtype=np.uint8)
Y = np.arange(40) % 4


def source(text, **settings):
    return load(DataSettings(source=str(text), **settings))


def refusal(text, **settings):
    with pytest.raises(UserError) as refused:
        source(text, **settings)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("there", [True, False])
def test_digits_are_scikit_learns(monkeypatch, there):
    from sklearn.datasets import load_digits

    if not there:  # the file, where it is now
        monkeypatch.setattr("l2tune.data.sources.find_spec", lambda name: None)
    data, digits = load(DataSettings()), load_digits()
    assert (len(data.images), len(data.test_images), data.shape, data.classes) == (1438, 359, (1, 8, 8), 10)
    found = {tuple(x.flatten().tolist()) for part in (data.images, data.test_images) for x in part}
    assert found == {tuple(x.tolist()) for x in np.round(digits.data * 15.9375).astype(int)}
    assert np.abs(np.bincount(data.test_labels) - np.bincount(digits.target) / 5).max() < 1


def test_the_digits_are_the_same_on_every_machine():
    assert load(DataSettings()).fingerprint == "3bb5b4888a56927df7312042176cdee0e254a4940c5d286233874f45ef9f9b3a"


def test_subsets_leave_the_test_part():
    data = load(DataSettings(subset=200))
    assert (len(data.images), len(data.test_images)) == (200, 359)
    assert refusal("digits", subset=1500) == (
        "--subset 1500: digits has only 1438 training images; ask for 1438 or fewer, or leave it out"
    )


def test_npz_files(tmp_path):
    np.savez(tmp_path / "a.npz", images=X, labels=Y)
    np.savez_compressed(
        tmp_path / "b.npz",
        images=X,
        labels=Y,
        test_images=X[:8],
        test_labels=Y[:8],
        groups=np.arange(40),
        class_names=np.array(["ä", "b", "c", "d"]),
    )
    assert len(source(tmp_path / "a.npz").test_images) == 8
    data = source(tmp_path / "b.npz")
    assert (len(data.images), data.class_names, data.groups.tolist()) == (40, ("ä", "b", "c", "d"), list(range(40)))


def test_broken_npz_files_are_refused(tmp_path):
    file = tmp_path / "x.npz"
    where = f"--data {file}"
    assert refusal(file) == f"{where}: no such file; give the path of an .npz file"
    file.write_bytes(b"hello")
    assert refusal(file) == f"{where}: is damaged or no .npz file; write it with numpy.savez"
    with file.open("wb") as opened:
        np.save(opened, X)
    assert refusal(file) == f"{where}: is damaged or no .npz file; write it with numpy.savez"
    np.savez_compressed(file, images=X, labels=Y)
    whole = file.read_bytes()
    file.write_bytes(whole[:-200])
    assert refusal(file) == f"{where}: is damaged or no .npz file; write it with numpy.savez"
    file.write_bytes(whole[:300] + bytes(100) + whole[400:])
    assert refusal(file).startswith(f"{where}: cannot be read (")
    np.savez(file, images=X)
    assert refusal(file).startswith(f"{file}: has no 'labels'; it has images; known are")
    np.savez(file, images=X, labels=Y, lables=Y)
    assert refusal(file) == f"{file}: 'lables' is unknown; did you mean 'labels'?"
    np.savez(file, images=X, labels=Y[:-1])
    assert refusal(file) == f"{file}: 40 images but 39 labels; give one label per image"


def test_a_damaged_archive_is_closed(tmp_path):
    file = tmp_path / "x.npz"
    np.savez(file, images=X, labels=Y)
    file.write_bytes(file.read_bytes().replace(b"PK\x01\x02", b"PK\x01\x00"))
    assert refusal(file).startswith(f"--data {file}: cannot be read (BadZipFile: ")
    gc.collect()  # an open file would warn


MEDMNIST = ("train_images", "train_labels", "val_images", "val_labels", "test_images", "test_labels")


@pytest.mark.parametrize("first", [0, 1])
def test_medmnists_files(tmp_path, first):
    labels = Y[:, None].astype(np.uint8) + first
    parts = (X, labels, X[:12], labels[:12], X[:8], labels[:8])
    np.savez(tmp_path / "x.npz", **dict(zip(MEDMNIST, parts, strict=True)))
    data = source(tmp_path / "x.npz")
    assert (len(data.images), len(data.test_images), data.classes) == (52, 8, 4)
    assert data.labels.tolist() == [*Y, *Y[:12]]
    assert data.test_labels.tolist() == Y[:8].tolist()
    renumbered = ("Labels 1..4 are renumbered 0..3.",) if first else ()
    assert data.notes == (*renumbered, "The validation part (12 images) joins the training part (40).")
    assert from_object(dict(zip(MEDMNIST, parts, strict=True))).fingerprint == data.fingerprint


def test_medmnists_multi_label_sets_are_refused(tmp_path):
    labels = np.zeros((40, 14), np.uint8)
    labels[3, [2, 5]] = 1
    np.savez(tmp_path / "chestmnist.npz", train_images=X, train_labels=labels)
    assert refusal(tmp_path / "chestmnist.npz") == (
        f"{tmp_path}/chestmnist.npz: labels: are multi-label: image 3 has 2 of 14 labels; give one label per image"
    )


def test_keras_names_in_files_mappings_and_pairs(tmp_path):
    names = {"x_train": X, "y_train": Y, "x_test": X[:8], "y_test": Y[:8]}
    np.savez(tmp_path / "mnist.npz", **names)
    expected = source(tmp_path / "mnist.npz").fingerprint
    assert from_object(names).fingerprint == expected
    assert from_object({key.upper(): value for key, value in names.items()}).fingerprint == expected
    assert from_object(((X, Y), (X[:8], Y[:8]))).fingerprint == expected
    joined = from_object(((X, Y), (X[:4], Y[:4]), (X[:8], Y[:8])))
    assert (len(joined.images), len(joined.test_images)) == (44, 8)
    assert joined.notes == ("The validation part (4 images) joins the training part (40).",)
    with pytest.raises(UserError) as refused:
        from_object(names | {"images": X})
    assert str(refused.value) == "data: has 'x_train' and 'images', which mean the same; leave one out"
    with pytest.raises(UserError) as refused:
        from_object({"x_train": X, "y_train": Y, "x_tets": X})
    assert str(refused.value) == "data: 'x_tets' is unknown; did you mean 'x_test'?"


def test_groups_reach_over_the_validation_part():
    names = {"images": X, "labels": Y, "val_images": X[:4], "val_labels": Y[:4], "test_images": X, "test_labels": Y}
    assert from_object(names | {"groups": np.arange(44)}).groups.tolist() == list(range(44))
    with pytest.raises(UserError, match=r"^data: groups: 44 images but groups of shape 40; give one group per image$"):
        from_object(names | {"groups": np.arange(40)})


def test_val_images_without_labels_and_of_another_size_are_refused():
    for wrong, line in (
        ({"val_images": X}, "data: has val_images but no val_labels; give both or none"),
        (
            {"val_images": X[:, 1:], "val_labels": Y},
            "data: val_images: are 1×5×5, training images 1×6×5; give one shape",
        ),
        ({"val_images": X, "val_labels": Y[1:]}, "data: 40 val_images but 39 val_labels; give one label per image"),
    ):
        with pytest.raises(UserError) as refused:
            from_object({"images": X, "labels": Y} | wrong)
        assert str(refused.value) == line


class UnreadableMapping(dict):
    def __getitem__(self, key):
        raise OSError("gone")


def test_a_mapping_that_cannot_be_read_is_told():
    with pytest.raises(UserError) as refused:
        from_object(UnreadableMapping(images=X, labels=Y))
    assert str(refused.value) == "data: the mapping cannot be read (OSError: gone)"


@pytest.mark.parametrize("root", ["~nouser/data"])
def test_a_data_root_that_cannot_be_is_told(root, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", ["file:///nowhere/"])
    assert refusal("mnist", root=root).startswith(f"--data mnist: is not in {root} and cannot be downloaded (")
    assert list(tmp_path.iterdir()) == []


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_no_pickle_is_loaded(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.array([Bomb()] * 40, object), labels=Y)
    where = f"--data {tmp_path / 'x.npz'}"
    assert refusal(tmp_path / "x.npz") == (
        f"{where}: holds Python objects; write plain arrays: Python objects are never loaded"
    )


@pytest.mark.parametrize("name", ["pictures.tar.xz", "a.zip", "a.TGZ"])
def test_archives_are_to_be_unpacked(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    assert refusal(tmp_path / name) == (f"--data {tmp_path / name}: is an archive; unpack it first and give its folder")


def test_what_is_no_source_is_refused(tmp_path):
    assert refusal("cifar01") == "--data cifar01: no such data set, folder or file; did you mean 'cifar10'?"
    assert refusal("qqqq/zzzz").startswith("--data qqqq/zzzz: no such data set, folder or file; give digits, mnist, ")
    (tmp_path / "x.txt").write_bytes(b"x")
    assert refusal(tmp_path / "x.txt") == (
        f"--data {tmp_path / 'x.txt'}: is no folder and no .npz file; give a folder of class folders or an .npz file"
    )
    (tmp_path / "x.py").write_text("")
    assert refusal(tmp_path / "x.py") == (
        f"--data {tmp_path / 'x.py'}: names no function; write {tmp_path / 'x.py'}:function"
    )


def test_flags_for_folders_are_refused_elsewhere():
    assert (
        refusal("digits", image_size=8)
        == "--image-size: is for folders of pictures, and 'digits' is none; leave it out"
    )
    assert (
        refusal("mnist", grayscale=True) == "--grayscale: is for folders of pictures, and 'mnist' is none; leave it out"
    )


def test_a_folder_by_its_path(make_folder, monkeypatch):
    folder = make_folder({"a": 5, "b": 5}, "digits")
    monkeypatch.chdir(folder.parent)
    assert source("./digits", image_size=6, grayscale=True).shape == (1, 6, 6)
    assert source("digits").classes == 10


MODULE = """
import numpy as np, torch
x = np.random.default_rng(0).integers(0, 256, (40, 6, 5), dtype=np.uint8)
y = np.arange(40) % 4
def pair(): return x, y
def pairs(): return torch.utils.data.TensorDataset(torch.from_numpy(x[:, None]), torch.from_numpy(y))
def nothing(): pass
def failing(): raise OSError("disk is gone")
def needy(path): return x, y
number = 7
"""


def test_functions_of_a_file_and_a_module(tmp_path, monkeypatch):
    (tmp_path / "my_sets_1.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    expected = source("my_sets_1.py:pair").fingerprint
    for text in ("my_sets_1:pair", "my_sets_1.py:pairs", f"{tmp_path}/my_sets_1.py:pair"):
        assert source(text).fingerprint == expected
        assert source(text).name == text


def test_functions_that_fail_are_told(tmp_path):
    file = tmp_path / "my_sets_2.py"
    file.write_text(MODULE)

    def of(name):
        return refusal(f"{file}:{name}").removeprefix(f"--data {file}:{name}: ")

    end = "; it is called without arguments"
    assert of("failing") == f"the function failed (OSError: disk is gone){end}"
    assert of("needy") == (
        f"the function failed (TypeError: needy() missing 1 required positional argument: 'path'){end}"
    )
    assert of("nothing").startswith(f"{file}:nothing: a NoneType cannot be images with labels; give (images, labels)")
    assert of("absent") == f"'{file}' has no 'absent'; name a function that it defines"
    assert of("number") == f"'number' in '{file}' cannot be called; name a function"


def test_modules_that_cannot_be_imported_are_told(tmp_path):
    assert refusal("no_such_module_1:f") == (
        "--data no_such_module_1:f: cannot import 'no_such_module_1' (No module named 'no_such_module_1'); "
        "install it, or start in the folder that holds it"
    )
    assert refusal("nowhere/x.py:f") == "--data nowhere/x.py:f: no such file 'nowhere/x.py'; give path/file.py:function"
    file = tmp_path / "my_sets_3.py"
    for text, cause in (
        ("def f(:", "SyntaxError: "),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("open('/no/file')", "FileNotFoundError: [Errno 2] No such file or directory: '/no/file'"),
    ):
        file.write_text(text)
        assert refusal(f"{file}:f").startswith(f"--data {file}:f: importing '{file}' failed ({cause}")


def test_a_file_may_import_its_neighbour(tmp_path):
    (tmp_path / "my_neighbour_4.py").write_text(MODULE)
    (tmp_path / "my_sets_4.py").write_text("from my_neighbour_4 import pair")
    assert source(f"{tmp_path}/my_sets_4.py:pair").classes == 4


def test_a_folder_called_like_a_data_set_is_named_in_the_refusal(tmp_path, monkeypatch):
    (tmp_path / "mnist").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("l2tune.data.sources.load_torchvision", lambda *_: refuse())
    assert refusal("mnist").endswith("; or write ./mnist for the folder of this name here")


def refuse():
    raise UserError("is not here", "--data mnist", "give --data-root")
