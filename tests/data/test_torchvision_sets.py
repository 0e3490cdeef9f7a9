import gc
import gzip
import hashlib
import pickle
import struct
import threading
from errno import ECONNREFUSED
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from os import strerror

import numpy as np
import pytest
from torchvision import datasets

from l2tune.data.sources import load
from l2tune.data.torchvision_sets import data_root
from l2tune.errors import UserError
from l2tune.settings import DataSettings

COUNTS = {"train": 60, "t10k": 20}


def idx_files(root):
    """MNIST's four files with a few random pictures: name → bytes."""
    rng = np.random.default_rng(0)
    files = {}
    for part, count in COUNTS.items():
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        files[f"{part}-images-idx3-ubyte"] = struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes()
        labels = (np.arange(count) % 10).astype(np.uint8)
        files[f"{part}-labels-idx1-ubyte"] = struct.pack(">II", 2049, count) + labels.tobytes()
    return files


def put(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def mnist(root, name="mnist"):
    return load(DataSettings(source=name, root=str(root)))


def refusal(root, name="mnist"):
    with pytest.raises(UserError) as refused:
        mnist(root, name)
    assert "\n" not in str(refused.value)
    return str(refused.value)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A server on this machine with MNIST's files, in place of torchvision's mirrors; its folder."""
    folder = tmp_path / "mirror"
    files = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in idx_files(tmp_path).items()}
    put(folder, files)
    sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    monkeypatch.setattr(datasets.MNIST, "resources", [(name, sums[name]) for name, _ in datasets.MNIST.resources])
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def no_network(monkeypatch):
    """Every address refuses at once."""
    for kind in (datasets.MNIST, datasets.FashionMNIST, datasets.KMNIST):
        monkeypatch.setattr(kind, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    monkeypatch.setattr(datasets.CIFAR100, "url", "http://127.0.0.1:9/cifar-100-python.tar.gz")
    entries = {part: ["http://127.0.0.1:9/x", *entry[1:]] for part, entry in datasets.SVHN.split_list.items()}
    monkeypatch.setattr(datasets.SVHN, "split_list", entries)


def test_files_in_place_are_used_and_nothing_is_written(tmp_path, no_network):
    put(tmp_path / "MNIST/raw", idx_files(tmp_path))
    before = sorted(tmp_path.rglob("*"))
    data = mnist(tmp_path)
    assert (len(data.images), len(data.test_images), data.shape) == (60, 20, (1, 28, 28))
    assert data.class_names[:2] == ("0 - zero", "1 - one")
    assert sorted(tmp_path.rglob("*")) == before


def test_missing_files_are_downloaded_and_then_used(tmp_path, mirror, monkeypatch, capfd):
    root = tmp_path / "new/root"
    first = mnist(root)
    assert len(first.images) == 60
    assert "100%" in capfd.readouterr().err  # the progress bar
    assert not list(root.glob(".download-*"))
    monkeypatch.setattr(datasets.MNIST, "mirrors", [])
    assert mnist(root).fingerprint == first.fingerprint


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # torchvision leaves the answer of a 404 unclosed
@pytest.mark.parametrize("damage", ["short", "changed", "absent"])
def test_a_failed_download_leaves_nothing(tmp_path, mirror, damage):
    last = mirror / "t10k-labels-idx1-ubyte.gz"
    content = last.read_bytes()
    if damage == "absent":
        last.unlink()
    else:
        last.write_bytes(content[:-5] if damage == "short" else content[:-1] + b"x")
    root = tmp_path / "root"
    cause = "HTTP Error 404: File not found" if damage == "absent" else "File not found or corrupted."
    assert refusal(root) == (
        f"--data mnist: is not in {root} and cannot be downloaded ({cause}); "
        "give the folder that holds MNIST/raw/train-images-idx3-ubyte with --data-root"
    )
    assert not root.exists()
    gc.collect()  # the unclosed answer, here where its warning is expected
    last.write_bytes(content)
    assert len(mnist(root).images) == 60


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("mnist", "MNIST/raw/train-images-idx3-ubyte"),
        ("fashion-mnist", "FashionMNIST/raw/train-images-idx3-ubyte"),
        ("kmnist", "KMNIST/raw/train-images-idx3-ubyte"),
        ("cifar10", "cifar-10-batches-py/data_batch_1"),
        ("cifar100", "cifar-100-python/train"),
        ("svhn", "train_32x32.mat"),
    ],
)
def test_without_a_network_the_place_of_the_files_is_told(tmp_path, no_network, name, place):
    root = tmp_path / "root"
    assert refusal(root, name) == (
        f"--data {name}: is not in {root} and cannot be downloaded ([Errno {ECONNREFUSED}] {strerror(ECONNREFUSED)}); "
        f"give the folder that holds {place} with --data-root"
    )
    assert not root.exists()


def test_damaged_files_are_told_and_left_alone(tmp_path, no_network):
    files = idx_files(tmp_path)
    files["train-images-idx3-ubyte"] = files["train-images-idx3-ubyte"][:-1000]
    put(tmp_path / "MNIST/raw", files)
    message = refusal(tmp_path)
    assert message.startswith(f"--data mnist: the files in {tmp_path}/MNIST/raw are damaged (")
    assert message.endswith("; remove them to have them downloaded anew, or give --data-root")
    assert (tmp_path / "MNIST/raw/train-images-idx3-ubyte").exists()


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_only_the_published_pickles_are_opened(tmp_path, no_network):
    names = [name for name, _ in datasets.CIFAR10.train_list + datasets.CIFAR10.test_list] + ["batches.meta"]
    put(tmp_path / "cifar-10-batches-py", dict.fromkeys(names, pickle.dumps(Bomb())))
    assert refusal(tmp_path, "cifar10") == (
        f"--data cifar10: the files in {tmp_path}/cifar-10-batches-py are damaged (their checksums differ); "
        "remove them to have them downloaded anew, or give --data-root"
    )
    put(tmp_path / "MNIST/processed", dict.fromkeys(["training.pt", "test.pt"], pickle.dumps(Bomb())))
    put(tmp_path / "MNIST/raw", idx_files(tmp_path))
    assert len(mnist(tmp_path).images) == 60


def test_the_data_root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("L2TUNE_DATA", raising=False)
    assert data_root(None) == tmp_path / "cache" / "l2tune"
    monkeypatch.setenv("L2TUNE_DATA", str(tmp_path / "data"))
    assert data_root(None) == tmp_path / "data"
    assert data_root(str(tmp_path)) == tmp_path


def test_the_real_mnist(real_data):
    data = load(DataSettings(source="mnist", root=str(real_data), subset=1000))
    assert (len(data.images), len(data.test_images), data.shape) == (1000, 10000, (1, 28, 28))
    assert np.abs(np.bincount(data.labels) - 100).max() <= 14  # as uneven as MNIST itself
    assert abs(float(data.images.float().mean()) - 33.3) < 1  # 0.1307 · 255
