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


def fit(small, strength=1e-3, training=TRAINING, data=None, factory=network, augment=(), seed=0):
    problem = Problem(data or small.data, (), factory, training, PenaltySettings(), augment, torch.device("cpu"))
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
