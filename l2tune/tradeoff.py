"""The judgement: which λ, how sure, where the network underfits and overfits, and whether regularizing helped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l2tune.analysis.paired_test import PairedDifference, compare, rowwise_standard_error, standard_errors
from l2tune.curve.regularization_curve import RegularizationCurve
from l2tune.errors import UserError
from l2tune.penalty.strength import weight_decay
from l2tune.records.tables import Metric, StudyRecord, read_study
from l2tune.search.stopping import choose_best, choose_one_se

if TYPE_CHECKING:
    import optuna

    from l2tune.analysis.findings import Finding

Regime = Literal["underfit", "balanced", "overfit", "diverged"]
Array = NDArray[np.float64]

DEFAULT_RANGE = (1e-6, 1.0)
"""Where a curve is drawn while no trial has drawn a λ."""

STATE_COLUMNS = (
    "weight_norm",
    "zero_fraction",
    "near_zero_fraction",
    "input_gradient_norm",
    "calibration_error",
    "test_loss",
    "test_error",
)


@dataclass(frozen=True, eq=False)
class Tradeoff:
    """The analysis of a study; made by `from_study` or `from_record`. Everything is computed from the study's tables.

    λ_best and λ_1se are strengths that were tried, chosen as the stopping rule chooses them: of those that the curve
    cannot tell from its minimizer (and from its λ_1se), the one with most folds done. So their values are full
    cross-validation scores, not points of a fitted curve; where a search ended before that, `complete` is false and
    `best_value` is the curve's expectation.

    Attributes:
        record: The study's tables.
        curve: Fitted to all finished folds; None when every fold diverged.
        strengths: One row per λ, rising: `lambda, folds, diverged, complete, regime`; mean over the folds done and
            naive standard error, in the metric, of `train`, `validation`, `gap` (validation − training) and `excess`
            (training metric above that of the λ that fits the training images best, paired by fold), with `_se`;
            `corrected_se` of validation; `indistinguishable` from λ_best by the corrected paired test; means of
            `train_loss, train_error, val_loss, val_error` and of `STATE_COLUMNS`; bias and variance of the folds'
            predictions. NaN where not known, and in the means of a λ of which a fold diverged.
        best_lambda: λ_best; 0 if no λ beats the baseline, NaN if every fold diverged.
        one_se_lambda: λ_1se: the strongest penalty within one standard error of λ_best. Never below λ_best.
        best_value: Cross-validated metric at λ_best.
        best_standard_error: Naive: standard deviation over folds / √k. The curve's where not complete.
        corrected_standard_error: Nadeau and Bengio (2003): folds share training images, so the naive one is too small.
        interval: 95 % credible interval of the minimizer, from the curve; an end of 0 means that λ = 0 is not excluded.
        band: Lowest and highest λ within one standard error of the best, from the curve: the balanced ones.
        baseline_value: Cross-validated metric at λ = 0, or None.
        gain: Metric at λ = 0 minus metric at λ_best (at the best λ > 0 where λ_best is 0), paired by fold; None without
            two folds of each.
        gain_lambda: The λ that `gain` is of.
        complete: Whether λ_best has all folds.
        other_best_lambda: λ_best by the other metric (error for loss, loss for error), or None.
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
    def from_study(cls, study: optuna.Study) -> Tradeoff:
        """Analyse a study, finished or not, l2tune's or a user's own (one intermediate value per fold).

        Raises:
            UserError: No fold has a score yet.
        """
        return cls.from_record(read_study(study))

    @classmethod
    def from_record(cls, record: StudyRecord) -> Tradeoff:
        """Analyse a study's tables.

        Raises:
            UserError: No fold has a score yet.
        """
        scored = final_folds(record)
        if not len(scored):
            raise UserError("no fold has been scored yet", f"study {record.name!r}", "search first")
        ratio = _size_ratio(record)
        table, scores = _by_strength(record, scored, ratio)
        curve = fit_curve(record, scored, record.metric)
        if curve is None:
            return cls._diverged(record, table, ratio)
        best = choose_best(curve, scores)
        own = scores.get(best, np.full(1, np.nan))
        complete = bool(np.isfinite(own).all())
        naive, corrected = standard_errors(own, ratio) if complete else (math.nan, math.nan)
        if not math.isfinite(naive):
            naive = float(curve.standard_error([best])[0])
            corrected = naive * math.sqrt(1 + ratio * record.folds)
        gain, gain_lambda = _gain(curve, scores, best, ratio)
        table["regime"] = [
            "diverged" if diverged else curve.regime(strength)
            for strength, diverged in zip(table["lambda"], table["diverged"], strict=True)
        ]
        table["indistinguishable"] = [
            strength == best or (complete and bool(np.isfinite(other).all()) and not _differs(own, other, ratio))
            for strength, other in scores.items()
        ]
        baseline = table.loc[table["lambda"] == 0, "validation"].dropna()
        return cls(
            record=record,
            curve=curve,
            strengths=table,
            best_lambda=best,
            one_se_lambda=max(best, choose_one_se(curve, scores)),
            best_value=float(own.mean()) if complete else float(curve.mean([best])[0]),
            best_standard_error=naive,
            corrected_standard_error=corrected,
            interval=curve.interval,
            band=curve.band,
            baseline_value=float(baseline.iloc[0]) if len(baseline) else None,
            gain=gain,
            gain_lambda=gain_lambda,
            complete=complete,
            other_best_lambda=_other_best(record, scored),
            size_ratio=ratio,
        )

    @classmethod
    def _diverged(cls, record: StudyRecord, table: pd.DataFrame, ratio: float) -> Tradeoff:
        nan = math.nan
        table = table.assign(regime="diverged", indistinguishable=False)
        return cls(
            record, None, table, nan, nan, nan, nan, nan, (nan, nan), (nan, nan), None, None, None, False, None, ratio
        )

    @property
    def metric(self) -> Metric:
        return self.record.metric

    @property
    def weight_decay(self) -> float:
        """λ_best as `torch.optim` takes it: 2λ."""
        return weight_decay(self.best_lambda)

    @property
    def relative_gain(self) -> float | None:
        """The gain over λ = 0 as a share of the metric at λ = 0."""
        return self.gain.mean / self.baseline_value if self.gain and self.baseline_value else None

    @property
    def indistinguishable(self) -> list[float]:
        """The strengths with all folds that the corrected paired test cannot tell from λ_best at 5 %; it among them."""
        return self.strengths.loc[self.strengths["indistinguishable"].astype(bool), "lambda"].tolist()

    @property
    def regimes(self) -> dict[int, Regime]:
        """Trial → regime of its λ."""
        by_strength = dict(zip(self.strengths["lambda"], self.strengths["regime"], strict=True))
        trials = self.record.trials
        pairs = zip(trials["trial"], trials["lambda"], strict=True)
        return {
            int(trial): by_strength.get(strength, self.curve.regime(strength) if self.curve else "diverged")
            for trial, strength in pairs
            if self.curve is not None or strength in by_strength
        }

    @property
    def guess(self) -> float | None:
        """The metric of guessing among equally frequent classes: ln K or 1 − 1/K; None if K is not known."""
        classes = self.record.data.get("classes") or len(self.record.data.get("class_names", ()))
        if not classes or classes < 2:
            return None
        return math.log(classes) if self.metric == "loss" else 1 - 1 / classes

    def row(self, strength: float) -> pd.Series[float] | None:
        """The row of `strengths` of this very λ."""
        rows = self.strengths[self.strengths["lambda"] == strength]
        return rows.iloc[0] if len(rows) else None

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """All that is worth telling, the most important first."""
        from l2tune.analysis.findings import findings

        return tuple(findings(self))

    @cached_property
    def verdict(self) -> str:
        """Two to four sentences for people."""
        from l2tune.analysis.findings import in_brief

        return in_brief(self.findings)

    def report(self, folder: str | Path, formats: Sequence[str] = ("html", "json", "csv")) -> list[Path]:
        """Write `report.html`, `results.json`, `trials.csv` and, if asked, `curve.png` (format `png`).

        Returns:
            Their paths.

        Raises:
            UserError: An unknown format, or no browser to draw the PNG.
            OSError: A file cannot be written; the old one is left.
        """
        from l2tune.report.files import write

        return write(self, Path(folder), formats)


