"""The tables of `report.html`: every λ, fold by fold, and trial by trial."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from l2tune.analysis.by_strength import final_fits
from l2tune.analysis.estimates import Estimates
from l2tune.analysis.wording import count
from l2tune.penalty.strength import format_lambda
from l2tune.records.tables import StudyRecord
from l2tune.report.again import is_search, knows_epochs
from l2tune.report.columns import Column, differences, numbers, rounded, scores, words
from l2tune.report.labels import (
    UNKNOWN,
    has_own,
    metric_title,
    other_score,
    own_column,
    own_name,
    own_range,
    strength_name,
    strengths_column,
)
from l2tune.report.page import TablePart

_PARTS = {"val": "validation", "train": "training", "test": "test"}
_OUTCOMES = {"COMPLETE": "complete", "PRUNED": "pruned", "RUNNING": "running or cut off", "FAIL": "interrupted"}


def by_strength(t: Estimates) -> TablePart:
    """One row per λ; what is not known has no column."""
    rows, metric = t.strengths, t.metric
    columns = _strength_columns(t.record, rows["lambda"])
    columns.append(numbers(f"folds of {t.record.folds}", [str(int(n)) for n in rows["folds"]]))
    unit = f" ({metric.unit})" if metric.unit else ""
    for name, head in (("validation", f"validation {metric_title(metric)}"), ("train", f"training{unit}")):
        if name == "validation" or rows[name].notna().any():
            columns += scores(head, rows[name], metric, rows[f"{name}_se"])
    if rows["gap"].notna().any():
        columns += differences("gap", rows["gap"], metric, rows["gap_se"])
    regimes = ["baseline" if s == 0 else str(r) for s, r in zip(rows["lambda"], rows["regime"], strict=True)]
    columns.append(words("regime", regimes))
    if rows["diverged"].any():
        columns.append(numbers("diverged", [str(int(n)) for n in rows["diverged"]]))
    for name, values in _other_scores(t).items():
        part, _, score = name.partition("_")
        title, other = other_score(t.record, score)
        columns += scores(f"{_PARTS[part]} {title}", values, other)
    text = "Means over folds; SE is one standard error."
    if rows["gap"].notna().any():
        text += " Gap: by how much validation is worse than training."
    return TablePart("every-strength", "Every λ", columns, text)


def by_fold(t: Estimates) -> TablePart:
    """The validation metric of every fold, one row per λ."""
    fits, metric = final_fits(t.record), t.metric
    values = dict(
        zip(
            zip(fits["lambda"].to_numpy(float), fits["fold"].to_numpy(int), strict=True),
            zip(fits[f"val_{metric}"].to_numpy(float), fits["diverged"].to_numpy(bool), strict=True),
            strict=True,
        )
    )
    [written] = scores("", [value for value, _ in values.values()], metric)
    cells = {
        place: "diverged" if diverged else text
        for (place, (_, diverged)), text in zip(values.items(), written.cells, strict=True)
    }
    strengths = t.strengths["lambda"]
    columns = _strength_columns(t.record, strengths)
    for fold in sorted({int(fold) for _, fold in cells}):
        columns.append(numbers(f"fold {fold + 1}", [cells.get((float(s), fold), UNKNOWN) for s in strengths]))
    return TablePart("every-fold", "Fold by fold", columns, f"Validation {metric_title(metric, direction=True)}.")


def search(t: Estimates) -> TablePart:
    """What was run, in words, and one row per trial."""
    record, trials = t.record, t.record.trials
    trained = record.fits[~record.fits["reused"]]
    spent = trained.groupby("trial")["epochs"].sum() / _epochs_of_a_fit(record)
    columns = [numbers("trial", [str(number + 1) for number in trials["trial"]])]
    columns += _strength_columns(record, trials["lambda"])
    others, held = _others(record), _is_held(record)
    for name in others:
        columns.append(words(name, [UNKNOWN if _is_missing(value) else _parameter(value) for value in trials[name]]))
    outcomes = [_OUTCOMES.get(state, str(state).lower()) for state in trials["state"]]
    outcomes = ["failed" if why else outcome for why, outcome in zip(trials["failure"], outcomes, strict=True)]
    columns.append(words("outcome", outcomes))
    spent_on = zip(trials["trial"], held, strict=True)  # fits at other values are not in the tables
    columns += rounded("fits spent", [spent.get(number, 0.0) if here else math.nan for number, here in spent_on])
    columns.append(numbers(f"folds of {record.folds}", [str(int(n)) for n in trials["folds"]]))
    [values] = scores("", pd.to_numeric(trials["value"]).to_numpy(float), t.metric)
    broken = set(record.fits.loc[record.fits["diverged"], "trial"])
    cells = ["diverged" if n in broken else v for n, v in zip(trials["trial"], values.cells, strict=True)]
    if any(value != UNKNOWN for value in cells):
        columns.append(numbers(f"mean validation {metric_title(t.metric)}", cells))
    told = [_cost(t, float(spent.sum()), float(trained["seconds"].sum())), _range(record)]
    if others:
        values_held = ", ".join(f"{name} = {_parameter(value)}" for name, value in record.others.items())
        told.insert(0, f"The study drew other parameters, too; all that is told here holds at {values_held or 'none'}.")
    return TablePart("trials", "Every trial", columns, _why_pruned(record), [text for text in told if text])


_TRIAL_COLUMNS = ("trial", "lambda", "state", "folds", "value", "seconds", "complete", "audit", "shared", "failure")


def _others(record: StudyRecord) -> list[str]:
    """Names of the parameters beside λ that any trial drew."""
    return [str(name) for name in record.trials.columns if name not in _TRIAL_COLUMNS]


def _is_held(record: StudyRecord) -> list[bool]:
    """Of each trial, whether it is at the other parameters' values that everything holds at."""
    names, rows = _others(record), record.trials
    drawn = [{n: value for n in names if not _is_missing(value := rows[n].iloc[place])} for place in range(len(rows))]
    held = {f"params_{n}" if n in _TRIAL_COLUMNS else n: value for n, value in record.others.items()}
    return [own == held for own in drawn]


