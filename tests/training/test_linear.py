"""Logistic regression as a network against scikit-learn's: the whole path, from folds to validation losses.

Ours minimizes `mean cross-entropy + λ Σ w²`; scikit-learn's `C Σ cross-entropy + ½ Σ w²` has the same minimum at
`C = 1 / (2 λ n)`, n training images. Neither penalizes the intercepts.
"""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from l2tune.data.folds import make_folds
from l2tune.data.images import take_subset
from l2tune.data.sources import load
from l2tune.members import Member
from l2tune.models.linear import linear
from l2tune.settings import DataSettings, PenaltySettings, TrainingSettings
from l2tune.training.problem import Problem
from l2tune.training.sequential import SequentialTrainer

STRENGTHS = (3e-3, 1e-2, 3e-2, 0.1, 1.0)
FOLDS = 3


@pytest.fixture(scope="module")
def digits():
    return take_subset(load(DataSettings(source="digits")), 300)


@pytest.fixture(scope="module")
def folds(digits):
    return make_folds(digits.labels.numpy(), folds=FOLDS)


def scikit_learns(digits, fold, strength):
    """(training, validation) loss of scikit-learn's fit, on images normalized by the training images' mean and std."""
    pixels = digits.images.numpy().reshape(len(digits.images), -1) / 255
    pixels = (pixels - pixels[fold.train].mean()) / pixels[fold.train].std()
    labels = digits.labels.numpy()
    model = LogisticRegression(C=1 / (2 * strength * len(fold.train)), tol=1e-8, max_iter=10_000)
    model.fit(pixels[fold.train], labels[fold.train])
    return tuple(log_loss(labels[part], model.predict_proba(pixels[part])) for part in (fold.train, fold.validation))


def test_losses_at_the_minimum_equal_scikit_learns_on_every_fold(digits, folds):
    training = TrainingSettings(
        optimizer="sgd", lr=0.2, momentum=0.98, schedule="constant", epochs=600, batch_size=len(digits.images)
    )
    device = torch.device("cpu")
    problem = Problem(digits, folds, linear, training, PenaltySettings(), device=device, dtype=torch.float64)
    trainer = SequentialTrainer(problem)
    members = [Member(strength, fold, fold) for strength in STRENGTHS for fold in range(FOLDS)]
    last = list(trainer.start(members))[-1]
    assert [scores.member for scores in last] == members
    theirs = []
    for scores in last:
        train_loss, val_loss = scikit_learns(digits, folds[scores.member.fold], scores.member.strength)
        assert scores.train_loss == pytest.approx(train_loss, abs=1e-3), scores.member
        assert scores.val_loss == pytest.approx(val_loss, abs=1e-3), scores.member
        theirs.append(val_loss)
    ours = np.reshape([scores.val_loss for scores in last], (len(STRENGTHS), FOLDS))
    assert np.abs(np.diff(ours, axis=0)).min() > 2e-3, "strengths must differ by more than the tolerance"
    assert ours.mean(axis=1).argmin() == np.reshape(theirs, ours.shape).mean(axis=1).argmin()
