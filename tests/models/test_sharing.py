"""What networks of one factory may share: nothing that training changes."""

import copy
import gc
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from l2tune.errors import UserError
from l2tune.models.check import check_factory
from l2tune.models.registry import build_model, make_factory
from l2tune.settings import ModelSettings

SHAPE, CLASSES, PIXELS = (1, 4, 4), 3, 16
FIX = "make all layers anew in every call; copy.deepcopy keeps their values"


def net(*front, width=PIXELS):
    return nn.Sequential(nn.Flatten(), *front, nn.Linear(width, CLASSES))


def accept(factory, count=5):
    """By the check, and then at every later build, whether earlier networks are alive or not."""
    check_factory(factory, SHAPE, CLASSES, 8)
    kept = [build_model(factory, SHAPE, CLASSES) for _ in range(count)]
    del kept
    for _ in range(count):
        build_model(factory, SHAPE, CLASSES)


def refusal(call, factory, *more):
    with pytest.raises(UserError) as refused:
        call(factory, SHAPE, CLASSES, *more)
    place, _, what = str(refused.value).partition(": ")
    assert place.startswith("model ")
    assert what.endswith(f" with an earlier network, and training changes it; {FIX}")
    return what.removesuffix(f" with an earlier network, and training changes it; {FIX}")


def refused(factory):
    """By the check, and by the second build alone."""
    message = refusal(check_factory, factory, 8)
    first = None
    with pytest.raises(UserError, match="with an earlier network"):
        first = (build_model(factory, SHAPE, CLASSES), build_model(factory, SHAPE, CLASSES))
    assert first is None
    return message


def test_one_module_for_all_is_refused():
    model = net()
    assert refused(lambda shape, classes: model) == "shares '1.weight' and 1 more"


def test_one_module_for_all_is_refused_though_no_network_of_it_is_alive():
    model = net()

    def factory(shape, classes):
        return model

    build_model(factory, SHAPE, CLASSES)
    gc.collect()
    assert refusal(build_model, factory) == "shares '1.weight' and 1 more"


def test_a_module_made_new_in_place_is_refused():
    model = net()

    def factory(shape, classes):
        model[1].weight = nn.Parameter(torch.randn(CLASSES, PIXELS))
        model[1].reset_parameters()
        return model

    assert refused(factory) == "shares '1.weight' and 1 more"


def test_a_common_backbone_is_refused_unless_it_is_frozen():
    backbone = nn.Linear(PIXELS, 5)
    assert refused(lambda shape, classes: net(backbone, width=5)) == "shares '1.weight' and 1 more"
    frozen = nn.Linear(PIXELS, 5).requires_grad_(False)
    accept(lambda shape, classes: net(frozen, width=5))
    half = nn.Linear(PIXELS, 5)
    half.weight.requires_grad_(False)
    assert refused(lambda shape, classes: net(half, width=5)) == "shares '1.bias'"


def test_frozen_batch_norm_changes_in_training_unless_it_stays_in_evaluation_mode():
    norm = nn.BatchNorm1d(PIXELS).requires_grad_(False)
    before = copy.deepcopy(norm.state_dict())
    assert refused(lambda shape, classes: net(norm)) == "shares '1.running_mean' and 2 more"
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())

    class Still(nn.BatchNorm1d):
        def train(self, mode=True):
            return super().train(False)

    still = Still(PIXELS).requires_grad_(False)
    accept(lambda shape, classes: net(still))


def test_common_buffers_are_refused_only_where_training_changes_them():
    mean, statistics = torch.zeros(PIXELS), torch.zeros(PIXELS)

    class Shift(nn.Module):
        def __init__(self, values):
            super().__init__()
            self.register_buffer("values", values, persistent=False)

        def forward(self, x):
            return x - self.values

    class Following(Shift):
        def forward(self, x):
            if self.training:
                self.values.mul_(0.9).add_(0.1 * x.mean(0))
            return super().forward(x)

    accept(lambda shape, classes: net(Shift(mean)))
    assert refused(lambda shape, classes: net(Following(statistics))) == "shares '1.values'"
    assert not statistics.any()


