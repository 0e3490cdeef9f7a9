"""How names and numbers are written, whatever they hold."""

import html
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2tune.metrics import BUILT_IN, Metric
from l2tune.penalty.strength import StrengthScale
from l2tune.records.parameter import StrengthParameter
from l2tune.report.labels import (
    for_html,
    for_markdown,
    for_plotly,
    metric_title,
    own_column,
    own_name,
    own_range,
    own_written,
    scores_column,
    strength_name,
    strengths_column,
)


@given(st.text())
def test_no_text_has_markup_or_steers(text: str) -> None:
    for written in (for_html(text), for_plotly(text)):
        assert not re.search(r"[<>]|[\x00-\x1f\x7f]|&(?!(amp|lt|gt|quot|#x27|#37);)", written)
        written.encode()
    assert '"' not in for_html(text)
    assert "%{" not in for_plotly(text)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("val_f1", "val_f1"),
        ("_f1_", r"\_f1\_"),
        ("**f1**", r"\*\*f1\*\*"),
        ("<script>alert(1)</script>", r"\<script>alert(1)\</script>"),
        ("[a](http://b)", "\\[a\\](http:\u2060//b)"),
        ("www.b.org", "www\u2060.b.org"),
        ("a@b.org", "a\u2060@b.org"),
        ("a|b", r"a\|b"),
        ("&lt;b", r"\&lt;b"),
        ("p < 0.05", "p < 0.05"),
        ("line\n# head", "line # head"),
        ("$x$", r"\$x\$"),
    ],
)
def test_a_note_says_names_as_they_are(name: str, written: str) -> None:
    assert for_markdown(name) == written


@pytest.mark.parametrize(
    ("metric", "title"),
    [
        (BUILT_IN["loss"], "cross-entropy (nats)"),
        (BUILT_IN["error"], "error rate (%)"),
        (BUILT_IN["accuracy"], "accuracy (%, higher is better)"),
        (BUILT_IN["r2"], "r2 (higher is better)"),
        (BUILT_IN["mse"], "mse"),
        (BUILT_IN["nll"], "nll (nats)"),
        (Metric("loss"), "loss"),
        (Metric("error", unit="m"), "error (m)"),
        (Metric("psnr", maximize=True, kind="positive", unit="dB"), "psnr (dB, higher is better)"),
    ],
)
def test_a_metric_is_called_by_its_name_unit_and_direction(metric: Metric, title: str) -> None:
    assert metric_title(metric, direction=True) == title


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=30))
def test_different_strengths_are_written_differently(values: list[float]) -> None:
    different = len({f"{value:.8e}" for value in values})
    assert len(set(strengths_column(values))) == different
    for scale in ("weight_decay", "alpha"):
        column = own_column(StrengthParameter("p", StrengthScale(scale)), values)  # type: ignore[arg-type]
        assert len(set(column)) == different


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=30))
def test_different_scores_are_written_differently(values: list[int]) -> None:
    for metric in (Metric("x"), BUILT_IN["error"]):
        assert len(set(scores_column([value / 10**6 for value in values], metric))) == len(set(values))


def test_scores_that_are_not_known_have_a_dash_and_errors_are_in_the_same_unit() -> None:
    written = scores_column([0.123, math.nan, 0.2], BUILT_IN["error"], [0.011, 0.1, math.nan])
    assert written == ["12.3 ± 1.1", "–", "20"]
    assert scores_column([], BUILT_IN["loss"]) == []
    assert scores_column([0.1 + 0.2, 0.3], Metric("x")) == ["0.3", "0.3"], "rounding is no difference"


@pytest.mark.parametrize(
    ("name", "scale", "heads", "at_zero", "span"),
    [
        ("lambda", "lambda", ("λ", "weight decay"), "0", "2.00e-3 to 2.00e-1"),
        ("l2", "lambda", ("λ (l2)", "weight decay"), "0", "2.00e-3 to 2.00e-1"),
        ("wd", "weight_decay", ("λ", "wd"), "0", "2.00e-3 to 2.00e-1"),
        ("alpha", "alpha", ("λ", "alpha"), "0", "1.00e-3 to 0.100"),
        ("C", "C", ("λ", "C"), "∞", "10.0 to 1.00e3"),
    ],
)
def test_the_number_beside_the_strength(name: str, scale: str, heads: tuple[str, str], at_zero: str, span: str) -> None:
    parameter = StrengthParameter(name, StrengthScale(scale))  # type: ignore[arg-type]
    assert (strength_name(parameter), own_name(parameter)) == heads
    assert own_written(parameter, 0.0) == at_zero
    assert own_range(parameter, 1e-3, 0.1) == span


def test_escapes_are_undone_by_a_browser() -> None:
    assert html.unescape(for_plotly("%{y} <b>&")) == "%{y} <b>&"
