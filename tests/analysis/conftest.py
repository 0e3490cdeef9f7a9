"""Random studies for the findings: what a search may leave, in all shapes, metrics, scales and states."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import strategies as st

from l2tune.analysis.estimates import Estimates
from l2tune.metrics import BUILT_IN, Metric
from l2tune.penalty.strength import ScaleName, StrengthScale
from l2tune.records.fold_record import FoldRecord
from l2tune.records.keys import AUDIT, FAILURE, STRENGTH, fold_key
from l2tune.records.parameter import StrengthParameter
from l2tune.records.study import describe_study, widen_range
from l2tune.records.tables import read_study
from l2tune.settings import build

METRICS = {
    "l2tune": [BUILT_IN[name] for name in ("loss", "error", "accuracy")],
    "other": [
        *(BUILT_IN[name] for name in ("loss", "error", "accuracy", "r2", "nll", "auc", "mse")),
        Metric("gauge", maximize=True),
        Metric("distance", kind="positive"),
        Metric("speed", maximize=True, kind="positive", unit="m/s"),
    ],
}
OPTIMIZERS = [(name, form) for name in ("sgd", "adam") for form in ("l2", "l2-loss", "l2-decoupled", "l1", "elastic")]
OPTIMIZERS.append(("adamw", "l2-decoupled"))
REACHES: dict[str, dict[str, Any]] = {
    "": {},
    "everything": {"tensors": 2, "matrices": 90, "left_out": 0, "largest": [], "directions": 0, "everything": True},
    "weights": {"tensors": 1, "matrices": 90, "left_out": 0, "largest": [], "directions": 12, "everything": False},
    "little": {
        "tensors": 3,
        "matrices": 100_000,
        "left_out": 70_000,
        "largest": [["token.weight", 40_000, "embedding"], ["table", 10_000, "embedding"]],
        "directions": 0,
        "everything": False,
    },
}
"""What a trainer tells of the parameters that λ acts on; nothing in studies of older versions."""
PARAMETERS: list[tuple[str, ScaleName]] = [
    ("lambda", "lambda"),
    ("reg", "lambda"),
    ("wd", "weight_decay"),
    ("alpha", "alpha"),
    ("C", "C"),
]


@dataclass(frozen=True)
class Row:
    """A λ of a study: how many folds it has, and how many of the first of them diverged."""

    strength: float
    folds: int
    diverged: int = 0
    train: bool = True


@dataclass(frozen=True)
class Case:
    """A study; the curves are functions of u, −1 and 1 at the ends of the range."""

    rows: tuple[Row, ...]
    validation: str = "valley"
    training: str = "falling"
    folds: int = 5
    trained_by: str = "l2tune"
    metric: Metric = BUILT_IN["loss"]
    parameter: tuple[str, ScaleName] = ("lambda", "lambda")
    noise: float = 0.02
    height: float = 1.0
    level: float = 0.3
    others: tuple[tuple[str, Any], ...] = ()
    widened: tuple[float, float] | None = None
    running: bool = False
    normalization: bool = False
    audited: tuple[float, ...] = ()
    error: str = "valley"
    fit: float = 1.0
    optimizer: tuple[str, str] = ("sgd", "l2")
    reach: str = ""
    values: dict[float, tuple[float, ...]] = field(default_factory=dict)
    seed: int = 0
    failed: tuple[float, ...] = ()


CURVES: dict[str, Callable[[float, np.random.Generator], float]] = {
    "valley": lambda u, rng: min(1.0, (u + 0.2) ** 2),
    "low valley": lambda u, rng: min(1.0, (u + 0.7) ** 2),
    "high valley": lambda u, rng: min(1.0, (u - 0.6) ** 2),
    "narrow valley": lambda u, rng: 1 - math.exp(-30 * u * u),
    "two valleys": lambda u, rng: math.exp(-40 * u * u),
    "flat": lambda u, rng: 0.0,
    "rising": lambda u, rng: (u + 1) / 2,
    "falling": lambda u, rng: (1 - u) / 2,
    "cliff": lambda u, rng: float(u > 0.3),
    "noise": lambda u, rng: rng.random(),
    "bad": lambda u, rng: 3.0,
    "best at 0": lambda u, rng: 0.0 if u < -1.2 else 0.7 + 0.1 * u,
    "worst at 0": lambda u, rng: 1.0 if u < -1.2 else 0.1 * (u + 1),
}


LAMBDA_MAX = 5e6
"""Beyond all that is searched: the range of a study ends there."""


def cost_of(case: Case, curve: str, strength: float, rng: np.random.Generator, luck: float) -> float:
    """A fold's cost; of the kind that the metric promises."""
    u = 2 * (math.log10(strength) + 3) / 6 if strength else -1.5
    shape = case.height * max(0.0, CURVES[curve](u, rng))
    factor = math.exp(luck + case.noise * rng.normal())
    if case.metric.kind == "real" or (case.metric.maximize and case.metric.kind == "positive"):
        offset = -case.level * 3 if case.metric.kind == "real" else -30.0
        return offset + shape + math.log(factor)
    value = case.level * (0.3 + shape) * factor
    return min(value, 0.999) if case.metric.kind == "proportion" else value


