"""The judgement: which λ, how sure, where the network underfits and overfits, and whether regularizing helped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from l2tune.curve import RegularizationCurve
from l2tune.records import StudyRecord, read_study
from l2tune.strength import show, weight_decay

if TYPE_CHECKING:
    import optuna

Regime = Literal["underfit", "balanced", "overfit"]

EDGE = 10**0.25
"""A best λ within a quarter decade of an end of the range lies at that end."""


@dataclass(frozen=True, eq=False)
class Gain:
    """What λ_best gains over λ = 0, paired by fold.

    Attributes:
        mean: Metric at λ = 0 minus metric at λ_best, mean over the folds that both have.
        relative: The same as a share of the metric at λ = 0.
        standard_error: Corrected for folds that share training images.
        interval: 95 %.
        p_value: Of no difference, two-sided; corrected resampled t-test.
        folds: Number of pairs.
    """

    mean: float
    relative: float
    standard_error: float
    interval: tuple[float, float]
    p_value: float
    folds: int

    @property
    def measurable(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.interval[0] > 0 or self.interval[1] < 0


@dataclass(frozen=True, eq=False)
class Tradeoff:
    """The analysis of a study; made by `from_study` or `from_record`.

    Attributes:
        record: The study's tables.
        curve: Fitted to all finished folds.
        strengths: One row per λ: `lambda, folds, train, validation, train_se, validation_se, gap, gap_se, diverged,
            complete, regime`; means over the folds done, in the metric, with naive standard errors.
        best_lambda: λ_best: of the strengths with all folds, the one with the lowest expected metric on the curve.
        one_se_lambda: λ_1se: of the strengths with all folds, the largest within one standard error of λ_best.
        best_value: Cross-validated metric at λ_best.
        best_standard_error: Naive: standard deviation over folds / √k. `nan` with fewer than two folds.
        corrected_standard_error: Nadeau and Bengio (2003): folds share training images, so the naive one is too small.
        interval: 95 % credible interval of the minimizer, from the curve; an end of 0 means that λ = 0 is not excluded.
        band: Lowest and highest λ within one standard error of the best, from the curve.
        baseline_value: Cross-validated metric at λ = 0, or None.
        gain: Over λ = 0, or None without a baseline of two folds.
        complete: Whether λ_best has all folds.
    """

    record: StudyRecord
    curve: RegularizationCurve
    strengths: pd.DataFrame
    best_lambda: float
    one_se_lambda: float
    best_value: float
    best_standard_error: float
    corrected_standard_error: float
    interval: tuple[float, float]
    band: tuple[float, float]
    baseline_value: float | None
    gain: Gain | None
    complete: bool

    @classmethod
    def from_study(cls, study: optuna.Study) -> Tradeoff:
        """Analyse a study.

        Raises:
            ValueError: No fold has a score yet.
        """
        return cls.from_record(read_study(study))

    @classmethod
    def from_record(cls, record: StudyRecord) -> Tradeoff:
        """Analyse a study's tables.

        Raises:
            ValueError: No fold has a score yet.
        """
        scored = final_folds(record)
        curve = _fit(record, scored)
        table = _by_strength(record, scored)
        done = table[table["complete"] & np.isfinite(table["validation"])]
        pool = done if len(done) else table[np.isfinite(table["validation"])]
        expected = curve.mean(pool["lambda"].to_numpy())
        best = pool.iloc[int(np.argmin(expected))]
        scores = _paired(scored, record.metric, float(best["lambda"]))
        naive = float(scores.std(ddof=1) / math.sqrt(len(scores))) if len(scores) > 1 else math.nan
        limit = best["validation"] + (naive if math.isfinite(naive) else 0.0)
        one_se = pool[(pool["lambda"] >= best["lambda"]) & (pool["validation"] <= limit)]["lambda"].max()
        band = curve.within(max(limit, curve.best_value))
        baseline = table[table["lambda"] == 0]
        table["regime"] = [_regime(value, band) for value in table["lambda"]]
        return cls(
            record=record,
            curve=curve,
            strengths=table,
            best_lambda=float(best["lambda"]),
            one_se_lambda=float(one_se),
            best_value=float(best["validation"]),
            best_standard_error=naive,
            corrected_standard_error=naive * math.sqrt(len(scores)) * _correction(record, len(scores)),
            interval=curve.interval,
            band=band,
            baseline_value=float(baseline["validation"].iloc[0]) if len(baseline) else None,
            gain=_gain(record, scored, float(best["lambda"])),
            complete=bool(best["complete"]),
        )

    @cached_property
    def verdict(self) -> str:
        """Two to four sentences for people."""
        return " ".join(_verdict(self))

    def report(self, folder: str | Path, formats: Sequence[str] = ("html", "json", "csv")) -> list[Path]:
        """Write `report.html`, `results.json`, `trials.csv` and, if asked, `curve.png`; returns their paths."""
        from l2tune.report.write import write

        return write(self, Path(folder), formats)


def final_folds(record: StudyRecord) -> pd.DataFrame:
    """One row per (λ, fold) trained to its end; a fold that a later trial took over counts once."""
    fits = record.fits[~record.fits["truncated"]]
    return fits.drop_duplicates(["lambda", "fold"]).reset_index(drop=True)


def _fit(record: StudyRecord, scored: pd.DataFrame) -> RegularizationCurve:
    scores = scored[f"val_{record.metric}"].where(~scored["diverged"], np.inf)
    positive = scored.loc[scored["lambda"] > 0, "lambda"]
    asked = record.settings.get("lambda_range") or (positive.min(), positive.max())
    low, high = (
        (float(min(asked[0], positive.min())), float(max(asked[1], positive.max())))
        if len(positive)
        else (
            float(asked[0] if asked[0] > 0 else 1e-6),
            float(asked[1] if asked[1] > 0 else 1.0),
        )
    )
    high = high if high > low else low * 10
    return RegularizationCurve.fit(
        scored["lambda"], scored["fold"], scores, low=low, high=high, folds=record.folds, metric=record.metric
    )


def _by_strength(record: StudyRecord, scored: pd.DataFrame) -> pd.DataFrame:
    """Means and standard errors over the folds of each λ, in the metric."""
    rows: list[dict[str, Any]] = []
    for strength, folds in scored.groupby("lambda"):
        train, validation = (folds[f"{part}_{record.metric}"] for part in ("train", "val"))
        gap = validation - train
        root = math.sqrt(len(folds))
        rows.append(
            {
                "lambda": float(strength),  # type: ignore[arg-type]
                "folds": len(folds),
                "train": train.mean(),
                "validation": validation.mean(),
                "train_se": train.std(ddof=1) / root,
                "validation_se": validation.std(ddof=1) / root,
                "gap": gap.mean(),
                "gap_se": gap.std(ddof=1) / root,
                "diverged": int(folds["diverged"].sum()),
                "complete": len(folds) >= record.folds and not folds["diverged"].any(),
            }
        )
    return pd.DataFrame(rows)


def _paired(scored: pd.DataFrame, metric: str, strength: float) -> pd.Series[float]:
    """Fold → final metric at one λ."""
    return scored[scored["lambda"] == strength].set_index("fold")[f"val_{metric}"].dropna()


def _correction(record: StudyRecord, folds: int) -> float:
    """√(1/k + n_validation/n_training) in place of √(1/k) (Nadeau and Bengio, 2003, eq. 7)."""
    train, validation = (record.trainer.get(f"{part}_sizes") for part in ("train", "validation"))
    ratio = sum(validation) / sum(train) if train and validation else 1 / max(record.folds - 1, 1)
    return math.sqrt(1 / folds + ratio)


def _gain(record: StudyRecord, scored: pd.DataFrame, best: float) -> Gain | None:
    baseline, chosen = (_paired(scored, record.metric, strength) for strength in (0.0, best))
    pairs = (baseline - chosen).dropna()
    if best == 0 or len(pairs) < 2:
        return None
    mean, spread = float(pairs.mean()), float(pairs.std(ddof=1))
    error = spread * _correction(record, len(pairs))
    reach = float(stats.t.ppf(0.975, len(pairs) - 1)) * error
    p_value = float(2 * stats.t.sf(abs(mean) / error, len(pairs) - 1)) if error > 0 else float(mean == 0)
    level = float(baseline[pairs.index].mean())
    return Gain(mean, mean / level if level else 0.0, error, (mean - reach, mean + reach), p_value, len(pairs))


def _regime(strength: float, band: tuple[float, float]) -> Regime:
    if strength < band[0]:
        return "overfit"
    return "underfit" if strength > band[1] else "balanced"


def _verdict(t: Tradeoff) -> list[str]:
    record, metric = t.record, t.record.metric
    unit = " nats" if metric == "loss" else ""
    optimizer = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}.get(record.settings.get("optimizer", ""), "")
    name = f"torch.optim.{optimizer or 'SGD'}"
    if t.best_lambda == 0:
        words = ["No λ in the range beats λ = 0: train without weight decay."]
    else:
        low, high = t.interval
        span = f"{show(low)} to {show(high)}" if low > 0 else f"0 to {show(high)}"
        words = [
            f"Best λ = {show(t.best_lambda)} (95 % interval {span}): in PyTorch, "
            f"{name}(…, weight_decay={weight_decay(t.best_lambda):.3g}); validation {metric} {t.best_value:.4g}{unit} ± "
            f"{t.best_standard_error:.2g}."
        ]
        if t.one_se_lambda > t.best_lambda:
            words.append(
                f"Up to λ = {show(t.one_se_lambda)} (weight_decay={weight_decay(t.one_se_lambda):.3g}) it is as good "
                "within one standard error."
            )
        words.append(_sides(t))
    if t.gain is not None:
        gained = f"{metric} {t.baseline_value:.4g} → {t.best_value:.4g}, {100 * t.gain.relative:.0f} % lower"
        if t.gain.measurable and t.gain.mean > 0:
            words.append(f"Against λ = 0 it helps: {gained} (p = {t.gain.p_value:.2g}).")
        else:
            words.append(
                f"Regularization makes no measurable difference here: {metric} {t.baseline_value:.4g} at λ = 0, "
                f"{t.best_value:.4g} at the best λ (p = {t.gain.p_value:.2g})."
            )
    words += _caveats(t)
    return words


def _sides(t: Tradeoff) -> str:
    """What happens left and right of the balanced band."""
    low, high = t.band
    left = f"below λ ≈ {show(low)} it overfits (training loss falls, validation loss rises)" if low > 0 else ""
    end = high >= t.curve.high * 0.99
    right = "" if end else f"above λ ≈ {show(high)} it underfits (both rise)"
    if left and right:
        return f"{left[0].upper()}{left[1:]}; {right}."
    return f"{(left or right)[0].upper()}{(left or right)[1:]}." if left or right else "No λ of the range is worse."


def _caveats(t: Tradeoff) -> list[str]:
    words = []
    strengths = t.strengths[t.strengths["lambda"] > 0]["lambda"]
    if t.best_lambda and len(strengths) > 1:
        if t.best_lambda >= t.curve.high / EDGE:
            words.append("The best λ lies at the upper end of the range: a wider --lambda-range may find a better one.")
        elif t.best_lambda <= t.curve.low * EDGE:
            words.append("The best λ lies at the lower end of the range: a wider --lambda-range may find a better one.")
    if not t.complete:
        words.append(
            f"The best λ has not run on all {t.record.folds} folds, so its numbers are provisional: search on."
        )
    if t.record.trainer.get("normalization"):
        words.append(
            "This network has normalization layers, where λ acts mostly through the effective learning rate: its best "
            "value moves with the learning rate."
        )
    diverged = int(t.strengths["diverged"].sum())
    if diverged:
        words.append(f"{diverged} fits diverged and count as the worst score seen.")
    return words


def mean_by_strength(table: pd.DataFrame, column: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """λ and mean over folds of a column of the fits, λ rising; rows without a value left out."""
    means = table.dropna(subset=[column]).groupby("lambda")[column].mean().sort_index()
    return means.index.to_numpy(float), means.to_numpy(float)
