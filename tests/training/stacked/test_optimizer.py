"""A row of the stacked optimizer is torch.optim's step of one network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from l2tune.penalty.forms import FORMS
from l2tune.settings import build
from l2tune.training.optimizers import RegularizedOptimizer
from l2tune.training.stacked.optimizer import StackedOptimizer

PAIRS = [(name, form) for name in ("sgd", "adam", "adamw") for form in FORMS if (name, form) != ("adamw", "l2")]


@pytest.mark.parametrize(("optimizer", "form"), PAIRS)
def test_a_row_of_the_stacked_optimizer_is_torch_optim(optimizer: str, form: str) -> None:
    strengths = [0.0, 1e-7, 1.0]
    settings = build({"optimizer": optimizer, "penalty": form, "lr": 0.1})
    stacked = StackedOptimizer(settings.training, settings.penalty)
    generator = torch.Generator().manual_seed(0)
    models = [nn.Linear(4, 3).double() for _ in strengths]
    weights = [torch.stack([m.weight.detach() for m in models]), torch.stack([m.bias.detach() for m in models])]
    start = [w.clone() for w in weights]
    moments = [[torch.zeros_like(w) for w in weights] for _ in range(stacked.moments)]
    golden = [
        RegularizedOptimizer(m, s, settings.training, settings.penalty) for m, s in zip(models, strengths, strict=True)
    ]
    by_row = torch.tensor(strengths, dtype=torch.float64)
    for step in range(20):
        slopes = [torch.randn(w.shape, generator=generator, dtype=torch.float64) for w in weights]
        rates = torch.tensor(stacked.rates(step, 20), dtype=torch.float64)[:, None].expand(3, len(strengths))
        for row, (model, reference) in enumerate(zip(models, golden, strict=True)):
            loss = (model.weight * slopes[0][row]).sum() + (model.bias * slopes[1][row]).sum()
            reference.step(loss, float(rates[0, row]))
        stacked.step(weights, [s.clone() for s in slopes], moments, [True, False], by_row, rates)
    for row, model in enumerate(models):
        for ours, theirs, before in ((weights[0], model.weight, start[0]), (weights[1], model.bias, start[1])):
            change = theirs.detach() - before[row]
            torch.testing.assert_close(ours[row] - before[row], change, rtol=1e-10, atol=1e-12)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """torch.compile without the compiler: what it traced runs as it is; how many graphs there are."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **how: compile_(function, backend="eager", **how))
    torch._dynamo.reset()
    counters.clear()
    return lambda: int(counters["stats"]["unique_graphs"])


def fused_step(stacked: StackedOptimizer, members: int, units: int = 4) -> list[torch.Tensor]:
    """One compiled step of members of a layer of so many units; the weights after it."""
    weights = [torch.ones(members, units, 5), torch.ones(members, units)]
    moments = [[torch.zeros_like(w) for w in weights] for _ in range(stacked.moments)]
    rates = torch.full((3, members), 0.1)
    slopes = [0.5 * w for w in weights]
    stacked.step(weights, slopes, moments, [True, False], rates[0], rates, fused=True)
    return weights


def test_a_process_may_train_any_number_of_networks_with_a_compiled_step(traced: Callable[[], int]) -> None:
    settings = build({"optimizer": "adam"})
    for units in range(2, 14):  # torch compiles the same code eight times; a warning is an error here
        compiled = StackedOptimizer(settings.training, settings.penalty, compiled=True)
        plain = StackedOptimizer(settings.training, settings.penalty)
        for ours, golden in zip(fused_step(compiled, 3, units), fused_step(plain, 3, units), strict=True):
            torch.testing.assert_close(ours, golden)
    assert traced() == 12


def test_members_that_leave_one_by_one_compile_the_step_three_times_at_most(traced: Callable[[], int]) -> None:
    settings = build({"optimizer": "adam"})
    stacked = StackedOptimizer(settings.training, settings.penalty, compiled=True)
    for members in range(12, 0, -1):
        fused_step(stacked, members)
    assert 1 <= traced() <= 3  # as they are first, for any number, and for one


@pytest.mark.long
def test_dropping_members_one_by_one_compiles_the_step_twice_at_most() -> None:
    settings = build({"optimizer": "adam"})
    stacked = StackedOptimizer(settings.training, settings.penalty, compiled=True)
    torch._dynamo.reset()
    counters.clear()
    for members in (7, 6, 5, 4, 3, 2):
        weights = [torch.ones(members, 4, 5), torch.ones(members, 4)]
        moments = [[torch.zeros_like(w) for w in weights] for _ in range(2)]
        rates = torch.full((3, members), 0.1)
        stacked.step(weights, [w.clone() for w in weights], moments, [True, False], rates[0], rates, fused=True)
    assert 1 <= counters["stats"]["unique_graphs"] <= 2
