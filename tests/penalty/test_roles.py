"""What each parameter of a network is to a penalty."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torchvision import models

from l2tune.errors import UserError
from l2tune.penalty.roles import has_normalization, roles


def taken(model: nn.Module) -> list[str]:
    return [role.name for role in roles(model) if not role.why_not]


def reasons(model: nn.Module) -> dict[str, str]:
    return {role.name: role.why_not for role in roles(model) if role.why_not}


def without_warnings(make: Callable[[], nn.Module]) -> nn.Module:
    """Torch's older functions warn that there are newer ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def test_recurrent_weights_are_taken() -> None:
    """Of 5,440 parameters of such a network 320 were penalized."""
    model = nn.ModuleDict({"lstm": nn.LSTM(16, 32, proj_size=8), "gru": nn.GRU(4, 4), "cell": nn.RNNCell(3, 3)})
    weights = ["lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.weight_hr_l0", "gru.weight_ih_l0", "gru.weight_hh_l0"]
    assert taken(model) == [*weights, "cell.weight_ih", "cell.weight_hh"]
    assert set(reasons(model).values()) == {"bias"}


@pytest.mark.parametrize("layer", [nn.Conv2d(1, 4, 3), nn.Linear(4, 3)])
def test_weight_norm_is_penalized_through_its_magnitude(layer: nn.Module) -> None:
    model = nn.Sequential(parametrizations.weight_norm(layer))
    assert taken(model) == ["0.parametrizations.weight.original0"]
    assert reasons(model)["0.parametrizations.weight.original1"] == "direction of weight_norm"
    magnitude = dict(model.named_parameters())["0.parametrizations.weight.original0"]
    with torch.no_grad():
        torch.testing.assert_close(magnitude.square().sum(), model[0].weight.square().sum())
    assert {role.kind for role in roles(model)} == {type(layer).__name__.removeprefix("Parametrized")}


def test_the_older_weight_norm_too() -> None:
    model = without_warnings(lambda: nn.Sequential(nn.utils.weight_norm(nn.Conv2d(1, 4, 3))))
    assert taken(model) == ["0.weight_g"]
    assert reasons(model)["0.weight_v"] == "direction of weight_norm"


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: parametrizations.spectral_norm(nn.Conv2d(1, 4, 3)), "parametrizations.weight.original"),
        (lambda: nn.utils.spectral_norm(nn.Conv2d(1, 4, 3)), "weight_orig"),
    ],
    ids=["parametrization", "older"],
)
def test_spectral_norm_is_penalized_through_the_original_and_is_a_normalization(
    make: Callable[[], nn.Module], name: str
) -> None:
    model = without_warnings(make)
    assert taken(model) == [name]
    assert has_normalization(model)
    assert not has_normalization(nn.Sequential(parametrizations.weight_norm(nn.Conv2d(1, 4, 3))))


def test_other_parametrizations_and_pruning_are_penalized_through_the_original() -> None:
    pruned = nn.Linear(4, 3)
    for name in ("weight", "bias"):
        prune.random_unstructured(pruned, name, 0.5)
    prune.random_unstructured(pruned, "weight", 0.5)  # twice: a container of two
    model = nn.ModuleDict({"orthogonal": parametrizations.orthogonal(nn.Linear(4, 4)), "pruned": pruned})
    assert taken(model) == ["orthogonal.parametrizations.weight.original", "pruned.weight_orig"]
    assert reasons(model) == {"orthogonal.bias": "bias", "pruned.bias_orig": "bias"}


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.factor


def test_what_belongs_to_a_parametrization_itself_is_judged_by_itself() -> None:
    layer = nn.Linear(4, 3)
    parametrize.register_parametrization(layer, "weight", Scaled())
    assert taken(layer) == ["parametrizations.weight.original"]
    assert reasons(layer)["parametrizations.weight.0.factor"] == "one-dimensional"


class RMSNorm2d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4, 3, 3))


class Own(nn.Module):
    """Parameters of somebody's own layer."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.randn(4, 4))
        self.layer_scale = nn.Parameter(torch.ones(4, 1, 1))
        self.bias_table = nn.Parameter(torch.zeros(4, 3))
        self.relative_position_bias = nn.Parameter(torch.zeros(4, 3))
        self.pos_embedding = nn.Parameter(torch.zeros(1, 5, 4))
        self.class_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.filters = nn.ParameterList([torch.zeros(2, 2), torch.zeros(2)])
        self.norm = RMSNorm2d()
        self.planes = nn.LayerNorm((2, 3))
        self.words = nn.EmbeddingBag(5, 4)


def test_own_parameters_of_two_dimensions_are_taken() -> None:
    model = Own()
    assert taken(model) == ["mix", "filters.0"]
    assert reasons(model) == {
        "layer_scale": "one-dimensional",
        "bias_table": "bias",
        "relative_position_bias": "bias",
        "pos_embedding": "embedding",
        "class_token": "embedding",
        "filters.1": "one-dimensional",
        "norm.scale": "normalization",
        "planes.weight": "normalization",
        "planes.bias": "bias",
        "words.weight": "embedding",
    }
    assert has_normalization(nn.Sequential(RMSNorm2d()))


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("vit_b_16", {"embedding": {"class_token", "encoder.pos_embedding"}}),
        ("convnext_tiny", {"one-dimensional": None}),
        ("swin_t", {}),
    ],
)
def test_networks_of_torchvision(name: str, shares: dict[str, set[str] | None]) -> None:
    with torch.device("meta"):
        model = getattr(models, name)(weights=None)
    found = roles(model)
    assert [role.name for role in found] == [name for name, _ in model.named_parameters()]
    everything = sum(role.parameter.numel() for role in found)
    assert sum(role.parameter.numel() for role in found if not role.why_not) > 0.99 * everything
    assert {role.why_not for role in found} == {"", "bias", "normalization", *shares}
    for why, names in shares.items():
        assert names is None or {role.name for role in found if role.why_not == why} == names


def test_a_lazy_layer_is_told_to_have_no_shape() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(UserError) as refused:
        roles(model)
    assert str(refused.value) == (
        "parameter '1.weight': is lazy: it has no shape yet; pass a batch through the network once before"
    )


def test_a_tied_weight_stands_once_with_its_other_names() -> None:
    words, out = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
    out.weight = words.weight
    [role] = roles(nn.ModuleDict({"words": words, "out": out}))
    assert (role.name, role.aliases, role.kind, role.why_not) == ("words.weight", ("out.weight",), "Linear", "")
