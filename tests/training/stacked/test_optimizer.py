"""A row of the stacked optimizer is torch.optim's step of one network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

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


@pytest.mark.long
def test_dropping_members_one_by_one_compiles_the_step_twice_at_most() -> None:
    from torch._dynamo.utils import counters

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
