"""Forms of the penalty side by side: one study per form, on the same folds, and λ = 0 that they share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd

from l2tune.analysis.by_strength import Array
from l2tune.analysis.estimates import Estimates
from l2tune.analysis.paired_test import PairedDifference, compare, holm
from l2tune.errors import UserError
from l2tune.metrics import Metric
from l2tune.records.tables import StudyRecord

Choice = Literal["best", "one_se"]

CHOICES: Mapping[Choice, str] = {"best": "λ_best", "one_se": "λ_1se"}
"""The strengths of each form that are compared."""

BASELINE = "none"
"""What stands in the place of a form for λ = 0."""

_TITLES = {
    BASELINE: "λ = 0",
    "l2": "L2",
    "l2-loss": "L2 in the loss",
    "l2-decoupled": "decoupled L2",
    "l1": "L1",
    "elastic": "elastic net",
}


def form_title(form: str) -> str:
    """What a form is called in a sentence; a form of another version of l2tune by its own name."""
    return _TITLES.get(form, form)


def has_score(t: Estimates) -> bool:
    """Whether some λ above 0 has a finite score, so that a best one can be named."""
    seen = t.record.observations
    return bool(np.isfinite(seen.cost[seen.strength > 0]).any())


@dataclass(frozen=True, eq=False)
class Comparison:
    """Estimates of several forms, from which everything side by side is computed.

    Attributes:
        name: Of the comparison.
        estimates: Form → estimates of its study, in the order in which they were asked for.
        wanted: All forms asked for; those of `estimates` by default. A form that is not among the estimates is missing:
            nothing of it has been scored yet.

    Raises:
        UserError: There is no study, or the studies do not share metric, folds, seed and data, so that their folds are
            no pairs.
    """

    name: str
    estimates: Mapping[str, Estimates]
    wanted: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.estimates:
            raise UserError("no fold has been scored yet", f"comparison {self.name!r}", "run l2tune compare first")
        _check_alike(self.name, self.estimates)

    @property
    def forms(self) -> tuple[str, ...]:
        """All forms asked for, those without a score among them."""
        return tuple(dict.fromkeys([*self.wanted, *self.estimates]))

    @property
    def missing(self) -> tuple[str, ...]:
        """Forms of which nothing has been scored."""
        return tuple(form for form in self.forms if form not in self.estimates)

    @property
    def first(self) -> Estimates:
        """Of the first form: what all share is read from it."""
        return next(iter(self.estimates.values()))

    @property
    def metric(self) -> Metric:
        """What λ is chosen by, in every study."""
        return self.first.metric

    @property
    def folds(self) -> int:
        """How many folds the cross-validation has, in every study."""
        return self.first.record.folds

    @cached_property
    def baseline(self) -> Estimates | None:
        """The estimates that λ = 0 is read from: of the study that has most folds of it; None if none has any."""
        rows = {form: t.row(0.0) for form, t in self.estimates.items()}
        ran = {form: (int(row["folds"]), -int(row["diverged"])) for form, row in rows.items() if row is not None}
        return self.estimates[max(ran, key=lambda form: ran[form])] if ran else None

    def strength(self, form: str, choice: Choice) -> float:
        """λ_best or λ_1se of a form; 0 for λ = 0, NaN where none can be named: no λ above 0 has a finite score."""
        if form == BASELINE:
            return 0.0 if self.baseline is not None else math.nan
        t = self.estimates.get(form)
        if t is None or not has_score(t):
            return math.nan
        return t.best_lambda if choice == "best" else t.one_se_lambda

    def costs(self, form: str, choice: Choice) -> Array:
        """(folds,) costs of a form at its λ; NaN where a fold was not run, infinite where it diverged."""
        t, strength = self.of(form), self.strength(form, choice)
        unknown = np.full(self.folds, math.nan)
        return unknown if t is None else t.record.observations.by_strength().get(strength, unknown)

    def of(self, form: str) -> Estimates | None:
        """The estimates of a form, or those that λ = 0 is read from."""
        return self.baseline if form == BASELINE else self.estimates.get(form)

    def row(self, form: str, choice: Choice) -> pd.Series[float] | None:
        """The row of `Estimates.strengths` of a form at its λ; None where that was not run."""
        t = self.of(form)
        return None if t is None else t.row(self.strength(form, choice))

    def is_complete(self, form: str, choice: Choice) -> bool:
        """Whether a form has all folds at its λ, none of them diverged."""
        return bool(np.isfinite(self.costs(form, choice)).all())

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for λ = 0 (`penalty` is `none`) and one per form.

        `penalty, study, low, high` (95 % interval of λ_best), `gain` over λ = 0 at λ_best (of costs, paired by fold)
        with `gain_low, gain_high, gain_p, gain_holm, gain_folds`, `fits` trained for this form alone, in full
        schedules, and their `seconds`; and of each choice (`best_…`, `one_se_…`; for λ = 0 both are the same):

        | column | what |
        |---|---|
        | `lambda`, `folds`, `complete` | λ; its folds; whether it has all, none diverged |
        | `value`, `standard_error` | validation metric; the curve's where not complete |
        | `zeros`, `weight_norm`, `weight_sum` | share of the weights that are zero, ‖w‖₂, Σ|w|; means over folds |
        | `units`, `dead_units` | output channels and rows, and those without a weight other than zero; means |
        | `input_gradient`, `calibration_error` | on the test images, means over folds |
        | `refits` | networks trained on all training data; what follows are means over these |
        | `test_loss`, `test_error`, `refit_calibration_error` | of the refit |
        | `parameters`, `nonzero`, `kept` | all; those that are not zero; those left without the rows of dead units |
        """
        rows = [self._row(form) for form in (BASELINE, *self.forms)]
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        # names as objects: where pyarrow is installed, pandas' own strings take no half characters
        text = {name: pd.Series(values, dtype=object) for name, values in columns.items() if isinstance(values[0], str)}
        table = pd.DataFrame(columns | text)
        table["gain_holm"] = math.nan
        forms = table["penalty"] != BASELINE
        table.loc[forms, "gain_holm"] = holm(table.loc[forms, "gain_p"].to_numpy(float))
        return table

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """One row per choice and pair of forms asked for.

        `choice, first, second, first_lambda, second_lambda`; `folds` of both; `difference` of costs, second − first,
        above 0 where the first is better, with its corrected `standard_error` and 95 % interval `low, high`;
        `p` of the corrected resampled t-test, `holm` over all pairs of the choice; `better`, the form that is
        measurably better at 5 % after the correction, or empty; `reason` why there is no test, or that it lacks folds.
        """
        tables = []
        for choice in CHOICES:
            rows = [self._pair(choice, *pair) for pair in combinations(self.forms, 2)]
            table = pd.DataFrame(rows, columns=_PAIR_COLUMNS)
            table["holm"] = holm(table["p"].to_numpy(float))
            measurable = table["holm"] < 0.05
            better = np.where(table["difference"] > 0, table["first"], table["second"])
            table["better"] = np.where(measurable, better, "")
            tables.append(table)
        return pd.concat(tables, ignore_index=True)

    def difference(self, first: str, second: str, choice: Choice) -> PairedDifference | None:
        """A form against another one (or λ = 0), paired by fold; above 0 where the first is better.

        None without two folds of both, and where a fold of either diverged: those left are the ones that went well.
        """
        if not (math.isfinite(self.strength(first, choice)) and math.isfinite(self.strength(second, choice))):
            return None
        costs = self.costs(first, choice), self.costs(second, choice)
        return None if np.isinf(costs).any() else compare(*costs, self.first.size_ratio)

    def _row(self, form: str) -> dict[str, Any]:
        t, own = self.of(form), self.strength(form, "best")
        low, high = (math.nan, math.nan) if form == BASELINE or t is None or math.isnan(own) else t.interval
        row: dict[str, Any] = {"penalty": form, "study": "" if t is None else t.record.name, "low": low, "high": high}
        gain = self.difference(form, BASELINE, "best") if form != BASELINE and own > 0 else None
        row |= {
            "gain": math.nan if gain is None else gain.mean,
            "gain_low": math.nan if gain is None else gain.interval[0],
            "gain_high": math.nan if gain is None else gain.interval[1],
            "gain_p": math.nan if gain is None else gain.p_value,
            "gain_folds": 0 if gain is None else gain.folds,
        }
        row["fits"], row["seconds"] = (0.0, 0.0) if t is None else _spent(t.record, form == BASELINE)
        for choice in CHOICES:
            row |= {f"{choice}_{name}": value for name, value in self._at(form, choice).items()}
        return row

    def _at(self, form: str, choice: Choice) -> dict[str, Any]:
        """What is known of a form at one of its strengths."""
        t, strength, row = self.of(form), self.strength(form, choice), self.row(form, choice)
        complete = self.is_complete(form, choice)
        value, error = math.nan, math.nan
        if complete and row is not None:
            value, error = float(row["validation"]), float(row["validation_se"])
        elif t is not None and t.curve is not None and math.isfinite(strength):
            value = self.metric.score(float(t.curve.mean([strength])[0]))
            error = float(t.curve.standard_error([strength])[0])
        columns = {
            "zeros": "zero_fraction",
            "weight_norm": "weight_norm",
            "weight_sum": "weight_sum",
            "input_gradient": "input_gradient_norm",
            "calibration_error": "calibration_error",
        }
        return {
            "lambda": strength,
            "folds": 0 if row is None else int(row["folds"]),
            "complete": complete,
            "value": value,
            "standard_error": error,
            **{name: math.nan if row is None else float(row[own]) for name, own in columns.items()},
            **(_units(t.record, strength) if t is not None else _units_unknown()),
            **self._refit(t, strength),
        }

    def _refit(self, t: Estimates | None, strength: float) -> dict[str, float]:
        """Means over the networks refitted at this λ."""
        names = ("test_loss", "test_error", "calibration_error", "parameters", "nonzero")
        refits = None if t is None else t.record.refits[t.record.refits["lambda"] == strength]
        if refits is None or not len(refits):
            found = dict.fromkeys((*names, "kept"), math.nan)
            return {"refits": 0} | {_REFIT.get(name, name): value for name, value in found.items()}
        found = {name: float(refits[name].mean()) for name in names}
        found["kept"] = float(np.mean([_kept(row) for _, row in refits.iterrows()]))
        return {"refits": len(refits)} | {_REFIT.get(name, name): value for name, value in found.items()}

    def _pair(self, choice: Choice, first: str, second: str) -> dict[str, Any]:
        found = self.difference(first, second, choice)
        row = {
            "choice": choice,
            "first": first,
            "second": second,
            "first_lambda": self.strength(first, choice),
            "second_lambda": self.strength(second, choice),
            "folds": 0 if found is None else found.folds,
            "reason": self._lacking(choice, first, second),
        }
        if found is None:
            return row
        low, high = found.interval
        numbers = {"difference": found.mean, "standard_error": found.standard_error, "low": low, "high": high}
        return row | numbers | {"p": found.p_value}

    def _lacking(self, choice: Choice, first: str, second: str) -> str:
        """What a pair lacks, in words; empty where both have all folds."""
        lacking = []
        for form in (first, second):
            title, strength = form_title(form), self.strength(form, choice)
            costs = self.costs(form, choice)
            done, broken = int((~np.isnan(costs)).sum()), int(np.isinf(costs).sum())
            if form not in self.estimates:
                lacking.append(f"{title} was not run")
            elif math.isnan(strength):
                lacking.append(f"{title} has no {CHOICES[choice]}")
            elif not done:
                lacking.append(f"{title} was not run at its {CHOICES[choice]}")
            else:
                lacking += [f"{title} has {done} of {self.folds} folds"] if done < self.folds else []
                lacking += [f"{title} diverged on {broken} of {done}"] if broken else []
        return "; ".join(lacking) or ("one fold cannot be tested" if self.folds < 2 else "")


