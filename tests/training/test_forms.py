"""Every form of the penalty in both engines, and what a form that someone adds can rely on."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from l2tune.errors import UserError
from l2tune.penalty.forms import FORMS, Form, along
from l2tune.settings import PenaltySettings, TrainingSettings
from l2tune.training.optimizers import RegularizedOptimizer
from l2tune.training.sequential import SequentialTrainer
from l2tune.training.stacked.optimizer import StackedOptimizer
from l2tune.training.stacked.population import PopulationTrainer

OPTIMIZERS = ("sgd", "adam", "adamw")
ENGINES = (SequentialTrainer, PopulationTrainer)


class SoftThreshold(Form):
    """`λ Σ |w|` by its proximal operator: every weight moves towards zero by its step size times λ."""

    name = "soft-threshold"

    def after_step(self, weights, strength, step_sizes):
        for weight, size in zip(weights, step_sizes(), strict=True):
            reach = size * along(strength, weight)
            weight.copy_(weight.sign() * (weight.abs() - reach).clamp(min=0))


class FourthPower(Form):
    """A term of the loss alone, whose gradient nobody wrote."""

    name = "fourth-power"

    def loss_term(self, weights, strength):
        parts = [weight.pow(4) for weight in weights]
        if isinstance(strength, torch.Tensor):
            return strength * torch.stack([part.flatten(1).sum(1) for part in parts]).sum(0)
        return strength * torch.stack([part.sum() for part in parts]).sum()


ADDED = (SoftThreshold, FourthPower)


@pytest.fixture(autouse=True)
def added(monkeypatch):
    for form in ADDED:
        monkeypatch.setitem(FORMS, form.name, form)


NAMES = [*FORMS, *(form.name for form in ADDED)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NAMES)
def test_both_engines_train_it_alike_and_unlike_no_penalty(small, train, name, optimizer):
    members = [small.member(strength, fold) for strength in (0.0, 0.02) for fold in range(2)]
    settings = {"penalty": name, "optimizer": optimizer, "epochs": 3, "lr": 0.02, "dtype": torch.float64}
    one, together = (train(small.trainer(engine=engine, **settings), members) for engine in ENGINES)
    free, penalized = (one[small.member(strength)][-1].network for strength in (0.0, 0.02))
    for layer, norm in penalized.weight_norms.items():
        assert abs(norm - free.weight_norms[layer]) > 1e-4, f"{layer}: the penalty does nothing"
    for member in members:
        for theirs, ours in zip(one[member], together[member], strict=True):
            assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-8)
        assert together[member][-1].network.weight_norms == pytest.approx(
            one[member][-1].network.weight_norms, rel=1e-8
        )
        assert together[member][-1].network.zero_fraction == one[member][-1].network.zero_fraction


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", NAMES)
def test_multipliers_act_alike_in_both_engines(small, train, name, optimizer):
    scale = {"*": 0.5, "4.weight": 3.0}
    members = [small.member(strength) for strength in (0.0, 0.02)]
    settings = {"penalty": name, "optimizer": optimizer, "epochs": 2, "lr": 0.02, "dtype": torch.float64}
    one, together = (train(small.trainer(engine=engine, scale=scale, **settings), members) for engine in ENGINES)
    plain = train(small.trainer(**settings), members)
    for member in members:
        first, second = one[member][-1], together[member][-1]
        assert second.train_loss == pytest.approx(first.train_loss, rel=1e-8)
        assert second.network.weight_norms == pytest.approx(first.network.weight_norms, rel=1e-8)
        assert (first.train_loss == plain[member][-1].train_loss) == (member.strength == 0)
    estimates = [[s.first_estimates for s in found[members[0]] if s.first_estimates][-1] for found in (one, together)]
    assert estimates[1] == pytest.approx(estimates[0], rel=1e-8)
    usual = [s.first_estimates for s in plain[members[0]] if s.first_estimates][-1]
    if name in usual:  # this one has a slope
        assert estimates[0][name] != pytest.approx(usual[name], rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_multiplier_for_all_weights_is_as_much_more_lambda(small, train, name):
    ends = []
    for strength, scale in ((0.04, None), (0.02, {"*": 2.0})):
        trainer = small.trainer(penalty=name, epochs=2, scale=scale, dtype=torch.float64)
        ends.append(train(trainer, [small.member(strength)])[small.member(strength)][-1].network.weight_norms)
    assert ends[0] == ends[1]


def test_a_multiplier_of_zero_leaves_a_weight_out(small, train):
    problem = small.problem(scale={"0.*": 0.0})
    assert list(problem.regularized) == ["4.weight"]
    with pytest.raises(UserError, match=r"^scale: leaves no parameter for λ to act on: all multipliers are 0; "):
        small.trainer(scale={"*": 0.0})
    with pytest.raises(UserError, match=r"^scale: '0.wait' matches no penalized parameter; did you mean '0.weight'"):
        small.trainer(scale={"0.wait": 2.0})


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.native])
def test_a_forms_hooks_do_what_torch_optims_own_decay_does(small, train, monkeypatch, optimizer, name):
    member = small.member(0.02)
    ends = []
    for native in (FORMS[name].native, None):
        monkeypatch.setattr(FORMS[name], "native", native)
        trainer = small.trainer(penalty=name, optimizer=optimizer, lr=0.02, dtype=torch.float64)
        ends.append(train(trainer, [member])[member][-1].network.weight_norms)
    assert ends[0] == pytest.approx(ends[1], rel=1e-10)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_without_a_strength_every_form_trains_bit_for_bit_alike(small, train, engine, optimizer):
    """Beside a member that is penalized, so that a stacked λ = 0 goes through the form's hooks."""
    free, penalized = members = [small.member(strength) for strength in (0.0, 0.02)]
    ends = {}
    for name in FORMS:
        found = train(small.trainer(penalty=name, optimizer=optimizer, engine=engine, lr=0.02), members)
        ends[name] = [(s.train_loss, s.val_loss) for s in found[free]]
        assert found[penalized][-1].train_loss != found[free][-1].train_loss
    assert all(end == ends["l2"] for end in ends.values())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_soft_threshold_makes_weights_exactly_zero(small, train, engine, optimizer):
    free, penalized = members = [small.member(strength) for strength in (0.0, 0.05)]
    found = train(small.trainer(penalty="soft-threshold", optimizer=optimizer, engine=engine), members)
    assert found[free][-1].network.zero_fraction == 0
    assert found[penalized][-1].network.zero_fraction > 0.02


