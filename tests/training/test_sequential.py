"""The reference engine: what it trains on, what it draws, and what it tells. `test_conformance.py` has the protocol."""

import copy
import dataclasses
import gc
import math
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout
from torchvision.ops import StochasticDepth

from l2tune.errors import TrialFailed, UserError
from l2tune.training import problem

EPOCHS = 3


class Spying(nn.Module):
    """A network that remembers its initial weights and every batch it is trained on."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.start = [parameter.detach().clone() for parameter in inner.parameters()]
        self.seen = []

    def forward(self, images):
        if self.training:
            self.seen.append(images.detach().clone())
        return self.inner(images)


@pytest.fixture
def spy(small):
    """A factory that keeps what it builds: `spy.built`, in order, without the trainer's own trial network."""

    def factory(shape, classes):
        height, width = shape[1:]
        inner = nn.Sequential(
            nn.Conv2d(shape[0], 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * height * width, classes)
        )
        factory.built.append(Spying(inner))
        return factory.built[-1]

    factory.built = []
    return factory


def begin(small, spy, **settings):
    """A trainer over the spying factory."""
    trainer = small.trainer(spy, epochs=EPOCHS, **settings)
    spy.built.clear()
    return trainer


def plain_images(images, fold, dtype=torch.float32):
    """All images, normalized by a fold's training images; the plain way."""
    pixels = images.images.double() / 255
    chosen = pixels[torch.from_numpy(fold.train)]
    mean, std = chosen.mean((0, 2, 3)), chosen.std((0, 2, 3), correction=0)
    return ((pixels - mean[:, None, None]) / std[:, None, None]).to(dtype)


class TestCommonRandomNumbers:
    def test_a_fold_starts_from_the_same_weights_at_every_strength(self, small, spy):
        trainer = begin(small, spy)
        list(trainer.start([small.member(strength) for strength in (0.0, 1e-3, 0.1)]))
        first, *others = [model.start for model in spy.built]
        assert len(others) == 2
        for other in others:
            assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))

    @pytest.mark.parametrize("augment", [(), ("flip", "shift")])
    def test_a_fold_sees_the_same_batches_at_every_strength(self, small, spy, augment):
        trainer = begin(small, spy, augment=augment)
        list(trainer.start([small.member(strength) for strength in (0.0, 1e-3, 0.1)]))
        first, *others = [model.seen for model in spy.built]
        for other in others:
            assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))

    def test_other_seeds_start_elsewhere_and_see_another_order(self, small, spy):
        trainer = begin(small, spy)
        list(trainer.start([small.member(0.0, seed=seed) for seed in (1, 2)]))
        one, other = spy.built
        assert not torch.equal(one.start[0], other.start[0])
        assert not torch.equal(one.seen[0], other.seen[0])

    def test_epochs_differ_in_their_order(self, small, spy):
        trainer = begin(small, spy)
        list(trainer.start([small.member(0.0)]))
        assert not torch.equal(spy.built[0].seen[0], spy.built[0].seen[len(spy.built[0].seen) // EPOCHS])

    def test_the_global_generator_is_neither_read_nor_moved(self, small, train, numbers):
        trainer, member = small.trainer(noisy_network(nn.Dropout(0.3))), small.member(1e-3)
        torch.manual_seed(1)
        first = numbers(train(trainer, [member])[member])
        assert torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(1).get_state())
        torch.manual_seed(2)
        assert numbers(train(trainer, [member])[member]) == first


class FunctionalDropout(nn.Module):
    def forward(self, x):
        return dropout(x, 0.3, self.training)


def noisy_network(noise):
    """A factory of networks that draw random numbers while they are trained."""

    def factory(shape, classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 8), copy.deepcopy(noise), nn.Linear(8, classes))

    return factory


