"""A verdict for every shape that a regularization curve can take, on constructed studies."""

import math
from collections.abc import Callable
from typing import Any

import optuna
import pytest

from l2tune.penalty.strength import format_lambda
from l2tune.tradeoff import Tradeoff

MakeStudy = Callable[..., optuna.Study]
STRENGTHS = (0.0, 1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 1.5e-3, 2e-3, 3e-3, 1e-2, 1e-1, 1.0)


def decades(strength: float) -> float:
    return math.log10(max(strength, 1e-7))


def valley(best: float, level: float = 0.2) -> Callable[[float], float]:
    """A U over log λ: 40 % lower at `best` than at λ = 0, steep on its right."""

    def value(strength: float) -> float:
        x = decades(strength) - math.log10(best)
        return level * (0.6 + 0.4 / (1 + math.exp(2 * (x + 1.2)))) + 0.05 * math.exp(1.3 * (x - 0.7))

    return value


def rising(strength: float) -> float:
    return 0.001 + 3 * min(strength, 0.7)


@pytest.fixture
def analyse(make_study: MakeStudy) -> Callable[..., Tradeoff]:
    def of(validation: Callable[[float], float], training: Callable[[float], float], **others: Any) -> Tradeoff:
        return Tradeoff.from_study(make_study(validation, training, **({"strengths": STRENGTHS} | others)))

    return of


def kinds(t: Tradeoff) -> set[str]:
    return {finding.kind for finding in t.findings}


def test_bracketed_minimum(analyse: Callable[..., Tradeoff]) -> None:
    t = analyse(valley(3e-3), rising)
    assert {"best", "bracketed", "helps"} <= kinds(t)
    assert 1e-3 <= t.best_lambda <= t.one_se_lambda <= 3e-3
    assert t.verdict.startswith(
        f"Use λ = {format_lambda(t.best_lambda)}: weight_decay={format_lambda(2 * t.best_lambda)} in torch.optim.SGD"
    )
    assert "the network overfits (λ = 0 against 1.00e-3: training loss 0.00101 against 0.00401, validation" in t.verdict
    assert "it underfits" in t.verdict
    assert "It lowers validation loss by" in t.verdict


def test_flat(analyse: Callable[..., Tradeoff]) -> None:
    t = analyse(lambda s: 0.2, lambda s: 0.05, noise=0.05)
    assert {"flat", "no-difference"} <= kinds(t)
    assert not {"best", "helps"} & kinds(t)
    assert "Regularization makes no measurable difference here" in t.verdict


def test_minimum_at_the_upper_end(analyse: Callable[..., Tradeoff]) -> None:
    t = analyse(lambda s: 0.5 - 0.06 * (decades(s) + 7), lambda s: 0.01 + 0.1 * s, noise=0.005)
    assert "high-end" in kinds(t)
    assert "search with a higher --lambda-range" in t.verdict


def test_minimum_at_the_lower_end(analyse: Callable[..., Tradeoff]) -> None:
    t = analyse(lambda s: 0.5 if s == 0 else 0.2 + 0.1 * (decades(s) + 6), lambda s: 0.01 + 0.1 * s, noise=0.005)
    assert "low-end" in kinds(t)
    assert "search with a lower --lambda-range" in t.verdict


def test_a_range_that_was_widened_says_so(analyse: Callable[..., Tradeoff]) -> None:
    t = analyse(valley(3.0), rising, strengths=(0.0, 1e-6, 1e-4, 1e-2, 0.1, 1.0, 2.0, 10.0, 100.0), drawn=(1e-6, 1e2))
    [text] = [finding.text for finding in t.findings if finding.kind == "widened"]
    assert "widened from 1.00e-6–1.00e0 to 1.00e-6–1.00e2" in text


def test_underfitting_at_no_penalty(analyse: Callable[..., Tradeoff]) -> None:
    level = lambda s: 1.5 + 0.02 * (decades(s) + 7) + 3 * s  # noqa: E731
    t = analyse(level, lambda s: level(s) - 0.05)
    assert {"baseline-best", "underfits-at-zero"} <= kinds(t)
    assert "a larger network or longer training will help more than λ" in t.verdict