def _cost(t: Estimates, spent: float, seconds: float) -> str:
    """What was trained, and what a full grid would have taken."""
    record, states = t.record, t.record.trials["state"].value_counts()
    trials = record.trials[_is_held(record)]
    grid = trials.loc[trials["state"].isin(["COMPLETE", "PRUNED"]), "lambda"].nunique() * record.folds
    took = "" if record.trained_by == "objective" else f" in {seconds:.{0 if seconds >= 10 else 1}f} s of training"
    words = f"{spent:.3g} {'fit' if spent == 1 else 'fits'}{took}; all folds of the same strengths would take {grid}."
    parts = [f"{count(int(states.get('COMPLETE', 0)), 'trial')} complete"]
    for state, text in (("PRUNED", "pruned"), ("RUNNING", "running or cut off"), ("FAIL", "interrupted or failed")):
        if state in states:
            parts.append(f"{states[state]} {text}")
    return f"{words} {', '.join(parts)}."


def _range(record: StudyRecord) -> str:
    """Where λ was searched, and whether the range was widened."""
    own = record.parameter

    def written(ends: tuple[float, float]) -> str:
        text = " to ".join(map(format_lambda, ends))
        return text if own.scale.name == "lambda" else f"{text} ({own.name} {own_range(own, *ends)})"

    if record.asked_range is None:
        return ""
    if record.widened:
        return f"The range was widened from λ = {written(record.asked_range)} to λ = {written(record.range)}."
    return f"λ was searched from {written(record.range)}."


def _why_pruned(record: StudyRecord) -> str:
    words = []
    if (record.trials["state"] == "PRUNED").any():
        racing = is_search(record) and record.settings.get("pruner") == "racing"
        words.append(
            "A trial is pruned when its λ is improbable to be as good as the best."
            if racing
            else "Pruned trials were ended by the study's pruner."
        )
    shared = record.trials.loc[record.trials["shared"], "trial"]
    if len(shared):
        words.append(
            "λ = 0 was trained once for the whole comparison, by another of its studies, and is taken from there."
        )
    if record.fits.loc[~record.fits["trial"].isin(shared), "reused"].any():
        words.append("Folds that an earlier trial of the same parameters has run are taken over.")
    return " ".join(words)


def _strength_columns(record: StudyRecord, strengths: pd.Series[float] | pd.Index[float]) -> list[Column]:
    """λ, and the study's own number beside it."""
    values, parameter = [float(strength) for strength in strengths], record.parameter
    own = [numbers(own_name(parameter), own_column(parameter, values))] if has_own(parameter) else []
    return [numbers(strength_name(parameter), strengths_column(values)), *own]


def _other_scores(t: Estimates) -> dict[str, np.ndarray]:
    """Means over folds of all scores but the study's own, of those that any fit has; NaN where a fold diverged."""
    fits = final_fits(t.record)
    own = {f"val_{t.metric}", f"train_{t.metric}"}
    names = [n for n in map(str, fits.columns) if n.partition("_")[0] in _PARTS and "_" in n and n not in own]
    found = {}
    for name in names:
        if fits[name].notna().any():
            means = fits.groupby("lambda")[name].mean().reindex(t.strengths["lambda"]).to_numpy(float)
            found[name] = np.where(t.strengths["diverged"] > 0, math.nan, means)
    order = {"val": 0, "train": 1, "test": 2}
    return dict(sorted(found.items(), key=lambda item: order[item[0].partition("_")[0]]))


def _epochs_of_a_fit(record: StudyRecord) -> int:
    told = record.trainer.get("epochs") if knows_epochs(record) else 1
    return max(1, int(told or record.fits["epochs"].max() or 1))


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _parameter(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
