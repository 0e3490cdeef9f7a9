"""A verdict for every shape that a regularization curve can take, on constructed studies."""

import math
import re
from collections.abc import Callable
from typing import Any

import optuna
import pytest

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.findings import findings, verdict
from l2tune.metrics import Metric
from l2tune.penalty.strength import ScaleName, format_lambda
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
        f"Use λ = {format_lambda(t.best_lambda)}: weight_decay={format_lambda(2 * t.best_lambda)} on the penalized "
        "weights, 0 on the rest, in torch.optim.SGD"
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
    assert "No λ makes it useful" in t.verdict
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


# ---- studies of a user's own ----

Scores = dict[float, tuple[float, ...]]


def own_study(
    scores: Scores,
    metric: str | Metric | None = None,
    *,
    parameter: str = "lambda",
    scale: ScaleName | None = None,
    maximize: bool = False,
    others: dict[str, Any] | None = None,
) -> Tradeoff:
    """A study that a user's own objective left: λ (0 the baseline) → its folds' scores."""
    study = optuna.create_study(direction="maximize" if maximize else "minimize")
    distribution = optuna.distributions.FloatDistribution(1e-6, 1e3, log=True)
    free = {name: optuna.distributions.CategoricalDistribution((value,)) for name, value in (others or {}).items()}
    for number, values in scores.items():
        finite = all(map(math.isfinite, values))
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.COMPLETE if finite else optuna.trial.TrialState.PRUNED,
                value=sum(values) / len(values) if finite else None,
                params=({parameter: number} if number else {}) | (others or {}),
                distributions=({parameter: distribution} if number else {}) | free,
                intermediate_values=dict(enumerate(values)),
            )
        )
    return Tradeoff.from_study(study, metric=metric, parameter=parameter, scale=scale)


def text_of(t: Tradeoff, kind: str) -> str:
    [text] = [finding.text for finding in t.findings if finding.kind == kind]
    return text


def test_three_folds_are_too_few_to_call_a_large_fall_none() -> None:
    t = own_study({0.0: (1.0, 0.785, 0.6), 1e-2: (0.117, 0.112, 0.122)})
    assert text_of(t, "too-few-folds").startswith(
        "With 3 folds the difference is not measurable, though the fall is large against its spread: validation value "
        "0.795 → 0.117 from λ = 0 to λ = 1.00e-2 ("
    )
    assert "3 folds cannot prove any λ better than none" in text_of(t, "unproven")
    assert "more folds would tell" in t.verdict
    assert "no measurable difference" not in t.verdict


def test_folds_that_disagree_make_no_difference_however_few() -> None:
    t = own_study({0.0: (0.5, 0.6, 0.7), 1e-2: (0.6, 0.5, 0.69)})
    assert "no measurable difference" in text_of(t, "no-difference")


def test_a_small_harm_has_digits_enough() -> None:
    t = own_study({0.0: (1.82, 1.83, 1.81), 1e-2: (1.8201, 1.8301, 1.8101), 1.0: (9.0, 9.1, 9.2)})
    assert "1.8200 → 1.8201" in t.verdict


def test_strengths_that_differ_do_not_look_alike() -> None:
    folds = (0.2, 0.21, 0.19, 0.2, 0.2)
    t = own_study({0.0: tuple(2 * f for f in folds), 1.0001e-3: folds, 1.0002e-3: folds, 1.0: (3.0,) * 5})
    assert "1.0001e-3" in t.verdict


def test_a_strength_that_was_not_run_is_the_curves(analyse: Callable[..., Tradeoff]) -> None:
    t = analyse(valley(3e-3), rising, strengths=(0.0, 1e-6, 1e-4, 1e-2, 1.0))
    named = (t.best_lambda, t.one_se_lambda)
    assert any(t.row(strength) is None for strength in named)
    for strength, text in zip(named, ("Use about λ = {}", "the strongest that is as good: about λ = {}"), strict=True):
        assert (text.format(format_lambda(strength)) in t.verdict) == (t.row(strength) is None)
    assert "(by the curve, not run" in t.verdict


