"""CNNClassifier: images in, labels out, as scikit-learn's users expect."""

import json
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

from l2tune.cli import main
from l2tune.sklearn import CNNClassifier

DIGITS = load_digits()
IMAGES, LABELS = DIGITS.images[:600].astype(np.uint8) * 15, DIGITS.target[:600]
QUICK = {"model": "linear", "epochs": 3, "folds": 2, "device": "cpu"}


@pytest.fixture(scope="module")
def trained():
    return CNNClassifier(1e-3, **QUICK).fit(IMAGES, LABELS)


def test_a_number_trains(trained):
    assert trained.strength_ == 1e-3
    assert not hasattr(trained, "tradeoff_")
    probabilities = trained.predict_proba(IMAGES)
    assert probabilities.shape == (600, 10)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert trained.score(IMAGES, LABELS) > 0.8


def test_auto_searches():
    found = CNNClassifier(**QUICK, trials=3).fit(IMAGES, LABELS)
    assert found.strength_ == found.tradeoff_.best_lambda
    assert found.tradeoff_.record.data["images"] == 600, "all images are trained on"
    assert found.score(IMAGES, LABELS) > 0.8


def test_labels_of_any_kind():
    names = np.array([f"digit {label}" for label in LABELS])
    found = CNNClassifier(0.0, **QUICK).fit(IMAGES, names)
    assert set(found.predict(IMAGES[:50])) <= set(names)
    assert list(found.classes_) == sorted(set(names))


def test_the_same_again_and_cloned_and_pickled(trained):
    again = clone(trained).fit(IMAGES, LABELS)
    assert (again.predict_proba(IMAGES) == trained.predict_proba(IMAGES)).all()
    copied = pickle.loads(pickle.dumps(trained))
    assert (copied.predict_proba(IMAGES) == trained.predict_proba(IMAGES)).all()
    with pytest.raises(NotFittedError):
        clone(trained).predict(IMAGES)


def test_it_is_cross_validated():
    assert cross_val_score(CNNClassifier(1e-3, **QUICK), IMAGES, LABELS, cv=2).min() > 0.5


@pytest.mark.parametrize("labels", [LABELS, np.array([f"n{label}" for label in LABELS]), LABELS.astype(float)])
def test_saved_and_loaded(tmp_path, labels):
    saved = CNNClassifier(1e-3, **QUICK).fit(IMAGES, labels)
    paths = saved.save(tmp_path / "net")
    assert [path.name for path in paths] == ["model.safetensors", "fit.json"]
    loaded = CNNClassifier.load(tmp_path / "net")
    assert (loaded.predict_proba(IMAGES) == saved.predict_proba(IMAGES)).all()
    assert loaded.classes_.dtype == saved.classes_.dtype
    assert (loaded.predict(IMAGES) == saved.predict(IMAGES)).all()
    assert loaded.get_params()["epochs"] == 3
    assert loaded.save(tmp_path / "again")


def test_it_loads_what_l2tune_fit_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    search = "search --study one --model linear --epochs 1 --subset 100 --folds 2 --trials 2 --device cpu --out out"
    for words in (search, "fit one --lambda 0.001 --out net"):
        with pytest.raises(SystemExit) as end:
            main(words.split())
        assert not end.value.code
    loaded = CNNClassifier.load("net")
    told = json.loads((tmp_path / "net/fit.json").read_text())
    assert loaded.predict_proba(np.zeros((2, *told["shape"][1:]), np.uint8)).shape == (2, 10)


def build_two_layers(shape, classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(int(np.prod(shape)), classes))


def test_a_network_of_ones_own(tmp_path):
    saved = CNNClassifier(0.0, **QUICK | {"model": build_two_layers}).fit(IMAGES, LABELS)
    saved.save(tmp_path)
    with pytest.raises(ValueError, match="load"):
        CNNClassifier.load(tmp_path)
    loaded = CNNClassifier.load(tmp_path, model=build_two_layers)
    assert (loaded.predict(IMAGES) == saved.predict(IMAGES)).all()


@pytest.mark.parametrize(
    ("scaled", "other"),
    [(IMAGES.astype(float) / 255, 1.0), (IMAGES.astype(np.int64), 1), (IMAGES.astype(np.uint16) * 16, 16)],
)
def test_other_images_are_read_on_the_scale_of_the_training_images(scaled, other):
    found = CNNClassifier(1e-3, **QUICK).fit(scaled, LABELS)
    together = found.predict_proba(scaled[:40])
    dark = np.argsort(scaled[:40].reshape(40, -1).max(axis=1))[:1]
    assert found.predict_proba(scaled[dark]) == pytest.approx(together[dark])
    half = scaled[:40] // 2 if scaled.dtype.kind in "iu" else scaled[:40] / 2
    mixed = np.concatenate([half, scaled[:40]])
    assert found.predict_proba(half) == pytest.approx(found.predict_proba(mixed)[:40], abs=1e-6)


@pytest.mark.parametrize(
    ("given", "images", "labels", "line"),
    [
        ({"strength": "best"}, IMAGES, LABELS, "'best' is no strength"),
        ({"strength": -1.0}, IMAGES, LABELS, "not below 0"),
        ({"strength": None}, IMAGES, LABELS, "no strength"),
        ({"model": "nothing"}, IMAGES, LABELS, "nothing"),
        ({"epochs": 0}, IMAGES, LABELS, "epochs"),
        ({}, IMAGES.reshape(600, 64), LABELS, "have shape 600×64"),
        ({}, IMAGES, LABELS[:10], "600 images but 10 labels"),
        ({}, IMAGES, np.zeros(600), "two classes"),
        ({}, np.full((600, 8, 8), np.nan), LABELS, "NaN"),
        ({}, IMAGES, LABELS[:, None], "one label per image"),
    ],
)
def test_what_cannot_be_used_is_refused(given, images, labels, line):
    with pytest.raises(ValueError, match=line):
        CNNClassifier(**{"strength": 1e-3} | QUICK | given).fit(images, labels)


def test_other_images_are_refused(trained, tmp_path):
    with pytest.raises(ValueError, match="those trained on"):
        trained.predict(IMAGES[:, :4])
    with pytest.raises(ValueError, match="cannot be read"):
        CNNClassifier.load(tmp_path)
