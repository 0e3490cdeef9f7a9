"""Reports of studies of any shape: nothing raises, and JSON holds no number that it has not."""

import json
import math
import re
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from l2tune.errors import UserError
from l2tune.metrics import BUILT_IN, Metric
from l2tune.penalty.strength import StrengthScale
from l2tune.records.keys import STRENGTH, fold_key
from l2tune.records.parameter import StrengthParameter
from l2tune.records.study import describe_study, widen_range
from l2tune.report.captions import CAPTIONS
from l2tune.report.html import render as render_html
from l2tune.report.page_tables import by_fold, by_strength, search
from l2tune.report.tables import results_json, trials_csv
from l2tune.report.terminal import render as render_terminal
from l2tune.tradeoff import Tradeoff

METRICS = (
    *BUILT_IN.values(),
    Metric("f1", maximize=True, kind="proportion"),
    Metric("psnr", maximize=True, kind="positive", unit="dB"),
    Metric("a <b> %{y}", unit="%"),
)
ENGINES = ("sequential", "function", "mine", "objective")


@st.composite
def studies(draw: st.DrawFn) -> optuna.Study:
    """A study as any trainer, on any scale, with any metric, may leave it: unfinished, diverged, without training."""
    metric, engine = draw(st.sampled_from(METRICS)), draw(st.sampled_from(ENGINES))
    scale = StrengthScale(draw(st.sampled_from(["lambda", "weight_decay", "alpha", "C"])))
    parameter = StrengthParameter(draw(st.sampled_from([scale.name, "a|b<c>"])), scale)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    folds = draw(st.integers(1, 4))
    asked, extra, knows_training = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    breaks = draw(st.sampled_from([0.0, 0.0, 0.3, 1.0]))
    spread = draw(st.sampled_from([0.0, 1e-9, 0.1, 1.0]))
    study = optuna.create_study(
        study_name=draw(st.text(min_size=1, max_size=8)), direction="maximize" if metric.maximize else "minimize"
    )
    if engine != "objective":
        described = {"data": "digits", "optimizer": "sgd", "study": "x"} if engine == "sequential" else {}
        known = {"lambda_range": [1e-6, 1.0], "seed": 0} if asked else {}
        trainer: dict[str, Any] = {"engine": engine, "folds": folds, "epochs": draw(st.sampled_from([None, 1, 3]))}
        describe_study(
            study,
            settings=described | known,
            identity={},
            versions={},
            trainer=trainer | ({"function": "m:f", "source": None} if engine == "function" else {}),
            data={},
            metric=metric,
            parameter=parameter,
        )
        if draw(st.booleans()):
            widen_range(study, 1e-6, 1e2)

    def score() -> float | None:
        badness = float(np.clip(0.5 + spread * rng.uniform(-0.5, 0.5), 0, 1))
        if rng.random() < breaks:
            return None
        return badness if metric.kind != "real" else 1e3 * (badness - 0.7)

    for _ in range(draw(st.integers(1, 6))):
        strength = 0.0 if rng.random() < 0.3 else float(10 ** rng.uniform(-6, 0))
        ran = int(rng.integers(0 if engine != "objective" else 1, folds + 1))
        attrs: dict[str, Any] = {} if engine == "objective" else {STRENGTH: strength}
        values = {}
        for fold in range(ran):
            value = score()
            values[fold] = math.nan if value is None else value
            scores: dict[str, float | None] = {f"val_{metric}": value}
            if knows_training:
                scores[f"train_{metric}"] = score()
            if extra:
                scores |= {"test_x": 1.0, "val_": 2.0, "train_\x00<": None}
            record = {"epochs": int(rng.integers(1, 4)), "diverged": value is None, "truncated": rng.random() < 0.1}
            attrs[fold_key(fold)] = record | {"scores": scores, "curves": {f"val_{metric}": [value] * 3}}
        if engine == "objective":
            attrs = {}
        params = {} if strength == 0 else {parameter.name: scale.from_lambda(strength)}
        distributions: dict[str, Any] = {name: FloatDistribution(1e-9, 1e9, log=True) for name in params}
        if rng.random() < 0.2:
            params |= {"kind": "b"}
            distributions |= {"kind": CategoricalDistribution(("a", "b"))}
        finite = [value for value in values.values() if math.isfinite(value)]
        state = draw(st.sampled_from([TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.FAIL]))
        state = TrialState.RUNNING if state == TrialState.COMPLETE and not finite else state
        study.add_trial(
            create_trial(
                state=state,
                value=float(np.mean(finite)) if state == TrialState.COMPLETE else None,
                params=params,
                distributions=distributions,
                intermediate_values=values if engine == "objective" else {},
                user_attrs=attrs,
            )
        )
    return study


RELAXED: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def refuse(word: str) -> float:
    raise AssertionError(word)


@settings(max_examples=80, derandomize=True, **RELAXED)
@given(studies())
def test_whatever_a_study_holds_it_is_told(study: optuna.Study) -> None:
    check_told(study)


@pytest.mark.long
@settings(max_examples=2000, **RELAXED)
@given(studies())
def test_whatever_thousands_of_studies_hold_it_is_told(study: optuna.Study) -> None:
    check_told(study)


def check_told(study: optuna.Study) -> None:
    try:
        t = Tradeoff.from_study(study)
    except UserError:  # no score yet, or which parameter is the strength is not known
        return
    found = json.loads(results_json(t), parse_constant=refuse)
    assert found["study"] == study.study_name
    trials_csv(t).decode()
    render_terminal(t, 80, ascii_only=True).encode("ascii")
    for table in (by_strength(t), by_fold(t), search(t)):
        assert "nan" not in {cell for column in table.columns for cell in column.cells}
    for caption in CAPTIONS.values():
        assert not re.search(r"\bnan\b|\binf\b|∞|not a number", caption(t))


@settings(max_examples=25, derandomize=True, **RELAXED)
@given(studies())
def test_whatever_a_study_holds_it_has_a_page(study: optuna.Study) -> None:
    try:
        t = Tradeoff.from_study(study)
    except UserError:
        return
    assert render_html(t).rstrip().endswith("</html>")
