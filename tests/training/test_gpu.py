"""What only a CUDA card can show: `pytest -m gpu -n 0`, some minutes; on a second card too where there is one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from l2tune.data.folds import Fold
from l2tune.data.images import ImageData
from l2tune.members import EpochScores, Member
from l2tune.settings import PenaltySettings, TrainingSettings
from l2tune.training.draws import Seeded
from l2tune.training.engine import WAYS, choose_engine
from l2tune.training.problem import Problem
from l2tune.training.race import timed
from l2tune.training.sequential import SequentialTrainer
from l2tune.training.stacked import members as stacked_members
from l2tune.training.stacked.population import PopulationTrainer

pytestmark = pytest.mark.gpu

IMAGES, CLASSES, BATCH, EPOCHS = 120, 3, 8, 4
MEMBERS = [Member(strength, fold, 100 + fold) for strength in (0.0, 1e-3, 0.1) for fold in range(3)]


@pytest.fixture(scope="module", autouse=True)
def cards() -> int:
    """How many there are."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA card is here")
    return torch.cuda.device_count()


@pytest.fixture(params=[0, 1], ids=["first card", "second card"])
def device(request: pytest.FixtureRequest, cards: int) -> Iterator[torch.device]:
    """Each of two cards, while the first stays the current one and everything else of torch as it was."""
    if request.param >= cards:
        pytest.skip("no second CUDA card is here")
    found = torch.device("cuda", request.param)
    torch.cuda.set_device(0)
    before = [torch.cuda.get_rng_state(card) for card in range(cards)]
    tf32 = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    yield found
    assert torch.cuda.current_device() == 0
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    for card, state in enumerate(before):
        assert torch.equal(torch.cuda.get_rng_state(card), state), f"the generator of card {card} was left changed"
    assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == tf32


