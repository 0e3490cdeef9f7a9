"""Random networks: each is refused in one line, or can be trained and scored."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from l2tune.errors import UserError
from l2tune.models.check import check_factory
from l2tune.models.registry import build_model

SHAPE, CLASSES, WIDTH = (2, 4, 4), 3, 6

LAYERS = {
    "linear": lambda: nn.Linear(WIDTH, WIDTH),
    "lazy": lambda: nn.LazyLinear(WIDTH),
    "norm": lambda: nn.BatchNorm1d(WIDTH),
    "plain norm": lambda: nn.BatchNorm1d(WIDTH, affine=False, track_running_stats=False),
    "layer norm": lambda: nn.LayerNorm(WIDTH),
    "dropout": lambda: nn.Dropout(0.5),
    "relu": lambda: nn.ReLU(),
    "relu in place": lambda: nn.ReLU(inplace=True),
    "root": lambda: Apply(lambda x: x.sqrt()),
    "detach": lambda: Apply(lambda x: x.detach()),
    "step": lambda: Apply(lambda x: (x > 0).float()),
    "double": lambda: nn.Linear(WIDTH, WIDTH).double(),
    "meta": lambda: nn.Linear(WIDTH, WIDTH, device="meta"),
    "frozen": lambda: nn.Linear(WIDTH, WIDTH).requires_grad_(False),
    "frozen norm": lambda: nn.BatchNorm1d(WIDTH).requires_grad_(False),
}
OUTPUTS = {
    "logits": lambda y: y,
    "tuple": lambda y: (y, y),
    "dict": lambda y: {"out": y},
    "int": lambda y: y.long(),
    "bool": lambda y: y > 0,
    "complex": lambda y: y + 0j,
    "half": lambda y: y.half(),
    "double": lambda y: y.double(),
    "sparse": lambda y: y.to_sparse(),
    "squeezed": lambda y: y.squeeze(),
    "flat": lambda y: y.flatten(),
    "mean": lambda y: y.mean(0),
    "none": lambda y: None,
    "detached": lambda y: y.detach(),
    "infinite": lambda y: y / 0,
}
SHARING = ("new", "new", "new", "new", "same", "every second", "same memory", "own generator", "numpy")


class Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Output(nn.Module):
    def __init__(self, training, evaluation):
        super().__init__()
        self.kinds = {True: training, False: evaluation}

    def forward(self, x):
        return OUTPUTS[self.kinds[self.training]](x)


def often(good, every):
    return st.one_of(st.just(good), st.just(good), st.sampled_from(sorted(every)))


LAYER = st.tuples(st.sampled_from(sorted(LAYERS)), st.sampled_from(SHARING))
GENTLE = st.tuples(st.sampled_from(["linear", "lazy", "norm", "relu", "dropout", "frozen"]), st.just("new"))


def factory_of(layers, training, evaluation):
    kept, calls = {}, []
    rng = np.random.default_rng(0)

    def layer(place, kind, sharing):
        if sharing in ("same", "every second"):
            key = (place, len(calls) % 2 if sharing == "every second" else 0)
            return kept.setdefault(key, LAYERS[kind]())
        made = LAYERS[kind]()
        weight = getattr(made, "weight", None)
        if weight is None or weight.is_meta or kind == "lazy":
            return made
        if sharing == "same memory":
            made.weight = nn.Parameter(kept.setdefault(place, weight.detach()), weight.requires_grad)
        elif sharing in ("own generator", "numpy"):
            draw = rng.normal if sharing == "own generator" else np.random.normal
            made.weight.data.copy_(torch.from_numpy(draw(size=tuple(weight.shape))))
        return made

    def factory(shape, classes):
        calls.append(None)
        inner = [layer(place, *which) for place, which in enumerate(layers)]
        return nn.Sequential(
            nn.Flatten(), nn.Linear(32, WIDTH), *inner, nn.Linear(WIDTH, classes), Output(training, evaluation)
        )

    return factory


CASES = {
    "layers": st.one_of(st.lists(LAYER, max_size=3), st.lists(GENTLE, max_size=4)),
    "training": often("logits", OUTPUTS),
    "evaluation": often("logits", OUTPUTS),
    "batch_size": st.sampled_from([1, 2, 5]),
}
RELAXED = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=150, derandomize=True, **RELAXED)
@given(**CASES)
def test_a_network_is_refused_or_can_be_trained(layers, training, evaluation, batch_size):
    check_refused_or_trained(layers, training, evaluation, batch_size)


@pytest.mark.long
@settings(max_examples=4000, **RELAXED)
@given(**CASES)
def test_thousands_of_networks_are_refused_or_can_be_trained(layers, training, evaluation, batch_size):
    check_refused_or_trained(layers, training, evaluation, batch_size)


def check_refused_or_trained(layers, training, evaluation, batch_size):
    factory = factory_of(layers, training, evaluation)
    before = torch.get_rng_state()
    message = refusal(factory, batch_size)
    assert torch.equal(torch.get_rng_state(), before)
    if message is not None:
        assert message.startswith("model 'factory_of.<locals>.factory': ")
        assert "\n" not in message
        return
    torch.manual_seed(0)
    members = [build_model(factory, SHAPE, CLASSES) for _ in range(2)]
    start = [{name: value.clone() for name, value in model.state_dict().items()} for model in members]
    train(members[0], batch_size)
    assert all(torch.equal(value, start[1][name]) for name, value in members[1].state_dict().items())
    trained = members[0].state_dict()
    assert any(not torch.equal(value, start[0][name]) for name, value in trained.items())


def refusal(factory, batch_size):
    try:
        check_factory(factory, SHAPE, CLASSES, batch_size)
    except UserError as error:
        return str(error)
    return None


def train(model, batch_size):
    """Two steps, each followed by scores, as `MemberTraining` does them."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    generator = torch.Generator().manual_seed(5)
    for _ in range(2):
        images = torch.randn(batch_size, *SHAPE, generator=generator)
        labels = torch.randint(CLASSES, (batch_size,), generator=generator)
        optimizer.zero_grad()
        cross_entropy(model.train()(images), labels).backward()
        optimizer.step()
        with torch.inference_mode():
            for count in (1, 4):
                logits = model.eval()(torch.randn(count, *SHAPE, generator=generator)).float()
                assert logits.shape == (count, CLASSES)
    images = torch.randn(2, *SHAPE, generator=generator).requires_grad_()
    loss = cross_entropy(model(images), torch.tensor([0, 1]))
    torch.autograd.grad(loss, images)
