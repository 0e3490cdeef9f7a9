"""The population engine gives the sequential engine's answers, member by member."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from l2tune.data.folds import Fold
from l2tune.data.images import ImageData
from l2tune.errors import TrialFailed
from l2tune.members import EpochScores, Member
from l2tune.models.registry import make_factory
from l2tune.penalty.forms import FORMS
from l2tune.settings import Settings, build
from l2tune.training import engine
from l2tune.training.draws import initial_model
from l2tune.training.engine import choose_engine
from l2tune.training.optimizers import RegularizedOptimizer
from l2tune.training.problem import Problem
from l2tune.training.sequential import SequentialRun, SequentialTrainer
from l2tune.training.stacked.capture import Capture
from l2tune.training.stacked.model import StackedModel, obstacle
from l2tune.training.stacked.optimizer import StackedOptimizer
from l2tune.training.stacked.population import PopulationRun, PopulationTrainer

IMAGES, CLASSES, BATCH = 40, 3, 8
PAIRS = [
    (optimizer, form)
    for optimizer in ("sgd", "adam", "adamw")
    for form in FORMS
    if (optimizer, form) != ("adamw", "l2")
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data() -> ImageData:
    return make_data(channels=2)


@pytest.fixture(scope="module")
def tiny() -> ImageData:
    """For networks of many channels."""
    return make_data(channels=1, side=4)


def make_data(channels: int, side: int = 8) -> ImageData:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(IMAGES) % CLASSES
    noise = torch.randint(0, 160, (IMAGES, channels, side, side), generator=generator)
    images = (noise + 30 * labels[:, None, None, None]).to(torch.uint8)
    return ImageData(images, labels, ("a", "b", "c"), images[:13], labels[:13])


def make_folds(*sizes: int) -> list[Fold]:
    """Folds of these many training images, each a different part."""
    rng = np.random.default_rng(0)
    orders = [rng.permutation(IMAGES) for _ in sizes]
    return [Fold(np.sort(o[:n]), np.sort(o[n:])) for o, n in zip(orders, sizes, strict=True)]


EQUAL = make_folds(32, 32)
UNEQUAL = make_folds(
    32, 27, 33, 21
)  # a last batch of 8, 3, and, of the third, one image too few; 4, 4, 4 and 3 batches


def make_trainers(
    data: ImageData, folds: Sequence[Fold], augment: Sequence[str] = (), factory: Any = None, **settings: Any
) -> tuple[SequentialTrainer, PopulationTrainer]:
    built = build({"epochs": 5, "batch_size": BATCH, "lr": 0.02} | settings)
    problem = make_problem(data, folds, built, factory, augment=augment, dtype=torch.float64)
    return SequentialTrainer(problem), PopulationTrainer(problem)


def make_problem(
    data: ImageData, folds: Sequence[Fold], settings: Settings, factory: Any = None, **rest: Any
) -> Problem:
    """On the CPU."""
    factory = factory or make_factory(settings.model)
    return Problem(data, folds, factory, settings.training, settings.penalty, device=torch.device("cpu"), **rest)


def make_members(folds: Sequence[Fold], strengths: Sequence[float] = (0.0, 1e-3, 0.1)) -> list[Member]:
    return [Member(strength, fold, 100 + fold) for strength in strengths for fold in range(len(folds))]


def weights_of(run: Any, member: Member) -> dict[str, Tensor]:
    """All weights and buffers of a member in training."""
    if isinstance(run, SequentialRun):
        network = run._active[member]
        assert network is not None
        return dict(network.model.state_dict())
    assert isinstance(run, PopulationRun)
    (stacked,) = [p for p in run._populations if member in p.members]
    row = stacked.members.index(member)
    return {n: t[row] for kind in ("parameters", "frozen", "buffers") for n, t in stacked.state[kind].items()}


def assert_equal(found: EpochScores, expected: EpochScores, tolerance: float = 1e-8) -> None:
    assert (found.member, found.epoch, found.diverged) == (expected.member, expected.epoch, expected.diverged)
    for name in ("train_loss", "train_error", "val_loss", "val_error"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=tolerance, nan_ok=True), name
    if expected.gradient_ratio is not None:
        assert found.gradient_ratio == pytest.approx(expected.gradient_ratio, rel=1e-8)
    assert (found.network is None) == (expected.network is None)
    if found.network is not None and expected.network is not None:
        assert found.network.weight_norms == pytest.approx(expected.network.weight_norms, abs=tolerance)
        for name in ("zero_fraction", "near_zero_fraction", "test_error", "calibration_error", "test_loss"):
            assert getattr(found.network, name) == pytest.approx(getattr(expected.network, name), abs=1e-6), name
        assert found.network.input_gradient_norm == pytest.approx(expected.network.input_gradient_norm, abs=tolerance)
        ours, theirs = found.network.test_log_probabilities, expected.network.test_log_probabilities
        assert ours is not None
        assert theirs is not None
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def assert_same_training(
    sequential: SequentialTrainer,
    population: PopulationTrainer,
    members: Sequence[Member],
    drops: dict[int, list[Member]] | None = None,
) -> list[list[EpochScores]]:
    """Both engines agree on scores after every epoch, and on weights and buffers before the last; drops by epoch."""
    one, all_at_once = sequential.start(members), population.start(members)
    history = []
    for epoch, (expected, found) in enumerate(zip(one, all_at_once, strict=True), start=1):
        assert [scores.member for scores in found] == [scores.member for scores in expected]
        for mine, reference in zip(found, expected, strict=True):
            assert_equal(mine, reference)
            if not reference.diverged and epoch < sequential.epochs:
                theirs = weights_of(one, reference.member)
                for name, value in weights_of(all_at_once, reference.member).items():
                    gap = float((value - theirs[name]).abs().max())
                    assert gap <= 1e-8, f"{name} of {reference.member} is off by {gap} after epoch {epoch}"
        for run in (one, all_at_once):
            run.drop((drops or {}).get(epoch, []))
        history.append(list(found))
    return history


@pytest.mark.parametrize(("optimizer", "form"), PAIRS)
def test_equals_sequential_for_every_optimizer_and_form(tiny: ImageData, optimizer: str, form: str) -> None:
    folds = UNEQUAL[:3]  # four steps an epoch; weights are compared up to step 20
    trainers = make_trainers(tiny, folds, model="small_resnet", optimizer=optimizer, penalty=form, epochs=6)
    history = assert_same_training(*trainers, make_members(folds, (0.0, 0.01)))
    losses = [scores.train_loss for scores in history[-1]]
    assert len(set(losses)) == len(losses), "λ or the fold makes no difference: the test tests nothing"


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_equals_sequential_for_simple_cnn(tiny: ImageData, optimizer: str) -> None:
    settings: dict[str, Any] = {
        "optimizer": optimizer,
        "momentum": 0.0,
        "schedule": "cosine",
        "regularize": "all",
        "epochs": 6,
    }
    assert_same_training(*make_trainers(tiny, EQUAL, **settings), make_members(EQUAL, (0.0, 0.01)))


@pytest.mark.parametrize("augment", [("flip",), ("shift",), ("flip", "shift")])
def test_equals_sequential_with_augmentation(data: ImageData, augment: tuple[str, ...]) -> None:
    assert_same_training(*make_trainers(data, UNEQUAL, augment, model="linear", epochs=3), make_members(UNEQUAL))


def test_dropped_members_leave_the_others_alone(tiny: ImageData) -> None:
    members = make_members(UNEQUAL)
    drops = {1: [members[3], members[8]], 2: [m for m in members if m.fold == 1], 3: members[-1:]}
    trainers = make_trainers(tiny, UNEQUAL, ("flip",), model="small_resnet", optimizer="adam")
    history = assert_same_training(*trainers, members, drops)
    assert [len(scores) for scores in history] == [12, 10, 7, 6, 6]


def test_dropping_frees_what_a_member_took(data: ImageData) -> None:
    _, trainer = make_trainers(data, EQUAL, model="linear")
    members = make_members(EQUAL)
    run = trainer.start(members)
    next(run)
    run.drop(members[1:])
    next(run)
    assert [len(t) for p in run._populations for named in p.state.values() for t in named.values()] == [1] * 7
    run.drop(members)
    assert list(run) == []


def test_the_order_of_members_changes_nothing_but_the_order_of_scores(data: ImageData) -> None:
    members = make_members(UNEQUAL)
    shuffled = [members[i] for i in np.random.default_rng(1).permutation(len(members))]
    _, trainer = make_trainers(data, UNEQUAL, model="linear")
    straight = {scores.member: scores for epoch in trainer.start(members) for scores in epoch if scores.epoch == 5}
    *_, last = trainer.start(shuffled)
    assert [scores.member for scores in last] == shuffled
    for scores in last:
        assert_equal(scores, straight[scores.member])


@pytest.mark.parametrize("size", [1, 5])
def test_several_populations_equal_one(data: ImageData, size: int) -> None:
    sequential, trainer = make_trainers(data, UNEQUAL, ("flip",), model="linear", epochs=3)
    trainer.size = size
    members = make_members(UNEQUAL)
    assert_same_training(sequential, trainer, members, {1: members[:3]})


def test_a_diverging_member_leaves_the_others_alone(tiny: ImageData) -> None:
    sequential, trainer = make_trainers(tiny, EQUAL, model="small_resnet", penalty="l2", lr=0.1, schedule="constant")
    members = make_members(EQUAL, (1e-3, 1e300))
    history = assert_same_training(sequential, trainer, members)
    assert [scores.member.strength for scores in history[0] if scores.diverged] == [1e300, 1e300]
    assert all(math.isnan(scores.val_loss) for scores in history[0] if scores.diverged)
    assert [len(scores) for scores in history] == [4, 2, 2, 2, 2]


class RunsOutOfMemory:
    """A stacked model on a device that a number of calls with too many members do not fit."""

    def __init__(self, model: StackedModel, most: int, after: int = 0, *, training: bool = True) -> None:
        self.model, self.most, self.after, self.training = model, most, after, training
        self.raised = self.calls = 0

    def __call__(self, parameters: Any, buffers: Any, images: Tensor, *, training: bool) -> Any:
        found = self.model(parameters, buffers, images, training=training)
        self.calls += 1
        if training == self.training and len(images) > self.most and self.calls > self.after:
            self.raised += 1
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")
        return found


def break_memory(trainer: PopulationTrainer, **how: Any) -> RunsOutOfMemory:
    broken = RunsOutOfMemory(trainer.stacked.model, **how)
    trainer.stacked = replace(trainer.stacked, model=broken)
    return broken


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_out_of_memory_splits_the_population_and_loses_nothing(tiny: ImageData, training: bool) -> None:
    sequential, trainer = make_trainers(tiny, UNEQUAL, ("flip",), model="small_resnet", optimizer="adam", epochs=2)
    broken = break_memory(trainer, most=4, after=7, training=training)  # amid the first epoch
    assert_same_training(sequential, trainer, make_members(UNEQUAL))
    assert broken.raised >= 2


def test_out_of_memory_within_a_ragged_batch_trains_no_stream_twice(data: ImageData) -> None:
    sequential, trainer = make_trainers(data, UNEQUAL, model="linear", epochs=3)
    broken = break_memory(trainer, most=5, after=4)
    assert_same_training(sequential, trainer, make_members(UNEQUAL))
    assert broken.raised


def test_a_member_that_alone_does_not_fit_fails_its_trial(data: ImageData) -> None:
    _, trainer = make_trainers(data, EQUAL, model="linear")
    break_memory(trainer, most=0)
    with pytest.raises(TrialFailed, match=r"out of memory on the device \(CUDA out of memory\.\)"):
        next(trainer.start(make_members(EQUAL)))


def test_images_that_stay_with_the_host_change_nothing(data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    sequential, trainer = make_trainers(data, UNEQUAL, ("shift",), model="linear", epochs=2)
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, **k: empty(*a, **{n: v for n, v in k.items() if n != "pin_memory"}))
    trainer.stacked = replace(trainer.stacked, resident=False)
    assert_same_training(sequential, trainer, make_members(UNEQUAL))


def test_a_step_that_cannot_be_captured_is_taken_uncaptured(data: ImageData) -> None:
    sequential, trainer = make_trainers(data, UNEQUAL, model="linear", epochs=3)
    trainer.stacked.limits.captured = True  # on a device that has no graphs
    with pytest.warns(RuntimeWarning, match="the training step is not captured"):
        assert_same_training(sequential, trainer, make_members(UNEQUAL))


def test_bfloat16_comes_near_float32(tiny: ImageData) -> None:
    ends = []
    for precision in ("float32", "bfloat16"):
        built = build({"epochs": 4, "batch_size": BATCH, "lr": 0.02, "model": "small_resnet", "precision": precision})
        trainer = PopulationTrainer(make_problem(tiny, EQUAL, built))
        assert trainer.describe()["precision"] == precision
        *_, last = trainer.start(make_members(EQUAL))
        ends.append([scores.train_loss for scores in last])
    assert ends[0] != ends[1]
    assert ends[0] == pytest.approx(ends[1], abs=0.1)


def test_dropout_draws_for_every_member_and_leaves_the_global_generator_alone(data: ImageData) -> None:
    def factory(shape: tuple[int, int, int], classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(math.prod(shape), classes))

    _, trainer = make_trainers(data, EQUAL, factory=factory)
    members = [Member(0.0, 0, 7), Member(1e-300, 0, 7)]  # alike but for the draws
    state = torch.random.get_rng_state()
    runs = [list(trainer.start(members)) for _ in range(2)]
    assert torch.equal(torch.random.get_rng_state(), state)
    first, second = (scores.train_loss for scores in runs[0][-1])
    assert first != second
    assert [s.train_loss for s in runs[0][-1]] == [s.train_loss for s in runs[1][-1]]


def test_frozen_weights_stay_and_the_others_train(data: ImageData) -> None:
    def factory(shape: tuple[int, int, int], classes: int) -> nn.Module:
        frozen = nn.Conv2d(shape[0], 4, 3).requires_grad_(False)
        return nn.Sequential(frozen, nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, classes))

    assert_same_training(*make_trainers(data, EQUAL, factory=factory, epochs=3), make_members(EQUAL))


# what the engine is made of


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


# which networks, which engine


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
def test_a_network_that_cannot_be_stacked_trains_one_by_one_with_a_line(
    data: ImageData, factory: Callable[..., nn.Module], what: str
) -> None:
    settings = build({"engine": "population", "epochs": 1, "batch_size": BATCH})
    trainer, line = choose_engine(make_problem(data, EQUAL, settings, factory))
    assert isinstance(trainer, SequentialTrainer)
    assert line.startswith("training on cpu, one network at a time: they cannot be stacked (")
    assert "\n" not in line
    assert re.search(what, line), line
    assert len(next(trainer.start(make_members(EQUAL)))) == 6


@pytest.mark.parametrize(
    ("name", "kind", "line"),
    [
        ("auto", "sequential", "training on cpu, one network at a time: stacking them pays on a GPU only"),
        ("sequential", "sequential", "training on cpu, one network at a time"),
        (
            "population",
            "population",
            "training on cpu, all networks at once: on a CPU that is slower than --engine sequential",
        ),
    ],
)
def test_engine_setting(data: ImageData, name: str, kind: str, line: str) -> None:
    trainer, why = choose_engine(make_problem(data, EQUAL, build({"engine": name})))
    assert (trainer.describe()["engine"], why) == (kind, line)


def test_on_a_gpu_the_faster_engine_is_taken(data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem(data, EQUAL, build({"model": "linear", "batch_size": BATCH}))
    on_the_cpu = {
        name: lambda asked, make=make: make(replace(asked, device=torch.device("cpu")))
        for name, make in engine.WAYS.items()
    }
    monkeypatch.setattr(engine, "WAYS", on_the_cpu)
    monkeypatch.setattr(engine, "device_name", lambda device: "a GPU")
    timed: dict[str, float] = {}
    monkeypatch.setattr(engine, "_race", lambda *arguments: timed)

    def chosen(name: str, *seconds: float) -> tuple[str, str | None, str]:
        timed.update(zip(("sequential", "grouped", "matmul"), seconds, strict=True))
        training = problem.training.model_copy(update={"engine": name})
        trainer, line = choose_engine(replace(problem, training=training, device=torch.device("cuda")))
        described = trainer.describe()
        return described["engine"], described.get("convolution"), line

    together, alone = "training on a GPU, all networks at once", "training on a GPU, one network at a time"
    assert chosen("auto", 3, 2, 1) == ("population", "matmul", f"{together}: timed to be 3.0× as fast")
    assert chosen("auto", 3, 1.5, 2) == ("population", "grouped", f"{together}: timed to be 2.0× as fast")
    slower = f"{alone}: all at once was timed to be 1.5× slower on this device"
    assert chosen("auto", 2, 3, 4) == ("sequential", None, slower)
    failed = f"{alone}: all at once failed on this device"
    assert chosen("auto", 2, math.inf, math.inf) == ("sequential", None, failed)
    assert chosen("population", 2, 3, 4)[:2] == ("population", "grouped")
    assert chosen("sequential", 3, 2, 1) == ("sequential", None, alone)


def test_the_race_times_every_way_of_training(data: ImageData) -> None:
    problem = make_problem(data, EQUAL, build({"model": "linear", "batch_size": 4}), augment=("flip",))
    seconds = engine._race(problem)
    assert list(seconds) == ["sequential", "grouped", "matmul"]
    assert all(0 < value < math.inf for value in seconds.values())


class Recorded:
    """A CUDA graph as `Capture` sees it: what is recorded is not done, replaying does it."""

    recording: Recorded | None = None

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []

    def __enter__(self) -> None:
        Recorded.recording = self

    def __exit__(self, *exception: object) -> None:
        Recorded.recording = None

    def replay(self) -> None:
        for work in self.work:
            work()


def test_a_captured_step_is_taken_once_for_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recorded)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: graph)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    seen: list[float] = []

    def step(inputs: Sequence[Tensor]) -> None:
        def work() -> None:
            seen.append(float(inputs[0]))

        work() if Recorded.recording is None else Recorded.recording.work.append(work)

    capture = Capture()
    for batch in range(8):
        capture.run(step, [torch.tensor(float(batch))])
    assert seen == list(range(8))
