"""Stacked networks give each network's outputs, and what cannot be stacked is told."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from l2tune.models.registry import make_factory
from l2tune.settings import build
from l2tune.training.draws import initial_model
from l2tune.training.stacked.model import StackedModel, obstacle


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 5, 3, padding=1),
        nn.Conv2d(2, 5, (3, 2), stride=(2, 1), padding=(0, 1), bias=False),
        nn.Conv2d(2, 5, 3, dilation=2, padding=2),
        nn.Conv2d(2, 4, 3, groups=2),
        nn.Conv2d(2, 4, 3, padding="same"),
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"),
    ],
    ids=str,
)
def test_convolutions_by_matrix_products_are_convolutions(layer: nn.Conv2d) -> None:
    layers = [layer.double(), nn.Conv2d.__new__(nn.Conv2d)]
    layers[1].__dict__ = {
        **layer.__dict__,
        "_parameters": {n: None if p is None else nn.Parameter(p * 2) for n, p in layer._parameters.items()},
    }
    images = torch.randn(2, 3, 2, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    stacked = StackedModel(layer, torch.device("cpu"), convolution="matmul")
    parameters = {n: torch.stack([p.detach(), p.detach() * 2]).requires_grad_() for n, p in layer.named_parameters()}
    found, _ = stacked(parameters, {}, images, training=True)
    expected = torch.stack([one(part) for one, part in zip(layers, images, strict=True)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    slopes = torch.autograd.grad(found.square().sum(), list(parameters.values()))
    for row, one in enumerate(layers):
        theirs = torch.autograd.grad(expected[row].square().sum(), list(one.parameters()), retain_graph=True)
        for ours, golden in zip(slopes, theirs, strict=True):
            torch.testing.assert_close(ours[row], golden, rtol=1e-10, atol=1e-8)


def test_linear_layers_take_inputs_of_more_dimensions() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias, images = (
        torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((2, 5, 3), (2, 5), (2, 4, 6, 7, 3))
    )
    found, _ = StackedModel(nn.Linear(3, 5), torch.device("cpu"))(
        {"weight": weight, "bias": bias}, {}, images, training=True
    )
    expected = torch.stack([nn.functional.linear(x, w, b) for x, w, b in zip(images, weight, bias, strict=True)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


class Branching(nn.Module):
    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(math.prod(shape), classes)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x.flatten(1))
        return found if found.sum() > 0 else -found


class Unused(Branching):
    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__(shape, classes)
        self.other = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1))  # type: ignore[no-any-return]


class Attending(Branching):
    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__(shape, classes)
        self.attention = nn.MultiheadAttention(shape[-1], 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.mean(1)
        return self.layer((x + self.attention(rows, rows, rows)[0][:, None]).flatten(1))  # type: ignore[no-any-return]


def cumulative(shape: tuple[int, int, int], classes: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(shape[0], momentum=None), nn.Flatten(), nn.Linear(math.prod(shape), classes))


@pytest.mark.parametrize("name", ["simple_cnn", "small_resnet", "linear", "resnet18"])
def test_nothing_stands_in_the_way_of_usual_networks(name: str) -> None:
    factory = make_factory(build({"model": name}).model)
    shape = (3, 32, 32)
    assert obstacle(initial_model(factory, shape, 4, seed=0), shape, 4) is None


@pytest.mark.parametrize(
    ("factory", "what"),
    [
        (Branching, "data-dependent control flow"),
        (Unused, "other.weight takes no part"),
        (Attending, "multi-head attention"),
        (cumulative, r"\.item\(\)"),
    ],
)
def test_what_stands_in_the_way_is_told_in_a_few_words(factory: Callable[..., nn.Module], what: str) -> None:
    shape = (2, 8, 8)
    found = obstacle(factory(shape, 3), shape, 3)
    assert found is not None
    assert re.search(what, found), found
    assert "\n" not in found
