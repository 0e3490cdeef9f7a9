"""`compare.html`: forms of the penalty side by side, one self-contained page that opens offline."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import plotly.graph_objects as go

from l2tune.analysis.comparison import BASELINE, CHOICES, Choice, Comparison, form_title
from l2tune.analysis.comparison_findings import comparison_findings
from l2tune.analysis.finding import Finding
from l2tune.analysis.wording import count, p_value, percentage, unit_of_value
from l2tune.metrics import BUILT_IN
from l2tune.penalty.strength import format_lambda
from l2tune.report import comparison_figures as curves
from l2tune.report import comparison_weights_figures as weights
from l2tune.report.again import Again, again, is_search, known_settings
from l2tune.report.columns import Column, differences, numbers, rounded, scores, words
from l2tune.report.comparison_captions import CAPTIONS, layers_caption, weights_caption
from l2tune.report.first_screen import FirstScreen, without_lead
from l2tune.report.labels import UNKNOWN, metric_name, metric_title, strengths_column
from l2tune.report.page import Fact, FigurePart, Section, TablePart, render_page
from l2tune.settings import DEFAULT_L1_RATIO, build


def render(c: Comparison) -> str:
    """The whole page, from what the studies store. Names from the data and the studies are escaped."""
    found = tuple(comparison_findings(c))
    figures = {part.name: part for part in _figures(c)}
    sections = (
        Section("real", "Is it real?", findings=found, tables=[*_pairs(c)]),
        Section("bought", "What λ buys", figures=_of(figures, "norm", "zeros")),
        Section("forms", "Side by side", tables=[_side_by_side(c)]),
        Section("weights", "The weights", figures=_of(figures, "layers-", "weights-")),
        Section("networks", "The networks", figures=_of(figures, "smoothness", "bias")),
        Section("final", "The final networks", figures=_of(figures, "size"), tables=[*_refits(c)]),
    )
    record = c.first.record
    return render_page(
        "comparison.html.j2",
        name=c.name,
        title="forms of the penalty side by side",
        about=[metric_title(c.metric), count(record.folds, "fold"), count(len(c.forms), "form")],
        first=_first_screen(c, found),
        curve=figures.get("curves"),
        sections=sections,
        again=_again(c),
        studies=", ".join(t.record.name for t in c.estimates.values()),
        origin=", ".join(f"{name} {version}" for name, version in record.versions.items()),
    )


def _figures(c: Comparison) -> Iterator[FigurePart]:
    """All figures of which something is known."""

    def part(name: str, title: str, figure: go.Figure | None, note: str, caption: str = "") -> Iterator[FigurePart]:
        if figure is not None:
            told = CAPTIONS[name](c) if name in CAPTIONS else caption
            yield FigurePart(name, title, figure, note, told)

    yield from part("curves", "Every form over λ", curves.curves_figure(c), _CURVES)
    norm = curves.bought_figure(c, "weight_norm", "‖w‖ of the weights")
    yield from part("norm", "By the norm that λ buys", norm, _BOUGHT)
    zeros = curves.bought_figure(c, "zero_fraction", "weights exactly zero", percent=True)
    yield from part("zeros", "By the zeros that λ buys", zeros, _ZEROS)
    for place, form in enumerate(weights.forms_with_zeros(c)):
        layers = weights.layers_figure(c, form)
        yield from part(
            f"layers-{place}", f"Where {form_title(form)} makes zeros", layers, _LAYERS, layers_caption(c, form)
        )
    for choice, title in CHOICES.items():
        sizes = weights.magnitudes_figure(c, choice)
        yield from part(
            f"weights-{choice}", f"The weights at {title}", sizes, _WEIGHTS, caption=weights_caption(c, choice)
        )
    yield from part("smoothness", "Smoothness and calibration", weights.smoothness_figure(c), _SMOOTHNESS)
    yield from part("bias", "Bias and variance", weights.bias_figure(c), _BIAS)
    yield from part("size", "What the network costs", curves.size_figure(c), _SIZE)


def _of(figures: dict[str, FigurePart], *names: str) -> list[FigurePart]:
    """Those whose names begin so."""
    return [part for name, part in figures.items() if name.startswith(names)]


_CURVES = (
    "Expected validation metric with 95 % bands; points are means over the folds done, ± one standard error; faint "
    "points lack folds. A star is λ_best, an open one λ_1se. Grey: λ = 0 with one standard error. The λs of two forms "
    "are different quantities: the next figures lay the forms side by side by what λ buys."
)
_BOUGHT = (
    "Each point is one λ with all folds, joined in the order of λ: what a network of this norm predicts. "
    "Where networks learn next to nothing they leave the picture."
)
_ZEROS = "The same over the share of penalized weights that are exactly zero."
_LAYERS = (
    "Means over folds; λs that lack some are faint and not joined. A unit is an output channel or row of a layer; it "
    "is dead when all its penalized weights are exactly zero."
)
_WEIGHTS = (
    "How large the penalized weights of the folds' networks are: their share in each eighth of a decade of |w|. What "
    "is exactly zero is in no bin, but in the legend; the bin at 1e-6 also has whatever else is smaller."
)
_SMOOTHNESS = (
    "Means over folds, on the test images; grey is λ = 0; λs that lack folds are faint and not joined. A lower input "
    "gradient is a smoother network. Where networks learn next to nothing they may leave the picture."
)
_BIAS = (
    "Of the folds' networks on the test images; grey is λ = 0, faint points lack folds. Bias is the loss or error of "
    "their central prediction, variance what they differ by (Yang et al., 2020; Domingos, 2000). Where networks learn "
    "next to nothing they may leave the picture."
)
_SIZE = "Networks trained on all training images, at λ_best (filled) and λ_1se (open)."


_LEADS = {
    "none-better": "No form is measurably better than another",
    "some-better": "Some forms are measurably better",
    "none-yet": "No form can be named yet",
    "only-one": "Nothing to compare with yet",
    "not-compared": "The forms cannot be compared yet",
    "nothing-learned": "No form can be named",
}
"""By the kind of the finding that answers, where no form is the best."""


def _first_screen(c: Comparison, found: Sequence[Finding]) -> FirstScreen:
    answer = next(finding for finding in found if finding.part == "answer")
    facts = tuple(_facts(c))
    if answer.kind in _LEADS:
        lead = _LEADS[answer.kind]
        return FirstScreen(lead, text=without_lead(answer.text, lead), facts=facts)
    [winner] = {str(row["better"]) for row in c.pairs.to_dict("records") if row["choice"] == "best" and row["better"]}
    title = form_title(winner)
    return FirstScreen(
        "Measurably the best form is", value=title[:1].upper() + title[1:], text=answer.text, facts=facts
    )


def _facts(c: Comparison) -> Iterator[Fact]:
    """Of each form, its score at λ_best, and what is zero at λ_1se."""
    rows = [row for row in _rows(c) if math.isfinite(float(row["best_value"]))]
    [written] = scores("", _floats(rows, "best_value"), c.metric)
    for row, text in zip(rows, written.cells, strict=True):
        title, value = form_title(str(row["penalty"])), text + unit_of_value(c.metric)
        if row["penalty"] == BASELINE:
            yield Fact(title, value, "validation without any penalty")
            continue
        zeros = float(row["one_se_zeros"])
        sparse = "" if math.isnan(zeros) else f"; {_zeros(zeros)} exactly zero at λ_1se"
        about = "" if row["best_complete"] else ", expected by the curve"
        text = f"at the best λ {format_lambda(float(row['best_lambda']))}{about}{sparse}"
        yield Fact(title[:1].upper() + title[1:], value, text)


def _side_by_side(c: Comparison) -> TablePart:
    rows = _rows(c)
    unit = f" ({c.metric.unit})" if c.metric.unit else ""
    columns = [words("form", [form_title(str(row["penalty"])) for row in rows])]
    columns += [
        numbers(title, strengths_column(_floats(rows, f"{choice}_lambda"))) for choice, title in CHOICES.items()
    ]
    ends = [(float(row["low"]), float(row["high"])) for row in rows]
    interval = [f"{format_lambda(a)} to {format_lambda(b)}" if a == a else UNKNOWN for a, b in ends]
    columns.insert(2, words("95 % interval", interval))
    for choice, title in CHOICES.items():
        values, errors = _floats(rows, f"{choice}_value"), _floats(rows, f"{choice}_standard_error")
        columns += scores(f"validation{unit}, {title}", values, c.metric, errors)
    if not all(row[f"{choice}_complete"] for choice in CHOICES for row in rows):
        columns.append(words("by the curve", [_by_the_curve(row) for row in rows]))
    columns += differences("gain over λ = 0", _floats(rows, "gain"), c.metric)
    columns.append(numbers("p (Holm)", [_p(value) for value in _floats(rows, "gain_holm")]))
    for choice, title in CHOICES.items():
        columns += rounded(f"zeros (%), {title}", [100 * share for share in _floats(rows, f"{choice}_zeros")])
    columns += rounded("dead units, λ_1se", _floats(rows, "one_se_dead_units"))
    for choice, title in CHOICES.items():
        columns += rounded(f"‖w‖, {title}", _floats(rows, f"{choice}_weight_norm"))
    columns += rounded("input gradient, λ_best", _floats(rows, "best_input_gradient"))
    calibration = [100 * share for share in _floats(rows, "best_calibration_error")]
    columns += rounded("calibration error (%), λ_best", calibration)
    columns += rounded("fits", _floats(rows, "fits"))
    text = (
        f"Validation {metric_name(c.metric)} and the rest are means over folds; SE is one standard error. The gain is "
        "that of λ_best, paired by fold; p by the corrected resampled t-test (Nadeau and Bengio, 2003), Holm-corrected "
        "over the forms. λ = 0 was trained once, and its fits are counted there."
    )
    return TablePart("every-form", "Every form", columns, text)


def _by_the_curve(row: dict[str, Any]) -> str:
    """Which scores are the curve's, for lack of folds."""
    lacking = [title for choice, title in CHOICES.items() if not row[f"{choice}_complete"]]
    return ", ".join(lacking) if lacking and row["penalty"] != BASELINE else UNKNOWN


