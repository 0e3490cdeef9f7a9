"""Which weights the penalty takes."""

import pytest
from torch import nn

from l2tune.models.simple_cnn import simple_cnn
from l2tune.models.small_resnet import small_resnet
from l2tune.penalty.weights import has_normalization, regularized_parameters
from l2tune.settings import PenaltySettings

DEFAULT, ALL = PenaltySettings(), PenaltySettings(regularize="all")


class TestRegularizedParameters:
    def test_simple_cnn_weights_without_biases(self):
        model = simple_cnn((1, 8, 8), 10)
        assert list(regularized_parameters(model, DEFAULT)) == [
            "conv1.weight",
            "conv2.weight",
            "fc1.weight",
            "fc2.weight",
        ]
        assert list(regularized_parameters(model, ALL)) == [name for name, _ in model.named_parameters()]

    def test_norm_parameters_are_left_out(self):
        model = small_resnet((3, 8, 8), 10)
        taken = regularized_parameters(model, DEFAULT)
        kinds = {type(model.get_submodule(name.rpartition(".")[0])) for name in taken}
        assert kinds == {nn.Conv2d, nn.Linear}
        assert len(taken) == 10
        assert {n for n, p in model.named_parameters() if p.ndim >= 2} == set(taken)

    def test_attention_is_taken_and_embeddings_are_not(self):
        layer = nn.TransformerEncoderLayer(8, 2, 16)
        model = nn.ModuleDict({"embedding": nn.Embedding(5, 8), "layer": layer, "patches": nn.ConvTranspose2d(1, 2, 3)})
        assert set(regularized_parameters(model, DEFAULT)) == {
            "layer.self_attn.in_proj_weight",
            "layer.self_attn.out_proj.weight",
            "layer.linear1.weight",
            "layer.linear2.weight",
            "patches.weight",
        }

    def test_attention_biases_of_keys_and_values_are_left_out(self):
        attention = nn.MultiheadAttention(8, 2, add_bias_kv=True)
        assert set(regularized_parameters(attention, DEFAULT)) == {"in_proj_weight", "out_proj.weight"}

    def test_frozen_weights_are_left_out(self):
        model = simple_cnn((1, 8, 8), 10)
        model[0].requires_grad_(False)
        assert "0.weight" not in regularized_parameters(model, DEFAULT)
        assert "0.weight" not in regularized_parameters(model, ALL)

    def test_tied_weights_are_taken_once(self):
        first, second = nn.Linear(4, 4), nn.Linear(4, 4)
        second.weight = first.weight
        model = nn.Sequential(first, second)
        assert list(regularized_parameters(model, DEFAULT)) == ["0.weight"]
        assert list(regularized_parameters(model, ALL)) == ["0.weight", "0.bias", "1.bias"]


@pytest.mark.parametrize(
    ("layer", "found"),
    [
        (nn.BatchNorm2d(3), True),
        (nn.GroupNorm(1, 3), True),
        (nn.LayerNorm(3), True),
        (nn.InstanceNorm2d(3), True),
        (nn.Dropout(), False),
    ],
)
def test_normalization_is_found(layer, found):
    assert has_normalization(nn.Sequential(nn.Conv2d(3, 3, 1), layer)) is found
