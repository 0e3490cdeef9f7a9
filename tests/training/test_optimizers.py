"""One network's optimizer: the penalty's forms against torch.optim's own weight decay."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from l2tune.errors import UserError
from l2tune.penalty.forms import FORMS
from l2tune.settings import PenaltySettings, TrainingSettings
from l2tune.training.optimizers import RegularizedOptimizer

STEPS = 50
STRENGTHS = (0.0, 1e-7, 3e-3, 0.1)
REGULARIZE = ("weights", "all")


def small_network():
    """Convolution, batch norm and linear layers, in float64.

    The norm does not follow the convolution directly: it would cancel its bias, whose gradient were rounding error.
    """
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(5 * 6 * 6, 4)
    ).double()


def batches():
    generator = torch.Generator().manual_seed(11)
    for _ in range(STEPS):
        yield (
            torch.randn(8, 2, 6, 6, generator=generator, dtype=torch.float64),
            torch.randint(0, 4, (8,), generator=generator),
        )


def learning_rates(peak):
    return [peak * (1 - step / STEPS) for step in range(STEPS)]


def train(optimizer, strength, form, regularize, *, lr=0.02, momentum=0.9):
    """Weights after 50 steps of ours."""
    model = small_network()
    ours = RegularizedOptimizer(
        model,
        strength,
        TrainingSettings(optimizer=optimizer, lr=lr, momentum=momentum),
        PenaltySettings(form=form, regularize=regularize),
    )
    for (images, labels), rate in zip(batches(), learning_rates(lr), strict=True):
        ours.step(cross_entropy(model(images), labels), rate)
    return dict(model.named_parameters())


def train_golden(make, strength, regularize, *, lr=0.02, shrink=0.0):
    """Weights after 50 steps of a plain torch.optim loop with `weight_decay = 2λ` in parameter groups.

    Args:
        make: Parameter groups → optimizer.
        shrink: Times 2·lr·λ: the share that decoupled decay takes off the weights before each step.
    """
    model = small_network()
    decayed = [p for name, p in model.named_parameters() if regularize == "all" or name in ("0.weight", "4.weight")]
    plain = [p for p in model.parameters() if all(p is not q for q in decayed)]
    groups = [{"params": decayed, "weight_decay": 0.0 if shrink else 2 * strength}]
    optimizer = make(groups + ([{"params": plain, "weight_decay": 0.0}] if plain else []), lr)
    for (images, labels), rate in zip(batches(), learning_rates(lr), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()
        with torch.no_grad():
            for parameter in decayed:
                parameter -= shrink * rate * 2 * strength * parameter
        optimizer.step()
    return dict(model.named_parameters())


def sgd(groups, lr):
    return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)


def plain_sgd(groups, lr):
    return torch.optim.SGD(groups, lr=lr)


def adam(groups, lr):
    return torch.optim.Adam(groups, lr=lr)


def adamw(groups, lr):
    return torch.optim.AdamW(groups, lr=lr)


def assert_same_weights(found, golden):
    start = dict(small_network().named_parameters())
    for name, weight in golden.items():
        assert (weight - start[name]).abs().max() > 1e-3, f"{name} did not move: the comparison would say nothing"
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("regularize", REGULARIZE)
@pytest.mark.parametrize("form", ["l2", "l2-loss"])
class TestCoupledFormsEqualWeightDecayOfTwoLambda:
    def test_sgd_with_nesterov_momentum(self, form, regularize, strength):
        assert_same_weights(train("sgd", strength, form, regularize), train_golden(sgd, strength, regularize))

    def test_sgd_without_momentum(self, form, regularize, strength):
        found = train("sgd", strength, form, regularize, momentum=0.0)
        assert_same_weights(found, train_golden(plain_sgd, strength, regularize))

    def test_adam(self, form, regularize, strength):
        assert_same_weights(train("adam", strength, form, regularize), train_golden(adam, strength, regularize))


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("regularize", REGULARIZE)
class TestDecoupledForm:
    @pytest.mark.parametrize("optimizer", ["adam", "adamw"])
    def test_adam_equals_adamw_with_weight_decay_of_two_lambda(self, optimizer, regularize, strength):
        found = train(optimizer, strength, "l2-decoupled", regularize)
        assert_same_weights(found, train_golden(adamw, strength, regularize))

    def test_sgd_shrinks_the_weights_by_the_learning_rate_times_two_lambda(self, regularize, strength):
        found = train("sgd", strength, "l2-decoupled", regularize)
        assert_same_weights(found, train_golden(sgd, strength, regularize, shrink=1.0))


def test_explicit_term_with_adamw_equals_adam_with_weight_decay():
    found = train("adamw", 3e-3, "l2-loss", "weights")
    assert_same_weights(found, train_golden(adam, 3e-3, "weights"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_penalty_changes_the_weights_it_takes(form, optimizer):
    free, penalized = (train(optimizer, strength, form, "weights") for strength in (0.0, 0.1))
    for name in ("0.weight", "4.weight"):
        assert penalized[name].norm() < 0.95 * free[name].norm()


def test_coupled_and_decoupled_differ_with_adam():
    coupled, decoupled = (train("adam", 0.1, form, "weights")["4.weight"] for form in ("l2", "l2-decoupled"))
    assert (coupled - decoupled).abs().max() > 1e-3


def test_a_network_without_regularized_weights_trains():
    scale = nn.LayerNorm(4)
    ours = RegularizedOptimizer(scale, 0.1, TrainingSettings(), PenaltySettings(form="l2-loss"))
    before = scale.bias.detach().clone()
    ours.step(scale(torch.randn(3, 4)).square().sum() + scale.bias.sum(), 0.1)
    assert not torch.equal(scale.bias, before)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"penalty": {"form": "no-such-form"}},
            "penalty: 'no-such-form' is no form of the penalty; known are " + ", ".join(FORMS),
        ),
        (
            {"training": {"optimizer": "rmsprop"}},
            "optimizer: 'rmsprop' is no optimizer; known are sgd, adam, adamw",
        ),
    ],
    ids=["form", "optimizer"],
)
def test_what_is_not_known_is_refused_and_not_trained_as_something_else(settings, line):
    training = TrainingSettings().model_copy(update=settings.get("training"))
    penalty = PenaltySettings().model_copy(update=settings.get("penalty"))
    with pytest.raises(UserError) as refused:
        RegularizedOptimizer(small_network(), 0.1, training, penalty)
    assert str(refused.value) == line
