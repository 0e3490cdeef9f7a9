"""The population engine gives the sequential engine's answers, member by member."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from l2tune.data.folds import Fold
from l2tune.data.images import ImageData
from l2tune.errors import TrialFailed
from l2tune.members import EpochScores, Member, together
from l2tune.models.registry import make_factory
from l2tune.penalty.forms import FORMS
from l2tune.settings import Settings, build
from l2tune.training import sequential
from l2tune.training.problem import Problem
from l2tune.training.sequential import SequentialRun, SequentialTrainer
from l2tune.training.stacked import population
from l2tune.training.stacked.model import StackedModel
from l2tune.training.stacked.population import PopulationRun, PopulationTrainer

IMAGES, CLASSES, BATCH = 40, 3, 8
PAIRS = [
    (optimizer, form)
    for optimizer in ("sgd", "adam", "adamw")
    for form in FORMS
    if (optimizer, form) != ("adamw", "l2")
]


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
    assert (found.network is None) == (expected.network is None)
    if found.network is not None and expected.network is not None:
        assert found.network.weight_norms == pytest.approx(expected.network.weight_norms, abs=tolerance)
        counts = [{name: layer.counts for name, layer in s.network.layers.items()} for s in (found, expected)]
        assert counts[0] == counts[1]
        assert found.network.weight_sum == pytest.approx(expected.network.weight_sum, rel=1e-8)
        assert list(found.network.magnitudes) == list(expected.network.magnitudes)
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
    history, told = [], dict[Member, list[tuple[EpochScores, EpochScores]]]()
    for epoch, (expected, found) in enumerate(zip(one, all_at_once, strict=True), start=1):
        assert [scores.member for scores in found] == [scores.member for scores in expected]
        for mine, reference in zip(found, expected, strict=True):
            assert_equal(mine, reference)
            told.setdefault(mine.member, []).append((mine, reference))
            if not reference.diverged and epoch < sequential.epochs:
                theirs = weights_of(one, reference.member)
                for name, value in weights_of(all_at_once, reference.member).items():
                    gap = float((value - theirs[name]).abs().max())
                    assert gap <= 1e-8, f"{name} of {reference.member} is off by {gap} after epoch {epoch}"
        for run in (one, all_at_once):
            run.drop((drops or {}).get(epoch, []))
        history.append(list(found))
    for pairs in told.values():
        if estimates := pairs[-1][1].first_estimates:
            lowest, _ = min(pairs, key=lambda pair: pair[0].val_loss)
            assert lowest.first_estimates == pytest.approx(estimates, rel=1e-8)
    return history


@pytest.mark.parametrize(("optimizer", "form"), PAIRS)
def test_equals_sequential_for_every_optimizer_and_form(tiny: ImageData, optimizer: str, form: str) -> None:
    folds = UNEQUAL[:3]  # four steps an epoch; weights are compared up to step 20
    trainers = make_trainers(tiny, folds, model="small_resnet", optimizer=optimizer, penalty=form, epochs=6)
    history = assert_same_training(*trainers, make_members(folds, (0.0, 0.01)))
    losses = [scores.train_loss for scores in history[-1]]
    assert len(set(losses)) == len(losses), "λ or the fold makes no difference: the test tests nothing"


def test_equals_sequential_where_units_of_a_transposed_convolution_die(data: ImageData) -> None:
    def factory(shape: tuple[int, int, int], classes: int) -> nn.Module:
        up = nn.ConvTranspose2d(shape[0], 6, 3, padding=1, groups=2)
        return nn.Sequential(up, nn.ReLU(), nn.Flatten(), nn.Linear(6 * math.prod(shape[1:]), classes))

    settings: dict[str, Any] = {"penalty": "l1", "optimizer": "sgd", "lr": 0.05, "epochs": 6}
    trainers = make_trainers(data, EQUAL, factory=factory, **settings)
    history = assert_same_training(*trainers, make_members(EQUAL, (0.0, 0.03, 1.0)))
    states = [scores.network.layers["0"] for scores in history[-1] if scores.network]
    assert {state.units for state in states} == {6}, "its outputs, of both groups"
    dead = [state.dead_units for state in states]
    assert dead[:2] == [0, 0]
    assert dead[-2:] == [6, 6]


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


def test_a_member_that_does_not_fit_beside_others_has_the_memory_to_itself(data: ImageData) -> None:
    sequential, trainer = make_trainers(data, UNEQUAL, ("flip",), model="linear", epochs=3)
    trainer.size = 1
    model, calls = trainer.stacked.model, 0

    def full_once(*words: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return model(*words, **named)

    trainer.stacked = replace(trainer.stacked, model=full_once)
    assert_same_training(sequential, trainer, make_members(UNEQUAL))


def test_a_trainer_of_one_at_a_time_asks_for_one_strength_at_a_time(data: ImageData) -> None:
    _, trainer = make_trainers(data, EQUAL, model="linear")
    alone = PopulationTrainer(trainer.problem, size=1)
    assert (together(alone), together(trainer)) == (1, 4)


def test_before_the_last_epoch_members_are_scored_on_their_own_folds_images_alone(data: ImageData) -> None:
    _, trainer = make_trainers(data, UNEQUAL, model="linear", epochs=2)
    model, scored = trainer.stacked.model, list[int]()

    def counting(parameters: Any, buffers: Any, images: Tensor, *, training: bool) -> Any:
        if not training:
            scored.append(images.shape[1])
        return model(parameters, buffers, images, training=training)

    trainer.stacked = replace(trainer.stacked, model=counting)
    run = trainer.start(make_members(UNEQUAL, (0.1, 1.0)))
    next(run)
    largest = max(len(fold.sample) + len(fold.validation) for fold in UNEQUAL)
    assert sum(scored) == largest < IMAGES
    scored.clear()
    next(run)
    assert sum(scored) >= IMAGES


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


def test_everything_on_a_device_is_done_with_it_as_the_current_one(
    data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside: list[torch.device] = []

    @contextmanager
    def enter(device: torch.device) -> Iterator[None]:
        inside.append(device)
        yield
        inside.pop()

    monkeypatch.setattr(population, "on_device", enter)
    monkeypatch.setattr(sequential, "on_device", enter)
    seen = []

    class Looking(nn.Linear):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(list(inside))
            return super().forward(images.flatten(1))

    def factory(shape: tuple[int, int, int], classes: int) -> nn.Module:
        return Looking(math.prod(shape), classes)

    trainers = make_trainers(data, EQUAL, factory=factory, epochs=1)
    for trainer in trainers:
        seen.clear()
        list(trainer.start(make_members(EQUAL)))
        assert seen
        assert all(on == [torch.device("cpu")] for on in seen)


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
