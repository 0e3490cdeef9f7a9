"""Which weights the penalty takes."""

import pytest
import torch
from torch import nn
from torchvision import models

from l2tune.errors import UserError
from l2tune.models.simple_cnn import simple_cnn
from l2tune.models.small_resnet import small_resnet
from l2tune.penalty.weights import (
    coverage,
    has_normalization,
    multipliers,
    regularized_parameters,
    taken_parameters,
)
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


class TestPatterns:
    def test_what_they_match_is_taken_biases_too(self):
        model = simple_cnn((1, 8, 8), 10)
        found = regularized_parameters(model, PenaltySettings(regularize=["fc*", "conv1.weight"]))
        assert list(found) == ["conv1.weight", "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]

    def test_the_last_multiplier_that_matches_counts(self):
        penalty = PenaltySettings(scale={"fc1*": 0.1, "*": 2.0, "fc2.weight": 0.0})
        names = ["conv1.weight", "fc1.weight", "fc2.weight"]
        assert multipliers(names, penalty) == {"conv1.weight": 2.0, "fc1.weight": 2.0, "fc2.weight": 0.0}
        taken = regularized_parameters(simple_cnn((1, 8, 8), 10), penalty)
        assert list(taken) == ["conv1.weight", "conv2.weight", "fc1.weight"]

    @pytest.mark.parametrize(
        ("penalty", "line"),
        [
            (
                {"regularize": "fc9*"},
                "regularize: 'fc9*' matches no parameter of the network; did you mean 'fc1.weight' or 'fc1.bias'?",
            ),
            ({"regularize": ["fc*", "second.weight"]}, "regularize: 'second.weight' is tied to 'first'; write 'first'"),
            ({"regularize": "frozen*"}, "regularize: 'frozen*' matches frozen parameters only; known are "),
            ({"scale": {"fc1.bias": 2}}, "scale: 'fc1.bias' matches no penalized parameter; did you mean 'fc1.weight'"),
        ],
    )
    def test_one_that_matches_nothing_is_told_with_what_is_close(self, penalty, line):
        model = simple_cnn((1, 8, 8), 10)
        model.first = nn.Parameter(torch.ones(2, 2))
        model.second = nn.Module()
        model.second.weight = model.first
        model.frozen = nn.Linear(2, 2).requires_grad_(False)
        with pytest.raises(UserError) as refused:
            regularized_parameters(model, PenaltySettings(**penalty))
        assert str(refused.value).startswith(line)


class TestCoverage:
    def test_of_a_usual_network(self):
        found = coverage(taken_parameters(simple_cnn((1, 8, 8), 10), DEFAULT))
        assert (found["tensors"], found["left_out"], found["everything"]) == (4, 0, False)
        assert found["exceptions"] == {"left_out": [], "taken": []}
        assert coverage(taken_parameters(simple_cnn((1, 8, 8), 10), ALL))["everything"]

    def test_of_a_network_of_words(self):
        model = nn.ModuleDict({"words": nn.Embedding(50, 8), "norm": nn.LayerNorm((4, 8)), "out": nn.Linear(8, 5)})
        found = coverage(taken_parameters(model, DEFAULT))
        assert (found["matrices"], found["left_out"]) == (440, 400)
        assert found["largest"] == [["words.weight", 400, "embedding"]]
        assert set(found["exceptions"]["left_out"]) == {"words.weight", "norm.weight", "norm.bias"}

    def test_endings_tell_what_dimensions_do_not(self):
        with torch.device("meta"):
            model = models.convnext_tiny(weights=None)
        taken = taken_parameters(model, DEFAULT)
        assert coverage(taken)["exceptions"] == {"left_out": ["layer_scale"], "taken": []}
        rule = {t.name for t in taken if t.parameter.ndim > 1 and not t.name.endswith("layer_scale")}
        assert rule == {t.name for t in taken if t.multiplier}
