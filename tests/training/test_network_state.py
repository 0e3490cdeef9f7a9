"""What is told of a network, from weights and predictions made by hand."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from l2tune.members import MAGNITUDE_EDGES, LayerState
from l2tune.training.network_state import describe_network, transposed_groups

PREDICTED = np.log(np.full((2, 2), 0.5, dtype=np.float32))
LABELS = np.array([0, 1])


def described(weights, transposed=None):
    rms = {name: torch.ones((), dtype=weight.dtype) for name, weight in weights.items()}
    return describe_network(weights, rms, PREDICTED, LABELS, 0.0, transposed)


def described_model(model):
    return described(dict(model.named_parameters()), transposed_groups(model)).layers


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
    assert (found.layers, found.zero_fraction, found.near_zero_fraction) == ({}, 0.0, 0.0)
    assert found.weight_sum == 0
    assert found.magnitudes == [0] * (len(MAGNITUDE_EDGES) - 1)


def test_zeros_and_dead_units_are_counted_layer_by_layer():
    weights = {
        "conv.weight": torch.ones(4, 3, 2, 2),
        "lstm.weight_hh_l0": torch.ones(8, 2),
        "bias": torch.tensor([0.0, 2.0, -0.0]),
    }
    weights["conv.weight"][1] = 0  # a dead filter
    weights["conv.weight"][2, 0] = 0  # not a dead one
    weights["lstm.weight_hh_l0"][5:7] = -0.0
    found = described(weights)
    assert found.layers == {
        "conv": LayerState(pytest.approx(32**0.5), 48, 16, 4, 1),
        "lstm.weight_hh_l0": LayerState(pytest.approx(12**0.5), 16, 4, 8, 2),
        "bias": LayerState(2.0, 3, 2, 0, 0),
    }
    assert found.zero_fraction == 22 / 67
    assert found.weight_sum == 32 + 12 + 2
    assert sum(found.magnitudes) == 67 - 22, "exact zeros count in no bin"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_magnitudes_count_as_numpy_does(dtype):
    rng = np.random.default_rng(0)
    sizes = 10 ** rng.uniform(-7, 3, 5000) * rng.choice([-1, 1], 5000)
    sizes[:40] = 0
    weights = torch.tensor(sizes, dtype=dtype).reshape(50, 100)
    inside = np.clip(np.abs(sizes[40:]), MAGNITUDE_EDGES[0], MAGNITUDE_EDGES[-1])
    expected, _ = np.histogram(inside, MAGNITUDE_EDGES)
    assert expected.min() > 10
    found = described({"a.weight": weights[:20], "b.weight": weights[20:]})
    assert found.magnitudes == expected.tolist()


def test_the_smallest_and_largest_numbers_count_at_the_ends():
    weights = torch.tensor([[5e-324, 1e-300, -1e-7, 0.0, 1e3, -1e300]], dtype=torch.float64)
    found = described({"fc.weight": weights}).magnitudes
    assert (found[0], found[-1], sum(found)) == (3, 2, 5)


def test_edges_are_eight_a_decade_from_a_millionth_to_a_hundred():
    assert (MAGNITUDE_EDGES[0], MAGNITUDE_EDGES[-1], len(MAGNITUDE_EDGES)) == (1e-6, 1e2, 65)
    assert np.diff(np.log10(MAGNITUDE_EDGES)) == pytest.approx(1 / 8)


@pytest.mark.parametrize("kind", [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_convolution_s_units_are_its_outputs(kind, groups):
    """The weights that an output is made of are those which change it."""
    layer = kind(4, 6, 2, groups=groups, bias=False)
    outputs = layer(torch.ones(1, 4, *[3] * (layer.weight.ndim - 2)))[0].flatten(1).sum(1)  # (6,)
    (gradient,) = torch.autograd.grad(outputs[4], layer.weight)
    with torch.no_grad():
        layer.weight[gradient != 0] = 0
    (state,) = described_model(nn.Sequential(layer)).values()
    assert (state.units, state.dead_units) == (6, 1)
    (state,) = described_model(layer).values()
    assert state.dead_units == 1, "the layer is the network"


def test_a_parametrized_transposed_convolution_s_kernel_is_known():
    layer = parametrizations.weight_norm(nn.ConvTranspose2d(4, 6, 2))
    kernel = "parametrizations.weight.original1"
    assert transposed_groups(layer) == {kernel: 1}
    with torch.no_grad():
        dict(layer.named_parameters())[kernel][:, 2] = 0
    state = described_model(layer)[kernel]
    assert (state.units, state.dead_units) == (6, 1)


def test_other_layers_are_no_transposed_convolutions():
    assert transposed_groups(nn.Sequential(nn.Conv2d(4, 4, 3), nn.Linear(3, 3), nn.LSTM(2, 2))) == {}