def test_nothing_is_said_of_a_baseline_that_was_not_run() -> None:
    for curve in (lambda s: 0.2 + s, lambda s: 0.3 - 0.01 * decades(s), lambda s: 0.2):
        t = own_study({s: tuple(curve(s) * f for f in (1, 1.02, 0.98, 1.01)) for s in (1e-5, 1e-4, 1e-3, 1e-2, 0.1)})
        said = [finding.text for finding in t.findings if "λ = 0" in finding.text or "≈ 0" in finding.text]
        assert said == ["λ = 0 was not run, so whether regularization helps at all is not known."]


def test_accuracy_rises_by_percentage_points() -> None:
    before = (0.970, 0.971, 0.972, 0.971, 0.971)
    t = own_study(
        {0.0: before, 1e-3: tuple(score + 0.012 for score in before), 10.0: (0.3, 0.31, 0.3, 0.3, 0.3)},
        "accuracy",
        maximize=True,
    )
    assert "raises validation accuracy by 1.2 percentage points against λ = 0, 97.1 → 98.3 % (" in t.verdict
    assert "interval of the rise" in t.verdict
    assert "training" not in t.verdict


def test_a_score_may_be_negative_and_has_no_percentage() -> None:
    t = own_study(
        {0.0: (-1.0, -1.1, -0.9, -1.0), 1e-3: (-2.0, -2.1, -1.9, -2.01), 10.0: (5.0, 5.1, 5.0, 5.0)}, Metric("energy")
    )
    assert "lowers validation energy by 1 against λ = 0, -1 → -2 (" in t.verdict
    assert " nats" not in t.verdict


def test_an_inverse_strength_is_named_by_its_own_number() -> None:
    scores = {1e3: 0.5, 30.0: 0.3, 10.0: 0.21, 3.2: 0.2, 1.0: 0.22, 0.1: 0.6, 0.01: 0.9}
    t = own_study({c: (v, v + 0.01, v - 0.01, v + 0.002) for c, v in scores.items()}, parameter="C")
    assert re.match(r"Use (about )?C = [\d.]+ \(λ = ", t.verdict)
    assert "weight_decay" not in t.verdict
    assert "torch" not in t.verdict
    if t.one_se_lambda > t.best_lambda:
        assert "the strongest that is as good, the smallest: " in t.verdict


def test_a_weight_decay_is_named_by_its_own_number() -> None:
    scores = {1e-5: 0.5, 1e-3: 0.3, 6.3e-3: 0.2, 1e-1: 0.4, 1.0: 0.6}
    t = own_study({wd: (v, v + 0.01, v - 0.01) for wd, v in scores.items()}, parameter="weight_decay")
    assert re.match(r"Use (about )?weight_decay = \d.\d\de-3 \(λ = \d.\d\de-3; ", t.verdict)


def test_the_verdict_says_at_which_other_parameters_it_holds() -> None:
    t = own_study(
        {0.0: (0.5, 0.51, 0.5), 1e-2: (0.3, 0.31, 0.3), 10.0: (1.0, 1.1, 1.0)}, others={"lr": 0.01, "width": 32}
    )
    assert "All this holds at lr = 0.01, width = 32: λ was looked at along these values only." in t.verdict


@pytest.mark.parametrize("broken", [math.inf, math.nan])
def test_a_region_that_diverged_is_not_as_good(broken: float) -> None:
    strengths = (1e-5, 1e-3, 0.1, 100.0)
    t = own_study({0.0: (0.5, 0.5, 0.5)} | dict.fromkeys(strengths, (broken,) * 3))
    assert t.best_lambda == 0
    assert "for every fit with a penalty diverged" in t.verdict
    assert "as good" not in t.verdict
    assert not {"flat", "no-baseline", "no-difference"} & kinds(t)
    assert text_of(t, "not-compared") == "Every fit above λ = 0 diverged, so there is nothing to compare λ = 0 with."


