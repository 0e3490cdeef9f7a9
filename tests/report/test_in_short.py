"""A study in five lines, and in a notebook."""

import math
import xml.etree.ElementTree as xml
from collections.abc import Callable

import optuna
import plotly.graph_objects as go
import pytest
from optuna.samplers import RandomSampler

from l2tune import CrossValidationObjective, Metric, Tradeoff, UserError
from l2tune.report.in_short import curve_svg

MakeStudy = Callable[..., optuna.Study]


def valley(strength: float) -> float:
    return 0.2 + 0.05 * (math.log10(max(strength, 1e-7)) + 3) ** 2


def rising(strength: float) -> float:
    return 0.05 + strength


@pytest.fixture
def tradeoff(make_study: MakeStudy) -> Tradeoff:
    return Tradeoff.from_study(make_study(valley, rising))


def test_it_shows_itself_in_five_lines(tradeoff: Tradeoff) -> None:
    lines = repr(tradeoff).splitlines()
    assert len(lines) == 5
    assert lines[0] == "Tradeoff of study 'constructed': loss, 5 folds, 45 fits"
    assert lines[1].startswith("  λ_best 1.00e-3, weight decay 2.00e-3 (95 %: ")
    assert lines[2].startswith("  λ_1se ")
    assert lines[3].startswith("  loss 0.199 nats ± ")
    assert "better" in lines[4]
    assert str(tradeoff) == repr(tradeoff)


@pytest.mark.parametrize("given", [{"diverged": lambda strength: True}, {"strengths": (0.0,)}])
def test_what_has_no_curve_says_why(make_study: MakeStudy, given: dict[str, object]) -> None:
    tradeoff = Tradeoff.from_study(make_study(valley, rising, **given))
    first, second = repr(tradeoff).splitlines()
    assert first.startswith("Tradeoff of study")
    assert second.strip() == tradeoff.verdict
    assert "<svg" not in tradeoff._repr_html_()
    with pytest.raises(UserError, match="has not recorded what this figure shows"):
        tradeoff.plot()


def test_a_notebook_shows_verdict_and_curve_without_scripts(make_study: MakeStudy) -> None:
    tradeoff = Tradeoff.from_study(make_study(valley, rising, name="<script>alert(1)</script>"))
    shown = tradeoff._repr_html_()
    assert "script" not in shown
    assert "http" not in shown.replace("http://www.w3.org/2000/svg", "")
    picture = xml.fromstring(curve_svg(tradeoff))
    names = [element.tag.rpartition("}")[2] for element in picture.iter()]
    tried = tradeoff.strengths[tradeoff.strengths["lambda"] > 0]
    assert 1 <= names.count("circle") <= len(tried)
    assert {"polyline", "polygon", "rect"} <= set(names)
    for element in picture.iter():
        for axis, most in (("cx", 640), ("cy", 240), ("x1", 640), ("y2", 240)):
            assert 0 <= float(element.get(axis, 0)) <= most


@pytest.mark.parametrize("maximize", [False, True])
def test_more_is_drawn_higher(maximize: bool) -> None:
    metric = Metric("score", maximize=maximize, kind="real")
    objective = CrossValidationObjective(
        fit=lambda strength, fold, seed: valley(strength) * (-1 if maximize else 1) + 0.01 * fold,
        folds=3,
        metric=metric,
    )
    study = optuna.create_study(direction="maximize" if maximize else "minimize", sampler=RandomSampler(seed=0))
    study.optimize(objective, n_trials=12)
    tradeoff = Tradeoff.from_study(study)
    circles = [e for e in xml.fromstring(curve_svg(tradeoff)).iter() if e.tag.endswith("circle")]
    heights = {float(next(iter(e)).text.split()[1].rstrip(":")): -float(e.get("cy", "nan")) for e in circles}
    best = min(heights, key=lambda strength: abs(math.log(strength / tradeoff.best_lambda)))
    assert len(heights) > 3
    assert heights[best] == (max if maximize else min)(heights.values())


def test_every_figure_has_a_name(tradeoff: Tradeoff) -> None:
    assert isinstance(tradeoff.plot(), go.Figure)
    assert isinstance(tradeoff.plot("gap"), go.Figure)
    with pytest.raises(UserError, match="'pie' is no figure; give one of tradeoff, gap, bias_variance, learning"):
        tradeoff.plot("pie")  # type: ignore[arg-type]


def test_its_table_is_a_copy(tradeoff: Tradeoff) -> None:
    table = tradeoff.to_frame()
    table["lambda"] = 0.0
    assert tradeoff.strengths["lambda"].max() > 0