def build_study(case: Case) -> Estimates:
    """The estimates of a case."""
    direction = "maximize" if case.metric.maximize else "minimize"
    study = optuna.create_study(study_name="constructed", direction=direction)
    parameter = StrengthParameter(case.parameter[0], StrengthScale(case.parameter[1]))
    if case.trained_by != "objective":
        reach = {"regularized_parameters": 59_850, "parameters": 60_074, "regularization": REACHES[case.reach]}
        if case.reach == "everything":
            reach["lambda_max"] = LAMBDA_MAX
        reach = reach if case.reach and case.trained_by == "l2tune" else {}
        engine = {"l2tune": "sequential"}.get(case.trained_by, case.trained_by)
        named = dict(zip(("optimizer", "penalty"), case.optimizer, strict=True))
        flat = build({"study": "x", "folds": max(2, case.folds), "epochs": 4} | named).flat()
        describe_study(
            study,
            settings=flat | {"lambda_range": [1e-6, 1.0]},
            identity={},
            versions={},
            trainer={"engine": engine, "folds": case.folds, "normalization": case.normalization} | reach,
            data={"classes": 10} if case.trained_by == "l2tune" else {},
            metric=case.metric,
            parameter=parameter,
        )
        if case.widened:
            widen_range(study, *case.widened)
    low, high = parameter.scale.range_from_lambda(*(case.widened or (1e-6, 1.0)))
    distribution = optuna.distributions.FloatDistribution(low, high, log=True)
    free = {name: optuna.distributions.CategoricalDistribution((value, "another")) for name, value in case.others}
    rng = np.random.default_rng(case.seed)
    luck = rng.normal(0, 3 * case.noise, case.folds)
    for strength in case.failed:
        why = {"line": f"ValueError: too strong ({strength})", "traceback": ""}
        attrs = {STRENGTH: strength, FAILURE: why}
        study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs=attrs))
    for row in case.rows:
        costs = [cost_of(case, case.validation, row.strength, rng, luck[fold]) for fold in range(row.folds)]
        costs = list(case.values.get(row.strength, costs))[: row.folds]
        fits = [case.fit * cost_of(case, case.training, row.strength, rng, luck[fold]) for fold in range(row.folds)]
        errors = [cost_of(case, case.error, row.strength, rng, luck[fold]) for fold in range(row.folds)]
        own = {} if row.strength == 0 else {parameter.name: parameter.scale.from_lambda(row.strength)}
        scores = [case.metric.score(cost) for cost in costs]
        attrs: dict[str, Any] = {}
        if case.trained_by == "objective":
            broken = (math.nan, math.inf)[case.seed % 2]
            scores = [broken if fold < row.diverged else score for fold, score in enumerate(scores)]
        else:
            attrs = {STRENGTH: row.strength, AUDIT: row.strength in case.audited}
            for fold in range(row.folds):
                fit = case.metric.score(fits[fold]) if row.train else None
                known = {case.metric.name: (scores[fold], fit)}
                if case.trained_by == "l2tune":
                    wrong = 1 - scores[fold] if case.metric.name == "accuracy" else scores[fold]
                    known |= {"error": (min(wrong, 1.0), None if fit is None else min(costs[fold], fits[fold]))}
                    known |= {"loss": (errors[fold], None)} | {case.metric.name: (scores[fold], fit)}
                    if case.metric.name == "loss":
                        known["error"] = (min(errors[fold], 1.0), None)
                record = FoldRecord(4, diverged=fold < row.diverged)
                if not record.diverged:
                    built_in = {
                        f"{part}_{name}": known[name][place]
                        for name in ("loss", "error")
                        if name in known
                        for place, part in enumerate(("val", "train"))
                    }
                    more = {
                        f"{part}_{name}": value
                        for name, pair in known.items()
                        if name not in ("loss", "error")
                        for part, value in zip(("val", "train"), pair, strict=True)
                    }
                    test = 0.1 if case.trained_by == "l2tune" else None
                    record = replace(record, **built_in, scores=more, test_loss=test)
                attrs[fold_key(fold)] = asdict(record)
        whole = row.folds == case.folds and not row.diverged
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.COMPLETE if whole else optuna.trial.TrialState.PRUNED,
                value=float(np.mean(scores)) if whole else None,
                params=own | dict(case.others),
                distributions=dict.fromkeys(own, distribution) | free,
                intermediate_values=dict(enumerate(scores)),
                user_attrs=attrs,
            )
        )
    if case.running:
        study.enqueue_trial({parameter.name: distribution.low * 1.1} | dict(case.others))
        trial = study.ask()
        trial.suggest_float(parameter.name, distribution.low, distribution.high, log=True)
        for name, choices in free.items():
            trial.suggest_categorical(name, choices.choices)
    return Estimates.from_record(read_study(study, parameter, case.metric))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any study that a search may leave."""
    trained_by = draw(st.sampled_from(["l2tune", "l2tune", "function", "trainer", "objective"]))
    ours = trained_by == "l2tune"
    folds = draw(st.integers(1, 10) if draw(st.booleans()) else st.sampled_from([2, 3, 5]))
    spots = draw(st.lists(st.integers(0, 24), min_size=1, max_size=10, unique=True))
    strengths = sorted({10 ** (-6 + spot / 4 + draw(st.sampled_from([0.0, 0.0, 1e-5, 0.03]))) for spot in spots})
    if draw(st.integers(0, 9)) == 0:
        strengths.append(strengths[-1] * 1.0001)
    widened = draw(st.sampled_from([None, None, None, (1e-6, 1e1), (1e-8, 1.0)]))
    strengths = [min(max(s, 1e-6), 1.0) for s in strengths]
    if widened and trained_by != "objective" and draw(st.booleans()):
        strengths.append(7.0 if widened[1] > 1 else 2e-8)
    state = draw(st.sampled_from(["whole", "whole", "raced", "sparse"]))
    broken = draw(st.sampled_from([*["none"] * 8, "strong", "strong", "some", "some", "penalties", "all"]))
    trains = draw(st.sampled_from(["all", "all", "none", "some"]))

    def row(strength: float) -> Row:
        done = folds if state == "whole" else draw(st.integers(1, folds))
        done = folds if state == "raced" and draw(st.booleans()) else done
        bad = {"none": 0, "strong": done * (strength > 0.02), "penalties": done * (strength > 0), "all": done}.get(
            broken, draw(st.integers(0, done)) if broken == "some" and draw(st.booleans()) else 0
        )
        return Row(strength, done, int(bad), trains == "all" or (trains == "some" and draw(st.booleans())))

    baseline = draw(st.sampled_from([*["run"] * 8, "missing", "missing", "only"]))
    wanted = ([] if baseline == "missing" else [0.0]) + ([] if baseline == "only" else sorted(set(strengths)))
    rows = tuple(row(strength) for strength in wanted)
    curves = st.sampled_from(sorted(CURVES))
    return Case(
        rows,
        draw(curves),
        draw(st.sampled_from(["falling", "rising", "flat", "noise", "valley"])),
        folds,
        trained_by,
        draw(st.sampled_from(METRICS["l2tune" if ours else "other"])),
        ("lambda", "lambda") if ours else draw(st.sampled_from(PARAMETERS)),
        draw(st.sampled_from([0.0, 1e-6, 0.01, 0.03, 0.2])),
        draw(st.sampled_from([1e-4, 0.1, 1.0, 10.0])),
        draw(st.sampled_from([0.01, 0.3, 3.0])),
        draw(st.sampled_from([(), (), (("lr", 0.01), ("width", 32)), (("norm", None),)])),
        None if trained_by == "objective" else widened,
        draw(st.integers(0, 9)) == 0,
        ours and draw(st.booleans()),
        (strengths[0],) if draw(st.booleans()) and trained_by != "objective" else (),
        draw(curves),
        draw(st.sampled_from([0.01, 1.0, 1.0])),
        draw(st.sampled_from([("sgd", "l2"), *OPTIMIZERS])),
        draw(st.sampled_from(sorted(REACHES))),
        seed=draw(st.integers(0, 999)),
    )


def whole(*strengths: float, folds: int = 5) -> tuple[Row, ...]:
    """All folds of λ = 0 and of these."""
    return tuple(Row(strength, folds) for strength in (0.0, *strengths))


GRID = tuple(10 ** (-6 + k / 2) for k in range(13))
UNEVEN = (0.2, 0.3, 0.4, 0.5, 0.6)
SLIGHTLY_LESS = (0.199, 0.299, 0.399, 0.499, 0.599)

BY_KIND: dict[str, list[Case]] = {
    "two-valleys": [
        Case(whole(*GRID), "two valleys", noise=0.01, height=0.3, seed=9),
        Case(whole(*GRID), "two valleys", noise=0.03, height=0.3, seed=5),
    ],
    "helps": [Case(whole(*GRID), optimizer=optimizer) for optimizer in OPTIMIZERS],
    "reach": [Case(whole(*GRID), reach=reach) for reach in REACHES if reach],
    "left-out": [Case(whole(*GRID), reach="little")],
    "nothing-learned": [
        Case(whole(1e-3, 1e-2, folds=2), folds=2, values=dict.fromkeys((0.0, 0.001, 0.01), (1.2, 2.0)), fit=0.001),
        Case(whole(1e-3, 1e-2, folds=2), folds=2, values=dict.fromkeys((0.0, 0.001, 0.01), (2.3, 2.4)), fit=0.001),
    ],
    "audit": [Case(whole(*GRID), audited=(GRID[3], GRID[6]))],
    "failed": [Case(whole(*GRID), failed=(0.7,)), Case(whole(*GRID), failed=(0.6, 0.7, 0.8, 0.9, 0.9))],
    "disputed": [
        Case((Row(0.0, 5), Row(1e-3, 2)), values={0.0: UNEVEN, 1e-3: SLIGHTLY_LESS}),
        Case((Row(0.0, 2), Row(1e-3, 5)), values={0.0: SLIGHTLY_LESS, 1e-3: UNEVEN}),
        Case(
            whole(10**-3.5, 10**-1.75, folds=3), "two valleys", "noise", 3, noise=1e-6, height=0.1, level=0.01, seed=363
        ),
    ],
    "unproven": [
        Case(whole(1e-2, folds=3), folds=3, values={0.0: (1.0, 0.785, 0.6), 1e-2: (0.117, 0.112, 0.122)}),
    ],
    "overfits-everywhere": [Case(whole(*GRID), "flat", "flat", level=5.0, fit=0.01)],
    "low-end": [Case(whole(*GRID), "worst at 0", trained_by="objective", parameter=("C", "C"))],
    "underfits-at-zero": [Case(whole(*GRID), "rising", "rising", level=5.0)],
}


@pytest.fixture(scope="session")
def any_study() -> st.SearchStrategy[Case]:
    """Descriptions of studies."""
    return cases()


@pytest.fixture(scope="session")
def studies_by_kind() -> dict[str, list[Case]]:
    """Kind of finding → studies that have it, for kinds that random studies seldom have."""
    return BY_KIND


@pytest.fixture(scope="session")
def build_estimates() -> Callable[[Case], Estimates]:
    """What a study of such a description tells."""
    return build_study
