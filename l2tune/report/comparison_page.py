"""`compare.html`: forms of the penalty side by side, one self-contained page that opens offline."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable
from typing import Any

from l2tune.analysis.comparison import BASELINE, CHOICES, Choice, Comparison, form_title
from l2tune.analysis.comparison_findings import comparison_findings
from l2tune.analysis.findings import in_brief
from l2tune.analysis.wording import amounts, p_value, percentage, unit_of_difference
from l2tune.metrics import BUILT_IN, Metric
from l2tune.penalty.strength import format_lambda
from l2tune.report import comparison_figures as curves
from l2tune.report import comparison_weights_figures as weights
from l2tune.report.again import again, is_search, known_settings
from l2tune.report.labels import UNKNOWN, for_html, metric_title, scores_column, strengths_column
from l2tune.report.page import Columns, lines, note, numbers, page, rest, section, table
from l2tune.settings import DEFAULT_L1_RATIO, build


def render(c: Comparison) -> str:
    """The whole page, from what the studies store. Names from the data and the studies are escaped."""
    found = tuple(comparison_findings(c))
    brief = in_brief(found)
    parts = [numbers(_cells(c)), rest(brief, [finding.text for finding in found])]
    figures = [
        ("Every form over λ", _CURVES, curves.curves_figure(c), "curves"),
        ("By the norm that λ buys", _BOUGHT, curves.bought_figure(c, "weight_norm", "‖w‖ of the weights"), "norm"),
        (
            "By the zeros that λ buys",
            "The same over the share of penalized weights that are exactly zero.",
            curves.bought_figure(c, "zero_fraction", "weights exactly zero", percent=True),
            "zeros",
        ),
    ]
    parts += [
        section(title, text, figure, name, small=name != "curves")
        for title, text, figure, name in figures
        if figure is not None
    ]
    parts += [_side_by_side(c), _refits(c), _pairs(c)]
    for place, form in enumerate(weights.forms_with_zeros(c)):
        figure = weights.layers_figure(c, form)
        if figure is not None:
            parts.append(section(f"Where {for_html(form_title(form))} makes zeros", _LAYERS, figure, f"layers-{place}"))
    for choice, title in CHOICES.items():
        figure = weights.magnitudes_figure(c, choice)
        if figure is not None:
            parts.append(section(f"The weights at {title}", _WEIGHTS, figure, f"weights-{choice}", small=True))
    for title, text, figure, name in (
        ("Smoothness and calibration", _SMOOTHNESS, weights.smoothness_figure(c), "smoothness"),
        ("Bias and variance", _BIAS, weights.bias_figure(c), "bias"),
        ("What the network costs", _SIZE, curves.size_figure(c), "size"),
    ):
        if figure is not None:
            parts.append(section(title, text, figure, name, small=name == "size"))
    parts.append(_again(c))
    name = for_html(c.name)
    return page(name, f"{name}: forms of the penalty side by side", brief, "".join(parts))


_CURVES = (
    "Expected validation metric with 95 % bands; points are means over the folds done, ± one standard error; faint "
    "points lack folds. A star is λ_best, an open one λ_1se. Grey: λ = 0 with one standard error. The λs of two forms "
    "are different quantities: the next figures lay the forms side by side by what λ buys."
)
_BOUGHT = (
    "Each point is one λ with all folds, joined in the order of λ: what a network of this norm predicts. "
    "Where networks learn next to nothing they leave the picture."
)
_LAYERS = (
    "Means over the folds done. A unit is an output channel or row of a layer; it is dead when all its penalized "
    "weights are exactly zero."
)
_WEIGHTS = (
    "How large the penalized weights of the folds' networks are: their share in each eighth of a decade of |w|. What "
    "is exactly zero is in no bin, but in the legend; the bin at 1e-6 also has whatever else is smaller."
)
_SMOOTHNESS = (
    "Means over folds, on the test images; grey is λ = 0, faint points lack folds. A lower input gradient is a "
    "smoother network. Where networks learn next to nothing they may leave the picture."
)
_BIAS = (
    "Of the folds' networks on the test images; grey is λ = 0, faint points lack folds. Bias is the loss or error of "
    "their central prediction, variance what they differ by (Yang et al., 2020; Domingos, 2000). Where networks learn "
    "next to nothing they may leave the picture."
)
_SIZE = "Networks trained on all training images, at λ_best (filled) and λ_1se (open)."


def _cells(c: Comparison) -> list[tuple[str, str]]:
    """Of each form, λ_best, and what is zero at λ_1se."""
    cells = []
    for row in _rows(c):
        form = str(row["penalty"])
        strength = float(row["best_lambda"])
        if form == BASELINE or not math.isfinite(strength):
            continue
        [value] = amounts([float(row["best_value"])], c.metric)
        unit = f" {c.metric.unit}" if c.metric.unit else ""
        about = "" if row["best_complete"] else ", expected by the curve"
        zeros = float(row["one_se_zeros"])
        sparse = "" if math.isnan(zeros) else f"; {_zeros(zeros)} exactly zero at λ_1se"
        text = f"best λ {format_lambda(strength)}: validation {value}{unit}{about}{sparse}"
        title = form_title(form)
        cells.append((title[:1].upper() + title[1:], text))
    return cells


def _side_by_side(c: Comparison) -> str:
    rows = _rows(c)
    columns: Columns = [("form", [form_title(str(row["penalty"])) for row in rows])]
    columns += _strengths(rows)
    ends = [(float(row["low"]), float(row["high"])) for row in rows]
    columns.insert(
        2, ("95 % interval", [f"{format_lambda(a)} to {format_lambda(b)}" if a == a else UNKNOWN for a, b in ends])
    )
    for choice, title in CHOICES.items():
        written = scores_column(_floats(rows, f"{choice}_value"), c.metric, _floats(rows, f"{choice}_standard_error"))
        complete = [row[f"{choice}_complete"] for row in rows]
        marked = [
            text if done or text == UNKNOWN else f"≈ {text}" for text, done in zip(written, complete, strict=True)
        ]
        columns.append((f"validation {metric_title(c.metric)}, {title}", marked))
    gained = _differences(_floats(rows, "gain"), c.metric)
    columns.append(("gain over λ = 0", gained))
    columns.append(("p (Holm)", [_p(value) for value in _floats(rows, "gain_holm")]))
    for choice, title in CHOICES.items():
        columns.append((f"zeros, {title}", [_zeros(value) for value in _floats(rows, f"{choice}_zeros")]))
    columns.append(("dead units, λ_1se", [_plain(value) for value in _floats(rows, "one_se_dead_units")]))
    for choice, title in CHOICES.items():
        columns.append((f"‖w‖, {title}", [_plain(value) for value in _floats(rows, f"{choice}_weight_norm")]))
    columns.append(("input gradient, λ_best", [_plain(value) for value in _floats(rows, "best_input_gradient")]))
    columns.append(("calibration error, λ_best", [_share(value) for value in _floats(rows, "best_calibration_error")]))
    columns.append(("fits", [_plain(value) for value in _floats(rows, "fits")]))
    text = (
        "Means over folds ± one standard error; ≈ is the curve's, where folds are missing. The gain is that of λ_best, "
        "paired by fold; p by the corrected resampled t-test (Nadeau and Bengio, 2003), Holm-corrected over the forms. "
        "λ = 0 was trained once, and its fits are counted there."
    )
    return f"<h2>Side by side</h2>{note(text)}{table(columns)}"


def _refits(c: Comparison) -> str:
    rows = [(row, choice) for row in _rows(c) for choice in CHOICES if row["penalty"] != BASELINE or choice == "best"]
    rows = [(row, choice) for row, choice in rows if float(row[f"{choice}_refits"]) > 0]
    if not rows:
        return ""

    def column(name: str) -> list[float]:
        return [float(row[f"{choice}_{name}"]) for row, choice in rows]

    def of_all(name: str) -> list[str]:
        pairs = zip(column(name), column("parameters"), strict=True)
        return [UNKNOWN if n != n else f"{n:,.0f} ({percentage(n / total)})" for n, total in pairs]

    titles = [
        form_title(str(row["penalty"])) + ("" if row["penalty"] == BASELINE else f", {CHOICES[choice]}")
        for row, choice in rows
    ]
    loss, error = BUILT_IN["loss"], BUILT_IN["error"]
    columns: Columns = [
        ("network", titles),
        ("λ", strengths_column(column("lambda"))),
        ("test loss (nats)", scores_column(column("test_loss"), loss)),
        ("test error (%)", scores_column(column("test_error"), error)),
        ("calibration error", [_share(value) for value in column("refit_calibration_error")]),
        ("numbers left", of_all("nonzero")),
        ("stored densely without dead units", of_all("kept")),
    ]
    text = (
        "Trained on all training images, scored on the test images, which played no part in the choice. Numbers "
        "left: all parameters that are not exactly zero; a sparse format also stores where they are. Without dead "
        "units: only the rows of units whose weights are all zero are dropped, the rest is stored with its zeros."
    )
    return f"<h2>The final networks</h2>{note(text)}{table(columns)}"


def _pairs(c: Comparison) -> str:
    found = c.pairs
    if not len(found):
        return ""
    rows = found.to_dict("records")
    written = _differences([float(row["difference"]) for row in rows], c.metric)
    lows, highs = (_differences([float(row[end]) for row in rows], c.metric) for end in ("low", "high"))
    verdicts = []
    for row in rows:
        if row["better"]:
            verdicts.append(f"{form_title(str(row['better']))} is better")
        else:
            verdicts.append("cannot be told apart" if float(row["p"]) == float(row["p"]) else "not tested")
        if row["reason"]:
            verdicts[-1] += f": {row['reason']}"
    ends = zip(lows, highs, strict=True)
    columns: Columns = [
        ("pair", [f"{form_title(str(row['first']))} – {form_title(str(row['second']))}" for row in rows]),
        ("at", [CHOICES[_choice(row["choice"])] for row in rows]),
        (f"first better by{unit_of_difference(c.metric).replace(' ', ' (', 1)})", written),
        ("95 % interval", [UNKNOWN if UNKNOWN in (a, b) else f"{a} to {b}" for a, b in ends]),
        ("folds", [str(row["folds"]) for row in rows]),
        ("p", [_p(float(row["p"])) for row in rows]),
        ("p (Holm)", [_p(float(row["holm"])) for row in rows]),
        ("", verdicts),
    ]
    if not unit_of_difference(c.metric):
        columns[2] = ("first better by", written)
    text = (
        "Paired by fold, corrected resampled t-test (Nadeau and Bengio, 2003), Holm's correction over the pairs (Holm, "
        "1979). Each λ was chosen on these very folds, so differences are slightly flattered. The intervals are of "
        "single pairs."
    )
    return f"<h2>Every pair</h2>{note(text)}{table(columns)}"


def _again(c: Comparison) -> str:
    record = c.first.record
    studies = ", ".join(t.record.name for t in c.estimates.values())
    found = again(record)
    notes, listings = list(found.notes), list(found.listings)
    if is_search(record) and listings[0].startswith("l2tune "):
        listings = [_command(c)]
    listings.append(f"l2tune report {shlex.quote(c.name)}")
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    text = (
        f"The studies are {studies}. Every number of this page comes from them alone: the last command makes it again, "
        "without training."
    )
    code = "".join(f"<pre>{lines(listing)}</pre>" for listing in listings)
    told = "".join(f"<p>{for_html(one)}</p>" for one in notes)
    return f"<h2>To do it again</h2>{note(text)}{told}{code}{note(versions)}"


def _command(c: Comparison) -> str:
    """The `l2tune compare` that makes the comparison: the first form's settings, but for the form."""
    settings = build(known_settings(c.first.record) | {"study": c.name, "out": None})
    words = ["l2tune", "compare", *settings.flags(without=("penalty", "l1_ratio")), "--penalties", ",".join(c.forms)]
    ratio = next((found for t in c.estimates.values() if (found := t.record.settings.get("l1_ratio"))), None)
    if ratio not in (None, DEFAULT_L1_RATIO):
        words += ["--l1-ratio", f"{ratio:g}"]
    return shlex.join(words)


