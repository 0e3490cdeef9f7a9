"""What the figures show of which study; how they look is in test_browser."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

import optuna
import plotly.graph_objects as go
import pytest

from l2tune.analysis.paired_curve import over_all_folds
from l2tune.metrics import Metric
from l2tune.report.figures import FIGURES, bias_variance_figure, gap_figure, learning_figure, weights_figure
from l2tune.report.over_strength import differences
from l2tune.report.tradeoff_figure import tradeoff_figure
from l2tune.tradeoff import Tradeoff

MakeStudy = Callable[..., optuna.Study]
TITLES = {
    "loss": "cross-entropy (nats)",
    "error": "error rate (%)",
    "accuracy": "accuracy (%, higher is better)",
    "mse": "mse",
    "r2": "r2 (higher is better)",
    "auc": "auc (higher is better)",
    "nll": "nll (nats)",
    "f1": "f1 (higher is better)",
    "psnr": "psnr (dB, higher is better)",
    "regret": "regret (€)",
}


def drawn(figure: go.Figure | None) -> dict[str, Any]:
    assert figure is not None
    found: dict[str, Any] = json.loads(figure.to_json())
    return found


def headings(figure: dict[str, Any]) -> list[str]:
    """What the figure's texts say, without their markup."""
    texts = (re.sub(r"<br>", " ", note["text"]) for note in figure["layout"]["annotations"])
    return [re.sub(r"</?b>", "", text).replace("\u00a0", " ") for text in texts]


def names(figure: dict[str, Any]) -> set[str]:
    return {trace["name"] for trace in figure["data"] if trace.get("name")}


@pytest.mark.parametrize("name", list(TITLES))
def test_axes_and_hover_texts_name_the_metric(name: str, make_own: MakeStudy, metrics: dict[str, Metric]) -> None:
    metric = metrics[name]
    t = Tradeoff.from_study(make_own(metric, strengths=(0.0, 1e-6, 1e-3, 1e-1, 1.0)))
    figure = drawn(tradeoff_figure(t))
    layout = figure["layout"]
    assert f"Validation {TITLES[name]}" in headings(figure)
    assert layout["yaxis"].get("tickformat") == (".3~%" if metric.unit == "%" else None)
    low, high = layout["yaxis"]["range"]
    assert low < t.best_value < high
    if metric.kind == "proportion":
        assert high <= 1 or not metric.maximize
    hover = [trace["hovertemplate"] for trace in figure["data"] if trace.get("customdata")]
    assert hover
    for text in hover:
        assert TITLES[name].partition(" (")[0] in text
        assert ("nats" in text) == (metric.unit == "nats")
    gap = drawn(gap_figure(t))
    unit = " (percentage points)" if metric.unit == "%" else f" ({metric.unit})" if metric.unit else ""
    worse = "training − validation" if metric.maximize else "validation − training"
    assert f"overfit: {worse}" in names(gap)
    assert f"Overfit: {worse}{unit}" in headings(gap)


def test_percentage_points_are_counted_in_hundredths(make_own: MakeStudy, metrics: dict[str, Metric]) -> None:
    t = Tradeoff.from_study(make_own(metrics["accuracy"], strengths=(0.0, 1e-3, 1e-1)))
    gap = gap_figure(t)
    assert gap is not None
    rows = t.strengths[t.strengths["lambda"] > 0]
    line = next(trace for trace in gap.data if "lines" in trace.mode)
    assert list(line.y) == pytest.approx(list(100 * rows["gap"]), rel=1e-4)


def test_training_that_is_not_known_has_no_panel(make_own: MakeStudy, make_objective: MakeStudy) -> None:
    for study in (make_own("mse", training=False), make_objective()):
        t = Tradeoff.from_study(study)
        figure = drawn(tradeoff_figure(t))
        assert "yaxis2" not in figure["layout"]
        assert not any("training" in name for name in names(figure))
        assert gap_figure(t) is None


