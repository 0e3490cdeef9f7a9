"""Compare search strategies by replaying recorded cross-validations: what each pays, and what it finds.

    python studies/benchmarks/search.py                                    # the recordings kept beside this file
    python studies/benchmarks/search.py --recordings FOLDER --seeds 40 --metric error --jobs 4
    python studies/benchmarks/search.py --only l2tune "tpe, median"

Cost is counted in fits: epochs trained, over the epochs of a full schedule. λ = 0 is trained on all folds by everyone.
Gain is the share of the attainable fall of the validation metric, from λ = 0 to the best λ recorded, that the chosen λ
delivers; test gain is the same on the test images, which no fold saw. Regret is the chosen λ's distance from the
recorded best in standard errors of the best's cross-validation. An interval covers if some λ in it is the recorded best
or within one paired standard error of it. Searches without l2tune's sampler try 15 strengths. Each seed orders the
folds anew and shifts the range by up to a quarter of a decade, so that no strategy owes its figures to a lucky order.
The first estimate guides l2tune by loss only: by error, the row without it is the same.

    python studies/benchmarks/search.py --synthetic --only l2tune           # curves whose minimizer is known
    python studies/benchmarks/search.py --only l2tune --disguise turned     # the same scores under a name of their own

Disguised, l2tune gets the metric as a number of which it knows no more than which way is better: turned round, shifted
below 0, or scaled. What it finds is judged by the metric itself.

Writes `results/search-METRIC.json` and `.md` (with `--picture`, `.svg`), or `results/synthetic-METRIC.*`; disguised,
`results/search-METRIC-DISGUISE.*`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from judge import claims_gain, judged
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import spearmanr
from scipy.stats import t as student

from l2tune.curve.choice import choose_best
from l2tune.curve.observations import fit_curve
from l2tune.members import EpochScores, Member
from l2tune.metrics import BUILT_IN, Metric
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.penalty.strength import log_grid
from l2tune.records.keys import COMPLETE
from l2tune.records.observations import observations, strength_of
from l2tune.search.optuna_samplers import make_pruner, make_sampler
from l2tune.search.runner import Budget, run_search
from l2tune.search.stopping import StopWhenSettled
from l2tune.settings import build
from l2tune.training.replay import ReplayRun, ReplayTrainer

HERE = Path(__file__).parent
STRENGTHS, FOLDS = 15, 5
EARLY = "Rank correlation across λ (those with at most twice the lowest metric) of early epochs with the last"
COSTS = (10, 15, 20, 25, 30, 40, 50, 75)
Array = NDArray[np.float64]

DISGUISES: dict[str, tuple[Metric, float, float]] = {
    "turned": (Metric("turned", maximize=True), 0.0, -1.0),
    "shifted": (Metric("shifted"), -1.0, 1.0),
    "scaled": (Metric("scaled"), 0.0, 1e3),
}
"""Name → the metric as l2tune is told of it, and a and b of a + b · the recorded one."""


class Recording(ReplayTrainer):
    """A recording that counts the epochs it is asked for, and knows its own best."""

    def __init__(self, path: Path, metric: str, seed: int | None = None) -> None:
        super().__init__(path)
        if seed is not None:
            order = np.random.default_rng(seed).permutation(self.folds)
            self.scores = {name: values[:, order] for name, values in self.scores.items()}
            self.estimates = None if self.estimates is None else self.estimates[:, order]
        self.name = path.name.removesuffix(".csv.gz")
        self.metric = metric
        self.disguise: str | None = None
        self.spent = 0
        tests = path.with_name(f"{self.name}.test.csv")
        table = pd.read_csv(tests) if tests.exists() else None
        self.test_scores = None if table is None else table.groupby("lambda")[f"test_{metric}"].mean()

    def start(self, members: Sequence[Member]) -> CountedRun:
        return CountedRun(self, members)

    @property
    def cost(self) -> float:
        """Fits spent."""
        return self.spent / self.epochs

    def final(self, strength: float) -> Array:
        """(folds,) validation metric after the last epoch."""
        return self.after(strength, self.epochs)

    def after(self, strength: float, epochs: int) -> Array:
        """(folds,) validation metric after so many epochs."""
        return np.array([self.curve(f"val_{self.metric}", strength, fold)[epochs - 1] for fold in range(self.folds)])

    def test(self, strength: float) -> float:
        """Test metric, interpolated linearly in log λ."""
        assert self.test_scores is not None
        if strength == 0:
            return float(self.test_scores.loc[0.0])
        known = self.test_scores[self.test_scores.index > 0]
        return float(np.interp(np.log(strength), np.log(known.index.to_numpy(float)), known.to_numpy(float)))

    @cached_property
    def best(self) -> float:
        """The recorded λ of the lowest mean."""
        return float(min(self.strengths, key=lambda strength: self.final(strength).mean()))

    def gain(self, strength: float) -> float:
        """Share of the attainable fall; NaN where nothing is attainable."""
        nothing, lowest = self.final(0.0).mean(), self.final(self.best).mean()
        return float((nothing - self.final(strength).mean()) / (nothing - lowest)) if nothing > lowest else np.nan

    def test_gain(self, strength: float) -> float:
        """The same on the test images, of the fall to their own lowest score."""
        if self.test_scores is None:
            return np.nan
        attainable = self.test(0.0) - float(self.test_scores.min())
        return (self.test(0.0) - self.test(strength)) / attainable if attainable > 0 else np.nan

    def regret(self, strength: float) -> float:
        """In standard errors of the cross-validation at the best."""
        return float((self.final(strength).mean() - self.final(self.best).mean()) / self.standard_error)

    @cached_property
    def standard_error(self) -> float:
        """Of the cross-validation at the best."""
        return float(self.final(self.best).std(ddof=1) / np.sqrt(self.folds))

    def covers(self, low: float, high: float) -> bool:
        """Whether an interval holds a λ that the recording cannot tell from its best."""
        inside = [s for s in self.strengths if low <= s <= high]
        inside += [s for s in np.geomspace(max(low, 1e-9), max(high, 1e-9), 9) if self.strengths[1] <= s]
        for strength in inside:
            difference = self.final(strength) - self.final(self.best)
            if difference.mean() <= difference.std(ddof=1) / np.sqrt(self.folds):
                return True
        return False


class Synthetic(Recording):
    """A cross-validation whose expected scores are known, drawn anew by each seed; one epoch per fit.

    A fold's log loss falls by `depth` around some λ, the more slowly the larger `width` (decades), and rises from some
    stronger λ on as a power, up to guessing among ten classes. Folds differ in level, and a little in where they fall
    and rise. Noise is white over λ and fold. An image of 160 per fold is wrong if its difficulty is below a rate that
    follows the loss; at each λ, 30 % of the difficulties are drawn anew.
    """

    IMAGES = 160
    REDRAWN = 0.3

    def __init__(self, shape: str, metric: str, seed: int | None = None) -> None:
        self.name, self.metric, self.spent, self.test_scores, self.estimates = shape, metric, 0, None, None
        self.disguise = None
        self.folds, self.epochs = FOLDS, 1
        self.strengths = np.array([0.0, *np.geomspace(1e-6, 1.0, 121)])
        kind = SHAPES[shape]
        rng = np.random.default_rng([0 if seed is None else seed, list(SHAPES).index(shape)])
        self._seed = 0 if seed is None else seed
        self._noise, self._width, self._power = kind["noise"], kind["width"], kind["power"]
        fall = rng.uniform(-4.5, -2.5)
        rise = fall + rng.uniform(0.5, 2.0) + kind["right"]
        self._level = rng.uniform(-3, -1) + rng.normal(0, 0.5, 5)
        self._depth = kind["depth"] * rng.uniform(0.5, 1.5) * np.exp(rng.normal(0, 0.3, 5))
        self._fall = fall + rng.normal(0, 0.2, 5)
        self._rise = rise + rng.normal(0, kind["jitter"], 5)
        self._drawn = round(self.REDRAWN * self.IMAGES)
        self._difficulty = rng.uniform(size=(5, self.IMAGES - self._drawn))

    def expected(self, strength: float, fold: int) -> float:
        """The metric without noise."""
        rate = self._rate(strength, fold)
        return rate if self.metric == "loss" else float((self._wrong(rate, fold) + self._drawn * rate) / self.IMAGES)

    def curve(self, name: str, strength: float, fold: int) -> Array:
        rate = self._rate(strength, fold)
        rng = np.random.default_rng([self._seed, fold, int(np.float64(strength).view(np.uint64))])
        if self.metric == "loss":
            return np.array([rate * np.exp(self._noise * rng.normal())])
        return np.array([(self._wrong(rate, fold) + rng.binomial(self._drawn, rate)) / self.IMAGES])

    def _rate(self, strength: float, fold: int) -> float:
        """Expected loss; for the error, the rate of wrong images."""
        x = np.log10(strength + 1e-9)
        low = self._level[fold] - self._depth[fold] / (1 + np.exp(-(x - self._fall[fold]) / self._width))
        bad = np.log1p(10 ** min(30.0, self._power * (x - self._rise[fold])))
        loss = float(np.exp(-np.logaddexp(-(low + bad), -np.log(2.303))))
        return loss if self.metric == "loss" else min(0.9, 0.15 * loss**0.8)

    def _wrong(self, rate: float, fold: int) -> int:
        """Images that are wrong at this rate, of those whose difficulty is the same at every λ."""
        return int((self._difficulty[fold] < rate).sum())

    def final(self, strength: float) -> Array:
        return np.array([self.expected(strength, fold) for fold in range(self.folds)])

    @cached_property
    def standard_error(self) -> float:
        at_best = self.final(self.best)
        noise = self._noise * at_best.mean()
        if self.metric == "error":
            noise = np.sqrt(at_best.mean() / self.IMAGES)
        return float(np.sqrt((at_best.var(ddof=1) + noise**2) / self.folds))

    def covers(self, low: float, high: float) -> bool:
        """Whether the interval holds a λ as good as the minimizer, to a thousandth of the loss or of all images."""
        inside = np.append(np.geomspace(max(low, 1e-8), max(high, 1e-8), 60), low)
        lowest = self.final(self.best).mean()
        margin = 1e-3 * lowest if self.metric == "loss" else 1e-3
        return bool(min(self.final(float(s)).mean() for s in inside) <= lowest + margin)


SHAPES: dict[str, dict[str, float]] = {
    "valley": {"depth": 0.5, "width": 0.4, "power": 1.5, "right": 0.0, "jitter": 0.1, "noise": 0.03},
    "noisy": {"depth": 0.5, "width": 0.4, "power": 1.5, "right": 0.0, "jitter": 0.1, "noise": 0.15},
    "cliff": {"depth": 0.5, "width": 0.4, "power": 6.0, "right": 0.0, "jitter": 0.2, "noise": 0.03},
    "slope": {"depth": 0.5, "width": 1.2, "power": 1.5, "right": 0.0, "jitter": 0.1, "noise": 0.03},
    "shallow": {"depth": 0.05, "width": 0.4, "power": 1.5, "right": 0.0, "jitter": 0.1, "noise": 0.03},
    "none is best": {"depth": 0.0, "width": 0.4, "power": 1.0, "right": 0.0, "jitter": 0.1, "noise": 0.03},
    "high end": {"depth": 0.5, "width": 0.4, "power": 1.5, "right": 2.0, "jitter": 0.1, "noise": 0.03},
}


class CountedRun(ReplayRun):
    def __init__(self, recording: Recording, members: Sequence[Member]) -> None:
        super().__init__(recording, members)
        self._recording = recording

    def __next__(self) -> Sequence[EpochScores]:
        scores = super().__next__()
        self._recording.spent += len(scores)
        if self._recording.disguise is None:
            return scores
        told, shift, factor = DISGUISES[self._recording.disguise]
        return [
            replace(
                s,
                others={
                    f"{part}_{told}": shift + factor * s.score(f"{part}_{self._recording.metric}")
                    for part in ("train", "val")
                },
            )
            for s in scores
        ]


@dataclass
class Outcome:
    """One search.

    Attributes:
        range: Of λ.
        costs, choices, gains: After each trial, the fits spent, the λ that would be chosen then, and its gain.
        test_gain, regret: Of the last choice.
        study: Of a search by Optuna, until it is judged.
        claims_gain: Whether l2tune's verdict on it is that λ > 0 measurably helps; None without a study.
        pruned_best: Whether the tried λ nearest to the best was pruned.
        settled: Fits when the answer was settled; the rest completes folds.
        seconds: Of the strategy itself.
    """

    recording: str
    strategy: str
    seed: int
    range: tuple[float, float]
    costs: list[float] = field(default_factory=list)
    choices: list[float] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)
    test_gain: float = np.nan
    regret: float = np.nan
    interval: tuple[float, float] | None = None
    covered: bool | None = None
    study: optuna.Study | None = None
    claims_gain: bool | None = None
    pruned_best: bool = False
    settled: float | None = None
    seconds: float = 0.0

    def note(self, cost: float, choice: float) -> None:
        self.costs.append(cost)
        self.choices.append(choice)

    def judge(self, recording: Recording) -> None:
        """Fill in what the recording knows of the choices."""
        self.gains = [recording.gain(choice) for choice in self.choices]
        self.test_gain = recording.test_gain(self.choices[-1])
        self.regret = recording.regret(self.choices[-1])
        if self.interval is not None:
            self.covered = recording.covers(*self.interval)

    def gain_at(self, cost: float) -> float:
        """Gain of the λ in hand once so many fits are spent; 0 at first."""
        known = [gain for spent, gain in zip(self.costs, self.gains, strict=True) if spent <= cost + 1e-9]
        return known[-1] if known else 0.0


Strategy = Callable[[Recording, int, Outcome], None]


def by_optuna(sampler: str, pruner: str, *, estimate: bool = True, **settings: Any) -> Strategy:
    """A whole search as `l2tune search` runs it."""

    def run(recording: Recording, seed: int, outcome: Outcome) -> None:
        low, high = outcome.range
        ours = sampler == "curve"
        if not estimate:
            recording.ratios = None
        given = build(
            {
                "sampler": sampler,
                "pruner": pruner,
                "seed": seed,
                "folds": recording.folds,
                "epochs": recording.epochs,
                "metric": recording.metric,
                "lambda_range": (low, high),
                "trials": 40 if ours else STRENGTHS + 1,
            }
            | settings
        )
        told = BUILT_IN[recording.metric] if recording.disguise is None else DISGUISES[recording.disguise][0]
        study = optuna.create_study(
            sampler=make_sampler(given),
            pruner=make_pruner(given),
            direction="maximize" if told.maximize else "minimize",
        )
        objective = CrossValidationObjective.from_settings(given, recording, {"class_names": list("0123456789")})
        objective.metric = told

        def note(trial: FrozenTrial) -> None:
            if trial.user_attrs.get(COMPLETE) and outcome.settled is None:
                outcome.settled = outcome.costs[-1]
            if ours:
                seen = observations(study)
                fitted = fit_curve(seen)
                outcome.note(recording.cost, choose_best(fitted, seen.by_strength()) if fitted else 0.0)
            else:
                whole = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
                chosen = min(whole, key=lambda t: t.value if t.value is not None else np.inf, default=None)
                outcome.note(recording.cost, (strength_of(chosen) if chosen else None) or 0.0)

        run_search(
            study, objective, Budget(given.search.trials), settle=StopWhenSettled() if ours else None, on_trial=note
        )
        outcome.study = study
        fitted = fit_curve(observations(study))
        if ours and fitted is not None:
            outcome.interval = fitted.interval
        if outcome.settled is None:
            outcome.settled = outcome.costs[-1]
        tried = [t for t in study.trials if "lambda" in t.params]
        target = max(recording.best, low)
        nearest = min(abs(np.log(t.params["lambda"] / target)) for t in tried)
        states = {t.state for t in tried if abs(np.log(t.params["lambda"] / target)) <= nearest + 1e-9}
        outcome.pruned_best = bool(TrialState.COMPLETE not in states and nearest < np.log(3))

    return run


def anova_race(recording: Recording, seed: int, outcome: Outcome) -> None:
    """R's finetune::tune_race_anova: after three folds, drop what is significantly worse (repeated measures, α = 0.05).

    Source: Kuhn, 'Futility Analysis in the Cross-Validation of Machine Learning Models' (2014).
    """
    strengths = np.array([0.0, *log_grid(*outcome.range, STRENGTHS)])
    scores = np.stack([recording.final(s) for s in strengths])  # (strengths, folds)
    alive, folds, cost = np.arange(len(strengths)), np.arange(recording.folds), 0
    for done in range(1, recording.folds + 1):
        cost += len(alive)
        seen = scores[np.ix_(alive, folds[:done])]
        means = seen.mean(axis=1)
        outcome.note(cost, float(strengths[alive[means.argmin()]]))
        if done >= 3 and len(alive) > 1:
            rest = seen - means[:, None] - seen.mean(axis=0) + seen.mean()
            freedom = (len(alive) - 1) * (done - 1)
            error = np.sqrt(2 * (rest**2).sum() / freedom / done)
            alive = alive[means - means.min() <= student.ppf(0.95, freedom) * error]
    outcome.settled = cost
    outcome.pruned_best = int(np.abs(strengths - recording.best).argmin()) not in set(alive.tolist())


def halving_grid(recording: Recording, seed: int, outcome: Outcome) -> None:
    """scikit-learn's HalvingGridSearchCV with epochs as the resource: every round anew, on all folds, a third survives.

    A short round is read off the early epochs of the full schedule, for a recording knows no other.
    """
    factor, strengths = 3, np.array([0.0, *log_grid(*outcome.range, STRENGTHS)])
    rounds = 1 + int(np.log(len(strengths)) / np.log(factor))
    first = max(1, recording.epochs // factor ** (rounds - 1))
    order, kept, cost = np.arange(len(strengths)), len(strengths), 0.0
    for epochs in (first * factor**n for n in range(rounds) if first * factor**n <= recording.epochs):
        alive = order[:kept]
        cost += len(alive) * recording.folds * epochs / recording.epochs
        scores = [recording.after(float(strengths[i]), epochs).mean() for i in alive]
        order, kept = alive[np.argsort(scores, kind="stable")], -(-len(alive) // factor)
        outcome.note(cost, float(strengths[order[0]]))
    outcome.settled = cost
    outcome.pruned_best = int(np.abs(strengths - recording.best).argmin()) not in set(order.tolist())


SAMPLERS = ("tpe", "gp", "qmc", "random", "grid")
PRUNERS = ("none", "median", "hyperband", "halving", "wilcoxon")
STRATEGIES: dict[str, Strategy] = {
    "l2tune": by_optuna("curve", "racing"),
    "l2tune, no first estimate": by_optuna("curve", "racing", estimate=False),
    **{f"{sampler}, {pruner}": by_optuna(sampler, pruner) for sampler in SAMPLERS for pruner in PRUNERS},
    "grid, anova race": anova_race,
    "grid, successive halving": halving_grid,
}

DRAWN = ("l2tune", "tpe, median", "tpe, hyperband", "tpe, wilcoxon", "gp, none", "grid, none")
DRAWN += ("grid, anova race", "grid, successive halving")
"""In the picture, which has room for eight."""


def search(source: Path | str, metric: str, strategy: str, seed: int, disguise: str | None = None) -> Outcome:
    """Run one search over a recording's file or a synthetic shape."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore")
    recording = open_recording(source, metric, seed)
    recording.disguise = disguise
    shift = 10 ** np.random.default_rng(seed).uniform(-0.25, 0.25)
    bounds = float(recording.strengths[1] * shift), float(recording.strengths[-1] * shift)
    outcome = Outcome(recording.name, strategy, seed, bounds)
    began = time.perf_counter()
    STRATEGIES[strategy](recording, seed, outcome)
    outcome.seconds = round(time.perf_counter() - began, 3)
    outcome.judge(judged(source, recording))
    outcome.claims_gain, outcome.study = claims_gain(outcome.study), None
    return outcome


