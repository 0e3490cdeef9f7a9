"""A comparison's page, files and terminal text: the numbers are the table's, and what is not known is left out."""

import json
import math
import re
from dataclasses import replace
from functools import partial

import numpy as np
import optuna
import pandas as pd
import pytest

from l2tune.analysis.comparison import BASELINE, Comparison, form_title
from l2tune.analysis.estimates import Estimates
from l2tune.analysis.wording import amount, percentage
from l2tune.records.keys import BIAS_VARIANCE
from l2tune.records.refits import RefitRecord, write_refit
from l2tune.records.tables import read_study
from l2tune.report import comparison_figures, comparison_weights_figures
from l2tune.report.comparison_captions import CAPTIONS, layers_caption, weights_caption
from l2tune.report.comparison_files import write_comparison
from l2tune.report.comparison_page import render
from l2tune.report.comparison_terminal import render_terminal

STRENGTHS = (0.0, *map(float, np.geomspace(1e-6, 1, 25)))


def valley(strength, at=1e-3):
    return 2.3 if strength >= 1 else 0.2 - 0.06 * math.exp(-(math.log10(max(strength, 1e-7) / at) ** 2) / 2)


def sparse(strength):
    return min(1.0, 0.9 * strength / (strength + 3e-4)) if strength else 0.0


@pytest.fixture
def make(make_study):
    def made(forms=("l2", "l1"), wanted=(), name="a", tested=True, **given):
        sides = {}
        for place, form in enumerate(forms):
            zeros = sparse if form in ("l1", "elastic") else lambda strength: 0.0
            settings = {"penalty": form, "lambda_range": (1e-6, 1.0)}
            asked = {"strengths": STRENGTHS, "zeros": zeros, "settings": settings, "name": f"{name}-{form}"} | given
            study = make_study(partial(valley, at=1e-3 * 3**place), lambda s: 0.01 + s / 2, **asked)
            study = study if tested else without_test_images(study)
            layers = {"conv1": [100, 0, 10, 0], "fc1": [1000, 500, 20, 4]}
            scores = {"test_loss": 0.2, "test_error": 0.05, "calibration_error": 0.01} if tested else {}
            for strength in (0.0, *STRENGTHS[3:]):
                numbers = {"parameters": 1130, "nonzero": 630 if form == "l1" else 1130}
                write_refit(study, RefitRecord(strength, 0, layers=layers if form == "l1" else {}, **scores, **numbers))
            sides[form] = Estimates.from_record(read_study(study))
        return Comparison(name, sides, wanted)

    return made


def without_test_images(study):
    """The same study as a search leaves it where there are no test images."""
    unknown = dict.fromkeys(("test_loss", "test_error", "calibration_error", "input_gradient_norm"))
    kept = optuna.create_study(study_name=study.study_name)
    for key, value in study.user_attrs.items():
        kept.set_user_attr(key, value)
    for trial in study.get_trials():
        folds = {key for key, value in trial.user_attrs.items() if isinstance(value, dict) and "val_loss" in value}
        trial.user_attrs = {
            key: value | unknown if key in folds else value
            for key, value in trial.user_attrs.items()
            if key != BIAS_VARIANCE
        }
        kept.add_trial(trial)
    return kept


def traces(figure, name):
    return [trace for trace in figure.data if trace.name == name]


def test_the_curves_and_what_they_buy_are_the_studies_numbers(make):
    c = make()
    figure = comparison_figures.curves_figure(c)
    for form, t in c.estimates.items():
        rows = t.strengths[t.strengths["lambda"] > 0]
        (line,) = [trace for trace in traces(figure, form_title(form)) if trace.mode == "lines"]
        assert np.allclose(line.y, t.curve.mean(line.x), rtol=1e-3)
        (points,) = [trace for trace in traces(figure, form_title(form)) if trace.mode == "markers"]
        assert np.allclose(points.x, rows["lambda"], rtol=1e-4)
        assert np.allclose(points.y, rows["validation"], rtol=1e-4)
        for column in ("weight_norm", "zero_fraction"):
            (bought,) = traces(comparison_figures.bought_figure(c, column, "x"), form_title(form))
            assert np.allclose(bought.x, rows[column], rtol=1e-4)
            assert np.allclose(bought.y, rows["validation"], rtol=1e-4)
    low, high = figure.layout.yaxis.range
    assert low < min(t.best_value for t in c.estimates.values())
    assert high > c.baseline.baseline_value
    colors = {(t.line.color, t.line.dash) for t in figure.data if t.mode == "lines" and t.name}
    assert len(colors) == 2, "told apart by colour and by dash"


