"""The final fit on all training images."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from l2tune.errors import UserError
from l2tune.settings import PenaltySettings, TrainingSettings
from l2tune.training.problem import Problem
from l2tune.training.refit import train_on_all

TRAINING = TrainingSettings(epochs=6, batch_size=8, lr=0.05)


def network(shape, classes):
    return nn.Sequential(nn.Conv2d(shape[0], 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, classes))


def fit(small, strength=1e-3, training=TRAINING, data=None, factory=network, augment=(), seed=0, penalty=None):
    penalty = penalty or PenaltySettings()
    problem = Problem(data or small.data, (), factory, training, penalty, augment, torch.device("cpu"))
    return train_on_all(problem, strength, seed=seed)


def plain_scores(found, images, labels):
    """Loss and error by what the fit gives a user: network, mean and std."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (found.mean, found.std))
    with torch.no_grad():
        logits = found.model((images / 255 - mean) / std)
    return cross_entropy(logits, labels).item(), (logits.argmax(1) != labels).float().mean().item()


def test_its_scores_are_the_networks_on_all_images(small):
    found = fit(small)
    assert not found.model.training
    expected = plain_scores(found, small.data.images, small.data.labels)
    assert (found.train_loss, found.train_error) == pytest.approx(expected, rel=1e-4)
    expected = plain_scores(found, small.data.test_images, small.data.test_labels)
    assert (found.test_loss, found.test_error) == pytest.approx(expected, rel=1e-4)
    assert found.train_loss < 0.5 * np.log(3), "it learned"
    assert found.seconds > 0


def test_it_tells_what_the_network_is_like(small):
    found = fit(small, 0.02, penalty=PenaltySettings(form="l1"))
    conv, fc = (found.model[place].weight for place in (0, 4))
    assert {name: layer.counts for name, layer in found.network.layers.items()} == {
        "0": [72, int((conv == 0).sum()), 4, int((conv == 0).flatten(1).all(1).sum())],
        "4": [192, int((fc == 0).sum()), 3, int((fc == 0).all(1).sum())],
    }
    zeros = sum(layer.zeros for layer in found.network.layers.values())
    assert zeros > 30, "L1 does something"
    assert sum(found.network.magnitudes) == 72 + 192 - zeros
    everything = list(found.model.parameters())
    assert found.parameters == sum(p.numel() for p in everything) == 72 + 4 + 8 + 192 + 3
    assert found.nonzero == sum(int((p != 0).sum()) for p in everything) <= found.parameters - zeros
    assert found.network.test_loss == pytest.approx(found.test_loss, rel=1e-5)
    assert 0 <= found.network.calibration_error <= 1


def test_normalization_is_of_all_training_images(small):
    found = fit(small)
    pixels = small.data.images.double() / 255
    assert found.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), rel=1e-6)
    assert found.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), rel=1e-6)


def test_all_training_images_are_trained_on_for_all_epochs(small):
    seen = []

    class Counting(nn.Linear):
        def forward(self, x):
            if self.training:
                seen.append(len(x))
            return super().forward(x.flatten(1))

    fit(small, factory=lambda shape, classes: Counting(72, classes))
    assert sum(seen) == 6 * len(small.data.images)


def test_the_same_seed_gives_the_same_network_and_another_one_another(small):
    one, again, other = fit(small), fit(small), fit(small, seed=1)
    for name, weight in one.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name]), name
    assert not torch.equal(one.model[0].weight, other.model[0].weight)


def test_the_strength_shrinks_the_weights(small):
    free, penalized = fit(small, 0.0), fit(small, 0.1)
    assert penalized.model[4].weight.norm() < 0.8 * free.model[4].weight.norm()


def test_test_images_do_not_touch_training(small):
    changed = dataclasses.replace(small.data, test_images=255 - small.data.test_images)
    one, other = fit(small), fit(small, data=changed)
    assert torch.equal(one.model[0].weight, other.model[0].weight)
    assert one.test_loss != other.test_loss


def test_augmentation_is_applied(small):
    plain, augmented = fit(small), fit(small, augment=("flip", "shift"))
    assert not torch.equal(plain.model[0].weight, augmented.model[0].weight)


def test_divergence_is_told_in_one_line(small):
    training = TrainingSettings(epochs=3, batch_size=8, lr=1e20, schedule="constant")
    with pytest.raises(UserError) as refused:
        fit(small, 1e-3, training)
    assert str(refused.value) == ("fit: training diverged at λ = 0.001; lower the learning rate, or choose another λ")