def test_frozen_weights_that_the_forward_pass_changes_are_refused():
    teacher = nn.Linear(PIXELS, CLASSES).requires_grad_(False)

    class Student(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.teacher = nn.Linear(PIXELS, CLASSES), teacher

        def forward(self, x):
            if self.training:
                self.teacher.weight.lerp_(self.linear.weight.detach(), 0.1)
            return self.linear(x.flatten(1)) + self.teacher(x.flatten(1))

    assert refused(lambda shape, classes: Student()) == "shares 'teacher.weight'"


@pytest.mark.parametrize("kind", ["tensor", "numpy", "view", "state"])
def test_common_memory_is_refused(kind):
    table = torch.randn(CLASSES, PIXELS)
    numbers = np.random.default_rng(0).normal(size=(CLASSES, PIXELS)).astype(np.float32)
    state = net().state_dict()

    def factory(shape, classes):
        model = net()
        if kind == "state":
            model.load_state_dict(state, assign=True)
        else:
            values = {
                "tensor": table,
                "numpy": torch.from_numpy(numbers),
                "view": table.view(PIXELS, CLASSES).T,
            }
            model[1].weight = nn.Parameter(values[kind])
        return model

    assert refused(factory) == "shares '1.weight'" + " and 1 more" * (kind == "state")


def test_memory_that_is_kept_is_refused_though_no_network_of_it_is_alive():
    table = torch.randn(CLASSES, PIXELS)

    def factory(shape, classes):
        model = net()
        model[1].weight = nn.Parameter(table)
        return model

    build_model(factory, SHAPE, CLASSES)
    gc.collect()
    assert refusal(build_model, factory) == "shares '1.weight'"


def test_different_parts_of_one_memory_are_no_common_memory():
    arena = torch.randn(20, CLASSES, PIXELS)
    rows = iter(range(20))

    def factory(shape, classes):
        model = net()
        row = next(rows)
        with torch.no_grad():
            arena[row].copy_(model[1].weight)
        model[1].weight = nn.Parameter(arena[row])
        return model

    accept(factory)


def test_what_is_frozen_here_and_trained_there_is_refused():
    weight = nn.Parameter(torch.randn(CLASSES, PIXELS))
    calls = []

    def factory(shape, classes):
        calls.append(None)
        model = net()
        model[1].weight = weight if len(calls) == 1 else nn.Parameter(weight.detach(), requires_grad=False)
        return model

    first = build_model(factory, SHAPE, CLASSES)
    assert refusal(build_model, factory) == "shares '1.weight'"
    first.requires_grad_(False)  # now nobody trains it
    build_model(factory, SHAPE, CLASSES)


@pytest.mark.parametrize("period", [1, 2, 3, 5])
def test_a_cache_is_noticed_when_it_gives_a_network_again(period):
    cache, calls = {}, []

    def factory(shape, classes):
        calls.append(None)
        key = len(calls) % period
        if key not in cache:
            cache[key] = net()
        return cache[key]

    refusals = 0
    for _ in range(3 * period):
        try:
            build_model(factory, SHAPE, CLASSES)
        except UserError:
            refusals += 1
    assert refusals == 2 * period
    calls.clear()
    cache.clear()
    if period <= 2:
        assert refusal(check_factory, factory, 8) == "shares '1.weight' and 1 more"
    else:
        check_factory(factory, SHAPE, CLASSES, 8)


def test_a_cache_by_seed_is_noticed():
    cache = {}

    def factory(shape, classes):
        return cache.setdefault(torch.initial_seed(), net())

    assert refusal(check_factory, factory, 8) == "shares '1.weight' and 1 more"


def test_a_network_that_was_moved_and_trained_is_still_known():
    model = net(nn.BatchNorm1d(PIXELS).requires_grad_(False))

    def factory(shape, classes):
        return model

    build_model(factory, SHAPE, CLASSES).to(torch.float64).to(torch.float32)
    assert refusal(build_model, factory) == "shares '2.weight' and 1 more"
    model.requires_grad_(False)[2].weight = nn.Parameter(torch.randn(CLASSES, PIXELS))
    assert refusal(build_model, factory) == "shares '2.weight'"


def test_a_weight_that_was_moved_is_still_known_in_another_module():
    weight = nn.Parameter(torch.randn(CLASSES, PIXELS))

    def factory(shape, classes):
        model = net()
        model[1].weight = weight
        return model

    build_model(factory, SHAPE, CLASSES).to(torch.float64).to(torch.float32)
    gc.collect()
    assert refusal(build_model, factory) == "shares '1.weight'"


def test_freed_memory_is_no_common_memory():
    like = net()[1].weight
    memory = np.zeros(like.shape, np.float32)  # an allocator may take its time to use an address again

    def factory(shape, classes):
        model = net()
        model[1].weight = nn.Parameter(torch.from_numpy(memory))
        return model

    addresses = []
    for _ in range(3):
        addresses.append(build_model(factory, SHAPE, CLASSES)[1].weight.data_ptr())
        gc.collect()
    assert len(set(addresses)) == 1, "used again"


def test_nothing_is_kept_alive():
    model = build_model(lambda shape, classes: net(), SHAPE, CLASSES)
    watched = [weakref.ref(model), weakref.ref(model[1].weight)]
    del model
    gc.collect()
    assert [ref() for ref in watched] == [None, None]


def test_what_is_remembered_does_not_grow():
    def notes():
        gc.collect()
        build_model(lambda shape, classes: net(backbone, width=5), SHAPE, CLASSES)
        return sum(type(thing).__name__ == "_Note" for thing in gc.get_objects())

    backbone = nn.Linear(PIXELS, 5).requires_grad_(False)
    before = notes()
    assert before
    assert [notes() for _ in range(5)] == [before] * 5


def test_tied_weights_within_a_network_are_its_own():
    def factory(shape, classes):
        model = net(nn.Linear(PIXELS, PIXELS), nn.Linear(PIXELS, PIXELS))
        model[2].weight = model[1].weight
        return model

    accept(factory)


def test_layers_without_state_may_be_common():
    relu = nn.ReLU()
    accept(lambda shape, classes: net(relu, nn.Dropout(), relu))


def test_copies_of_pretrained_values_pass():
    template = net()
    state = template.state_dict()

    def loaded(shape, classes):
        model = net()
        model.load_state_dict(state)
        return model

    accept(loaded)
    accept(lambda shape, classes: copy.deepcopy(template))


def test_published_weights_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    url = models.get_model_weights("squeezenet1_1").DEFAULT.url
    torch.save(models.squeezenet1_1().state_dict(), tmp_path / "checkpoints" / url.rsplit("/", 1)[1])
    factory = make_factory(ModelSettings(name="squeezenet1_1", pretrained=True))
    check_factory(factory, (1, 32, 32), 7, 128)
