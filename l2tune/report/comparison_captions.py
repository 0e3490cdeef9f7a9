"""What each figure of a comparison shows of these very studies, in a sentence of plain text.

Nothing is said that is not known: the text is empty where the numbers tell nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from l2tune.analysis.comparison import BASELINE, CHOICES, Choice, Comparison, form_title
from l2tune.analysis.weight_counts import counted_layers
from l2tune.analysis.wording import amount, amounts, listed, percentage, plain, unit_of_value
from l2tune.metrics import BUILT_IN
from l2tune.penalty.strength import format_lambda
from l2tune.report.labels import metric_name
from l2tune.terminal_text import one_line


def curves_caption(c: Comparison) -> str:
    """The score of each form at its best λ, and at λ = 0."""
    rows = c.table[c.table["best_value"].map(math.isfinite)]
    if not len(rows):
        return ""
    clauses = []
    written = amounts(rows["best_value"].tolist(), c.metric)
    for text, (_, row) in zip(written, rows.iterrows(), strict=True):
        about = "" if row["best_complete"] else "about "
        clauses.append(f"{about}{text}{unit_of_value(c.metric)} {_at(row)}")
    return f"Validation {metric_name(c.metric)} is {listed(clauses)}."


def norm_caption(c: Comparison) -> str:
    """‖w‖ of each form's networks at its best λ."""
    return _sentence("‖w‖ is", _each(c, "best_weight_norm", _short))


def zeros_caption(c: Comparison) -> str:
    """The share of zeros of each form at λ_best and λ_1se."""
    told = [_zeros(c, choice) for choice in CHOICES]
    return " ".join(filter(None, told))


def layers_caption(c: Comparison, form: str) -> str:
    """The layers in which a form makes most and fewest weights zero, at λ_best."""
    rows = counted_layers(c.estimates[form])
    rows = rows[rows["lambda"] == c.strength(form, "best")]
    if not len(rows) or not c.is_complete(form, "best"):
        return ""
    sums = rows.groupby("layer", sort=False)[["zeros", "weights"]].sum()
    shares = {str(name): float(zeros / weights) for name, zeros, weights in sums.itertuples() if weights}
    if len(set(shares.values())) < 2:
        return ""
    most, fewest = max(shares, key=shares.__getitem__), min(shares, key=shares.__getitem__)
    return one_line(
        f"At λ_best {percentage(shares[most])} of the weights of {most} are exactly zero, "
        f"of those of {fewest} {percentage(shares[fewest])}."
    )


def weights_caption(c: Comparison, choice: Choice) -> str:
    """The share of zeros of each form at one of its strengths."""
    return _zeros(c, choice)


def smoothness_caption(c: Comparison) -> str:
    """Smoothness and calibration of each form's networks at its best λ."""
    parts = (
        _sentence("The input gradient is", _each(c, "best_input_gradient", _short)),
        _sentence("The expected calibration error is", _each(c, "best_calibration_error", percentage)),
    )
    return " ".join(filter(None, parts))


def bias_caption(c: Comparison) -> str:
    """Bias and variance of each form's networks at its best λ, where all folds predicted."""
    part = "error" if c.metric in (BUILT_IN["error"], BUILT_IN["accuracy"]) else "loss"
    metric = BUILT_IN[part]
    told: dict[str, list[str]] = {"bias": [], "variance": []}
    for _, row in c.table.iterrows():
        t = c.of(row["penalty"])
        if t is None or not math.isfinite(row["best_lambda"]):
            continue
        found = t.record.predictions
        found = found[(found["lambda"] == row["best_lambda"]) & (found["folds"] >= c.folds)]
        for name, clauses in told.items():
            if len(found) and math.isfinite(value := float(found[f"{name}_{part}"].iloc[-1])):
                clauses.append(f"{amount(value, metric)} {_at(row)}")
    parts = [_sentence(f"{name.capitalize()} is", clauses) for name, clauses in told.items()]
    return " ".join(filter(None, parts))


def size_caption(c: Comparison) -> str:
    """How many numbers the final networks have left, and what they score on the test images."""
    known = []
    for _, row in c.table[c.table["penalty"] != BASELINE].iterrows():
        for choice, title in CHOICES.items():
            left, whole, loss = (float(row[f"{choice}_{name}"]) for name in ("nonzero", "parameters", "test_loss"))
            if all(map(math.isfinite, (left, whole, loss))):
                known.append((f"{form_title(row['penalty'])} at {title} has {left:,.0f} of {whole:,.0f} numbers", loss))
    losses = amounts([loss for _, loss in known], BUILT_IN["loss"])
    clauses = [f"{text} left and a test loss of {loss} nats" for (text, _), loss in zip(known, losses, strict=True)]
    return one_line(f"{'; '.join(clauses)}.") if clauses else ""


CAPTIONS: Mapping[str, Callable[[Comparison], str]] = {
    "curves": curves_caption,
    "norm": norm_caption,
    "zeros": zeros_caption,
    "smoothness": smoothness_caption,
    "bias": bias_caption,
    "size": size_caption,
}
"""By the figure's name; `layers_caption` and `weights_caption` ask which form or choice."""


def _at(row: pd.Series) -> str:
    """`with L2 at its best λ (2.46e-3)`."""
    if row["penalty"] == BASELINE:
        return "at λ = 0"
    return one_line(f"with {form_title(row['penalty'])} at its best λ ({format_lambda(float(row['best_lambda']))})")


def _each(c: Comparison, column: str, written: Callable[[float], str]) -> list[str]:
    """What is known of each form with all folds at its best λ, and of λ = 0."""
    rows = c.table[c.table[column].map(math.isfinite) & c.table["best_complete"].astype(bool)]
    return [f"{written(float(row[column]))} {_at(row)}" for _, row in rows.iterrows()]


def _sentence(begins: str, clauses: Sequence[str]) -> str:
    return f"{begins} {listed(clauses)}." if len(clauses) > 1 else ""


def _zeros(c: Comparison, choice: Choice) -> str:
    rows = c.table[(c.table["penalty"] != BASELINE) & c.table[f"{choice}_zeros"].map(math.isfinite)]
    rows = rows[rows[f"{choice}_complete"].astype(bool)]
    shares = [(form_title(row["penalty"]), float(row[f"{choice}_zeros"])) for _, row in rows.iterrows()]
    clauses = [f"{percentage(share) if share > 0 else 'none'} with {one_line(form)}" for form, share in shares]
    return f"Weights exactly zero at {CHOICES[choice]}: {listed(clauses)}." if clauses else ""


def _short(value: float) -> str:
    return plain(value, 3)