def _rows(c: Comparison) -> list[dict[str, Any]]:
    """The comparison's table, λ = 0 left out where it was not run."""
    rows = ({str(name): value for name, value in row.items()} for row in c.table.to_dict("records"))
    return [row for row in rows if row["penalty"] != BASELINE or c.baseline is not None]


def _strengths(rows: list[dict[str, Any]]) -> Columns:
    return [(title, strengths_column(_floats(rows, f"{choice}_lambda"))) for choice, title in CHOICES.items()]


def _floats(rows: list[dict[str, Any]], name: str) -> list[float]:
    return [float(row[name]) for row in rows]


def _choice(name: object) -> Choice:
    return "best" if name == "best" else "one_se"


def _differences(values: Iterable[float], metric: Metric) -> list[str]:
    """Differences of costs, above 0 where something is better."""
    return [UNKNOWN if not math.isfinite(value) else amounts([value], metric)[0] for value in values]


def _p(value: float) -> str:
    return UNKNOWN if math.isnan(value) else p_value(value).removeprefix("p = ").removeprefix("p ")


def _zeros(share: float) -> str:
    return UNKNOWN if math.isnan(share) else "none" if share == 0 else percentage(share)


def _share(value: float) -> str:
    return UNKNOWN if math.isnan(value) else percentage(value)


def _plain(value: float) -> str:
    return UNKNOWN if math.isnan(value) else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