def open_recording(source: Path | str, metric: str, seed: int | None = None) -> Recording:
    """A recording's file or a synthetic shape."""
    return Recording(source, metric, seed) if isinstance(source, Path) else Synthetic(source, metric, seed)


def summarize(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row per recording and strategy."""
    rows = []
    for (name, strategy), group in _grouped(outcomes).items():
        gains = np.array([o.gains[-1] for o in group])
        regrets = np.array([o.regret for o in group])
        row: dict[str, Any] = {
            "recording": name,
            "strategy": strategy,
            "seeds": len(group),
            "settled": float(np.median([o.settled or o.costs[-1] for o in group])),
            "fits": float(np.median([o.costs[-1] for o in group])),
            "most fits": max(o.costs[-1] for o in group),
            "share of grid": float(np.mean([o.costs[-1] for o in group])) / (FOLDS * STRENGTHS),
            "gain": gains.mean(),
            "gain 5%": np.quantile(gains, 0.05),
            "test gain": float(np.mean([o.test_gain for o in group])),
            "regret": regrets.mean(),
            "worst regret": regrets.max(),
            "within 1 se": float((regrets <= 1).mean()),
            "pruned best": float(np.mean([o.pruned_best for o in group])),
            "coverage": float(np.mean([o.covered for o in group])) if group[0].covered is not None else np.nan,
            "seconds": float(np.median([o.seconds for o in group])),
        }
        for cost in COSTS:
            row[f"gain at {cost}"] = float(np.mean([o.gain_at(cost) for o in group]))
        rows.append(row)
    return pd.DataFrame(rows)


def _grouped(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], list[Outcome]]:
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.recording, outcome.strategy), []).append(outcome)
    return groups


def updated(table: pd.DataFrame, about: dict[str, Any], before: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows measured now among those of results measured before, in the same order, and when each was measured."""
    old = pd.DataFrame(before["table"])
    rows = pd.concat([table, old[~old["strategy"].isin(set(table["strategy"]))]], ignore_index=True)
    names, order = old["recording"].unique().tolist(), list(STRATEGIES)
    place = [
        (names.index(r) if r in names else len(names), order.index(s))
        for r, s in zip(rows["recording"], rows["strategy"], strict=True)
    ]
    rows = rows.iloc[sorted(range(len(rows)), key=place.__getitem__)].reset_index(drop=True)
    measured = before.get("measured") or dict.fromkeys(old["strategy"].unique().tolist(), before["date"])
    return rows, about | {"measured": measured | about["measured"]}


def markdown(table: pd.DataFrame) -> str:
    """The table, one section per recording."""
    lines = []
    for name, rows in table.groupby("recording", sort=False):
        lines += [f"## {name}", "", rows_as_markdown(rows.drop(columns=["recording", "seeds"])), ""]
    return "\n".join(lines)


def rows_as_markdown(rows: pd.DataFrame) -> str:
    """A table."""
    lines = ["| " + " | ".join(rows.columns) + " |", "|---" * len(rows.columns) + "|"]
    lines += ["| " + " | ".join(_cell(c, row[c]) for c in rows.columns) + " |" for _, row in rows.iterrows()]
    return "\n".join(lines)


def _cell(column: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if np.isnan(value):
        return ""
    return f"{value:.1f}" if column in ("settled", "fits", "most fits", "seconds") else f"{value:.2f}"


def rank_correlations(recording: Recording) -> dict[str, float]:
    """Spearman's, across λ, between the mean metric after a part of the epochs and after the last.

    Only λ whose final metric is below twice the lowest count: that the others are bad shows early, and hides that the
    order of the good ones does not.
    """
    means = recording.scores[f"val_{recording.metric}"].mean(axis=1)  # (strengths, epochs)
    good = means[:, -1] <= 2 * means[:, -1].min()
    at = {share: max(0, round(share * recording.epochs) - 1) for share in (0.1, 0.25, 0.5, 0.75)}
    return {f"{share:.0%}": float(spearmanr(means[good, epoch], means[good, -1])[0]) for share, epoch in at.items()}


def draw(table: pd.DataFrame, metric: str, file: Path) -> None:
    """Mean gain against fits spent, one panel per recording where λ > 0 beats λ = 0; needs kaleido and a Chromium."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    names = [name for name, rows in table.groupby("recording", sort=False) if rows["gain"].notna().all()]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = make_subplots(rows, columns, subplot_titles=names, shared_yaxes=True, horizontal_spacing=0.03)
    shown = [s for s in STRATEGIES if s in set(table["strategy"]) and s in DRAWN]
    palette = ["#d62728", "#1f77b4", "#17becf", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22"]
    for index, name in enumerate(names):
        for color, strategy in zip(palette, shown, strict=False):
            row = table[(table["recording"] == name) & (table["strategy"] == strategy)].iloc[0]
            spent = [cost for cost in COSTS if cost <= row["most fits"]] or [COSTS[0]]
            line = {"color": color, "width": 4 if strategy == "l2tune" else 1.5}
            gains = [row[f"gain at {cost}"] for cost in spent]
            trace = go.Scatter(x=spent, y=gains, name=strategy, line=line, showlegend=index == 0, legendgroup=strategy)
            figure.add_trace(trace, row=index // columns + 1, col=index % columns + 1)
    figure.update_yaxes(range=[-0.05, 1.05])
    figure.update_xaxes(range=[5, 80])
    figure.update_layout(
        template="simple_white",
        width=1000,
        height=90 + 260 * rows,
        title=f"Share of the attainable fall in validation {metric} that is found, against fits spent",
        legend={"orientation": "h", "y": -0.1},
    )
    figure.write_image(file)


def _without_nan(value: Any) -> Any:
    """As JSON has it: null for what is not a number."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recordings", type=Path, action="append", default=[], help="further folders of recordings")
    parser.add_argument("--synthetic", action="store_true", help="curves of known shape instead of recordings")
    parser.add_argument("--name", nargs="*", help="only these recordings or shapes")
    parser.add_argument("--only", nargs="*", choices=list(STRATEGIES), help="only these strategies")
    parser.add_argument("--metric", choices=["loss", "error"], default="loss")
    parser.add_argument("--disguise", choices=list(DISGUISES), help="tell l2tune no more than which way is better")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--picture", action="store_true", help="draw gain against fits, too (needs kaleido)")
    parser.add_argument("--update", action="store_true", help="keep the other strategies' rows of the results in --out")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    folders = [HERE / "recordings", *given.recordings]
    sources: list[Path | str] = [f for folder in folders for f in sorted(folder.glob("*.csv.gz"))]
    if given.synthetic:
        sources = list(SHAPES)
    if given.name:
        sources = [s for s in sources if (s.name.removesuffix(".csv.gz") if isinstance(s, Path) else s) in given.name]
    strategies = given.only or list(STRATEGIES)
    if given.disguise and any(not name.startswith("l2tune") for name in strategies):
        parser.error("only l2tune can be told less: give --only l2tune with --disguise")
    began = time.perf_counter()
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(search, source, given.metric, strategy, seed, given.disguise)
            for source in sources
            for strategy in strategies
            for seed in range(given.seeds)
        ]
        outcomes = [job.result() for job in jobs]
    table = summarize(outcomes)
    file = f"{'synthetic' if given.synthetic else 'search'}-{given.metric}"
    file += f"-{given.disguise}" if given.disguise else ""
    names = ("l2tune", "optuna", "numpy", "scipy", "torch")
    about = {
        "date": datetime.date.today().isoformat(),
        "metric": given.metric,
        "seeds": given.seeds,
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in names},
        "seconds": round(time.perf_counter() - began),
        "measured": dict.fromkeys(strategies, datetime.date.today().isoformat()),
    }
    recordings = [Recording(source, given.metric) for source in sources if isinstance(source, Path)]
    early = pd.DataFrame([{"recording": r.name} | rank_correlations(r) for r in recordings])
    given.out.mkdir(parents=True, exist_ok=True)
    searches = [
        {
            "recording": o.recording,
            "strategy": o.strategy,
            "seed": o.seed,
            "settled": o.settled,
            "fits": round(o.costs[-1], 2),
            "lambda": float(f"{o.choices[-1]:.4g}"),
            "gain": round(o.gains[-1], 4),
            "regret": round(o.regret, 4),
            "interval": o.interval and [float(f"{end:.3g}") for end in o.interval],
            "covered": o.covered,
        }
        for o in outcomes
        if o.strategy == "l2tune"
    ]
    if given.update:
        table, about = updated(table, about, json.loads((given.out / f"{file}.json").read_text()))
    content = about | {
        "table": json.loads(table.round(4).to_json(orient="records")),
        "rank correlation": json.loads(early.round(3).to_json(orient="records")),
        "searches": searches,
    }
    (given.out / f"{file}.json").write_text(json.dumps(_without_nan(content), separators=(",", ":")) + "\n")
    head = f"# Search strategies, validation {given.metric}, {given.seeds} seeds each, {about['date']}\n\n"
    earlier = {day for day in about["measured"].values() if day != about["date"]}
    if earlier:
        rest = sorted(name for name, day in about["measured"].items() if day == about["date"])
        head += f"Measured on {about['date']}: {', '.join(rest)}; the others on {', '.join(sorted(earlier))}.\n\n"
    tail = f"## {EARLY}\n\n{rows_as_markdown(early)}\n" if recordings else ""
    (given.out / f"{file}.md").write_text(head + markdown(table) + tail)
    if given.picture:
        draw(table, given.metric, given.out / f"{file}.svg")
    with pd.option_context("display.width", 250, "display.max_columns", 40, "display.max_rows", 500):
        print(table.drop(columns=["seeds", "share of grid"]).round(2).to_string(index=False))
    print(f"{len(outcomes)} searches in {about['seconds']} s; written to {given.out}/{file}.*")


if __name__ == "__main__":
    main()