_REFIT = {"calibration_error": "refit_calibration_error"}

_PAIR_COLUMNS = [
    "choice",
    "first",
    "second",
    "first_lambda",
    "second_lambda",
    "folds",
    "difference",
    "standard_error",
    "low",
    "high",
    "p",
    "reason",
]


def _check_alike(name: str, estimates: Mapping[str, Estimates]) -> None:
    (form, first), *others = estimates.items()
    for other, t in others:
        mine, its = first.record, t.record
        for what, one, two in (
            ("metric", mine.metric.name, its.metric.name),
            ("number of folds", mine.folds, its.folds),
            ("seed", mine.settings.get("seed"), its.settings.get("seed")),
            ("data", mine.data.get("fingerprint"), its.data.get("fingerprint")),
        ):
            if one != two or (what == "metric" and mine.metric != its.metric):
                raise UserError(
                    f"its studies cannot be compared by fold: the {what} of {form} is {one!r}, that of {other} {two!r}",
                    f"comparison {name!r}",
                    "compare studies of one data set, metric, seed and number of folds",
                )


def _spent(record: StudyRecord, baseline: bool) -> tuple[float, float]:
    """What was trained of λ = 0, or of all other strengths: in full schedules, and in seconds."""
    fits = record.fits[~record.fits["reused"]]
    whole = max(1, int(record.trainer.get("epochs") or record.fits["epochs"].max() or 1))
    own = fits[(fits["lambda"] == 0) == baseline]
    return float(own["epochs"].sum()) / whole, float(own["seconds"].sum())


def _units(record: StudyRecord, strength: float) -> dict[str, float]:
    """Units and dead ones of all layers, means over the folds at this λ."""
    rows = record.layers[(record.layers["lambda"] == strength) & record.layers["units"].notna()]
    if not len(rows):
        return _units_unknown()
    sums = rows.groupby(["trial", "fold"])[["weights", "units", "dead_units"]].sum()
    last = sums.reset_index().drop_duplicates("fold", keep="last")  # a fold taken over is there twice
    return {name: float(last[name].mean()) for name in ("weights", "units", "dead_units")}


def _units_unknown() -> dict[str, float]:
    return dict.fromkeys(("weights", "units", "dead_units"), math.nan)


def _kept(refit: pd.Series[Any]) -> float:
    """Parameters left when the rows of dead units are dropped, and all else is stored with its zeros.

    The biases of dead units, and what later layers read from them, would go, too: this is the least that is saved.
    """
    saved = sum(weights * dead / units for weights, _, units, dead in refit["layers"].values() if units)
    return float(refit["parameters"] - saved)