def test_training_that_is_known_has_one(make_own: MakeStudy) -> None:
    figure = drawn(tradeoff_figure(Tradeoff.from_study(make_own("r2"))))
    assert "yaxis2" in figure["layout"]
    assert "Training" in headings(figure)


@pytest.mark.parametrize(
    ("parameter", "text"),
    [("lambda", "weight decay 6.00e-3"), ("wd", "wd 6.00e-3"), ("alpha", "alpha 3.00e-3"), ("C", "C 333")],
)
def test_hover_texts_show_the_study_s_own_number(parameter: str, text: str, make_own: MakeStudy) -> None:
    t = Tradeoff.from_study(make_own("mse", parameter=parameter, strengths=(0.0, 1e-4, 3e-3, 1.0)))
    for figure in (tradeoff_figure(t), gap_figure(t)):
        shown = [entry for trace in drawn(figure)["data"] for row in trace.get("customdata") or () for entry in row]
        assert any(f"({text})" in str(entry) for entry in shown)


def test_a_strength_that_was_not_run_is_the_curve_s(make_own: MakeStudy) -> None:
    t = Tradeoff.from_study(make_own("mse"))
    assert t.row(t.one_se_lambda) is None, "so that this tests something"
    texts = [note["text"] for note in drawn(tradeoff_figure(t))["layout"]["annotations"]]
    assert any(text.startswith("one-SE") and text.endswith("<br>(by the curve)") for text in texts)
    assert not any(text.startswith("best") and text.endswith("<br>(by the curve)") for text in texts)


OVER_STRENGTH = ("tradeoff", "gap", "bias_variance", "weights", "network")


@pytest.mark.parametrize("name", OVER_STRENGTH)
def test_no_regularization_has_its_place_in_every_panel(name: str, make_valley: MakeStudy) -> None:
    figure = drawn(FIGURES[name](Tradeoff.from_study(make_valley())))
    panels = {trace["yaxis"] for trace in figure["data"]}
    zeros = [key for key, axis in figure["layout"].items() if key.startswith("xaxis") and axis.get("tickvals") == [0]]
    axes = {key.replace("axis", "") for key in zeros}
    assert {trace["yaxis"] for trace in figure["data"] if trace["xaxis"] in axes} == panels
    for trace in figure["data"]:
        assert trace["xaxis"] not in axes or "lines" not in trace["mode"], "joined to nothing"
    for key in zeros:
        assert figure["layout"][key]["domain"][1] < figure["layout"]["xaxis"]["domain"][0]


@pytest.mark.parametrize("name", OVER_STRENGTH)
def test_where_it_was_not_run_it_has_none(name: str, make_valley: MakeStudy) -> None:
    figure = drawn(FIGURES[name](Tradeoff.from_study(make_valley(strengths=(1e-4, 1e-3, 1e-2)))))
    assert figure["layout"]["xaxis"]["domain"] == [0, 1]
    assert not any(axis.get("tickvals") for key, axis in figure["layout"].items() if key.startswith("xaxis"))


def test_what_is_the_same_everywhere_has_no_panel(make_study: MakeStudy) -> None:
    for zeros, shown in ((lambda s: 0.0, False), (lambda s: 0.5 if s else 0.0, True)):
        study = make_study(lambda s: 0.1 + s, lambda s: 0.01 + s, zeros=zeros)
        texts = headings(drawn(FIGURES["network"](Tradeoff.from_study(study))))
        assert ("Weights exactly zero" in texts) == shown
        assert any(text.startswith("Input gradient") for text in texts)


def test_no_line_joins_means_of_different_folds(make_valley: MakeStudy) -> None:
    t = Tradeoff.from_study(make_valley(fold_limit=lambda s: 2 if s > 0.002 else 5))
    complete = t.strengths.loc[t.strengths["complete"] & (t.strengths["lambda"] > 0), "lambda"].tolist()
    for trace in drawn(bias_variance_figure(t))["data"]:
        if "lines" in trace["mode"]:
            assert trace["x"] == pytest.approx(complete, rel=1e-4)
    table = differences(t)
    columns = (table[name].to_numpy() for name in ("lambda", "fold", "gap"))
    expected = over_all_folds(t.record.observations, *columns)
    (line,) = [trace for trace in drawn(gap_figure(t))["data"] if "lines" in trace["mode"] and trace["yaxis"] == "y"]
    assert line["y"] == pytest.approx(expected[expected.index > 0].tolist(), rel=1e-3)
    lacking = t.strengths[~t.strengths["complete"]]
    assert not any(math.isclose(expected[row["lambda"]], row["gap"]) for _, row in lacking.iterrows())


