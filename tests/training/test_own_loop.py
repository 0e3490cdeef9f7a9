"""What users call in their own training loops: parameter groups and the proximal step."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import l2tune
from l2tune.errors import UserError
from l2tune.settings import PenaltySettings, TrainingSettings
from l2tune.training.optimizers import RegularizedOptimizer


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.BatchNorm1d(6), nn.Linear(6, 3)).double()


def test_groups_hold_every_trained_parameter_once() -> None:
    model = network()
    model[0].bias.requires_grad_(False)
    model.append(nn.Linear(3, 3, bias=False).double())
    model.append(model[4])  # tied
    first, second, rest = l2tune.parameter_groups(model, 0.1, scale={"3.*": 0.5})
    assert [group["weight_decay"] for group in (first, second, rest)] == [0.2, 0.1, 0.0]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    held = [[names[id(parameter)] for parameter in group["params"]] for group in (first, second, rest)]
    assert held == [["0.weight", "4.weight"], ["3.weight"], ["2.weight", "2.bias", "3.bias"]]


def test_patterns_choose_what_decays() -> None:
    [taken, rest] = l2tune.parameter_groups(network(), 0.1, regularize=["3.*", "0.weight"])
    assert (len(taken["params"]), len(rest["params"])) == (3, 3)
    [everything] = l2tune.parameter_groups(network(), 0.1, regularize="all")
    assert len(everything["params"]) == 6


@pytest.mark.parametrize("kind", ["plain", "heavy ball", "nesterov", "amsgrad"])
def test_the_proximal_step_minimizes_the_penalized_loss(kind: str) -> None:
    """Least squares of an orthogonal design: each coefficient has the closed form of the soft threshold."""
    layer = nn.Linear(4, 1, bias=False).double()
    target = torch.tensor([[2.0, -1.0, 0.3, -0.05]], dtype=torch.float64)
    options = {"heavy ball": {"momentum": 0.9}, "nesterov": {"momentum": 0.9, "nesterov": True}}.get(kind, {})
    optimizer: torch.optim.Optimizer = torch.optim.SGD(layer.parameters(), lr=0.02, **options)  # type: ignore[arg-type]
    if kind == "amsgrad":
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.02, amsgrad=True)
    for _ in range(3000):
        optimizer.zero_grad()
        (0.5 * (layer.weight - target).square().sum()).backward()
        optimizer.step()
        l2tune.proximal_step(optimizer, layer, 0.4)
    closed = target.sign() * (target.abs() - 0.4).clamp(min=0)
    torch.testing.assert_close(layer.weight.detach(), closed, rtol=0, atol=1e-3)
    assert (layer.weight == 0).tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("ratio", [0.3, 1.0])
def test_training_goes_on_from_a_saved_state(optimizer: str, ratio: float) -> None:
    model, make = network(), {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    golden = copy.deepcopy(model)
    options = {"lr": 0.05} | ({"momentum": 0.9, "nesterov": True} if optimizer == "sgd" else {})
    penalty = PenaltySettings(form="elastic", l1_ratio=ratio, scale={"3.*": 2.0})
    engine = RegularizedOptimizer(golden, 0.05, TrainingSettings(optimizer=optimizer, lr=0.05), penalty)
    theirs = make(model.parameters(), **options)
    generator = torch.Generator().manual_seed(1)
    for step in range(8):
        if step == 4:
            saved, theirs = theirs.state_dict(), make(model.parameters(), **options)
            theirs.load_state_dict(saved)
        images = torch.randn(8, 5, generator=generator, dtype=torch.float64)
        labels = torch.randint(0, 3, (8,), generator=generator)
        theirs.zero_grad()
        cross_entropy(model(images), labels).backward()
        theirs.step()
        l2tune.proximal_step(theirs, model, 0.05, ratio, scale={"3.*": 2.0})
        engine.step(cross_entropy(golden(images), labels), 0.05)
    for (name, found), wanted in zip(model.named_parameters(), golden.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (
            lambda p: torch.optim.RMSprop(p),
            "RMSprop: its step sizes are not known; use torch.optim's SGD, Adam or AdamW",
        ),
        (
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1),
            "SGD: dampening changes its step sizes; leave dampening out",
        ),
        (lambda p: torch.optim.Adam(p, maximize=True), "Adam: it maximizes; leave maximize out"),
    ],
    ids=["other", "dampening", "maximize"],
)
def test_optimizers_whose_steps_are_others_are_refused(make, line) -> None:
    model = network()
    with pytest.raises(UserError) as refused:
        l2tune.proximal_step(make(model.parameters()), model, 0.1)
    assert str(refused.value) == line


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"strength": -1.0}, "strength: -1.0 is no λ; give a number from 0 to 1e6"),
        ({"strength": "x"}, "strength: 'x' is no λ; give a number from 0 to 1e6"),
        ({"regularize": "0.wait"}, "regularize: '0.wait' matches no parameter of the network; did you mean '0.weight'"),
        ({"scale": {"2.*": 2.0}}, "scale: '2.*' matches no penalized parameter; known are 0.weight, 3.weight"),
        ({"scale": {"0.*": -2.0}}, "scale: -2.0 is no multiplier for '0.*'; give a number from 0 to 1e+06"),
    ],
)
def test_what_cannot_be_is_one_line(given, line) -> None:
    with pytest.raises(UserError) as refused:
        l2tune.parameter_groups(network(), **{"strength": 0.1} | given)
    assert str(refused.value).startswith(line)
