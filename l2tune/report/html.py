"""`report.html`: one self-contained page that opens offline."""

from __future__ import annotations

import json
import math
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from l2tune.analysis.by_strength import final_fits
from l2tune.analysis.estimates import Estimates
from l2tune.analysis.findings import findings, verdict
from l2tune.analysis.wording import amount
from l2tune.errors import UserError
from l2tune.penalty.strength import format_lambda, weight_decay
from l2tune.report import figures
from l2tune.settings import build

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
    if (narrow) { figure.layout.margin.l = 48; figure.layout.font.size = 11; figure.layout.legend.y = -0.28; }
    Plotly.react(holder, figure.data, figure.layout, {responsive: true, displaylogo: false});
  }
}
dark.addEventListener("change", draw);
draw();
"""


def render(t: Estimates) -> str:
    """The whole page. Names from the data and the study are escaped; scripts come from this package alone."""
    parts = [_findings(t)] if t.curve is None else [_numbers(t), _findings(t)]
    for title, note, figure, name in (
        ("Tradeoff", _TRADEOFF, figures.tradeoff_figure(t), "tradeoff"),
        ("Overfitting and underfitting", _GAP, figures.gap_figure(t), "gap"),
        ("Bias and variance", _BIAS, figures.bias_variance_figure(t), "bias"),
        ("Learning curves", _LEARNING, figures.learning_figure(t), "learning"),
        ("What λ does to the weights", "Mean over folds.", figures.weights_figure(t), "weights"),
        ("What λ does to the network", _NETWORK, figures.network_figure(t), "network"),
    ):
        if figure is not None:
            parts.append(_section(title, note, figure, name, small=name != "tradeoff"))
    parts += [_by_strength(t), _by_fold(t), _search(t), _settings(t)]
    name = escape(t.record.name)
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name} – l2tune</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f'<h1>{name}: how strongly to regularize</h1><p class="verdict">{escape(verdict(t))}</p>{"".join(parts)}'
        f"<script>{get_plotlyjs()}</script><script>{_SCRIPT}</script></body></html>"
    )


_TRADEOFF = (
    "Expected validation metric over λ close up, training below, with 95 % bands; points are folds. Grey: "
    "λ = 0 with one standard error. Shaded: where the network overfits, is balanced (within one standard error of the "
    "best) and underfits. Where a curve leaves the picture the network is far worse than without regularization."
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
_OUTCOMES = {"COMPLETE": "complete", "PRUNED": "pruned", "RUNNING": "running or cut off", "FAIL": "interrupted"}
_LEARNING = "Validation metric by epoch, mean over the folds done; grey is λ = 0, faint lines lack folds."
_NETWORK = "Mean over folds: lower input gradients mean a smoother network. On the test images."


def _numbers(t: Estimates) -> str:
    low, high = t.interval
    scored = f"validation {t.metric}"
    cells = [
        (f"weight_decay={format_lambda(t.weight_decay)}", f"to paste into PyTorch: λ = {format_lambda(t.best_lambda)}"),
        (f"{format_lambda(low)} to {format_lambda(high)}", "95 % credible interval of the best λ"),
        (
            f"weight_decay={format_lambda(weight_decay(t.one_se_lambda))}",
            f"strongest as good: one-SE λ = {format_lambda(t.one_se_lambda)}",
        ),
        (_amount(t, t.best_value, t.best_standard_error), f"{scored} at the best λ ± one standard error"),
    ]
    if t.baseline_value is not None:
        cells.append((_amount(t, t.baseline_value), f"{scored} at λ = 0"))
    if t.gain is not None and t.gain_lambda:
        span = " to ".join(amount(end, t.metric, unit=False) for end in t.gain.interval)
        cells.append(
            (amount(t.gain.mean, t.metric), f"gained over λ = 0 at λ = {format_lambda(t.gain_lambda)} (95 %: {span})")
        )
    return '<div class="numbers">' + "".join(f"<div><b>{a}</b><span>{b}</span></div>" for a, b in cells) + "</div>"


def _amount(t: Estimates, value: float, error: float = math.nan) -> str:
    if math.isnan(error):
        return amount(value, t.metric)
    return f"{amount(value, t.metric, unit=False)} ± {amount(error, t.metric)}"


def _findings(t: Estimates) -> str:
    """What the brief verdict leaves out."""
    more = [finding.text for finding in findings(t) if finding.text not in verdict(t)]
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in more)}</ul>" if more else ""


def _section(title: str, note: str, figure: go.Figure, name: str, *, small: bool = False) -> str:
    data = figure.to_json().replace("</", "<\\/")
    kind = "figure small" if small else "figure"
    return (
        f'<h2>{title}</h2><p class="note">{note}</p><div class="{kind}" id="{name}"></div>'
        f'<script type="application/json" id="{name}-data">{data}</script>'
    )


def _by_strength(t: Estimates) -> str:
    rows = [
        [
            format_lambda(row["lambda"]),
            f"{weight_decay(row['lambda']):.3g}",
            f"{int(row['folds'])} of {t.record.folds}",
            _number(row["validation"], row["validation_se"]),
            _number(row["train"], row["train_se"]),
            _number(row["gap"], row["gap_se"]),
            "baseline" if row["lambda"] == 0 else row["regime"],
            str(int(row["diverged"])),
        ]
        for _, row in t.strengths.sort_values("lambda").iterrows()
    ]
    head = ["λ", "weight decay", "folds", "validation", "training", "gap", "regime", "diverged"]
    return f"<h2>Every λ</h2><p class='note'>Means over folds ± one standard error.</p>{_table(head, rows)}"


def _by_fold(t: Estimates) -> str:
    folds = final_fits(t.record)
    column = f"val_{t.record.metric}"
    wide = folds.pivot_table(index="lambda", columns="fold", values=column)
    rows = [
        [format_lambda(float(s)), *(f"{v:.4g}" if pd.notna(v) else "–" for v in row)]
        for s, row in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    head = ["λ", *(f"fold {int(fold) + 1}" for fold in wide.columns)]
    return f"<h2>Fold by fold</h2><p class='note'>Validation {t.record.metric}.</p>{_table(head, rows)}"


def _search(t: Estimates) -> str:
    trials, fits = t.record.trials, t.record.fits
    trained = fits[~fits["reused"]]
    spent = trained.groupby("trial")["epochs"].sum() / max(1, int(t.record.trainer.get("epochs") or 1))
    states = trials["state"].value_counts()
    grid = trials.loc[trials["state"].isin(["COMPLETE", "PRUNED"]), "lambda"].nunique() * t.record.folds
    words = (
        f"{spent.sum():.3g} fits in {trained['seconds'].sum():.0f} s of training; all folds of the same strengths "
        f"would take {grid}. {states.get('COMPLETE', 0)} trials complete, {states.get('PRUNED', 0)} pruned"
        + (f", {states['RUNNING']} running or cut off" if "RUNNING" in states else "")
        + (f", {states['FAIL']} interrupted or failed" if "FAIL" in states else "")
        + "."
    )
    rows = [
        [
            str(trial + 1),
            format_lambda(strength),
            _OUTCOMES.get(state, state.lower()),
            f"{spent.get(trial, 0.0):.3g}",
            f"{folds} of {t.record.folds}",
            "–" if value is None or math.isnan(value) else f"{value:.4g}",
        ]
        for trial, strength, state, folds, value in trials[["trial", "lambda", "state", "folds", "value"]].itertuples(
            index=False
        )
    ]
    head = ["trial", "λ", "outcome", "fits spent", "folds done", f"mean validation {t.metric} of these"]
    note = (
        "A trial is pruned when its λ is improbable to be as good as the best; folds that an earlier trial of the same "
        "λ has run are taken over."
    )
    return f"<h2>How the search went</h2><p>{words}</p><p class='note'>{note}</p>{_table(head, rows)}"


def _settings(t: Estimates) -> str:
    stored: dict[str, Any] = dict(t.record.settings)
    if not stored:
        return ""
    known = build({}).flat()
    try:
        settings = build({name: value for name, value in stored.items() if name in known})
        again = f"<pre>{escape(settings.command())}</pre><pre>{escape(settings.toml())}</pre>"
    except UserError as error:  # another version of l2tune took them
        again = f"<p>{escape(str(error))}</p><pre>{escape(json.dumps(stored, indent=2, ensure_ascii=False))}</pre>"
    versions = ", ".join(f"{name} {version}" for name, version in t.record.versions.items())
    facts = {k: v for k, v in t.record.trainer.items() if k in ("engine", "device", "precision", "parameters")}
    about = json.dumps(facts | {k: t.record.data.get(k) for k in ("name", "images", "shape", "fingerprint")})
    return f'<h2>To do it again</h2>{again}<p class="note">{escape(versions)}. {escape(about)}</p>'


def _table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _number(value: float, error: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.4g}" + ("" if math.isnan(error) else f" ± {error:.2g}")