@pytest.mark.parametrize(
    "noise",
    [nn.Dropout(0.3), nn.RReLU(), StochasticDepth(0.3, "row"), FunctionalDropout()],
    ids=lambda n: type(n).__name__,
)
def test_noise_inside_the_network_is_the_members_own(small, train, numbers, noise):
    """Whatever draws: a member's masks come from its seed, not from who trains beside it."""
    trainer = small.trainer(noisy_network(noise))
    members = [small.member(strength, fold) for strength in (0.0, 0.1) for fold in range(2)]
    together = train(trainer, members)
    for member in members:
        assert numbers(train(trainer, [member])[member]) == numbers(together[member])


@pytest.mark.parametrize("noise", [nn.Dropout(0.3), nn.Identity()], ids=["dropout", "none"])
def test_threads_that_train_at_once_do_not_disturb_each_other(small, train, numbers, noise):
    trainer = small.trainer(noisy_network(noise))
    members = [small.member(strength, fold) for strength in (0.0, 0.01, 0.1) for fold in range(3)]
    with ThreadPoolExecutor(3) as threads:
        at_once = list(threads.map(lambda member: numbers(train(trainer, [member])[member]), members))
    assert at_once == [numbers(train(trainer, [member])[member]) for member in members]


class TestBatches:
    def test_each_training_image_is_seen_once_an_epoch(self, small, spy):
        trainer = begin(small, spy, batch_size=5)
        list(trainer.start([small.member(0.0, fold=1)]))
        fold = small.folds[1]
        expected = plain_images(small.data, fold)[torch.from_numpy(fold.train)].flatten(1)
        sizes = [len(batch) for batch in spy.built[0].seen]
        epoch = len(sizes) // EPOCHS
        assert sizes == [5, 5, 5, 5, 5, 5, 2] * EPOCHS
        for start in range(0, len(sizes), epoch):
            seen = torch.cat(spy.built[0].seen[start : start + epoch]).flatten(1)
            nearest = torch.cdist(seen, expected).argmin(1)
            assert sorted(nearest.tolist()) == list(range(len(expected)))
            torch.testing.assert_close(seen, expected[nearest], rtol=0, atol=1e-5)

    def test_a_last_batch_of_one_image_is_left_out(self, small, spy):
        trainer = begin(small, spy, batch_size=31)
        list(trainer.start([small.member(0.0)]))
        assert [len(batch) for batch in spy.built[0].seen] == [31] * EPOCHS

    def test_a_batch_larger_than_the_fold_is_the_fold(self, small, spy):
        trainer = begin(small, spy, batch_size=1000)
        list(trainer.start([small.member(0.0)]))
        assert [len(batch) for batch in spy.built[0].seen] == [32] * EPOCHS

    def test_augmentation_changes_training_batches_only(self, small, spy):
        trainer = begin(small, spy, augment=("flip",), lr=1e-30)
        scores = [found[0] for found in trainer.start([small.member(0.0)])]
        fold = small.folds[0]
        plain = plain_images(small.data, fold)[torch.from_numpy(fold.train)]
        either = torch.cat([plain, plain.flip(3)]).flatten(1)
        seen = torch.cat(spy.built[0].seen).flatten(1)
        distance, nearest = torch.cdist(seen, either).min(1)
        assert distance.max() < 1e-2
        mirrored = int((nearest >= len(plain)).sum())
        assert 0.3 < mirrored / len(seen) < 0.7
        assert len(scores) > 2
        assert len({s.train_loss for s in scores[:-1]}) == len({s.val_loss for s in scores}) == 1, (
            "evaluation sees the images as they are"
        )