def test_zeros_by_layer_and_weights_are_the_fits(make):
    c = make()
    assert comparison_weights_figures.forms_with_zeros(c) == ["l1"]
    figure = comparison_weights_figures.layers_figure(c, "l1")
    zeros, dead = (trace for trace in traces(figure, "fc1") if trace.mode == "lines+markers")
    assert np.allclose(zeros.y, [round(1000 * sparse(x)) / 1000 for x in STRENGTHS[1:]], atol=1e-4)
    assert np.allclose(dead.y, [int(10 * sparse(x)) / 20 for x in STRENGTHS[1:]], atol=1e-4)
    assert not any(traces(figure, "conv1")[0].y)
    weights = comparison_weights_figures.magnitudes_figure(c, "one_se")
    names = [trace.name for trace in weights.data]
    assert names[0] == "λ = 0<br>none exactly zero"
    share = round(1000 * sparse(c.strength("l1", "one_se"))) / 1100
    assert sum(weights.data[-1].y) == pytest.approx(1 - share, abs=1e-4)
    assert re.search(r"^L1, λ .*<br>(\d+) % exactly zero$", names[-1]).group(1) == f"{100 * share:.0f}"


def test_the_final_networks_lie_where_the_table_has_them(make):
    c = make()
    figure = comparison_figures.size_figure(c)
    assert [trace.name for trace in figure.data] == ["λ = 0", "L2", "L1"]
    assert set(figure.data[2].x) == {630.0}
    assert set(figure.data[2].y) == {0.2}


@pytest.mark.parametrize("metric", ["loss", "error", "accuracy"])
def test_smoothness_calibration_bias_and_variance_are_the_studies_numbers(make, metric):
    c = make(metric=metric)
    part = "loss" if metric == "loss" else "error"
    for figure, columns in (
        (comparison_weights_figures.smoothness_figure(c), ["input_gradient_norm", "calibration_error"]),
        (comparison_weights_figures.bias_figure(c), [f"bias_{part}", f"variance_{part}"]),
    ):
        for form, t in c.estimates.items():
            rows = t.strengths[t.strengths["lambda"] > 0]
            for panel, column in zip(traces(figure, form_title(form)), columns, strict=True):
                assert np.allclose(panel.x, rows["lambda"], rtol=1e-4)
                assert np.allclose(panel.y, rows[column], rtol=1e-4)
        levels = [line.y0 for line in figure.layout.shapes]
        assert np.allclose(levels, [c.baseline.row(0.0)[column] for column in columns])


def test_what_lacks_folds_is_faint_and_not_joined(make):
    c = make(fold_limit=lambda strength: 2 if strength > 0.01 else 5)
    faint, curves = comparison_figures.FAINT, comparison_figures.curves_figure(c)
    smooth = comparison_weights_figures.smoothness_figure(c)
    one = make(fold_limit=lambda strength: 1 if strength > 0.01 else 5)
    (single,) = [trace for trace in traces(comparison_figures.curves_figure(one), "L1") if trace.mode == "markers"]
    assert math.isnan(single.error_y.array[-1]), "one fold has no standard error"
    for form, t in c.estimates.items():
        rows = t.strengths[t.strengths["lambda"] > 0]
        (points,) = [trace for trace in traces(curves, form_title(form)) if trace.mode == "markers"]
        assert [opacity > faint for opacity in points.marker.opacity] == list(rows["complete"])
        joined, apart = traces(smooth, form_title(form))[:2]
        assert (joined.mode, apart.mode, apart.marker.opacity) == ("lines+markers", "markers", faint)
        assert np.allclose(joined.x, rows.loc[rows["complete"], "lambda"], rtol=1e-4)
        assert np.allclose(apart.x, rows.loc[~rows["complete"], "lambda"], rtol=1e-4)
    shown = [trace.name for trace in smooth.data if trace.showlegend]
    assert shown == ["L2", "L1"], "each once"


