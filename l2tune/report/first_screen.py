"""What a report's first screen answers: the value to paste, its interval, and whether it gains anything."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from l2tune.analysis.code_to_paste import code_to_paste
from l2tune.analysis.estimates import Estimates
from l2tune.analysis.finding import Finding
from l2tune.analysis.gain import proof
from l2tune.analysis.side_by_side import side_by_side
from l2tune.analysis.wording import (
    acts_on_all,
    amount,
    amounts,
    count,
    p_value,
    percentage,
    unit_of_difference,
    unit_of_value,
    where_it_acts,
)
from l2tune.penalty.strength import format_lambda, weight_decay
from l2tune.report.columns import scores
from l2tune.report.labels import has_own, metric_name, own_name, own_range, own_written, strengths_column
from l2tune.report.page import Fact

_LEADS = {
    "best": "Use",
    "unproven": "Use, though not proven",
    "best-of-equals": "No λ is measurably better than none; the best is",
    "disputed": "No clear answer yet; by the curve the best is",
    "baseline-best": "Use no penalty",
}
"""By the kind of the finding that answers."""

_WITHOUT_A_VALUE = {
    "all-diverged": "Every fit diverged",
    "only-baseline": "Only λ = 0 has been run so far",
    "nothing-learned": "No λ is clearly better than guessing",
}
"""The same where no λ is to be used."""


@dataclass(frozen=True, slots=True)
class FirstScreen:
    """The answer, large.

    Attributes:
        lead: What to do with the value, or why there is none.
        name: Of what is set, e.g. `weight_decay`.
        value: That it is set to; empty where no λ can be named.
        text: What is to be known of it.
        code: What the button copies; empty where nothing is to be pasted.
        facts: Numbers beside it.
        sure: Whether the value is measurably better than others.
    """

    lead: str
    name: str = ""
    value: str = ""
    text: str = ""
    code: str = ""
    facts: Sequence[Fact] = ()
    sure: bool = False


def first_screen(t: Estimates, found: Sequence[Finding]) -> FirstScreen:
    """Of a study; what is not known is left out.

    Args:
        found: All its findings, in their order.
    """
    answer = next(finding for finding in found if finding.part == "answer")
    if answer.kind in _WITHOUT_A_VALUE:
        text = " ".join(finding.text for finding in found if finding.part in ("answer", "shape"))
        known = [_score(t)] if answer.kind == "nothing-learned" else []
        lead = _WITHOUT_A_VALUE[answer.kind]
        return FirstScreen(lead, text=without_lead(text, lead), facts=known)
    lead = _LEADS[answer.kind]
    if not t.complete and answer.kind in ("best", "unproven"):
        lead = "So far the best is"
    name, value, text = _strength(t)
    listing = code_to_paste(t.record, t.best_lambda)
    code = f"{name}={value}" if listing is None else listing.with_import.text
    code, facts = "" if "∞" in code else code, tuple(_facts(t, found))
    return FirstScreen(lead, name, value, text, code, facts, sure=proof(t) == "better" and answer.kind == "best")


def without_lead(text: str, lead: str) -> str:
    """A finding's text below a lead that says its beginning already.

    >>> without_lead("Every fit diverged, at 12 strengths.", "Every fit diverged")
    'At 12 strengths.'
    """
    rest = text.removeprefix(lead).lstrip(" ,.:")
    return rest[:1].upper() + rest[1:]


def _strength(t: Estimates) -> tuple[str, str, str]:
    """Name and number to use, in the study's own terms, and λ."""
    record, parameter, best = t.record, t.record.parameter, t.best_lambda
    [written] = strengths_column([best])
    told = [f"best λ = {written}"]
    if t.row(best) is None:
        told.append("by the curve, not run")
    if parameter.scale.name != "lambda":
        return parameter.name, own_written(parameter, best), "; ".join(told)
    if record.trained_by != "l2tune":
        own = [f"as torch.optim's weight_decay {own_written(parameter, best)}"] if has_own(parameter) else []
        return parameter.name, format_lambda(best), "; ".join([told[0], *own, *told[1:]])
    if not record.decays:
        return parameter.name, format_lambda(best), "; ".join(told)
    where = "" if acts_on_all(record) else f" {where_it_acts(record)}"
    return "weight_decay", format_lambda(weight_decay(best)), "; ".join([f"in PyTorch{where}", *told])