def final_folds(record: StudyRecord) -> pd.DataFrame:
    """One row per (λ, fold) trained to its end; a fold that a later trial took over counts once."""
    fits = record.fits[~record.fits["truncated"]]
    value, diverged = fits[f"val_{record.metric}"], fits["diverged"]
    return fits[value.notna() | diverged].drop_duplicates(["lambda", "fold"]).reset_index(drop=True)


def fit_curve(
    record: StudyRecord, scored: pd.DataFrame, metric: Metric, part: Literal["val", "train"] = "val"
) -> RegularizationCurve | None:
    """The curve through all finished folds, as sampler and stopping rule see it; None without a finite score."""
    scores = scored[f"{part}_{metric}"].to_numpy(float).copy()
    scores[scored["diverged"].to_numpy(bool)] = np.inf
    known = ~np.isnan(scores)
    if not np.isfinite(scores[known]).any():
        return None
    low, high = record.range or record.settings.get("lambda_range") or DEFAULT_RANGE
    told = part == "val" and metric == "loss"  # see Observations.first_estimate
    estimates = scored.loc[scored["first_estimate"] > 0, "first_estimate"] if told else pd.Series(dtype=float)
    return RegularizationCurve.fit(
        scored["lambda"].to_numpy()[known],
        scored["fold"].to_numpy()[known],
        scores[known],
        low=float(low),
        high=float(high) if high > low else 10 * float(low),
        folds=max(record.folds, 1),
        metric=metric,
        first_estimate=float(np.exp(np.log(estimates).mean())) if len(estimates) else None,
    )