def small_network(shape: tuple[int, int, int], classes: int) -> nn.Module:
    channels, height, width = shape
    return nn.Sequential(
        *(nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()),
        nn.Linear(8 * ((height - 1) // 2) * ((width - 1) // 2), classes),
    )


def dropping_network(shape: tuple[int, int, int], classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(math.prod(shape), classes))


def make_problem(
    device: torch.device,
    factory: Any = small_network,
    *,
    dtype: torch.dtype = torch.float64,
    form: str = "l2",
    augment: Sequence[str] = ("flip", "shift"),
    **training: Any,
) -> Problem:
    """Three folds of other sizes, whose last batches are short."""
    rng = np.random.default_rng(0)
    labels = np.arange(IMAGES) % CLASSES
    pixels = (rng.integers(0, 160, (IMAGES, 2, 8, 8)) + 30 * labels[:, None, None, None]).astype(np.uint8)
    images, targets = torch.from_numpy(pixels), torch.from_numpy(labels)
    orders = [rng.permutation(IMAGES) for _ in range(3)]
    folds = [Fold(np.sort(o[:n]), np.sort(o[n:])) for o, n in zip(orders, (96, 91, 83), strict=True)]
    settings = {"epochs": EPOCHS, "batch_size": BATCH, "lr": 0.02} | training
    return Problem(
        ImageData(images, targets, ("a", "b", "c"), images[:20], targets[:20]),
        folds,
        factory,
        TrainingSettings().model_copy(update=settings),
        PenaltySettings().model_copy(update={"form": form}),
        augment,
        device,
        dtype,
    )


def history_of(trainer: Any, drops: Mapping[int, Sequence[Member]] | None = None) -> list[list[EpochScores]]:
    run, found = trainer.start(MEMBERS), []
    for epoch, scores in enumerate(run, start=1):
        found.append(list(scores))
        run.drop((drops or {}).get(epoch, []))
    return found


def assert_same(found: list[list[EpochScores]], expected: list[list[EpochScores]]) -> None:
    assert [len(epoch) for epoch in found] == [len(epoch) for epoch in expected]
    for ours, theirs in zip(chain(*found), chain(*expected), strict=True):
        assert (ours.member, ours.diverged) == (theirs.member, theirs.diverged)
        for name in ("train_loss", "val_loss", "train_error", "val_error"):
            value = pytest.approx(getattr(theirs, name), rel=1e-6, abs=1e-8)
            assert getattr(ours, name) == value, f"{name} of {ours.member} after epoch {ours.epoch}"


def assert_still_captured(trainer: PopulationTrainer) -> None:
    assert trainer.describe()["captured"], "it fell back to steps that are not captured"


@pytest.mark.parametrize(("optimizer", "form"), [("sgd", "l2"), ("adam", "l1"), ("adamw", "l2-decoupled")])
@pytest.mark.parametrize("how", [{"convolution": "grouped"}, {"convolution": "matmul"}, {"size": 1}, {"size": 4}])
def test_the_captured_population_equals_the_sequential_engine(
    device: torch.device, optimizer: str, form: str, how: dict[str, Any]
) -> None:
    problem = make_problem(device, optimizer=optimizer, form=form)
    population = PopulationTrainer(problem, **how)
    drops = {1: MEMBERS[3:5], 2: MEMBERS[7:]}
    assert_same(history_of(population, drops), history_of(SequentialTrainer(problem), drops))
    assert_still_captured(population)


def test_the_same_seed_gives_the_same_dropout_and_members_draw_apart(device: torch.device) -> None:
    problem = make_problem(device, dropping_network, augment=())
    ends = []
    for _ in range(2):
        trainer = PopulationTrainer(problem)
        ends.append([scores.train_loss for scores in history_of(trainer)[-1]])
        assert_still_captured(trainer)
    assert ends[0] == pytest.approx(ends[1], rel=1e-6)
    assert len(set(ends[0])) == len(ends[0])


def test_a_captured_step_draws_anew_every_time(device: torch.device) -> None:
    drawn = torch.zeros(1, device=device)
    with Seeded(5, device), torch.cuda.device(device):
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)
        with torch.cuda.graph(graph, stream=stream):
            drawn.copy_(torch.rand(1, device=device))
        seen = []
        for _ in range(3):
            graph.replay()
            seen.append(float(drawn))
    assert len(set(seen)) == 3


def test_a_step_that_may_not_be_captured_is_taken_uncaptured_and_leaves_nothing_behind(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem(device, dropping_network, augment=())
    whole = stacked_members.training_step

    def waiting(*words: Any, **named: Any) -> None:
        whole(*words, **named)
        torch.zeros(1, device=device).item()  # waits for the device, which no graph can

    with monkeypatch.context() as patch:
        patch.setattr(stacked_members, "training_step", waiting)
        trainer = PopulationTrainer(problem)
        with pytest.warns(RuntimeWarning, match="the training step is not captured"):
            found = history_of(trainer)
    assert not trainer.describe()["captured"]
    assert all(math.isfinite(scores.val_loss) for scores in found[-1])
    with Seeded(1, device):
        assert 0 <= float(torch.rand((), device=device)) < 1
    again = PopulationTrainer(problem)
    assert all(math.isfinite(scores.val_loss) for scores in history_of(again)[-1])
    assert_still_captured(again)


def test_images_that_stay_with_the_host_change_nothing(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem(device)
    expected = history_of(SequentialTrainer(problem))
    monkeypatch.setattr("l2tune.training.stacked.problem._RESIDENT_SHARE", 0.0)
    trainer = PopulationTrainer(problem)
    assert not trainer.stacked.resident
    assert_same(history_of(trainer), expected)


def test_the_default_precision_comes_near_float32(device: torch.device) -> None:
    ends = []
    for precision in ("float32", "auto"):
        problem = make_problem(device, dtype=torch.float32, precision=precision)
        ends.append([scores.train_loss for scores in history_of(PopulationTrainer(problem))[-1]])
    assert ends[0] == pytest.approx(ends[1], abs=0.1)


def test_every_way_of_training_takes_part_in_the_race_and_its_result_is_kept(
    device: torch.device, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    problem = make_problem(device, dtype=torch.float32)
    seconds = timed(problem, WAYS)
    print({name: f"{1000 * value:.2f} ms" for name, value in seconds.items()})
    assert all(map(math.isfinite, seconds.values())), seconds
    lines = [choose_engine(problem)[1] for _ in range(2)]
    assert "timed earlier to be" in lines[1]
    assert "timed earlier" not in lines[0]
