"""What each figure shows of this very study, in a sentence of plain text; how to read it in general is told elsewhere.

Nothing is said that is not known: where the figure has nothing to show, or the numbers tell nothing, the text is empty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.paired_curve import over_all_folds
from l2tune.analysis.shape import is_worse_above, is_worse_below
from l2tune.analysis.wording import (
    amount,
    amounts,
    lambdas,
    listed,
    percentage,
    plain,
    unit_of_difference,
    unit_of_value,
)
from l2tune.metrics import BUILT_IN
from l2tune.penalty.strength import format_lambda
from l2tune.report.labels import metric_name
from l2tune.report.over_strength import differences, fold_table, layer_table
from l2tune.report.replay import replay_caption
from l2tune.terminal_text import one_line

_MUCH = 1.05
"""Factor from which it is worth saying that a layer shrinks."""


def tradeoff_caption(t: Estimates) -> str:
    """The score at λ = 0 and at λ_best, and where it is as good."""
    if t.curve is None or not len(t.record.observations.tried):
        return ""
    metric, scored = t.metric, f"Validation {metric_name(t.metric)}"
    unit, best = unit_of_value(metric), _named(t, t.best_lambda)
    by = "" if t.complete else " by the curve"
    if t.best_lambda == 0:
        [value] = amounts([t.best_value], metric)
        said = f"{scored} is {value}{unit} at λ = 0, and no λ above 0 is better"
    elif t.baseline_value is None:
        [value] = amounts([t.best_value], metric)
        said = f"{scored} is {value}{unit} at {best}{by}"
    else:
        before, after = amounts([t.baseline_value, t.best_value], metric)
        said = f"{scored} is {before}{unit} at λ = 0 and {after}{unit} at {best}{by}"
    low, high = t.band
    if high > 0 and (low <= t.best_lambda <= high or t.best_lambda == 0):
        said += f"; it is within one standard error of the best {_where(t)}"
    broken = int((t.strengths["diverged"] > 0).sum())
    if broken:
        said += f". Of {len(t.strengths)} λ, {broken} had fits that diverged"
    return f"{said}."


def gap_caption(t: Estimates) -> str:
    """By how much validation is worse than training at λ = 0 and at λ_best; and training itself at the strongest λ."""
    if t.curve is None or not t.strengths["gap"].notna().any():
        return ""
    table = differences(t)
    gap, excess = (_line(t, table, column) for column in ("gap", "excess"))
    if not len(gap[gap.index > 0]):
        return ""
    shown = [float(gap.index[0])] + (
        [t.best_lambda] if t.best_lambda in gap.index and t.best_lambda > gap.index[0] else []
    )
    unit = unit_of_difference(t.metric)
    strongest = float(excess.index[-1]) if len(excess) else math.nan
    values = [float(gap[strength]) for strength in shown] + ([float(excess[strongest])] if len(excess) else [])
    texts = amounts([abs(value) for value in values], t.metric)
    clauses: list[str] = []
    for strength, value, text in zip(shown, values, texts, strict=False):
        than = ("worse" if value > 0 else "better") + ("" if clauses else " than training")
        clauses.append(f"{_about(t, strength)}{text}{unit} {than} at {_named(t, strength)}")
    said = f"Validation is {listed(clauses)}"
    if len(excess) and values[-1] > 0 and strongest > max(t.best_lambda, 0.0):
        said += (
            f"; at λ = {format_lambda(strongest)}, the strongest that was run, training itself is "
            f"{_about(t, strongest)}{texts[-1]}{unit} worse than where it is best"
        )
    return f"{said}."


def bias_variance_caption(t: Estimates) -> str:
    """How bias and variance change from λ = 0 to λ_best, as far as all folds predicted."""
    part = "error" if t.metric in (BUILT_IN["error"], BUILT_IN["accuracy"]) else "loss"
    table = t.record.predictions.sort_values("folds").drop_duplicates("lambda", keep="last").sort_values("lambda")
    table = table[table["folds"] >= t.record.folds].set_index("lambda")
    ends = _ends(t, table.index.to_numpy(float))
    if t.curve is None or ends is None:
        return ""
    told = []
    for name in ("bias", "variance"):
        values = [float(value) for value in table[f"{name}_{part}"].loc[list(ends)]]
        told.append(_change(name, values, lambda value: amount(value, BUILT_IN[part], unit=False), BUILT_IN[part].unit))
    return f"{_from_to(t, ends)} {' and '.join(told)}."


def learning_caption(t: Estimates) -> str:
    """Where the curves end, and whether that of λ = 0 was better before."""
    metric, epochs = t.record.metric, t.record.epochs
    column = f"val_{metric}"
    if t.curve is None or not len(epochs) or epochs["epoch"].max() < 2 or not epochs[column].notna().any():
        return ""
    whole = set(t.strengths.loc[t.strengths["complete"].astype(bool), "lambda"])
    clauses, last = [], 0
    for strength in dict.fromkeys((0.0, t.best_lambda)):
        rows = epochs[epochs["lambda"] == strength]
        longest = rows.groupby(["trial", "fold"])["epoch"].transform("max")
        means = rows[longest == longest.max()].groupby("epoch")[column].mean().dropna() if len(rows) else rows[column]
        if strength not in whole or not len(means):
            continue
        costs = metric.cost(means.to_numpy(float))
        best, last = int(np.argmin(costs)), int(means.index[-1])
        ending, other = amounts([float(means.iloc[-1]), float(means.iloc[best])], metric)
        clause = f"{ending}{unit_of_value(metric)} at {_named(t, strength)}"
        row = t.row(strength)
        if row is not None and costs[-1] - costs[best] > row["validation_se"]:
            clause += f" (better before: {other} after epoch {int(means.index[best])})"
        clauses.append(clause)
    return f"After {last} epochs validation {metric_name(metric)} is {listed(clauses)}." if clauses else ""


def weights_caption(t: Estimates) -> str:
    """How ‖w‖² shrinks from λ = 0 to λ_best, and in which layer most."""
    layers = layer_table(t)
    if t.curve is None or not len(layers):
        return ""
    lines = {name: _line(t, rows, "size", log=True) for name, rows in layers.groupby("layer", sort=False)}
    known = [set(line.index) for line in lines.values() if len(line)]
    ends = _ends(t, np.array(sorted(set.intersection(*known)))) if known else None
    if ends is None:
        return ""
    sizes = {name: [float(line[end]) for end in ends] for name, line in lines.items() if len(line)}
    total = [sum(pair[place] for pair in sizes.values()) for place in (0, 1)]
    said = f"{_from_to(t, ends)} {_change('‖w‖²', total, _short)}"
    factors = {str(name): first / second for name, (first, second) in sizes.items() if second > 0}
    most = max(factors, key=lambda name: factors[name], default="")
    if len(factors) > 1 and factors[most] > _MUCH:
        said += f", most in {most}, by a factor of {_short(factors[most])}"
    return f"{said}{_expected(t, ends)}."


def network_caption(t: Estimates) -> str:
    """How smoothness, calibration and sparseness change from λ = 0 to λ_best."""
    names: Mapping[str, tuple[str, Callable[[float], str]]] = {
        "input_gradient_norm": ("the input gradient", _short),
        "calibration_error": ("the expected calibration error", percentage),
        "near_zero_fraction": ("the share of weights near zero", percentage),
        "zero_fraction": ("the share of weights exactly zero", percentage),
    }
    table = fold_table(t, names)
    if t.curve is None:
        return ""
    told: list[str] = []
    start: tuple[float, float] | None = None
    for column, (name, written) in names.items():
        line = _line(t, table, column) if table[column].nunique() > 1 else pd.Series(dtype=float)
        ends = _ends(t, line.index.to_numpy(float))
        if ends is None or (start is not None and ends != start):
            continue
        start = ends
        told.append(_change(name, [max(0.0, float(line[end])) for end in ends], written))
    return f"{_from_to(t, start)} {listed(told)}{_expected(t, start)}." if start is not None else ""


def _line(t: Estimates, table: pd.DataFrame, column: str, *, log: bool = False) -> pd.Series[float]:
    """λ, rising → mean over all folds, as the figures have it."""
    strength, fold = table["lambda"].to_numpy(float), table["fold"].to_numpy(np.int64)
    return over_all_folds(t.record.observations, strength, fold, table[column].to_numpy(float), log=log)


def _ends(t: Estimates, known: np.ndarray) -> tuple[float, float] | None:
    """λ = 0 or the weakest λ, and λ_best or the strongest: of those that are known; None where they are one."""
    if len(known) < 2:
        return None
    first = float(known.min())
    second = t.best_lambda if t.best_lambda in known and t.best_lambda > first else float(known.max())
    return first, second


def _from_to(t: Estimates, ends: tuple[float, float]) -> str:
    return f"From {_named(t, ends[0])} to {_named(t, ends[1])},"


def _expected(t: Estimates, ends: tuple[float, float]) -> str:
    """Says so where folds are missing."""
    return " (expected: not all folds are done)" if any(_about(t, end) for end in ends) else ""


def _change(name: str, values: Sequence[float], written: Callable[[float], str], unit: str = "") -> str:
    """`bias falls from 0.134 to 0.101 nats`; what looks the same stays."""
    first, second = map(written, values)
    after = f" {unit}" if unit else ""
    if first == second:
        return f"{name} stays {first}{after}"
    return f"{name} {'falls' if values[1] < values[0] else 'rises'} from {first} to {second}{after}"


def _named(t: Estimates, strength: float) -> str:
    written = format_lambda(strength)
    return f"the best λ ({written})" if strength == t.best_lambda > 0 else f"λ = {written}"


def _about(t: Estimates, strength: float) -> str:
    """Says that a number is expected, where folds are missing."""
    row = t.row(strength)
    return "" if row is not None and bool(row["complete"]) else "about "


def _where(t: Estimates) -> str:
    """`from λ = 8.91e-4 to 6.31e-3`, as far as it is bounded."""
    assert t.curve is not None
    texts = lambdas(t.band)
    low, high = (texts[end] for end in t.band)
    match bool(is_worse_below(t)), bool(is_worse_above(t)):  # numpy's are no True to `case`
        case True, True:
            return f"from λ = {low} to {high}"
        case True, False:
            return f"from λ = {low} on"
        case False, True:
            return f"up to λ = {high}"
        case _:
            return "over the whole range"


def _short(value: float) -> str:
    return plain(value, 3)


def _printable(caption: Callable[[Estimates], str]) -> Callable[[Estimates], str]:
    """With the study's own names on one line, and nothing in them that steers."""
    return lambda t: one_line(caption(t))


CAPTIONS: Mapping[str, Callable[[Estimates], str]] = {
    "tradeoff": _printable(tradeoff_caption),
    "gap": _printable(gap_caption),
    "bias_variance": _printable(bias_variance_caption),
    "learning": _printable(learning_caption),
    "weights": _printable(weights_caption),
    "network": _printable(network_caption),
    "replay": replay_caption,
}
"""By the figure's name."""