def _by_strength(
    record: StudyRecord, scored: pd.DataFrame, ratio: float
) -> tuple[pd.DataFrame, dict[float, NDArray[np.float64]]]:
    """One row per λ; and λ → (folds,) scores, NaN where not run and infinite where diverged."""
    strengths = np.sort(scored["lambda"].unique())
    folds = max(record.folds, int(scored["fold"].max()) + 1)
    row, fold = np.searchsorted(strengths, scored["lambda"].to_numpy()), scored["fold"].to_numpy()
    diverged = np.zeros((len(strengths), folds), bool)
    diverged[row, fold] = scored["diverged"]
    broken: NDArray[np.bool_] = diverged.sum(axis=1) > 0

    def grid(column: str) -> NDArray[np.float64]:
        values = np.full((len(strengths), folds), np.nan)
        values[row, fold] = scored[column]
        values[diverged] = np.nan
        return values.astype(np.float64)

    run = np.zeros((len(strengths), folds), bool)
    run[row, fold] = True
    train, validation = grid(f"train_{record.metric}"), grid(f"val_{record.metric}")
    columns = {
        "train": train,
        "validation": validation,
        "gap": validation - train,
        "excess": train - _best_fit(train, (run.sum(axis=1) == folds) & ~broken),
    }
    table = pd.DataFrame({"lambda": strengths, "folds": run.sum(axis=1), "diverged": diverged.sum(axis=1)})
    table["complete"] = (table["folds"] >= record.folds) & ~broken
    for name, values in columns.items():
        table[name] = np.where(broken, np.nan, _mean(values))
        table[f"{name}_se"] = np.where(broken, np.nan, rowwise_standard_error(values))
    table["corrected_se"] = table["validation_se"] * np.sqrt(1 + ratio * table["folds"])
    for name in ("train_loss", "train_error", "val_loss", "val_error", *STATE_COLUMNS):
        table[name] = np.where(broken, np.nan, _mean(grid(name)))
    best_run = record.predictions.sort_values("folds").drop_duplicates("lambda", keep="last")
    parts = ["lambda", "bias_loss", "variance_loss", "bias_error", "variance_error"]
    table = table.merge(best_run[[*parts, "folds"]].rename(columns={"folds": "predicted_by"}), on="lambda", how="left")
    scores = np.where(diverged, np.inf, validation)
    return table, {float(strength): values for strength, values in zip(strengths, scores, strict=True)}


def _best_fit(train: Array, complete: NDArray[np.bool_]) -> Array:
    """(folds,) training metric of the λ that fits the training images best, of those with all folds if there are."""
    means = np.where(complete | (not complete.any()), _mean(train), np.nan)
    if not np.isfinite(means).any():
        return np.full(train.shape[1], np.nan)
    return np.asarray(train[int(np.nanargmin(means))])


def _mean(values: Array) -> Array:
    """Row means, NaN left out."""
    count = np.isfinite(values).sum(axis=1)
    total = np.where(np.isfinite(values), values, 0.0).sum(axis=1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _size_ratio(record: StudyRecord) -> float:
    train, validation = (record.trainer.get(f"{part}_sizes") for part in ("train", "validation"))
    if train and validation:
        return float(sum(validation) / sum(train))
    k = record.settings.get("folds") or record.folds
    return 1 / (k - 1) if k > 1 else 1.0


def _gain(
    curve: RegularizationCurve, scores: dict[float, Array], best: float, ratio: float
) -> tuple[PairedDifference | None, float | None]:
    """Over λ = 0, of λ_best or, where that is 0 or was never run, of the best λ above 0 that has most folds."""
    if 0.0 not in scores:
        return None, None
    if best == 0.0 or best not in scores:
        others = [strength for strength in scores if strength > 0]
        if not others:
            return None, None
        counts = [int(np.isfinite(scores[strength]).sum()) for strength in others]
        others = [strength for strength, count in zip(others, counts, strict=True) if count == max(counts)]
        best = others[int(np.argmin(curve.mean(others)))]
    difference = compare(scores[best], scores[0.0], ratio)
    return difference, best if difference is not None else None


def _differs(first: Array, second: Array, ratio: float) -> bool:
    difference = compare(first, second, ratio)
    return difference is None or difference.is_measurable


def _other_best(record: StudyRecord, scored: pd.DataFrame) -> float | None:
    other: Metric = "error" if record.metric == "loss" else "loss"
    curve = fit_curve(record, scored, other)
    return None if curve is None else curve.best_lambda
