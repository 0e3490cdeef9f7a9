"""λ_max: where it exists, what it is by hand, and that training and search agree with it."""

import optuna
import pytest
import torch
from torch import nn

from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.records.observations import observations
from l2tune.settings import PenaltySettings, TrainingSettings
from l2tune.training.lambda_max import lambda_max
from l2tune.training.optimizers import RegularizedOptimizer

CLASSES = 3


@pytest.fixture
def batches():
    """Two batches of 40 and 20 images of 2 × 3 pixels; the classes' shares differ."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 5 % CLASSES
    images = torch.randn(60, 1, 2, 3, generator=generator) + 0.5 * labels.view(-1, 1, 1, 1)
    return list(zip(images.split(40), labels.split(40), strict=True))


def steepest(batches, predicted=None):
    """max |X'(p − Y)| / n, p the classes' shares or what is given."""
    x = torch.cat([images for images, _ in batches]).flatten(1).double()
    y = torch.nn.functional.one_hot(torch.cat([labels for _, labels in batches])).double()
    return float((x.T @ ((y.mean(0) if predicted is None else predicted) - y)).abs().max() / len(x))


def network(*layers):
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), *layers)


def test_of_a_linear_network_it_is_the_steepest_slope_at_zero_weights(batches):
    model = network(nn.Linear(6, CLASSES))
    before = model[1].weight.clone()
    found = lambda_max(model, {"1.weight": 1.0}, 1.0, batches)
    assert found == pytest.approx(steepest(batches), rel=1e-5)
    assert torch.equal(model[1].weight, before)
    assert lambda_max(model, {"1.weight": 2.0}, 0.25, batches) == pytest.approx(2 * found)


def test_without_a_free_bias_the_classes_are_predicted_alike(batches):
    third = torch.full((CLASSES,), 1 / CLASSES, dtype=torch.float64)
    bare = lambda_max(network(nn.Linear(6, CLASSES, bias=False)), {"1.weight": 1.0}, 1.0, batches)
    assert bare == pytest.approx(steepest(batches, third), rel=1e-5)
    both = lambda_max(network(nn.Linear(6, CLASSES)), {"1.weight": 1.0, "1.bias": 1.0}, 1.0, batches)
    assert both >= bare * (1 - 1e-5)


def test_behind_frozen_features_there_is_one(batches):
    model = network(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, CLASSES))
    model[1].requires_grad_(False)
    features = [(model[2](model[1](images.flatten(1))).detach(), labels) for images, labels in batches]
    assert lambda_max(model, {"3.weight": 1.0}, 1.0, batches) == pytest.approx(steepest(features), rel=1e-5)


@pytest.mark.parametrize("names", [("1.weight", "3.weight"), ("1.weight",), ("3.weight",)])
def test_of_two_layers_that_are_trained_there_is_none(batches, names):
    """No slope is left where both are zero; with one of them free, there is no telling how steep it becomes."""
    model = network(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, CLASSES))
    assert lambda_max(model, dict.fromkeys(names, 1.0), 1.0, batches) is None


@pytest.mark.parametrize("share", [0.97, 1.03])
def test_training_agrees(batches, share):
    model = network(nn.Linear(6, CLASSES)).double()
    images, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    strength = share * lambda_max(model, {"1.weight": 1.0}, 1.0, [(images.double(), labels)])
    training = TrainingSettings(lr=0.05)
    optimizer = RegularizedOptimizer(model, strength, training, PenaltySettings(form="l1"))
    for step in range(1500):
        loss = torch.nn.functional.cross_entropy(model(images.double()), labels)
        optimizer.step(loss, training.lr * min(1.0, 2 - step / 750))
    assert bool(model[1].weight.any()) == (share < 1)


def test_the_search_does_not_go_beyond_it():
    given = {"data": "digits", "subset": 120, "epochs": 1, "folds": 2, "model": "linear", "lambda_range": (1e-5, 10.0)}
    ends = {}
    for penalty in ("l1", "elastic", "l2"):
        study = optuna.create_study()
        objective = CrossValidationObjective(**given, penalty=penalty)
        study.optimize(objective, n_trials=2)
        told = study.user_attrs["l2tune:trainer"]["lambda_max"]
        assert (told is None) == (penalty == "l2")
        ends[penalty] = observations(study).range[1]
        assert ends[penalty] == (10.0 if told is None else told)
        assert all(trial.params.get("lambda", 0) <= ends[penalty] for trial in study.trials)
    assert ends["elastic"] == pytest.approx(2 * ends["l1"])
