"""The result in a few sentences for a paper: what was chosen and how, how good and how sure, against what.

All numbers are those of the verdict. What keeps the answer from being final is said, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, get_args

import l2tune
from l2tune.analysis.comparison import form_title
from l2tune.analysis.estimates import Estimates
from l2tune.analysis.findings import findings
from l2tune.analysis.gain import proof
from l2tune.analysis.naming import Naming
from l2tune.analysis.wording import absolute_term, count, has_own_number, unit_of_value
from l2tune.errors import UserError
from l2tune.metrics import BUILT_IN
from l2tune.penalty.strength import format_lambda, weight_decay
from l2tune.records.tables import StudyRecord
from l2tune.report.in_short import trained_fits
from l2tune.report.labels import scores_column
from l2tune.report.typeset import latex, markdown
from l2tune.terminal_text import one_line

SentenceFormat = Literal["text", "md", "tex"]

_TEST = "corrected resampled t-test"
_KEY = "nadeau2003inference"
_ENTRY = """\
@article{nadeau2003inference,
  author  = {Nadeau, Claude and Bengio, Yoshua},
  title   = {Inference for the Generalization Error},
  journal = {Machine Learning},
  volume  = {52},
  number  = {3},
  pages   = {239--281},
  year    = {2003},
  doi     = {10.1023/A:1024068626366},
}"""
_UNFINISHED = ("others", "failed", "incomplete", "high-end", "low-end", "diverged")
"""Kinds of caveats that a reader of the numbers must know."""


def sentence(t: Estimates, format: SentenceFormat = "text") -> str:
    """The result for a paper.

    Args:
        format: `text`, `md` (Markdown) or `tex`
            (LaTeX, which cites `nadeau2003inference`; `sentence_file` has the entry).

    Raises:
        UserError: It is none of these.
    """
    if format not in get_args(SentenceFormat):
        raise UserError(f"{format!r} is no format", "sentence", f"give one of {', '.join(get_args(SentenceFormat))}")
    plain = one_line(" ".join(_sentences(t)))
    if format == "text":
        return plain.replace(_TEST, f"{_TEST} of Nadeau and Bengio (2003)")
    if format == "md":
        return markdown(plain).replace(_TEST, f"{_TEST} of Nadeau and Bengio (2003)")
    return latex(plain).replace(_TEST, rf"corrected resampled $t$-test~\cite{{{_KEY}}}")


def sentence_file(t: Estimates, format: Literal["md", "tex"]) -> bytes:
    """`sentence.md` or `sentence.tex`, which has the reference's BibTeX entry as a comment."""
    text = sentence(t, format)
    if format == "tex" and _KEY in text:
        text += "\n" + "".join(f"\n% {line}" for line in _ENTRY.splitlines())
    return f"{text}\n".encode("utf-8", "backslashreplace")


def _sentences(t: Estimates) -> Iterator[str]:
    found = tuple(findings(t))
    told = {part: next((f.text for f in found if f.part == part), "") for part in ("answer", "gain")}
    yield _method(t)
    if any(f.kind in ("all-diverged", "only-baseline", "nothing-learned") for f in found):
        yield told["answer"]
    else:
        names = Naming(t)
        yield _best(t, names)
        yield told["gain"]
        yield _one_se(t, names)
    for finding in found:
        if finding.part == "caveat" and finding.kind in _UNFINISHED:
            yield finding.text


def _method(t: Estimates) -> str:
    """How λ was chosen: form, folds, metric, fits, seed, version."""
    record, metric = t.record, t.metric
    by = f"validation {metric}" + (" (mean cross-entropy)" if metric == BUILT_IN["loss"] else "")
    by += " (higher is better)" if metric.maximize else ""
    fits = f"{count(trained_fits(t), 'fit')} at {count(len(t.strengths), 'value')} of λ"
    seed = f", seed {record.settings['seed']}" if "seed" in record.settings else ""
    version = record.versions.get("l2tune", l2tune.__version__)
    return f"{_strength(record)} was chosen by {_folds(record)}, by {by}, with l2tune {version} ({fits}{seed})."


def _strength(record: StudyRecord) -> str:
    """What λ is: of which penalty, and how it relates to the study's own number."""
    text = "The regularization strength λ"
    if "penalty" in record.settings:
        term = f"weight decay 2λ, λ Σ w²{'' if record.form == 'l2-decoupled' else ' in the objective'}"
        term = "weight decay 2λ, apart from the gradient" if record.form == "l2-decoupled" else term
        title = form_title(record.form)
        text = f"The strength λ of the {title} penalty ({term if record.decays else absolute_term(record)})"
    if not has_own_number(record):
        return text
    relation = {"lambda": "λ", "alpha": "λ", "weight_decay": "2λ", "C": "1/λ"}[record.parameter.scale.name]
    return f"{text}, here {record.parameter.name} = {relation},"


def _folds(record: StudyRecord) -> str:
    folds, repeats = record.settings.get("folds"), int(record.settings.get("repeats") or 1)
    if record.folds == 1:
        return "one split into training and validation part"
    if folds is None or int(folds) * repeats != record.folds:
        return f"cross-validation over {record.folds} folds"
    return f"{folds}-fold cross-validation" + (f", {repeats} times over" if repeats > 1 else "")


def _best(t: Estimates, names: Naming) -> str:
    """λ_best with its interval, what it is as a weight decay, and the score there."""
    metric, best, record = t.metric, t.best_lambda, t.record
    value = scores_column([t.best_value], metric, [t.best_standard_error])[0] + unit_of_value(metric)
    if not t.complete:
        scored = f"expected validation {metric} {value} (by the fitted curve, ± one standard error)"
    elif " ± " in value:
        scored = f"validation {metric} {value} (mean ± one standard error over {count(record.folds, 'fold')})"
    else:
        scored = f"validation {metric} {value}"
    if best == 0:
        searched = names.span(*map(float, record.range))
        return f"No λ of the range searched ({searched}) is better than λ = 0 by the fitted curve: {scored}."
    decay = ""
    if record.decays and record.parameter.scale.name == "lambda":  # alpha and C are not on its scale
        decay = f", a weight decay of {format_lambda(weight_decay(best))}"
    disputed = proof(t) == "worse"
    who = "By the fitted curve the best is" if disputed or not names.folds(best) else "The best is"
    interval = f"95 % credible interval {names.both_spans(*t.interval)}"
    if not t.interval[0] <= best <= t.interval[1]:
        interval += ", beside which it is the best of those run"
    return f"{who} {names.both(best)}{decay} ({interval}): {scored}."


def _one_se(t: Estimates, names: Naming) -> str:
    """λ_1se; empty where there is none to use."""
    one_se = t.one_se_lambda
    if one_se == 0 or names.diverged(one_se) or not math.isfinite(one_se):
        return ""
    if one_se == t.best_lambda:
        return "No stronger penalty is within one standard error of the best (λ_1se = λ_best)."
    by = "" if names.folds(one_se) else ", by the fitted curve"
    return f"The strongest penalty within one standard error of the best is {names.both(one_se)} (λ_1se{by})."