@pytest.mark.parametrize("engine", ENGINES)
def test_an_unknown_form_is_refused_by_every_engine(small, engine):
    with pytest.raises(UserError, match=r"^penalty: 'no-such-form' is no form of the penalty; known are l2, "):
        small.trainer(penalty="no-such-form", engine=engine)


def test_a_form_that_does_not_take_stacked_weights_is_refused_by_the_population(small, train, monkeypatch):
    monkeypatch.setattr(SoftThreshold, "stackable", False)
    member = small.member(0.05)
    assert train(small.trainer(penalty="soft-threshold"), [member])[member]
    with pytest.raises(UserError) as refused:
        small.trainer(penalty="soft-threshold", engine=PopulationTrainer)
    assert str(refused.value) == ("penalty: soft-threshold does not take stacked networks; use --engine sequential")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_step_sizes_are_those_that_the_optimizer_used(monkeypatch, optimizer):
    """Plain recomputation over some steps, for one network and for two stacked ones with rates of their own."""
    told = []

    class Watching(Form):
        name = "watching"

        def after_step(self, weights, strength, step_sizes):
            told.append([torch.as_tensor(size).clone() for size in step_sizes()])

    monkeypatch.setitem(FORMS, "watching", Watching)
    training = TrainingSettings(optimizer=optimizer, lr=0.1)
    penalty = PenaltySettings().model_copy(update={"form": "watching"})
    stacked = StackedOptimizer(training, penalty)
    layer = nn.Linear(3, 2, bias=False).double()
    alone = RegularizedOptimizer(layer, 0.5, training, penalty)
    weights = torch.ones(2, 2, 3, dtype=torch.float64)
    moments = [[torch.zeros_like(weights)] for _ in range(stacked.moments)]
    second = torch.zeros_like(weights)
    generator = torch.Generator().manual_seed(0)
    for step in range(4):
        gradient = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
        second = 0.999 * second + 0.001 * gradient.square()
        rates = torch.tensor([stacked.rates(step, 4 * (1 + row)) for row in range(2)], dtype=torch.float64).T
        sizes = rates[0].view(2, 1, 1)
        if optimizer == "sgd":  # what momentum makes of a gradient that stays as it is
            sizes = sizes * sum(0.9**power for power in range(step + 2))
        else:
            sizes = sizes / ((second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
        strengths = torch.tensor([0.5, 0.7], dtype=torch.float64)
        stacked.step([weights], [gradient.clone()], moments, [True], strengths, rates)
        alone.step((layer.weight * gradient[0]).sum(), float(rates[0, 0]))
        (found,), (of_one,) = told[-2:]
        torch.testing.assert_close(found.expand_as(sizes), sizes, rtol=1e-12, atol=0)
        torch.testing.assert_close(of_one.double().expand_as(sizes[0]), sizes[0], rtol=1e-7, atol=0)


@pytest.mark.long
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != FourthPower.name])
def test_the_compiled_step_is_the_plain_one(name, optimizer):
    torch._dynamo.reset()
    penalty = PenaltySettings().model_copy(update={"form": name})
    ends = []
    for compiled in (False, True):
        stacked = StackedOptimizer(TrainingSettings(optimizer=optimizer, lr=0.1), penalty, compiled=compiled)
        generator = torch.Generator().manual_seed(0)
        weights = [torch.randn(shape, generator=generator) for shape in ((3, 4, 5), (3, 4))]
        moments = [[torch.zeros_like(w) for w in weights] for _ in range(stacked.moments)]
        for step in range(5):
            members = 3 if step < 3 else 2
            slopes = [torch.randn(w.shape, generator=generator)[:members] for w in weights]
            stacked.step(
                [w[:members] for w in weights],
                slopes,
                [[m[:members] for m in of] for of in moments],
                [True, False],
                torch.tensor([0.0, 0.05, 0.1])[:members],
                torch.tensor(stacked.rates(step, 5))[:, None].expand(3, members),
                fused=True,
            )
        ends.append(weights)
    for plain, fused in zip(*ends, strict=True):
        torch.testing.assert_close(fused, plain)