def test_every_marker_has_its_forms_colour_to_the_rim(make):
    c = make()
    for figure in (comparison_figures.curves_figure(c), comparison_figures.size_figure(c)):
        rims = {trace.marker.line.color: trace.marker.color for trace in figure.data if trace.marker.line.width}
        assert rims
        assert all(rim == color for rim, color in rims.items())


def test_weights_smaller_than_usual_are_in_the_picture(make, monkeypatch):
    c = make()
    assert comparison_weights_figures.magnitudes_figure(c, "best").layout.xaxis.range[0] == -5
    counted = comparison_weights_figures.counted_weights(c.of("l2"), c.strength("l2", "best"))
    counts = np.zeros(len(counted.counts), int)
    counts[1] = counted.weights
    monkeypatch.setattr(
        comparison_weights_figures, "counted_weights", lambda t, strength: replace(counted, counts=counts, zeros=0)
    )
    figure = comparison_weights_figures.magnitudes_figure(c, "best")
    assert 10 ** figure.layout.xaxis.range[0] <= figure.data[0].x[1]


def test_without_test_images_what_needs_them_is_left_out(make):
    c = make(tested=False)
    page = render(c)
    for name in ("smoothness", "bias", "size"):
        assert f'id="{name}"' not in page
    for name in ("curves", "norm", "zeros", "layers-0", "weights-best"):
        assert f'id="{name}"' in page


def test_the_page_says_what_the_table_says(make):
    c = make()
    page = render(c)
    text = re.sub(r"<[^>]+>", " ", page.partition("<script>")[0])
    for heading in (
        "Every form over λ",
        "By the zeros",
        "Side by side",
        "The final networks",
        "Every pair",
        "How to do it again",
    ):
        assert heading in text
    assert re.search(r"\b630\s+56\b", text)
    assert "l2tune report a" in text
    assert "nan" not in text
    assert "Nadeau and Bengio, 2003" in text
    assert "Holm, 1979" in text


@pytest.mark.parametrize(
    "given",
    [
        {"wanted": ("l2", "l1", "elastic")},
        {"forms": ("l1",), "wanted": ("l2", "l1")},
        {"diverged": lambda strength: strength > 0},
        {"diverged": lambda strength: True},
        {"strengths": (0.0,)},
        {"strengths": STRENGTHS[1:]},
        {"metric": "error"},
        {"metric": "accuracy"},
        {"tested": False},
        {"zeros": lambda strength: 1.0},
        {"fold_limit": lambda strength: 2},
        {"folds": 2},
        {"name": "<b>&amp;$(x) %{y}"},
        {"forms": ("l2", "l2-loss", "l2-decoupled", "l1", "elastic")},
    ],
    ids=lambda given: "-".join(given),
)
def test_whatever_is_known_there_is_a_page(make, given, tmp_path):
    c = make(**given)
    paths = write_comparison(c, tmp_path / "out")
    page = paths[0].read_text(encoding="utf-8")
    assert "nan" not in re.sub(r"<script.*?</script>|<[^>]+>", " ", page, flags=re.DOTALL).lower()
    assert "<b>&amp;$" not in page
    terminal = render_terminal(c, 80, ascii_only=True)
    assert terminal.isascii()
    json.loads(paths[1].read_bytes(), parse_constant=pytest.fail)


