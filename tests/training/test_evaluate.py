"""Scores and descriptions of a network against plain recomputation."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import nn
from torch.nn.functional import cross_entropy

from l2tune.training import evaluate


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 4)).double()


@pytest.fixture
def images():
    return torch.randn(30, 3, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def labels():
    return torch.arange(30) % 4


@pytest.fixture(params=[30, 7, 1])
def batches(request, images, labels):
    """The same images in one batch, in batches with a short last one, and one by one."""
    return list(zip(images.split(request.param), labels.split(request.param), strict=True))


def test_loss_and_error_do_not_depend_on_the_batches(model, images, labels, batches):
    loss, error = evaluate.loss_and_error(model, batches)
    logits = model(images).detach()
    assert loss == pytest.approx(log_loss(labels, logits.softmax(1)), rel=1e-6)
    assert error == pytest.approx((logits.argmax(1) != labels).double().mean().item())


def test_gradients_are_of_the_whole_set(model, images, labels, batches):
    weights = [model[1].weight, model[3].weight]
    found = evaluate.mean_gradients(model, weights, batches)
    expected = torch.autograd.grad(cross_entropy(model(images), labels), weights)
    torch.testing.assert_close(tuple(found), expected, rtol=1e-9, atol=1e-12)
    assert all(parameter.grad is None for parameter in model.parameters()), "no gradient is left for the optimizer"


def test_a_weight_left_out_of_the_forward_pass_adds_nothing_to_the_gradient(model, batches):
    unused = nn.Parameter(torch.full((2, 2), 3.0, dtype=torch.float64))
    of_used, of_unused = evaluate.mean_gradients(model, [model[1].weight, unused], batches)
    assert of_used.norm() > 0
    assert torch.equal(of_unused, torch.zeros_like(unused))


def test_log_probabilities(model, images, batches):
    found = evaluate.log_probabilities(model, batches)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, model(images).log_softmax(1).detach().numpy(), rtol=1e-5)


def test_input_gradient_norm_is_the_mean_over_images(model, images, labels, batches):
    norms = []
    for image, label in zip(images, labels, strict=True):
        image = image[None].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(model(image), label[None]), image)
        norms.append(gradient.norm().item())
    assert evaluate.input_gradient_norm(model, batches) == pytest.approx(np.mean(norms), rel=1e-9)


class TestCalibrationError:
    @staticmethod
    def of(confidences, correct):
        """Two classes; class 0 is predicted with each confidence."""
        p = np.array(confidences)
        log_p = np.log(np.stack([p, 1 - p], axis=1)).astype(np.float32)
        return evaluate.calibration_error(log_p, np.where(correct, 0, 1))

    def test_confident_and_right_is_calibrated(self):
        assert self.of([0.9999999] * 5, [True] * 5) == pytest.approx(0, abs=1e-6)

    def test_confident_and_wrong_is_as_bad_as_can_be(self):
        assert self.of([0.9999999] * 5, [False] * 5) == pytest.approx(1, abs=1e-6)

    def test_it_is_the_weighted_gap_within_each_bin(self):
        # 0.9 and 0.91 share the bin 13/15..14/15, one of two right; 0.7 is alone in 10/15..11/15, and right
        expected = (2 * abs(0.905 - 0.5) + 1 * abs(0.7 - 1)) / 3
        assert self.of([0.9, 0.91, 0.7], [True, False, True]) == pytest.approx(expected, abs=1e-6)

    def test_errors_in_different_bins_do_not_cancel(self):
        assert self.of([0.95, 0.55], [False, True]) == pytest.approx((0.95 + 0.45) / 2, abs=1e-6)
