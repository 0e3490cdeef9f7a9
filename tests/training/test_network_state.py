"""What is told of a network, from weights and predictions made by hand."""

import numpy as np
import pytest
import torch

from l2tune.training.network_state import describe_network


def test_description_of_a_network():
    weights = {
        "conv.weight": torch.tensor([3.0, -4.0, 0.0, 0.0]),
        "fc.weight": torch.tensor([1e-4, 0.0, 2.0, -1e-2]),
    }
    rms = {"conv.weight": torch.tensor(1.0), "fc.weight": torch.tensor(1.0)}
    log_p = np.log(np.array([[0.7, 0.3], [0.6, 0.4]], dtype=np.float32))
    found = describe_network(weights, rms, log_p, np.array([0, 1]), 0.25)
    assert found.weight_norms == pytest.approx({"conv": 5.0, "fc": (1e-8 + 4 + 1e-4) ** 0.5})
    assert found.zero_fraction == 3 / 8
    assert found.near_zero_fraction == 4 / 8
    assert found.test_loss == pytest.approx(-(np.log(0.7) + np.log(0.4)) / 2, rel=1e-6)
    assert found.test_error == 0.5
    assert found.input_gradient_norm == 0.25


def test_description_without_regularized_weights():
    log_p = np.log(np.full((2, 2), 0.5, dtype=np.float32))
    found = describe_network({}, {}, log_p, np.array([0, 1]), 0.0)
    assert (found.weight_norms, found.zero_fraction, found.near_zero_fraction) == ({}, 0.0, 0.0)