def test_captions_tell_the_table_s_numbers(make):
    c = make()
    base, l2, l1 = (row for _, row in c.table.iterrows())
    curves = CAPTIONS["curves"](c)
    for row, where in ((base, "at λ = 0"), (l2, "with L2 at its best λ ("), (l1, "with L1 at its best λ (")):
        assert f"{amount(row['best_value'], c.metric)} {where}" in curves
    assert f"{percentage(l1['best_zeros'])} with L1" in CAPTIONS["zeros"](c)
    assert "none with L2" in CAPTIONS["zeros"](c)
    assert "L1 at λ_best has 630 of 1,130 numbers left and a test loss of 0.2 nats" in CAPTIONS["size"](c)
    assert f"{l2['best_weight_norm']:.3g} with L2" in CAPTIONS["norm"](c)
    assert re.match(r"At λ_best .* of the weights of .* are exactly zero, of those of ", layers_caption(c, "l1"))
    assert weights_caption(c, "one_se").startswith("Weights exactly zero at λ_1se: none with L2 and ")


@pytest.mark.parametrize(
    "given",
    [
        {"forms": ("l1",), "wanted": ("l2", "l1")},
        {"diverged": lambda strength: True},
        {"strengths": (0.0,)},
        {"metric": "accuracy"},
        {"tested": False},
        {"fold_limit": lambda strength: 2},
    ],
    ids=lambda given: "-".join(given),
)
def test_captions_tell_nothing_that_is_not_known(make, given):
    c = make(**given)
    told = [caption(c) for caption in CAPTIONS.values()]
    told += [weights_caption(c, "best"), *(layers_caption(c, form) for form in c.estimates)]
    assert not re.search(r"\bnan\b|\binf\b|∞", " ".join(told))


def test_the_files_read_back_as_the_tables(make, tmp_path):
    c = make()
    html, content, csv = write_comparison(c, tmp_path)
    assert (html.name, content.name, csv.name) == ("compare.html", "compare.json", "compare.csv")
    told = json.loads(content.read_text(encoding="utf-8"))
    assert told["schema"] == 1
    assert told["penalties"] == ["l2", "l1"]
    assert told["studies"] == {"l2": "a-l2", "l1": "a-l1"}
    for row, expected in zip(told["table"], c.table.to_dict("records"), strict=True):
        assert row["penalty"] == expected["penalty"]
        assert row["best_lambda"] == expected["best_lambda"]
        assert row["one_se_zeros"] == expected["one_se_zeros"]
    assert [row["holm"] for row in told["pairs"]] == list(c.pairs["holm"])
    rows = pd.read_csv(csv)
    assert list(rows["penalty"]) == [BASELINE, *["l2"] * 25, *["l1"] * 25]
    for form, t in c.estimates.items():
        own = rows[rows["penalty"] == form]
        assert np.allclose(own["validation"], t.strengths["validation"][1:])
        assert list(own.loc[own["is_one_se"], "lambda"]) == [t.one_se_lambda]


@pytest.mark.parametrize("width", [100, 80, 50])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_the_terminals_table_fits_and_its_columns_end_together(make, width, ascii_only):
    c = make(("l2", "l2-loss", "l2-decoupled", "l1", "elastic"))
    text = render_terminal(c, width, ascii_only=ascii_only)
    assert max(map(len, text.splitlines())) <= width
    _, *blocks = text.rstrip().split("\n\n")
    for block in blocks:
        head, baseline, *rows = block.splitlines()[-len(c.forms) - 2 :]
        assert len({len(line) for line in (head, baseline, *rows)}) == 1
        for form, line in zip(c.forms, rows, strict=True):
            assert line.startswith(form_title(form))


def test_half_a_character_in_a_name_is_written_out(make, tmp_path):
    _, content, csv = write_comparison(make(name="\udc80"), tmp_path)
    assert json.loads(content.read_text(encoding="utf-8"))["name"] == "\udc80"
    csv.read_text(encoding="utf-8")


def test_what_buys_no_zeros_has_no_figure_of_zeros(make):
    c = make(("l2", "l2-decoupled"))
    assert comparison_figures.bought_figure(c, "zero_fraction", "x") is None
    assert 'id="zeros"' not in render(c)
    assert comparison_weights_figures.forms_with_zeros(c) == []