def _facts(t: Estimates, found: Sequence[Finding]) -> Iterator[Fact]:
    yield _interval(t)
    yield _gain(t, found)
    if proof(t) == "unknown":
        yield _score(t)
    if t.one_se_lambda > 0:
        yield _strongest(t)


def _own_comes_first(t: Estimates) -> bool:
    """Whether the number to use is weight decay or another parameter, rather than λ itself."""
    return t.record.parameter.scale.name != "lambda" or (t.record.trained_by == "l2tune" and t.record.decays)


def _interval(t: Estimates) -> Fact:
    parameter, title = t.record.parameter, "95 % credible interval"
    lambdas = " to ".join(map(format_lambda, t.interval))
    if not has_own(parameter):
        return Fact(title, lambdas, "of the best λ")
    own, name = own_range(parameter, *t.interval), own_name(parameter)
    if _own_comes_first(t):
        return Fact(title, own, f"of the best {name}; λ {lambdas}")
    return Fact(title, lambdas, f"of the best λ; {name} {own}")


def _strongest(t: Estimates) -> Fact:
    parameter, one_se, title = t.record.parameter, t.one_se_lambda, "Strongest penalty as good"
    told = "within one standard error" + ("" if t.row(one_se) is not None else "; by the curve, not run")
    if one_se == t.best_lambda:
        return Fact(title, "the same", f"λ_1se, {told}")
    if not has_own(parameter):
        return Fact(title, format_lambda(one_se), f"λ_1se, {told}")
    own, name = own_written(parameter, one_se), own_name(parameter)
    if _own_comes_first(t):
        return Fact(title, own, f"{name} at λ_1se {format_lambda(one_se)}, {told}")
    return Fact(title, format_lambda(one_se), f"λ_1se, {told}; {name} {own}")


def _gain(t: Estimates, found: Sequence[Finding]) -> Fact:
    """By how much the best λ is better than none, and whether that is real, in words."""
    title = "Gain over λ = 0"
    both = None if t.gain_lambda is None else side_by_side(t, 0.0, t.gain_lambda)
    proven = proof(t)
    if t.gain is None or both is None or proven == "unknown":
        told = next((finding.text for finding in found if finding.part == "gain"), "")
        return Fact(title, "not known", told)
    at = "" if t.gain_lambda == t.best_lambda else f" at λ = {format_lambda(t.gain_lambda or 0.0)}"
    before, after = scores("", both.validation, t.metric)[0].cells
    values = f"{before} → {after}{unit_of_value(t.metric)}{at}"
    test = f"{p_value(t.gain.p_value)}, {count(t.gain.folds, 'fold')}"
    match proven:
        case "better":
            return Fact(title, f"{_by(t, both.validation[0])}, and real", f"{values}; {test}")
        case "worse":
            return Fact(title, "none: λ = 0 is better", f"{values}; {test}")
        case "too few folds":
            return Fact(title, f"{_by(t, both.validation[0])}, not proven", f"{values}; {test}; more folds would tell")
    return Fact(title, "no measurable difference", f"{values}; {test}")


def _by(t: Estimates, before: float) -> str:
    """`36 % lower`, or in the metric's unit where it has no zero to measure from."""
    assert t.gain is not None
    direction = "higher" if t.metric.maximize else "lower"
    if t.metric.unit != "%" and t.relative_gain is not None and before > 0:
        return f"{percentage(abs(t.gain.mean) / before)} {direction}"
    return f"{amount(abs(t.gain.mean), t.metric, unit=False)}{unit_of_difference(t.metric)} {direction}"


def _score(t: Estimates) -> Fact:
    known = [t.best_value] if t.baseline_value is None else [t.best_value, t.baseline_value]
    written = amounts(known, t.metric)
    factor = 100.0 if t.metric.unit == "%" else 1.0
    error = f" ± {factor * t.best_standard_error:.2g}" if math.isfinite(t.best_standard_error) else ""
    at = f"at the best λ{' ± one standard error' if error else ''}{'' if t.complete else ', expected by the curve'}"
    unit = unit_of_value(t.metric)
    beside = "" if t.baseline_value is None else f"; {written[1]}{unit} at λ = 0"
    return Fact(f"Validation {metric_name(t.metric)}", f"{written[0]}{error}{unit}", at + beside)