class Rows(nn.Module):
    """Rows of a picture, one after another, through a recurrent network."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(width, 5, batch_first=True)
        self.out = nn.Linear(5, classes)

    def forward(self, images):
        return self.out(self.recurrent(images.mean(1))[0][:, -1])


def normed(shape, classes):
    convolution = parametrizations.weight_norm(nn.Conv2d(shape[0], 4, 3, padding=1))
    spectral = parametrizations.spectral_norm(nn.Linear(4 * shape[1] * shape[2], 6))
    return nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), spectral, nn.ReLU(), nn.Linear(6, classes))


@pytest.mark.parametrize(
    ("factory", "names"),
    [
        (lambda shape, classes: Rows(shape[2], classes), ["recurrent.weight_ih_l0", "recurrent.weight_hh_l0", "out"]),
        (
            normed,
            ["0.parametrizations.weight.original0", "3.parametrizations.weight.original", "5"],
        ),
    ],
    ids=["recurrent", "parametrized"],
)
@pytest.mark.parametrize("name", ["l2", "l1"])
def test_weights_that_are_no_plain_layers_shrink(small, train, factory, names, name):
    problem = small.problem(factory, penalty=name, lr=0.02)
    assert problem.describe()["layers"] == names
    members = [small.member(strength) for strength in (0.0, 0.02)]
    found = train(SequentialTrainer(problem), members)
    free, penalized = (found[member][-1].network.weight_norms for member in members)
    assert set(free) == set(names)
    assert all(penalized[layer] < free[layer] for layer in names)
