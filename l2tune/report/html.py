"""`report.html`: one self-contained page that opens offline."""

from __future__ import annotations

import html
import json

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from l2tune.analysis.code_to_paste import code_to_paste
from l2tune.analysis.estimates import Estimates
from l2tune.analysis.findings import findings, in_brief
from l2tune.analysis.wording import acts_on_all, amounts, unit_of_difference, where_it_acts
from l2tune.penalty.strength import format_lambda, weight_decay
from l2tune.report import figures, page_tables
from l2tune.report.again import again, known_trainer
from l2tune.report.labels import (
    for_html,
    has_own,
    metric_name,
    own_name,
    own_range,
    own_written,
    scores_column,
    strengths_column,
)
from l2tune.report.tradeoff_figure import tradeoff_figure
from l2tune.terminal_text import printable

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #5a5a5a; --page: #ffffff; --card: #f5f6f8; --line: #d9dce1; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececec; --soft: #a8a8a8; --page: #15171a; --card: #1f2226; --line: #3a3f46; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 64rem; font: 16px/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--page); }
h1 { font-size: 1.3rem; margin: .2rem 0; overflow-wrap: anywhere; } h2 { font-size: 1.05rem; margin: 2rem 0 .3rem; }
li { margin: .3rem 0; }
p.note { color: var(--soft); margin: .2rem 0 .6rem; font-size: .9rem; overflow-wrap: anywhere; }
.verdict { background: var(--card); border-left: 4px solid #009E73; padding: .8rem 1rem; border-radius: 4px; }
.verdict { margin-bottom: .8rem; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); gap: .6rem; }
.numbers div { background: var(--card); padding: .6rem .8rem; border-radius: 4px; }
.numbers b { display: block; font-size: 1.1rem; overflow-wrap: anywhere; }
.numbers span { color: var(--soft); font-size: .85rem; }
.figure { height: 36rem; } .figure.small { height: 22rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
pre { background: var(--card); padding: .7rem; overflow-x: auto; font-size: .85rem; border-radius: 4px; }
@media (max-width: 30rem) { .figure { height: 26rem; } }
@media print { .figure { break-inside: avoid; } }
"""

_SCRIPT = """
const dark = matchMedia("(prefers-color-scheme: dark)");
function draw() {
  const ink = dark.matches ? "#dddddd" : "#444444";
  const narrow = innerWidth < 600;
  for (const holder of document.querySelectorAll(".figure")) {
    const figure = JSON.parse(document.getElementById(holder.id + "-data").textContent);
    figure.layout.font.color = ink;
    if (narrow) {
      figure.layout.margin.l = 48; figure.layout.font.size = 11;
      figure.layout.legend.y = Math.min(figure.layout.legend.y, -0.28);
    }
    Plotly.react(holder, figure.data, figure.layout, {responsive: true, displaylogo: false});
  }
}
dark.addEventListener("change", draw);
draw();
"""


def render(t: Estimates) -> str:
    """The whole page. Names from the data and the study are escaped; scripts come from this package alone."""
    found = tuple(findings(t))
    brief = in_brief(found)
    parts = [_numbers(t), _rest(brief, [finding.text for finding in found])]
    for title, note, figure, name in (
        ("Tradeoff", _tradeoff_note(t), tradeoff_figure(t), "tradeoff"),
        ("Overfitting and underfitting", _GAP, figures.gap_figure(t), "gap"),
        ("Bias and variance", _BIAS, figures.bias_variance_figure(t), "bias"),
        ("Learning curves", _LEARNING, figures.learning_figure(t), "learning"),
        ("What λ does to the weights", "Mean over folds.", figures.weights_figure(t), "weights"),
        ("What λ does to the network", _NETWORK, figures.network_figure(t), "network"),
    ):
        if figure is not None:
            parts.append(_section(title, note, figure, name, small=name != "tradeoff"))
        if name == "tradeoff":
            parts.append(_use(t))
    parts += [page_tables.by_strength(t), page_tables.by_fold(t), page_tables.search(t), _again(t)]
    name = for_html(t.record.name)
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name} – l2tune</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f'<h1>{name}: how strongly to regularize</h1><p class="verdict">{for_html(brief)}</p>{"".join(parts)}'
        f"<script>{get_plotlyjs()}</script><script>{_SCRIPT}</script></body></html>"
    )


_GAP = (
    "Overfit: by how much validation is worse than training. Underfit: by how much training is worse than at the λ "
    "that fits the training images best. Means over the folds done at each λ, ± one standard error."
)
_BIAS = (
    "Every fold's network predicts the same test images: bias is the loss of their central prediction, variance what "
    "they differ by (Yang et al., 2020; Domingos, 2000). The folds share training images, so the variance over "
    "entirely new images is larger than shown."
)
_LEARNING = "Validation metric by epoch, mean over the folds done; grey is λ = 0, faint lines lack folds."
_NETWORK = "Mean over folds: lower input gradients mean a smoother network. On the test images."


def _tradeoff_note(t: Estimates) -> str:
    training = ", training below," if t.strengths["train"].notna().any() else ""
    grey = "" if t.baseline_value is None else "Grey: λ = 0 with one standard error. "
    return (
        f"Expected validation metric over λ close up{training} with 95 % bands; points are folds. {grey}"
        "Shaded: where the network overfits, is balanced (within one standard error of the best) and underfits. Where "
        "a curve leaves the picture the network is far worse than at the best λ."
    )


def _numbers(t: Estimates) -> str:
    """The numbers to take away: λ_best, its interval, λ_1se, scores and the gain. Nothing that was not run."""
    record, metric = t.record, t.metric
    if t.curve is None or not len(record.observations.tried):
        return ""
    scored = f"validation {metric_name(metric)}"
    best, one_se = strengths_column([t.best_lambda, t.one_se_lambda])
    cells = [
        _strength(t, t.best_lambda, f"best λ = {best}"),
        (f"{' to '.join(map(format_lambda, t.interval))}", "95 % credible interval of the best λ" + _own_interval(t)),
        _strength(t, t.one_se_lambda, f"strongest as good, one-SE λ = {one_se}"),
    ]
    known = [t.best_value] if t.baseline_value is None else [t.best_value, t.baseline_value]
    written, errors = scores_column(known, metric), scores_column(known[:1], metric, [t.best_standard_error])
    unit = f" {metric.unit}" if metric.unit else ""
    error = errors[0].partition(" ± ")[2]
    expected = "" if t.complete else ", expected by the curve"
    cells.append(
        (
            f"{written[0]}{f' ± {error}' if error else ''}{unit}",
            f"{scored} at the best λ{' ± one standard error' if error else ''}{expected}",
        )
    )
    if t.baseline_value is not None:
        cells.append((f"{written[1]}{unit}", f"{scored} at λ = 0"))
    if t.gain is not None and t.gain_lambda:
        gain, *ends = amounts([t.gain.mean, *t.gain.interval], metric)
        at = f"gained over λ = 0 at λ = {format_lambda(t.gain_lambda)} (95 %: {' to '.join(ends)})"
        cells.append((f"{gain}{unit_of_difference(metric)}", at))
    inner = "".join(f"<div><b>{for_html(big)}</b><span>{for_html(small)}</span></div>" for big, small in cells)
    return f'<div class="numbers">{inner}</div>'


def _strength(t: Estimates, strength: float, what: str) -> tuple[str, str]:
    """The number to use, in the study's own terms, and λ."""
    record, parameter, scale = t.record, t.record.parameter, t.record.parameter.scale
    folds = "" if t.row(strength) is not None else "; by the curve, not run"
    if scale.name != "lambda":
        return f"{parameter.name} = {own_written(parameter, strength)}", what + folds
    if record.trained_by == "l2tune":
        if not record.decays:
            return f"{parameter.name} = {format_lambda(strength)}", f"{what}; the code is below{folds}"
        decay = f"weight_decay={format_lambda(weight_decay(strength))}"
        where = "" if acts_on_all(record) else f" {where_it_acts(record)}"
        return decay, f"in PyTorch{where}; {what}{folds}"
    decay = f"as torch.optim's weight_decay {own_written(parameter, strength)}"
    return f"{parameter.name} = {format_lambda(strength)}", f"{what}; {decay}{folds}"


def _own_interval(t: Estimates) -> str:
    parameter = t.record.parameter
    if not has_own(parameter):
        return ""
    return f"; {own_name(parameter)} {own_range(parameter, *t.interval)}"


def _rest(brief: str, texts: list[str]) -> str:
    """What the brief verdict leaves out."""
    more = [text for text in texts if text not in brief]
    return f"<ul>{''.join(f'<li>{for_html(text)}</li>' for text in more)}</ul>" if more else ""


def _section(title: str, note: str, figure: go.Figure, name: str, *, small: bool = False) -> str:
    data = figure.to_json().replace("<", "\\u003c")  # in a script, `<!--` means something even as JSON
    kind = "figure small" if small else "figure"
    return (
        f'<h2>{title}</h2><p class="note">{note}</p><div class="{kind}" id="{name}"></div>'
        f'<script type="application/json" id="{name}-data">{data}</script>'
    )


def _use(t: Estimates) -> str:
    """The code that trains with λ_best as the search did."""
    if t.curve is None or not len(t.record.observations.tried):
        return ""
    code = code_to_paste(t.record, t.best_lambda)
    if code is None:
        return ""
    plain = ""
    if code.plain is not None:
        plain = f'<p class="note">In plain PyTorch:</p><pre>{_lines(code.plain.text)}</pre>'
    return f"<h2>To use it</h2><p>{for_html(code.note)}</p><pre>{_lines(code.with_import.text)}</pre>{plain}"


def _again(t: Estimates) -> str:
    record = t.record
    found = again(record)
    notes = "".join(f"<p>{for_html(note)}</p>" for note in found.notes)
    listings = "".join(f"<pre>{_lines(listing)}</pre>" for listing in found.listings)
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    told = {} if record.trained_by == "function" else known_trainer(record)
    facts = {k: v for k, v in told.items() if k in ("engine", "device", "precision", "parameters")}
    facts |= {k: record.data[k] for k in ("name", "images", "shape", "fingerprint") if record.data.get(k) is not None}
    about = ". ".join(part for part in (versions, json.dumps(facts, ensure_ascii=False) if facts else "") if part)
    return f"<h2>To do it again</h2>{notes}{listings}" + (f'<p class="note">{for_html(about)}</p>' if about else "")


def _lines(text: str) -> str:
    """A listing: its lines stay lines."""
    return html.escape(printable(text))