class TestNoLeak:
    """Validation and test images never touch training."""

    def test_validation_images_change_only_validation_scores(self, small, train, numbers):
        fold = small.folds[0]
        images = small.data.images.clone()
        images[torch.from_numpy(fold.validation)] = 255 - images[torch.from_numpy(fold.validation)] // 3
        changed = dataclasses.replace(small.data, images=images)
        member = small.member(1e-3)
        original, other = (train(small.trainer(data=data), [member])[member] for data in (small.data, changed))
        for a, b in zip(original, other, strict=True):
            assert (a.train_loss, a.train_error) == (b.train_loss, b.train_error)
            assert a.val_loss != b.val_loss
        assert original[-1].network.weight_norms == other[-1].network.weight_norms
        assert original[-1].network.test_loss == other[-1].network.test_loss

    def test_validation_labels_change_only_validation_scores(self, small, train):
        fold = small.folds[0]
        labels = small.data.labels.clone()
        held_out = torch.from_numpy(fold.validation)
        labels[held_out] = (labels[held_out] + 1) % 3
        member = small.member(1e-3)
        original, other = (
            train(small.trainer(data=data), [member])[member][-1]
            for data in (small.data, dataclasses.replace(small.data, labels=labels))
        )
        assert original.train_loss == other.train_loss
        assert original.network.weight_norms == other.network.weight_norms
        assert original.val_loss < other.val_loss

    def test_test_images_change_only_test_scores(self, small, train):
        changed = dataclasses.replace(small.data, test_images=255 - small.data.test_images)
        member = small.member(1e-3)
        original, other = (train(small.trainer(data=data), [member])[member][-1] for data in (small.data, changed))
        assert (original.train_loss, original.val_loss) == (other.train_loss, other.val_loss)
        assert original.network.weight_norms == other.network.weight_norms
        assert original.network.test_loss != other.network.test_loss

    def test_normalization_is_the_folds_own(self, small, spy):
        trainer = begin(small, spy, batch_size=1000)
        list(trainer.start([small.member(0.0, fold) for fold in range(3)]))
        for fold, model in enumerate(spy.built):
            batch = model.seen[0].double()
            torch.testing.assert_close(batch.mean((0, 2, 3)), torch.zeros(2).double(), rtol=0, atol=1e-6)
            torch.testing.assert_close(batch.std((0, 2, 3), correction=0), torch.ones(2).double(), rtol=0, atol=1e-6)
            expected = plain_images(small.data, small.folds[fold])[torch.from_numpy(small.folds[fold].train)]
            torch.testing.assert_close(model.seen[0].sum(0), expected.sum(0), rtol=0, atol=1e-4)


