"""The estimates: which λ, how sure, where the network underfits and overfits, and whether regularizing helped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import pandas as pd

from l2tune.analysis.by_strength import Array, observations_by, table_by_strength
from l2tune.analysis.paired_test import PairedDifference, compare, standard_errors
from l2tune.curve.choice import INDISTINGUISHABLE, balanced_band, choose_best, choose_one_se
from l2tune.curve.observations import fit_curve
from l2tune.curve.regularization_curve import RegularizationCurve
from l2tune.errors import UserError
from l2tune.metrics import BUILT_IN, Metric
from l2tune.penalty.strength import weight_decay
from l2tune.records.tables import StudyRecord

Regime = Literal["underfit", "balanced", "overfit", "diverged"]


@dataclass(frozen=True, eq=False)
class Estimates:
    """What a study's tables tell of λ; made by `from_record`.

    λ_best and λ_1se are strengths that were tried, chosen as the stopping rule chooses them: of those that the curve
    cannot tell from its minimizer (and from its λ_1se), the one with most folds done. So their values are full
    cross-validation scores, not points of a fitted curve; where a search ended before that, `complete` is false and
    `best_value` is the curve's expectation.

    Values (`best_value`, `baseline_value`, the columns `train` and `validation`) are scores of the metric. Differences
    (`gain`, `gap`, `excess`) are of its costs, so they have one meaning whether more or less is better.

    Attributes:
        record: The study's tables.
        curve: Expected cost over λ, fitted to all finished folds; None when every fold diverged.
        strengths: One row per λ, rising: `lambda, folds, diverged, complete, regime`; mean over the folds done and
            naive standard error, in the metric, of `train`, `validation`, `gap` (by how much validation is worse than
            training) and `excess` (by how much training is worse than at the λ that fits the training images best,
            paired by fold), with `_se`; `corrected_se` of validation; `indistinguishable` from λ_best by the corrected
            paired test; means of all other scores and of `STATE_COLUMNS`; bias and variance of the folds' predictions.
            NaN where not known, and in the means of a λ of which a fold diverged.
        best_lambda: λ_best; 0 if no λ beats the baseline, NaN if every fold diverged.
        one_se_lambda: λ_1se: the strongest penalty within one standard error of λ_best. Never below λ_best.
        best_value: Cross-validated metric at λ_best.
        best_standard_error: Naive: standard deviation over folds / √k. The curve's where not complete.
        corrected_standard_error: Nadeau and Bengio (2003): folds share training images, so the naive one is too small.
        interval: 95 % credible interval of the minimizer, from the curve; an end of 0 means that λ = 0 is not excluded.
        band: Lowest and highest λ within one standard error of the best, from the curve: the balanced ones, λ_best and
            λ_1se among them.
        baseline_value: Cross-validated metric at λ = 0, or None where it was not run.
        gain: Cost at λ = 0 minus cost at λ_best (where that is 0 or was not run: at the best λ > 0 that was), paired by
            fold; None without two folds of each.
        gain_lambda: The λ that `gain` is of.
        complete: Whether λ_best has all folds.
        other_best_lambda: λ_best by the other metric (error for loss, loss for error and accuracy), or None.
        size_ratio: Validation images per training image of a fold.
    """

    record: StudyRecord
    curve: RegularizationCurve | None
    strengths: pd.DataFrame
    best_lambda: float
    one_se_lambda: float
    best_value: float
    best_standard_error: float
    corrected_standard_error: float
    interval: tuple[float, float]
    band: tuple[float, float]
    baseline_value: float | None
    gain: PairedDifference | None
    gain_lambda: float | None
    complete: bool
    other_best_lambda: float | None
    size_ratio: float

    @classmethod
    def from_record(cls, record: StudyRecord) -> Self:
        """Analyse a study's tables.

        Raises:
            UserError: No fold has a score yet.
        """
        seen, metric = record.observations, record.metric
        if not len(seen.cost):
            raise UserError("no fold has been scored yet", f"study {record.name!r}", "search first")
        ratio = _size_ratio(record)
        table = table_by_strength(record, ratio)
        curve = fit_curve(seen)
        if curve is None:
            return cls._diverged(record, table, ratio)
        costs = seen.by_strength()
        best = choose_best(curve, costs)
        own = costs.get(best, np.full(1, np.nan))
        complete = bool(np.isfinite(own).all())
        naive, corrected = standard_errors(own, ratio) if complete else (math.nan, math.nan)
        if not math.isfinite(naive):
            naive = float(curve.standard_error([best])[0])
            corrected = naive * math.sqrt(1 + ratio * record.folds)
        gain, gain_lambda = _gain(curve, costs, best, ratio)
        one_se = max(best, choose_one_se(curve, costs))
        band = balanced_band(curve, best, one_se)
        table["regime"] = [
            "diverged" if diverged else _regime(strength, band, (best, one_se))
            for strength, diverged in zip(table["lambda"], table["diverged"], strict=True)
        ]
        table["indistinguishable"] = [
            strength == best or (complete and bool(np.isfinite(other).all()) and not _differs(own, other, ratio))
            for strength, other in costs.items()
        ]
        baseline = table.loc[table["lambda"] == 0, "validation"].dropna()
        return cls(
            record=record,
            curve=curve,
            strengths=table,
            best_lambda=best,
            one_se_lambda=one_se,
            best_value=metric.score(float(own.mean()) if complete else float(curve.mean([best])[0])),
            best_standard_error=naive,
            corrected_standard_error=corrected,
            interval=curve.interval,
            band=band,
            baseline_value=float(baseline.iloc[0]) if len(baseline) else None,
            gain=gain,
            gain_lambda=gain_lambda,
            complete=complete,
            other_best_lambda=_other_best(record),
            size_ratio=ratio,
        )

    @classmethod
    def _diverged(cls, record: StudyRecord, table: pd.DataFrame, ratio: float) -> Self:
        nan = math.nan
        table = table.assign(regime="diverged", indistinguishable=False)
        return cls(
            record, None, table, nan, nan, nan, nan, nan, (nan, nan), (nan, nan), None, None, None, False, None, ratio
        )

    @property
    def metric(self) -> Metric:
        """What λ is chosen by."""
        return self.record.metric

    @property
    def weight_decay(self) -> float | None:
        """λ_best as `torch.optim` takes it: 2λ; None for L1 and the elastic net, which no weight decay does.

        `l2tune.parameter_groups` gives it to the weights that were searched on, and 0 to the rest.
        """
        return weight_decay(self.best_lambda) if self.record.decays else None

    @property
    def parameter_value(self) -> float:
        """λ_best as a number of the study's own parameter, on its scale."""
        return self.record.parameter.scale.from_lambda(self.best_lambda)

    @property
    def relative_gain(self) -> float | None:
        """The gain over λ = 0 as a share of the cost at λ = 0; None for a metric without a zero to measure from."""
        measurable = self.metric.kind != "real" and not self.metric.maximize
        return self.gain.mean / self.baseline_value if measurable and self.gain and self.baseline_value else None

    @property
    def indistinguishable(self) -> list[float]:
        """The strengths with all folds that the corrected paired test cannot tell from λ_best at 5 %; it among them."""
        return self.strengths.loc[self.strengths["indistinguishable"].astype(bool), "lambda"].tolist()

    @property
    def regimes(self) -> dict[int, Regime]:
        """Trial → regime of its λ."""
        by_strength = dict(zip(self.strengths["lambda"], self.strengths["regime"], strict=True))
        trials, chosen = self.record.trials, (self.best_lambda, self.one_se_lambda)
        pairs = zip(trials["trial"], trials["lambda"], strict=True)
        return {
            int(trial): by_strength.get(strength, _regime(strength, self.band, chosen) if self.curve else "diverged")
            for trial, strength in pairs
            if self.curve is not None or strength in by_strength
        }

    @property
    def guess(self) -> float | None:
        """The metric of guessing; None where that is not known."""
        classes = self.record.data.get("classes") or len(self.record.data.get("class_names", ()))
        return self.metric.guessing(classes or None)

    def row(self, strength: float) -> pd.Series[float] | None:
        """The row of `strengths` of this very λ."""
        rows = self.strengths[self.strengths["lambda"] == strength]
        return rows.iloc[0] if len(rows) else None


