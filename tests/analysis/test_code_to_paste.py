"""The code to paste is run: it must train a network to the very weights that l2tune's engine trains it to."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrizations

from l2tune.analysis.code_to_paste import CodeToPaste, Listing, code_to_paste
from l2tune.penalty.weights import coverage, taken_parameters
from l2tune.records.tables import StudyRecord
from l2tune.settings import Settings, build
from l2tune.training.optimizers import RegularizedOptimizer

STEPS, STRENGTH = 12, 0.02
PAIRS = [
    *(("sgd", form) for form in ("l2", "l2-loss", "l2-decoupled", "l1", "elastic")),
    *(("adam", form) for form in ("l2", "l2-loss", "l2-decoupled", "l1", "elastic")),
    *(("adamw", form) for form in ("l2-loss", "l2-decoupled", "l1", "elastic")),
]
CHOICES: dict[str, dict[str, Any]] = {
    "weights": {},
    "all": {"regularize": "all"},
    "patterns": {"regularize": ("0.*", "*.weight")},
    "multipliers": {"scale": {"*": 2.0, "5.weight": 0.5, "0.*": 0.0}},
}


class Shifted(nn.Module):
    """A layer of somebody's own, with a table that no penalty takes."""

    def __init__(self) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.randn(4, 6))
        self.mix = nn.Parameter(torch.randn(6, 6))

    def forward(self, images: Tensor) -> Tensor:
        return images @ self.mix + self.pos_embedding[0]


def network() -> nn.Module:
    torch.manual_seed(1)
    layers = [nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), parametrizations.weight_norm(nn.Linear(8, 6)), Shifted()]
    model = nn.Sequential(*layers, nn.Linear(6, 3)).double()
    model[1].bias.requires_grad_(False)
    return model


def batches() -> list[tuple[Tensor, Tensor, float]]:
    generator = torch.Generator().manual_seed(2)
    return [
        (
            torch.randn(8, 6, generator=generator, dtype=torch.float64),
            torch.randint(0, 3, (8,), generator=generator),
            0.05 / (1 + step),
        )
        for step in range(STEPS)
    ]


def record_of(settings: Settings, model: nn.Module) -> StudyRecord:
    """A study's record, as far as code is made of it."""
    record = object.__new__(StudyRecord)
    trainer = {"regularization": coverage(taken_parameters(model, settings.penalty))}
    for name, value in {"settings": settings.flat(), "trainer": trainer, "trained_by": "l2tune"}.items():
        object.__setattr__(record, name, value)
    return record


def made(model: nn.Module, **given: Any) -> tuple[Settings, CodeToPaste]:
    settings = build({"lr": 0.05, **given})
    code = code_to_paste(record_of(settings, model), STRENGTH)
    assert code is not None
    return settings, code


def run(listing: Listing, model: nn.Module) -> Mapping[str, Tensor]:
    """Train as somebody would who pastes it into a script."""
    names: dict[str, Any] = {"torch": torch, "model": model}
    exec(listing.setup, names)
    optimizer = names["optimizer"]
    for images, labels, lr in batches():
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()
        exec(listing.before_step, names)
        optimizer.step()
        exec(listing.after_step, names)
    return dict(model.named_parameters())


def engine(settings: Settings, model: nn.Module, strength: float = STRENGTH) -> Mapping[str, Tensor]:
    ours = RegularizedOptimizer(model, strength, settings.training, settings.penalty)
    for images, labels, lr in batches():
        ours.step(cross_entropy(model(images), labels), lr)
    return dict(model.named_parameters())


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize(("optimizer", "form"), PAIRS)
def test_it_trains_as_the_search_did(optimizer: str, form: str, choice: str) -> None:
    model = network()
    settings, code = made(model, optimizer=optimizer, penalty=form, **CHOICES[choice])
    assert code.plain is not None
    ends = [engine(settings, copy.deepcopy(model))]
    ends += [run(listing, copy.deepcopy(model)) for listing in (code.with_import, code.plain)]
    free = engine(settings, copy.deepcopy(model), strength=0.0)
    assert any((ends[0][name] - free[name]).abs().max() > 1e-4 for name in free), "the penalty does nothing"
    for name, golden in ends[0].items():
        for found in ends[1:]:
            torch.testing.assert_close(found[name], golden, rtol=0, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")  # type: ignore[misc]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_with_l1_the_same_weights_are_exactly_zero(optimizer: str) -> None:
    model = network()
    settings = build({"lr": 0.05, "optimizer": optimizer, "penalty": "l1"})
    code = code_to_paste(record_of(settings, model), 0.5)
    assert code is not None
    assert code.plain is not None
    golden = engine(settings, copy.deepcopy(model), 0.5)["5.weight"] == 0
    assert golden.any()
    for listing in (code.with_import, code.plain):
        assert torch.equal(run(listing, copy.deepcopy(model))["5.weight"] == 0, golden)


def test_the_plain_call_is_said_to_be_the_same_only_where_it_is() -> None:
    model = nn.Sequential(nn.Linear(6, 4, bias=False), nn.ReLU(), nn.Linear(4, 3, bias=False)).double()
    settings, code = made(model)
    assert code.note == (
        "λ acts on every parameter alike, so the plain call torch.optim.SGD(model.parameters(), weight_decay=…) is the "
        "same."
    )
    assert code.plain is not None
    assert code.plain.text == (
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.04)"
    )
    ends = engine(settings, copy.deepcopy(model)), run(code.plain, copy.deepcopy(model))
    assert all(torch.allclose(ends[1][name], golden, rtol=0, atol=1e-10) for name, golden in ends[0].items())
    for other in (made(network())[1], made(model, scale={"0.*": 2.0})[1]):
        assert other.note.startswith(
            "The plain call torch.optim.SGD(model.parameters(), weight_decay=…) is not the same"
        )


def test_two_groups_of_a_usual_network_are_short() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    code = made(model)[1]
    assert code.with_import.text == (
        "import l2tune\n"
        "groups = l2tune.parameter_groups(model, 0.02)\n"
        "optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True)"
    )
    assert code.plain is not None
    assert code.plain.text == (
        "weights = [p for n, p in model.named_parameters() if p.ndim > 1]\n"
        "rest = [p for n, p in model.named_parameters() if not (p.ndim > 1)]\n"
        'groups = [{"params": weights, "weight_decay": 0.04}, {"params": rest, "weight_decay": 0.0}]\n'
        "optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True)"
    )


def test_without_what_an_older_version_did_not_store_there_is_no_plain_code() -> None:
    record = record_of(build({}), network())
    object.__setattr__(record, "trainer", {})
    code = code_to_paste(record, STRENGTH)
    assert code is not None
    assert code.plain is None
    assert "is not the same" in code.note
    assert code_to_paste(record, 0.0) is None
    object.__setattr__(record, "trained_by", "function")
    assert code_to_paste(record, STRENGTH) is None