class TestScores:
    def test_losses_and_errors_equal_a_plain_recomputation(self, small, train):
        built = []

        def keeping(shape, classes):
            layers = nn.Conv2d(shape[0], 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, classes)
            built.append(nn.Sequential(*layers))
            return built[-1]

        trainer = small.trainer(keeping, dtype=torch.float64, lr=0.01)
        built.clear()
        member = small.member(1e-2, fold=2)
        last = train(trainer, [member])[member][-1]
        fold = small.folds[2]
        assert len(fold.sample) < len(fold.train), "the last epoch's score is of all images"
        model = built[0].eval()
        with torch.no_grad():
            logits = model(plain_images(small.data, fold, torch.float64))
        for indices, loss, error in (
            (fold.train, last.train_loss, last.train_error),
            (fold.validation, last.val_loss, last.val_error),
        ):
            chosen, labels = logits[torch.from_numpy(indices)], small.data.labels[torch.from_numpy(indices)]
            assert loss == pytest.approx(cross_entropy(chosen, labels).item(), rel=1e-12)
            assert error == pytest.approx((chosen.argmax(1) != labels).double().mean().item(), abs=1e-12)
        norms = {"0": model[0].weight.norm().item(), "4": model[4].weight.norm().item()}
        assert last.network.weight_norms == pytest.approx(norms, rel=1e-12)
        assert last.network.zero_fraction == 0.0

    def test_before_the_last_epoch_a_sample_of_the_training_images_is_scored(self, small, train):
        built = []

        def keeping(shape, classes):
            built.append(nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes)))
            return built[-1]

        trainer = small.trainer(keeping, dtype=torch.float64, epochs=2)
        built.clear()
        fold, member = small.folds[1], small.member(1e-2, fold=1)
        first = next(trainer.start([member]))[0]
        with torch.no_grad():
            logits = built[0](plain_images(small.data, fold, torch.float64))[torch.from_numpy(fold.sample)]
        labels = small.data.labels[torch.from_numpy(fold.sample)]
        assert first.train_loss == pytest.approx(cross_entropy(logits, labels).item(), rel=1e-12)

    def test_the_network_learns_and_the_penalty_shrinks_it(self, small, train):
        free, penalized = (small.member(strength) for strength in (0.0, 0.1))
        found = train(small.trainer(epochs=10), [free, penalized])
        assert found[free][-1].train_loss < 0.5 * found[free][0].train_loss
        norms = [found[member][-1].network.weight_norms for member in (free, penalized)]
        assert norms[1]["4"] < 0.8 * norms[0]["4"]
        assert found[free][-1].train_loss < found[penalized][-1].train_loss

    def test_only_the_last_epoch_describes_the_network(self, small, train):
        member = small.member(1e-3)
        history = train(small.trainer(), [member])[member]
        assert [scores.network is not None for scores in history] == [False, False, False, True]

    def test_first_estimates_are_the_gradient_over_each_penaltys(self, small, train):
        """Against finite differences of the training loss, weight by weight."""
        built = []

        def keeping(shape, classes):
            built.append(nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes)))
            return built[-1]

        trainer = small.trainer(keeping, dtype=torch.float64, epochs=2, batch_size=7)
        built.clear()
        member = small.member(0.0)
        last = train(trainer, [member])[member][-1]
        chosen = torch.from_numpy(small.folds[0].train)
        images, labels = plain_images(small.data, small.folds[0], torch.float64)[chosen], small.data.labels[chosen]
        weight = built[0][1].weight
        slopes, step = torch.zeros_like(weight), 1e-5
        with torch.no_grad():
            for place in np.ndindex(*weight.shape):
                kept = weight[place].item()
                ends = []
                for value in (kept + step, kept - step):
                    weight[place] = value
                    ends.append(cross_entropy(built[0](images), labels).item())
                weight[place] = kept
                slopes[place] = (ends[0] - ends[1]) / (2 * step)
        found = last.first_estimates
        assert found["l2"] == found["l2-loss"] == pytest.approx((slopes.norm() / (2 * weight.norm())).item(), rel=1e-6)
        assert found["l1"] == pytest.approx((slopes.norm() / weight.numel() ** 0.5).item(), rel=1e-6)
        half = 0.5 * weight.sign() + weight
        assert found["elastic"] == pytest.approx((slopes.norm() / half.norm()).item(), rel=1e-6)
        steps = 2 * -(-len(small.folds[0].train) // 7)
        gain = sum(0.9**power for power in range(steps + 1))
        assert found["l2-decoupled"] == pytest.approx(gain * found["l2"], rel=1e-6)

    def test_first_estimate_comes_with_the_last_scores_of_the_baseline_alone(self, small, train):
        members = [small.member(0.0), small.member(1e-3)]
        found = train(small.trainer(), members)
        assert [bool(scores.first_estimates) for scores in found[members[0]]] == [False, False, False, True]
        assert not any(scores.first_estimates for scores in found[members[1]])

    @pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.1), ("adam", 0.05)])
    def test_first_estimate_is_that_of_the_epoch_of_lowest_validation_loss(self, small, train, optimizer, lr):
        """A network that overfits: what follows its best epoch changes nothing, and the weights end as they were."""
        given = {"optimizer": optimizer, "schedule": "constant", "lr": lr, "dtype": torch.float64}
        member = small.member(0.0)
        whole = train(small.trainer(epochs=12, **given), [member])[member]
        best = min(whole, key=lambda scores: scores.val_loss).epoch
        assert best < 12
        short = train(small.trainer(epochs=best, **given), [member])[member]
        assert whole[-1].first_estimates == pytest.approx(short[-1].first_estimates, rel=1e-9)
        assert min(short, key=lambda scores: scores.val_loss).epoch == best
        penalized = train(small.trainer(epochs=12, **given), [small.member(1e-300)])  # nothing remembered
        (other,) = penalized.values()
        assert other[-1].network.weight_norms == pytest.approx(whole[-1].network.weight_norms, rel=1e-9)

    def test_folds_are_described_on_some_test_images(self, small, train, monkeypatch):
        monkeypatch.setattr(problem, "TEST_IMAGES", 7)
        trainer, member = small.trainer(), small.member(1e-3)
        network = train(trainer, [member])[member][-1].network
        np.testing.assert_array_equal(trainer.test_labels, small.data.test_labels[::3].numpy())
        assert network.test_log_probabilities.shape == (7, 3)
        log_p = network.test_log_probabilities
        np.testing.assert_allclose(np.exp(log_p).sum(1), 1, rtol=1e-6)
        assert network.test_loss == pytest.approx(-log_p[np.arange(7), trainer.test_labels].mean(), rel=1e-6)
        assert network.test_error == pytest.approx((log_p.argmax(1) != trainer.test_labels).mean())

    def test_bfloat16_trains_float32_weights(self, small, train):
        member = small.member(1e-3)
        half, full = (small.trainer(precision=precision, epochs=8) for precision in ("bfloat16", "float32"))
        scores = train(half, [member])[member]
        assert half.describe()["precision"] == "bfloat16"
        assert full.describe()["precision"] == "float32"
        assert scores[-1].train_loss < scores[0].train_loss
        assert scores[-1].train_loss != train(full, [member])[member][-1].train_loss