def _regime(strength: float, band: tuple[float, float], chosen: tuple[float, float]) -> Regime:
    """On which side of the balanced band λ lies: weaker penalties overfit, stronger ones underfit.

    λ_best and λ_1se are balanced, though they lie in another valley of the curve than the band.
    """
    if strength in chosen:
        return "balanced"
    low, high = band
    return "overfit" if strength < low else "underfit" if strength > high else "balanced"


def _size_ratio(record: StudyRecord) -> float:
    train, validation = (record.trainer.get(f"{part}_sizes") for part in ("train", "validation"))
    if train and validation:
        return float(sum(validation) / sum(train))
    k = record.settings.get("folds") or record.folds
    return 1 / (k - 1) if k > 1 else 1.0


def _gain(
    curve: RegularizationCurve, costs: dict[float, Array], best: float, ratio: float
) -> tuple[PairedDifference | None, float | None]:
    """Over λ = 0, of λ_best or, where that is 0 or was never run, of the best λ above 0 that shares two folds with it.

    Of those that the curve cannot tell from that one, it is the one that shares most.
    """
    if 0.0 not in costs:
        return None, None
    if best == 0.0 or best not in costs:
        done = np.isfinite(costs[0.0])
        shared = {strength: int((np.isfinite(other) & done).sum()) for strength, other in costs.items()}
        others = [strength for strength, folds in shared.items() if strength > 0 and folds >= 2]
        if not others:
            return None, None
        expected = dict(zip(others, curve.mean(others).tolist(), strict=True))
        highest = min(expected.values()) + INDISTINGUISHABLE * curve.best_standard_error
        near = [strength for strength in others if expected[strength] <= highest]
        best = max(near, key=lambda strength: (shared[strength], -expected[strength]))
    difference = compare(costs[best], costs[0.0], ratio)
    return difference, best if difference is not None else None


def _differs(first: Array, second: Array, ratio: float) -> bool:
    difference = compare(first, second, ratio)
    return difference is None or difference.is_measurable


def _other_best(record: StudyRecord) -> float | None:
    other = {"loss": "error", "error": "loss", "accuracy": "loss"}.get(record.metric.name)
    seen = observations_by(record, BUILT_IN[other]) if other else None
    curve = fit_curve(seen) if seen is not None else None
    return None if curve is None else curve.best_lambda