def _refits(c: Comparison) -> Iterator[TablePart]:
    rows = [(row, choice) for row in _rows(c) for choice in CHOICES if row["penalty"] != BASELINE or choice == "best"]
    rows = [(row, choice) for row, choice in rows if float(row[f"{choice}_refits"]) > 0]
    if not rows:
        return

    def column(name: str) -> list[float]:
        return [float(row[f"{choice}_{name}"]) for row, choice in rows]

    def of_all(name: str, title: str) -> Iterator[Column]:
        yield numbers(title, [UNKNOWN if n != n else f"{n:,.0f}" for n in column(name)])
        pairs = zip(column(name), column("parameters"), strict=True)
        yield from rounded("of all (%)", [100 * n / total for n, total in pairs])

    titles = [
        form_title(str(row["penalty"])) + ("" if row["penalty"] == BASELINE else f", {CHOICES[choice]}")
        for row, choice in rows
    ]
    columns = [
        words("network", titles),
        numbers("λ", strengths_column(column("lambda"))),
        *scores("test loss (nats)", column("test_loss"), BUILT_IN["loss"]),
        *scores("test error (%)", column("test_error"), BUILT_IN["error"]),
        *rounded("calibration error (%)", [100 * share for share in column("refit_calibration_error")]),
        *of_all("nonzero", "numbers left"),
        *of_all("kept", "stored densely without dead units"),
    ]
    text = (
        "Trained on all training images, scored on the test images, which played no part in the choice. Numbers "
        "left: all parameters that are not exactly zero; a sparse format also stores where they are. Without dead "
        "units: only the rows of units whose weights are all zero are dropped, the rest is stored with its zeros."
    )
    yield TablePart("every-network", "Every final network", columns, text)