class TestDivergence:
    def test_a_huge_learning_rate_is_a_recorded_result(self, small, train):
        member = small.member(1e-3)
        history = train(small.trainer(lr=1e20, schedule="constant"), [member])[member]
        assert history[-1].diverged
        assert len(history) < 4
        assert not math.isfinite(history[-1].train_loss)
        assert history[-1].network is None

    def test_all_members_diverging_ends_the_run(self, small):
        run = small.trainer(lr=1e20, schedule="constant").start([small.member(0.0), small.member(1e-3)])
        assert all(scores.diverged for scores in list(run)[-1])
        assert list(run) == []

    def test_a_loss_that_is_infinite_after_the_last_step_is_divergence(self, small, train):
        class BreaksInEvaluation(nn.Linear):
            def forward(self, x):
                return super().forward(x.flatten(1)) + (0 if self.training else math.inf)

        def factory(shape, classes):
            return BreaksInEvaluation(math.prod(shape), classes)

        member = small.member(1e-3)
        (only,) = train(small.trainer(factory), [member])[member]
        assert only.diverged
        assert only.epoch == 1


class TestMemoryAndDevices:
    def test_a_dropped_member_is_freed(self, small, spy):
        trainer = begin(small, spy)
        members = [small.member(strength) for strength in (0.0, 1e-3)]
        run = trainer.start(members)
        next(run)
        first, second = map(weakref.ref, spy.built)
        spy.built.clear()
        run.drop(members[:1])
        gc.collect()
        assert first() is None
        assert second() is not None

    def test_nothing_is_built_before_the_run_is_iterated(self, small, spy):
        trainer = begin(small, spy)
        run = trainer.start([small.member(0.0)])
        assert spy.built == []
        next(run)
        assert len(spy.built) == 1

    def test_out_of_memory_fails_the_trial(self, small):
        class Greedy(nn.Linear):
            def forward(self, x):
                if self.training:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
                return super().forward(x.flatten(1))

        trainer = small.trainer(lambda shape, classes: Greedy(math.prod(shape), classes))
        with pytest.raises(
            TrialFailed, match=r"out of memory on the device \(CUDA out of memory[^\n]*\); give a smaller --batch-size"
        ):
            next(trainer.start([small.member(0.0)]))

    def test_a_network_for_other_images_is_refused_at_once(self, small):
        with pytest.raises(UserError, match="cannot take images of 2×6×6"):
            small.trainer(lambda shape, classes: nn.Conv2d(5, classes, 3))

    def test_description(self, small):
        described = small.trainer().describe()
        weights = 2 * 4 * 9 + 4 * 36 * 3
        assert described["engine"] == "sequential"
        assert described["device"] == "cpu"
        assert described["threads"] == torch.get_num_threads()
        assert described["regularized_parameters"] == weights
        assert described["parameters"] == weights + 4 + 4 + 4 + 3
        assert described["layers"] == ["0", "4"]
        assert described["normalization"] is True
        assert described["train_sizes"] == [32, 32, 32]
        assert described["validation_sizes"] == [16, 16, 16]