def test_what_lacks_folds_is_not_joined_to_what_has_them(make):
    c = make(fold_limit=lambda strength: 2 if strength > 0.01 else 5)
    figure = comparison_figures.bought_figure(c, "weight_norm", "x")
    for form, t in c.estimates.items():
        rows = t.strengths[(t.strengths["lambda"] > 0) & t.strengths["complete"]]
        (bought,) = traces(figure, form_title(form))
        assert 0 < len(rows) < len(t.strengths) - 1
        assert np.allclose(bought.x, rows["weight_norm"], rtol=1e-4)


def test_what_the_figures_of_weights_show_is_in_the_files(make, tmp_path):
    c = make()
    _, content, csv = write_comparison(c, tmp_path)
    rows = pd.read_csv(csv)
    own = rows[rows["penalty"] == "l1"]
    assert np.allclose(own["zeros:fc1"], [round(1000 * sparse(x)) / 1000 for x in own["lambda"]])
    assert np.allclose(own["dead_units:fc1"], [int(10 * sparse(x)) / 20 for x in own["lambda"]])
    told = json.loads(content.read_text(encoding="utf-8"))
    chosen = {(form, c.strength(form, choice)) for form in c.forms for choice in ("best", "one_se")}
    assert {(row["penalty"], row["lambda"]) for row in told["magnitudes"]} == {(BASELINE, 0.0), *chosen}
    last = told["magnitudes"][-1]
    assert last["lambda"] == c.strength("l1", "one_se")
    assert sum(last["counts"]) + last["zeros"] == last["weights"] == 5 * 1100
    assert len(told["magnitude_edges"]) == len(last["counts"]) + 1


def test_the_csv_has_every_number_of_every_strength(make, tmp_path):
    c = make(fold_limit=lambda strength: 2 if strength > 0.01 else 5, diverged=lambda strength: strength == 1)
    rows = pd.read_csv(write_comparison(c, tmp_path)[2])
    assert (rows["lambda"] == 0).sum() == 1
    names = {
        "folds": "folds",
        "validation": "validation",
        "standard_error": "validation_se",
        "train": "train",
        "zeros": "zero_fraction",
        "near_zero": "near_zero_fraction",
        "weight_norm": "weight_norm",
        "weight_sum": "weight_sum",
        "input_gradient": "input_gradient_norm",
        "calibration_error": "calibration_error",
        "bias_loss": "bias_loss",
        "variance_loss": "variance_loss",
        "test_loss": "test_loss",
        "test_error": "test_error",
    }
    for form, t in c.estimates.items():
        own, expected = rows[rows["penalty"] == form], t.strengths[t.strengths["lambda"] > 0]
        for name, column in names.items():
            assert np.allclose(own[name].astype(float), expected[column].astype(float), equal_nan=True), name
        assert list(own["complete"]) == list(expected["complete"])
        assert list(own["regime"]) == list(expected["regime"])
        assert list(own.loc[own["is_best"], "lambda"]) == [t.best_lambda]


def test_the_terminal_has_the_tables_numbers(make):
    c = make(noise=0.1)
    assert c.strength("l1", "best") < c.strength("l1", "one_se")
    text = render_terminal(c, 100, ascii_only=False)
    row = c.table.set_index("penalty").loc["l1"]
    cells = re.search(
        r"\nL1 +(\S+) +(\S+) +(\S+) ± (\S+) +(\S+) → (\S+) % +([\d,]+) \((\d+) %\) +(\S+) +(\S+) %\n", text
    ).groups()
    best, one_se, value, error, first_zeros, zeros, left, share, loss, wrong = cells
    assert float(first_zeros) == pytest.approx(100 * row["best_zeros"], rel=6e-2)
    assert float(best) == pytest.approx(row["best_lambda"], rel=6e-3)
    assert float(one_se) == pytest.approx(row["one_se_lambda"], rel=6e-3)
    assert float(value) == pytest.approx(row["best_value"], rel=6e-3)
    assert float(error) == pytest.approx(row["best_standard_error"], rel=6e-2)
    assert float(zeros) == pytest.approx(100 * row["one_se_zeros"], rel=6e-2)
    assert (left, share) == ("630", "56")
    assert (float(loss), float(wrong)) == (0.2, 5)