def _pairs(c: Comparison) -> Iterator[TablePart]:
    found = c.pairs
    if not len(found):
        return
    rows = [{str(name): value for name, value in row.items()} for row in found.to_dict("records")]
    verdicts = []
    for row in rows:
        if row["better"]:
            verdicts.append(f"{form_title(str(row['better']))} is better")
        else:
            verdicts.append("cannot be told apart" if float(row["p"]) == float(row["p"]) else "not tested")
        if row["reason"]:
            verdicts[-1] += f": {row['reason']}"
    by, low, high = (_floats(rows, name) for name in ("difference", "low", "high"))
    written = differences("first better by", [*by, *low, *high], c.metric)[0]
    by_text, lows, highs = (written.cells[place * len(rows) : (place + 1) * len(rows)] for place in range(3))
    columns = [
        words("pair", [f"{form_title(str(row['first']))} – {form_title(str(row['second']))}" for row in rows]),
        words("at", [CHOICES[_choice(row["choice"])] for row in rows]),
        numbers(written.head, by_text),
        numbers("95 % from", lows),
        numbers("to", highs),
        numbers("folds", [str(row["folds"]) for row in rows]),
        numbers("p", [_p(float(row["p"])) for row in rows]),
        numbers("p (Holm)", [_p(float(row["holm"])) for row in rows]),
        words("verdict", verdicts),
    ]
    text = (
        "Paired by fold, corrected resampled t-test (Nadeau and Bengio, 2003), Holm's correction over the pairs (Holm, "
        "1979). Each λ was chosen on these very folds, so differences are slightly flattered. The intervals are of "
        "single pairs."
    )
    yield TablePart("every-pair", "Every pair", columns, text)


def _again(c: Comparison) -> Again:
    """How the comparison is made again, and how its page."""
    record = c.first.record
    found = again(record)
    listings = found.listings
    if is_search(record) and listings[0].startswith("l2tune "):
        listings = (_command(c),)
    return Again(found.notes, (*listings, f"l2tune report {shlex.quote(c.name)}"))


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


def _floats(rows: list[dict[str, Any]], name: str) -> list[float]:
    return [float(row[name]) for row in rows]


def _choice(name: object) -> Choice:
    return "best" if name == "best" else "one_se"


def _p(value: float) -> str:
    return UNKNOWN if math.isnan(value) else p_value(value).removeprefix("p = ").removeprefix("p ")


def _zeros(share: float) -> str:
    return UNKNOWN if math.isnan(share) else "none" if share == 0 else percentage(share)