def test_what_cannot_be_drawn_is_not(make_valley: MakeStudy) -> None:
    alone = Tradeoff.from_study(make_valley(strengths=(0.0,)))
    diverged = Tradeoff.from_study(make_valley(diverged=lambda s: True))
    for t in (alone, diverged):
        assert tradeoff_figure(t) is None
        assert gap_figure(t) is None


def test_by_accuracy_bias_and_variance_are_of_the_error(make_valley: MakeStudy) -> None:
    t = Tradeoff.from_study(make_valley(metric="error"))
    figure = drawn(bias_variance_figure(t))
    assert "Test error rate (%)" in headings(figure)
    assert figure["layout"]["yaxis"]["tickformat"] == ".3~%"


def test_learning_curves_are_of_the_study_s_metric(make_valley: MakeStudy) -> None:
    figure = drawn(learning_figure(Tradeoff.from_study(make_valley(metric="error"))))
    assert "Validation error rate (%)" in headings(figure)


def test_names_are_no_markup(make_own: MakeStudy, make_valley: MakeStudy) -> None:
    hostile = '<a href="http://x">%{y}</a>&'
    t = Tradeoff.from_study(make_own(Metric(hostile), parameter=hostile, strengths=(0.0, 1e-3, 1e-2)))
    study = make_valley(strengths=(0.0, 1e-3, 1e-2))
    layers = study.trials[1].user_attrs["l2tune:fold:0"]
    layers["weight_norms"] = {hostile: 1.0}
    named = optuna.create_study()
    for key, value in study.user_attrs.items():
        named.set_user_attr(key, value)
    for trial in study.trials:
        if trial.number:
            trial.user_attrs["l2tune:fold:0"] = layers
        named.add_trial(trial)
    figures = [tradeoff_figure(t), gap_figure(t), weights_figure(Tradeoff.from_study(named))]
    for figure in figures:
        text = drawn(figure)
        flat = json.dumps(text, ensure_ascii=False)
        assert "<a" not in flat
        assert "%{y}</a>" not in flat
    assert "&lt;a href" in json.dumps(drawn(figures[2]))


def test_weights_that_grow_without_end_in_one_fold_hide_no_others(make_valley: MakeStudy) -> None:
    study, grown = make_valley(strengths=(0.0, 1e-3, 1e-2)), optuna.create_study()
    for key, value in study.user_attrs.items():
        grown.set_user_attr(key, value)
    for trial in study.trials:
        for fold in range(5):
            size = 1e14 if (trial.number, fold) == (2, 0) else 1e9
            trial.user_attrs[f"l2tune:fold:{fold}"]["weight_norms"] = {"conv1": size, "fc1": size / 1e5}
        grown.add_trial(trial)
    figure = drawn(weights_figure(Tradeoff.from_study(grown)))
    low, high = figure["layout"]["yaxis"]["range"]
    for layer in ("conv1", "fc1"):
        values = [y for trace in figure["data"] if trace["name"] == layer for y in trace["y"] if y]
        assert any(low < math.log10(value) < high for value in values), layer


def test_few_values_still_have_an_axis(make_own: MakeStudy) -> None:
    t = Tradeoff.from_study(make_own(Metric("flat"), strengths=(0.0, 1e-3), extra=lambda s: {"val_flat": 1.0}))
    low, high = drawn(tradeoff_figure(t))["layout"]["yaxis"]["range"]
    assert math.isfinite(low)
    assert low < 1.0 < high
