"""The judge of recorded searches: what a λ is worth by images that no search sees."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from l2tune.data.images import ImageData

BENCHMARKS = Path(__file__).parents[2] / "studies" / "benchmarks"


def _load(name):
    found = importlib.util.spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses look it up
    found.loader.exec_module(module)
    return module


judge_module, images = _load("judge"), _load("judged_images")

STRENGTHS = (0.0, 1e-4, 1e-2, 1.0)


def _judge(means, *, noise=0.0, folds=5):
    """Scores that differ between folds by the same at every λ, and by `noise` in fold 0 alone at λ > 0."""
    scores = np.array(means)[:, None] + 0.01 * np.arange(folds)[None]
    scores[1:, 0] += noise
    return judge_module.Judge(np.array(STRENGTHS), scores, np.zeros((len(means), len(means))))


def test_gain_is_the_share_of_the_fall_and_linear_in_the_logarithm_of_the_strength():
    judge = _judge([0.30, 0.26, 0.20, 0.80])
    assert judge.best == 1e-2
    assert judge.gain(1e-2) == pytest.approx(1)
    assert judge.gain(0.0) == pytest.approx(0)
    assert judge.gain(1e-3) == pytest.approx(0.7)
    assert judge.score(1e-9) == pytest.approx(judge.score(1e-4))
    assert judge.score(50.0) == pytest.approx(judge.score(1.0))


def test_what_folds_have_in_common_is_no_error_of_a_difference():
    judge = _judge([0.30, 0.26, 0.20, 0.80])
    assert judge.standard_error(0.0, 1e-2) == pytest.approx(0, abs=1e-9)
    assert judge.standard_error(1e-2, 1e-2) == 0


def test_luck_of_folds_and_of_images_adds():
    scores = np.array([[0.3, 0.3], [0.2, 0.24]])
    judge = judge_module.Judge(np.array([0.0, 1e-3]), scores, np.array([[4e-4, 1e-4], [1e-4, 2e-4]]))
    of_folds = np.var([0.1, 0.06], ddof=1) / 2
    assert judge.standard_error(0.0, 1e-3) == pytest.approx(np.sqrt(of_folds + 4e-4))


def test_a_fall_within_the_noise_of_the_judge_is_no_gain():
    judge = _judge([0.300, 0.299, 0.298, 0.8], noise=0.05)
    assert judge.is_flat
    assert np.isnan(judge.gain(1e-2))
    assert not _judge([0.30, 0.26, 0.20, 0.80]).is_flat


def test_an_interval_covers_where_some_strength_in_it_is_as_good_as_the_best():
    judge = _judge([0.30, 0.26, 0.20, 0.80])
    assert judge.covers(1e-3, 1e-1)
    assert not judge.covers(0.0, 1e-3)
    assert not judge.covers(0.1, 1.0)
    level = _judge([0.20, 0.20, 0.20, 0.80])
    assert level.covers(0.0, 1e-6)


def test_a_recording_is_judged_by_its_own_files(tmp_path):
    means = dict(zip(STRENGTHS, (0.30, 0.26, 0.20, 0.80), strict=True))
    rows = [
        {"lambda": s, "fold": f, "judge_loss": 1.0, "judge_error": m + 0.01 * f, "judge_images": 5000}
        for s, m in means.items()
        for f in range(5)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "some.judge.csv", index=False)
    rows = [
        {"metric": metric, "lambda": s, "other": t, "covariance": 1e-6 * (s == t)}
        for metric in ("loss", "error")
        for s in STRENGTHS
        for t in STRENGTHS
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "some.judge-images.csv", index=False)

    class Recording:
        name, metric, folds = "some", "error", 5

        def final(self, strength):
            return np.array([0.1, 0.2, 0.3, 0.4, 0.5])

    recording = Recording()
    found = judge_module.judged(tmp_path / "some.csv.gz", recording)
    assert found.gain(1e-4) == pytest.approx(0.4)
    assert found.judge.standard_error(0.0, 1e-4) == pytest.approx(np.sqrt(2e-6))
    assert found.regret(1e-2) == 0
    assert found.regret(0.0) == pytest.approx(0.1 / (np.std([0.1, 0.2, 0.3, 0.4, 0.5], ddof=1) / np.sqrt(5)))
    assert (
        judge_module.judged(tmp_path / "other.csv.gz", type("Other", (Recording,), {"name": "other"})()).name == "other"
    )
    assert judge_module.judged("valley", recording) is recording


@pytest.fixture
def source():
    """Images that are all different, told apart by their pixels; 40 of class 0, 80 of 1, 120 of 2."""
    labels = torch.tensor([0] * 40 + [1] * 80 + [2] * 120)
    pixels = torch.arange(240, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    return ImageData(pixels, labels, ("a", "b", "c"), pixels[:3], torch.arange(3))


def test_no_image_is_searched_and_judged_and_classes_keep_their_shares(source):
    data = images.draw_images(source, images.Draw(count=60, judges=120))
    searched, judges = (set(part[:, 0, 0, 0].tolist()) for part in (data.images, data.test_images))
    assert not searched & judges
    assert data.labels.bincount().tolist() == [10, 20, 30]
    assert data.test_labels.bincount().tolist() == [20, 40, 60]
    again = images.draw_images(source, images.Draw(count=60, judges=120))
    assert again.fingerprint == data.fingerprint
    assert images.draw_images(source, images.Draw(count=60, judges=120, seed=1)).fingerprint != data.fingerprint


def test_wrong_labels_are_given_to_the_searched_images_alone(source):
    right = images.draw_images(source, images.Draw(count=60, judges=120))
    data = images.draw_images(source, images.Draw(count=60, judges=120, wrong=0.2))
    assert torch.equal(data.images, right.images)
    assert int((data.labels != right.labels).sum()) == 12
    assert torch.equal(data.test_labels, right.test_labels)


def test_classes_decline_in_both_parts(source):
    data = images.draw_images(source, images.Draw(count=35, judges=35, decline=0.5, side=2))
    assert data.labels.bincount().tolist() == data.test_labels.bincount().tolist() == [20, 10, 5]
    assert data.shape == (1, 2, 2)


def test_expected_scores_are_the_mean_of_scores_on_wrong_labels():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, 4)) * 2
    log_p = (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)
    labels = rng.integers(0, 4, 50)
    loss, error = images.expected_scores(log_p, labels, wrong=0.3)
    many = [np.where(rng.random(50) < 0.3, (labels + rng.integers(1, 4, 50)) % 4, labels) for _ in range(4000)]
    drawn_loss = np.mean([-log_p[np.arange(50), drawn] for drawn in many], axis=0)
    drawn_error = np.mean([log_p.argmax(axis=1) != drawn for drawn in many], axis=0)
    assert np.abs(loss - drawn_loss).max() < 0.2
    assert loss.mean() == pytest.approx(drawn_loss.mean(), abs=0.02)
    assert error.mean() == pytest.approx(drawn_error.mean(), abs=0.01)
    clean_loss, clean_error = images.expected_scores(log_p, labels, wrong=0.0)
    assert clean_loss == pytest.approx(-log_p[np.arange(50), labels])
    assert clean_error.tolist() == (log_p.argmax(axis=1) != labels).astype(float).tolist()
