"""What is trained on what: the rules that every engine shares."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from l2tune.errors import UserError
from l2tune.training import problem as problems
from l2tune.training.sequential import SequentialTrainer
from l2tune.training.stacked.population import PopulationTrainer

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("precision", "device", "dtype", "bfloat16"),
    [
        ("auto", CPU, torch.float32, False),
        ("auto", CUDA, torch.float32, True),
        ("auto", CUDA, torch.float64, False),
        ("float32", CUDA, torch.float32, False),
        ("bfloat16", CPU, torch.float32, True),
        ("bfloat16", CPU, torch.float64, False),
    ],
)
def test_bfloat16_is_for_float32_weights_and_by_default_for_cuda(
    small, monkeypatch, precision, device, dtype, bfloat16
):
    monkeypatch.setattr(problems, "has_native_bfloat16", lambda device: device.type == "cuda")
    problem = dataclasses.replace(small.problem(precision=precision, dtype=dtype), device=device)
    assert problem.bfloat16 is bfloat16


@pytest.mark.parametrize("engine", [SequentialTrainer, PopulationTrainer])
@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"penalty": "no-such-form"}, "penalty: 'no-such-form' is no form of the penalty; known are "),
        ({"optimizer": "rmsprop"}, "optimizer: 'rmsprop' is no optimizer; known are sgd, adam, adamw"),
        ({"precision": "float8"}, "precision: 'float8' is no precision; known are auto, float32, bfloat16"),
    ],
    ids=["form", "optimizer", "precision"],
)
def test_every_engine_refuses_what_is_not_known_before_it_trains(small, engine, settings, line):
    with pytest.raises(UserError, match=f"^{line}"):
        small.trainer(engine=engine, **settings)


@pytest.mark.parametrize("engine", [SequentialTrainer, PopulationTrainer])
def test_every_engine_refuses_a_network_that_it_cannot_regularize(small, engine):
    def biases_only(shape, classes):
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(shape[0]), nn.ZeroPad1d((0, 1)))

    with pytest.raises(UserError) as refused:
        small.trainer(biases_only, engine)
    assert str(refused.value) == (
        "model: has no weights that λ could act on; "
        "penalize all with --regularize all, or give patterns; `l2tune layers` lists its parameters"
    )


def test_both_engines_describe_the_same_problem(small):
    problem = small.problem()
    for engine in (SequentialTrainer, PopulationTrainer):
        trainer = engine(problem)
        assert problem.describe().items() <= trainer.describe().items()
        assert (trainer.folds, trainer.epochs) == (3, 4)
        np.testing.assert_array_equal(trainer.test_labels, problem.test_labels)


def test_networks_are_described_on_a_few_test_images_evenly_spaced(small, monkeypatch):
    monkeypatch.setattr(problems, "TEST_IMAGES", 7)
    problem = small.problem()
    test = problem.test_images()
    assert torch.equal(test.images, small.data.test_images[::3])
    np.testing.assert_array_equal(problem.test_labels, test.labels.numpy())


def test_another_problem_made_from_one_has_its_own_normalization(small):
    problem = small.problem()
    before = problem.normalization(0)
    dark = dataclasses.replace(small.data, images=small.data.images // 2)
    other = dataclasses.replace(problem, data=dark)
    assert torch.all(other.normalization(0).mean < before.mean)
    assert problem.normalization(0) is before