def test_a_strength_that_diverged_on_some_folds_is_not_as_good() -> None:
    t = own_study({0.0: (0.5, 0.51, 0.5), 1e-3: (0.3, 0.31, 0.3), 1e-2: (0.3, math.inf, 0.3), 1.0: (math.inf,) * 3})
    assert t.best_lambda < 1e-2
    assert "Training diverged from λ = 1.00e-2 up (4 fits" in text_of(t, "diverged")
    assert "λ = 1.00e-2 is as good" not in t.verdict


def test_advice_is_in_the_words_of_whoever_trained() -> None:
    t = own_study({s: (0.5 - 0.05 * decades(s),) * 2 + (0.51 - 0.05 * decades(s),) for s in (1e-5, 1e-3, 0.1, 1e3)})
    assert "search a wider range, with larger lambda" in text_of(t, "high-end")
    assert "--" not in t.verdict
    t = own_study(dict.fromkeys((0.0, 0.001), (math.nan,) * 3))
    assert t.verdict == "Every fit diverged, at 2 strengths (λ = 0 to 1.00e-3). Look at the training before λ."


def test_weak_penalties_with_a_higher_training_loss_do_not_overfit(analyse: Callable[..., Tradeoff]) -> None:
    t = analyse(valley(3e-3), lambda s: 0.1 * valley(3e-3)(s))
    assert "overfits" not in t.verdict
    assert "which is not overfitting, for training loss is no better there" in t.verdict


def test_the_optimizer_named_is_the_one_whose_decay_acts_as_the_form_did(
    studies_by_kind: dict[str, list[Any]], build_estimates: Callable[[Any], Estimates]
) -> None:
    texts = {case.optimizer: next(findings(build_estimates(case))).text for case in studies_by_kind["helps"]}
    assert "in torch.optim.SGD (" in texts["sgd", "l2"]
    assert "in torch.optim.SGD, or λ Σ w² in the loss (" in texts["sgd", "l2-loss"]
    assert "in SGD with decoupled weight decay, which torch.optim.SGD has not (" in texts["sgd", "l2-decoupled"]
    assert "in torch.optim.Adam (" in texts["adam", "l2"]
    assert "in torch.optim.AdamW (" in texts["adam", "l2-decoupled"]
    assert "in torch.optim.AdamW (" in texts["adamw", "l2-decoupled"]


def test_what_may_be_luck_is_not_said_to_be_nothing(
    studies_by_kind: dict[str, list[Any]], build_estimates: Callable[[Any], Estimates]
) -> None:
    lucky, useless = (verdict(build_estimates(case)) for case in studies_by_kind["nothing-learned"])
    assert lucky.startswith(
        "No λ can be named yet: at none is held-out data predicted measurably better than by guessing (validation loss "
        "1.6 at best, 2.3 nats by guessing, which may be the luck of 2 folds). It does learn"
    )
    assert "whether any of that carries over cannot be told yet" in lucky
    assert useless.startswith(
        "No λ makes it useful: at none is held-out data predicted clearly better than by guessing"
    )
    assert "nothing of that carries over: check that the labels belong to the inputs" in useless


def test_a_dispute_names_the_strengths_that_were_run(
    studies_by_kind: dict[str, list[Any]], build_estimates: Callable[[Any], Estimates]
) -> None:
    t = build_estimates(studies_by_kind["disputed"][-1])
    assert t.row(t.best_lambda) is None
    told = verdict(t)
    assert told.startswith("No clear answer yet: by the curve the best is about λ = ")
    assert "but on the folds of both, λ = 0 scores measurably better than λ = 1.78e-2, the best that was run." in told
    assert "Regularization harms here" not in told


def test_the_best_is_balanced_in_either_valley(
    studies_by_kind: dict[str, list[Any]], build_estimates: Callable[[Any], Estimates]
) -> None:
    for case in studies_by_kind["two-valleys"]:
        t = build_estimates(case)
        row = t.row(t.best_lambda)
        assert row is not None
        assert row["regime"] == "balanced"
        assert not t.band[0] <= t.best_lambda <= t.band[1]
        best = t.record.trials.loc[t.record.trials["lambda"] == t.best_lambda, "trial"]
        assert {t.regimes[int(trial)] for trial in best} == {"balanced"}