def test_overfitting_at_every_strength_that_learns(analyse: Callable[..., Tradeoff]) -> None:
    t = analyse(
        lambda s: 1.8 - 0.15 * math.exp(-((decades(s) + 3) ** 2)) + (1.0 if s > 0.3 else 0.0), lambda s: 0.01 + 0.1 * s
    )
    [text] = [finding.text for finding in t.findings if finding.kind == "overfits-everywhere"]
    assert "more data or augmentation" in text


def test_a_diverged_region(analyse: Callable[..., Tradeoff]) -> None:
    t = analyse(valley(3e-3), rising, diverged=lambda s: s > 0.05)
    [text] = [finding.text for finding in t.findings if finding.kind == "diverged"]
    assert text.startswith("Training diverged from λ = 1.00e-1 up (10 fits, counted as worse than all others)")
    assert t.best_lambda < 1e-2


def test_weak_penalties_that_diverge_too_blame_the_learning_rate(analyse: Callable[..., Tradeoff]) -> None:
    t = analyse(valley(3e-3), rising, diverged=lambda s: s in (1e-6, 1e-5))
    assert "the learning rate is too high" in t.verdict


def test_every_fit_diverged(analyse: Callable[..., Tradeoff]) -> None:
    t = analyse(valley(3e-3), rising, diverged=lambda s: True)
    assert t.curve is None
    assert t.verdict == (
        "Every fit diverged, at 12 strengths (λ = 0 to 1.00e0). Lower the learning rate, then search again."
    )


def test_loss_and_error_disagree(analyse: Callable[..., Tradeoff]) -> None:
    t = analyse(valley(1e-4), rising, error=lambda s: valley(1e-2)(s) / 10)
    [text] = [finding.text for finding in t.findings if finding.kind == "metrics-disagree"]
    assert "By validation error another λ is best" in text
    assert "stronger" in text


def test_normalization_layers(analyse: Callable[..., Tradeoff]) -> None:
    assert "normalization" in kinds(analyse(valley(3e-3), rising, trainer={"normalization": True}))
    assert "normalization" not in kinds(analyse(valley(3e-3), rising))


def test_labels_at_random(analyse: Callable[..., Tradeoff]) -> None:
    t = analyse(lambda s: 2.33 + 0.5 * (s < 1e-3), lambda s: 0.01 + 2.29 * (s > 1e-3))
    assert kinds(t) == {"nothing-learned", "memorized"}
    assert "No λ helps" in t.verdict
    assert "check that the labels belong to the inputs" in t.verdict


def test_a_network_that_never_trains(analyse: Callable[..., Tradeoff]) -> None:
    t = analyse(lambda s: 2.303, lambda s: 2.302)
    assert kinds(t) == {"nothing-learned", "not-trained"}


def test_a_search_cut_short_says_what_is_missing(analyse: Callable[..., Tradeoff]) -> None:
    t = analyse(valley(3e-3), rising, fold_limit=lambda s: 2 if s > 0 else 4)
    [text] = [finding.text for finding in t.findings if finding.kind == "incomplete"]
    assert "λ = 0 has 4 of 5 folds" in text
    assert "has 2 of 5 folds, so its value is the curve's" in text
    assert not t.complete


def test_only_the_baseline_has_run(analyse: Callable[..., Tradeoff]) -> None:
    t = analyse(valley(3e-3), rising, strengths=(0.0,))
    assert "Only λ = 0 has been run so far" in t.verdict


def test_error_is_told_in_percent(analyse: Callable[..., Tradeoff]) -> None:
    t = analyse(valley(3e-3), rising, metric="error")
    assert "nats" not in t.verdict
    assert "percentage points" in t.verdict


def test_an_audit_says_whether_pruning_was_right(make_study: MakeStudy) -> None:
    study = make_study(valley(3e-3), rising, strengths=STRENGTHS)
    for strength, factor in ((5e-3, 1.0), (2.5e-3, 0.5)):
        audited = make_study(lambda s, f=factor: f * valley(3e-3)(s), rising, strengths=(strength,)).trials[0]
        audited.set_user_attr("l2tune:audit", True)
        study.add_trial(audited)
    [text] = [finding.text for finding in Tradeoff.from_study(study).findings if finding.kind == "audit"]
    assert text.startswith("Audit: of 2 pruned strengths finished after all, 1 turned out better")
