"""Metrics: what a name stands for, which way is better, which scores a kind can have."""

import json
import math

import numpy as np
import pytest

from l2tune.errors import UserError
from l2tune.metrics import BUILT_IN, Metric, as_metric, metric_from


@pytest.mark.parametrize("metric", BUILT_IN.values(), ids=str)
def test_a_cost_turned_back_is_the_score_and_less_is_better(metric: Metric) -> None:
    scores = np.array([0.2, 0.5, 0.9])
    assert metric.score(metric.cost(scores)) == pytest.approx(scores)
    assert metric.score(metric.cost(0.3)) == pytest.approx(0.3)
    costs = metric.cost(scores)
    assert (np.diff(costs) < 0).all() if metric.maximize else (np.diff(costs) > 0).all()
    assert metric.better == ("higher" if metric.maximize else "lower")


@pytest.mark.parametrize("metric", [*BUILT_IN.values(), Metric("f1", maximize=True, guess=0.5)], ids=str)
def test_what_a_study_stores_is_read_back(metric: Metric) -> None:
    assert metric_from(json.loads(json.dumps(metric.asdict()))) == metric
    assert metric_from(metric.asdict() | {"since": "a later version"}) == metric


@pytest.mark.parametrize(
    ("name", "classes", "guess"),
    [
        ("loss", 10, math.log(10)),
        ("error", 4, 0.75),
        ("accuracy", 4, 0.25),
        ("auc", None, 0.5),
        ("r2", None, 0.0),
        ("mse", 10, None),
        ("loss", None, None),
        ("loss", 1, None),
    ],
)
def test_what_guessing_scores(name: str, classes: int | None, guess: float | None) -> None:
    assert BUILT_IN[name].guessing(classes) == guess
    assert Metric(name).guessing(10) is None, "a metric of that name of the user's own"


@pytest.mark.parametrize(
    ("name", "maximize"),
    [("f1", True), ("f1_macro", True), ("neg_log_loss", True), ("roc_auc_ovr", True), ("mcc", True), ("mse", False)],
)
def test_names_of_the_field_tell_which_way_is_better(name: str, maximize: bool) -> None:
    assert as_metric(name).maximize is maximize
    assert as_metric(name).name == name


def test_other_names_are_asked_about_unless_the_study_says() -> None:
    with pytest.raises(
        UserError, match=r"of 'zap' is better is not known; give Metric\('zap', maximize=True\) or Metric"
    ):
        as_metric("zap")
    assert as_metric("zap", maximize=True) == Metric("zap", maximize=True)
    assert as_metric(Metric("zap")) == Metric("zap")


@pytest.mark.parametrize("score", [0.0, 1.0, 0.5, 1 + 1e-12, math.nan, math.inf])
def test_scores_that_a_proportion_can_have(score: float) -> None:
    found = BUILT_IN["accuracy"].check(score)
    assert not found > 1 or math.isinf(found)


@pytest.mark.parametrize(("name", "score"), [("error", 1.5), ("accuracy", -0.1), ("mse", -1e-9), ("loss", -2.0)])
def test_scores_that_a_kind_cannot_have_are_refused_in_a_line(name: str, score: float) -> None:
    with pytest.raises(UserError, match=f"^fold 3: {name} {score:g} is .*Metric"):
        BUILT_IN[name].check(score, "fold 3")
    assert Metric("own").check(score) == score


@pytest.mark.parametrize("name", ["", " ", "a\nb", 3, "\x1b[2J"])
def test_what_cannot_name_a_metric_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="cannot name a metric; give a word"):
        Metric(name)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UserError, match="'log' is no kind of metric; give one of positive, proportion, real"):
        Metric("x", kind="log")  # type: ignore[arg-type]
