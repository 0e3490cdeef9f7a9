"""Forms of the penalty side by side, in words: no sentence claims more than the corrected tests show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from l2tune.analysis import caveats
from l2tune.analysis.answer import has_learned
from l2tune.analysis.comparison import BASELINE, CHOICES, Choice, Comparison, form_title, has_score
from l2tune.analysis.finding import Finding
from l2tune.analysis.findings import in_brief
from l2tune.analysis.naming import Naming
from l2tune.analysis.wording import (
    amount,
    amounts,
    change,
    count,
    listed,
    p_value,
    percentage,
    unit_of_difference,
    unit_of_value,
)
from l2tune.penalty.strength import format_lambda
from l2tune.settings import IDENTITY, OF_THE_FORM

FEWER = 0.05
"""So much larger the share of zeros must be to count as a smaller network."""

_SPARSE_FORMS = {"l1", "elastic"}
"""Forms that make weights exactly zero where λ is large enough."""


def comparison_findings(c: Comparison) -> Iterator[Finding]:
    """All that is worth telling of forms side by side, in the order in which it matters."""
    yield _answer(c)
    if any(has_learned(t) for t in c.estimates.values() if t.curve is not None):
        yield from _sparse(c)
    yield from _zeros(c)
    yield from _against_baseline(c)
    yield from _missing(c)
    yield from _each(c)
    yield from _differing_settings(c)
    yield from _sizes(c)
    if len(c.estimates) > 1:
        yield Finding(
            "selection",
            "note",
            "Each λ was chosen on the folds that compare the forms, so the values at λ_best, and differences between "
            "them, are slightly flattered.",
        )


def comparison_verdict(c: Comparison) -> str:
    """A few sentences for people."""
    return in_brief(tuple(comparison_findings(c)))


def _answer(c: Comparison) -> Finding:
    """Which form is measurably better at its λ_best, if any is."""
    pairs, known = _pairs_at(c, "best"), _valued(c, "best")
    tested = [row for row in pairs if math.isfinite(row["p"])]
    if not known:
        text = "No form can be named yet: of none has a λ above 0 a finite score."
        return Finding("none-yet", "answer", text)
    if len(c.forms) < 2 or len(known) < 2:
        only = form_title(known[0])
        text = f"There is nothing to compare {only} with yet: it is the only form with a best λ."
        return Finding("only-one", "answer", text)
    if not tested:
        text = "The forms cannot be compared yet: no two of them share two folds at their best λ."
        return Finding("not-compared", "answer", text)
    if not any(has_learned(c.estimates[form]) for form in known):
        text = "No form can be named: with none of them is held-out data predicted clearly better than by guessing."
        return Finding("nothing-learned", "answer", text)
    better = [row for row in tested if row["better"]]
    if not better:
        clearest = min(float(row["holm"]) for row in tested)
        text = (
            f"No form is measurably better than another: {_range_of_values(c, known)} at their best λ, and of "
            f"{_tests(tested, pairs)} the clearest has {p_value(clearest)} after Holm's correction"
        )
        return Finding("none-better", "answer", f"{text}.")
    winner, wins = Counter(str(row["better"]) for row in better).most_common(1)[0]
    beaten = {str(row["second"] if row["better"] == row["first"] else row["first"]) for row in better}
    if len(better) == wins == len(c.forms) - 1 and all(row["folds"] == c.folds for row in better):
        others = [form for form in c.forms if form != winner]
        text = (
            f"{_capital(form_title(winner))} is measurably better than {_all_others(others)}: "
            f"{_values(c, [winner, *others])} at their best λ "
            f"({_highest([float(row['holm']) for row in better])} after Holm's correction)."
        )
        return Finding("best-form", "answer", text)
    clauses = [_clause(c, row) for row in better]
    rest = len(pairs) - len(better)
    named = [form for form in known if form in beaten or any(row["better"] == form for row in better)]
    text = (
        f"Measurably different at their best λ ({_values(c, named)}; p after Holm's correction): {listed(clauses)}; "
        f"the other {rest} of {count(len(pairs), 'pair')} cannot be told apart"
    )
    untested = len(pairs) - len(tested)
    text += f", {untested} of them for lack of folds that did not diverge" if untested else ""
    return Finding("some-better", "answer", f"{text if rest else text.partition('; the other 0')[0]}.")


@dataclass(frozen=True, slots=True)
class _Sparse:
    """A form at a strength where it leaves weights exactly zero, beside the best one that leaves fewer."""

    form: str
    choice: Choice
    zeros: float
    other: str
    other_zeros: float
    pair: Mapping[str, Any]

    @property
    def is_worse(self) -> bool:
        """Whether the other one is measurably better."""
        return bool(self.pair["better"] == self.other)

    @property
    def excess(self) -> float:
        """Cost minus that of the other."""
        sign = -1.0 if self.pair["first"] == self.form else 1.0
        return sign * float(self.pair["difference"])


def _sparse(c: Comparison) -> Iterator[Finding]:
    """Which form buys zeros without losing anything that can be measured; or what its zeros cost."""
    found = [one for choice in CHOICES for one in _sparse_at(c, choice)]
    free = [one for one in found if not one.is_worse]
    close = [one for one in free if _is_close(c, one)]
    if free:
        one = _smallest(c, close or free)
        title, other = form_title(one.form), form_title(one.other)
        judged = f"as good as {other} within one standard error" if close else f"not measurably worse than {other}"
        text = (
            f"At {CHOICES[one.choice]} {title} is {judged} ({_beside(c, one)}) and leaves {_zero(one.zeros)} of its "
            f"weights exactly zero, against {_zero(one.other_zeros)}: take {title} if size matters"
            f"{'.' if close else ' more than such a difference.'}"
        )
        yield Finding("sparse-as-good", "shape", text)
    elif found:
        one = max(found, key=lambda s: s.zeros)
        difference = amount(one.excess, c.metric, unit=False) + unit_of_difference(c.metric)
        text = (
            f"Zeros cost something here: at {CHOICES[one.choice]} {form_title(one.form)} leaves {_zero(one.zeros)} of "
            f"its weights exactly zero, and is measurably worse than {form_title(one.other)} by {difference} "
            f"({_beside(c, one)})."
        )
        yield Finding("sparse-costs", "shape", text)


def _is_close(c: Comparison, one: _Sparse) -> bool:
    """Whether it is as good within one standard error: of the difference, which may tell little, and of the other's."""
    errors = one.pair["standard_error"], _by_form(c)[one.other][f"{one.choice}_standard_error"]
    return one.excess <= min(map(float, errors))


def _smallest(c: Comparison, found: Sequence[_Sparse]) -> _Sparse:
    """The one with most zeros; of those with about as many, the best."""
    most, table = max(one.zeros for one in found), _by_form(c)
    near = [one for one in found if one.zeros > most - FEWER]
    return min(near, key=lambda one: c.metric.cost(float(table[one.form][f"{one.choice}_value"])))


def _sparse_at(c: Comparison, choice: Choice) -> Iterator[_Sparse]:
    """Every form that has zeros, beside the best of those that have clearly fewer; both with all folds."""
    table = _by_form(c)
    zeros = {form: float(row[f"{choice}_zeros"]) for form, row in table.items()}
    sound = [f for f in c.estimates if table[f][f"{choice}_complete"] and math.isfinite(zeros[f])]
    cost = {form: c.metric.cost(float(table[form][f"{choice}_value"])) for form in sound}
    for form in sound:
        fewer = [other for other in sound if zeros[other] <= zeros[form] - FEWER]
        if not fewer or zeros[form] >= 1 or not _beats_guessing(c, cost[form]):
            continue
        others = [
            c_pair for other in c.estimates if other != form and (c_pair := _pair(c, choice, form, other)) is not None
        ]
        worse = [pair for pair in others if pair["better"] not in ("", form)]
        other = min(fewer, key=lambda f: cost[f])
        if worse:  # than any: then beside the one that it is worse than
            than = [str(pair["better"]) for pair in worse]
            other = min((f for f in than if f in fewer), key=lambda f: cost[f], default="")
        pair = _pair(c, choice, form, other) if other else None
        if pair is not None and math.isfinite(pair["p"]):
            yield _Sparse(form, choice, float(zeros[form]), other, float(zeros[other]), pair)


def _beats_guessing(c: Comparison, cost: float) -> bool:
    """Whether it is better than guessing, as far as that is known: what has lost all its weights is not."""
    guess = c.first.guess
    return guess is None or cost < c.metric.cost(guess)


def _zeros(c: Comparison) -> Iterator[Finding]:
    """Which forms make weights exactly zero, at all."""
    table = _by_form(c)
    known = {f: float(table[f]["one_se_zeros"]) for f in c.estimates if table[f]["one_se_zeros"] >= 0}
    some = {form: share for form, share in known.items() if share > 0}
    none = [form_title(form) for form in known if form not in some]
    if not known:
        return
    if not some:
        small = "it makes weights small only" if len(none) == 1 else "they make weights small only"
        told = "" if _SPARSE_FORMS & known.keys() else f": {small}"
        yield Finding("no-zeros", "note", f"No weight is exactly zero at λ_1se with {listed(none)}{told}.")
        return
    shares = [f"{percentage(share)} with {form_title(form)}" for form, share in some.items()]
    text = f"Weights that are exactly zero at λ_1se: {listed(shares)}"
    yield Finding("zeros", "shape", f"{text}; none with {listed(none)}." if none else f"{text}.")


def _against_baseline(c: Comparison) -> Iterator[Finding]:
    """Whether each form at its λ_best is better than no penalty."""
    table = _by_form(c)
    if c.baseline is None:
        yield Finding("no-baseline", "gain", "λ = 0 was not run, so whether any penalty helps is not known.")
        return
    named = [form for form in c.estimates if math.isfinite(table[form]["best_lambda"])]
    groups: dict[str, list[str]] = {"better": [], "worse": [], "equal": [], "none": [], "untested": []}
    for form in named:
        row = table[form]
        if row["best_lambda"] == 0:
            groups["none"].append(form_title(form))
        elif not math.isfinite(row["gain_p"]):
            groups["untested"].append(form_title(form))
        elif row["gain_holm"] < 0.05:
            tested = f"{form_title(form)} ({_changed(c, form)}, {p_value(row['gain_holm'])})"
            groups["better" if row["gain"] > 0 else "worse"].append(tested)
        else:
            groups["equal"].append(f"{form_title(form)} ({p_value(row['gain_holm'])})")
    clauses = []
    for group, verb in (("better", "measurably better"), ("worse", "measurably worse")):
        clauses += [f"{verb} with {listed(groups[group])}"] if groups[group] else []
    clauses += [f"not measurably different with {listed(groups['equal'])}"] if groups["equal"] else []
    clauses += [f"λ_best is 0 with {listed(groups['none'])}"] if groups["none"] else []
    lacking = "not to be tested for lack of folds that did not diverge with"
    clauses += [f"{lacking} {listed(groups['untested'])}"] if groups["untested"] else []
    if clauses:
        corrected = " (p after Holm's correction)" if groups["better"] or groups["worse"] or groups["equal"] else ""
        yield Finding("against-zero", "gain", f"Against λ = 0, at λ_best{corrected}: {'; '.join(clauses)}.")


def _missing(c: Comparison) -> Iterator[Finding]:
    names = [form_title(form) for form in c.missing]
    if names:
        text = f"{_capital(listed(names))} {'has' if len(names) == 1 else 'have'} not been run yet"
        yield Finding("missing", "caveat", f"{text}: nothing is known of {'it' if len(names) == 1 else 'them'}.")
    for form, t in c.estimates.items():
        if t.curve is None:
            yield Finding("all-diverged", "caveat", f"{_capital(form_title(form))}: every fit diverged.")
        elif not len(t.record.observations.tried):
            text = f"{_capital(form_title(form))}: only λ = 0 has been run so far."
            yield Finding("only-baseline", "caveat", text)
        elif not has_score(t):
            text = f"{_capital(form_title(form))}: every fit above λ = 0 diverged."
            yield Finding("all-diverged", "caveat", text)


def _each(c: Comparison) -> Iterator[Finding]:
    """What each form's own study says of its being final; that searches are incomplete, once for all."""
    searched = {form: t for form, t in c.estimates.items() if has_score(t)}
    own = {form: tuple(caveats.progress(t, Naming(t))) for form, t in searched.items()}
    lacking = [form_title(form) for form, found in own.items() if found]
    if lacking:
        are = "search is" if len(lacking) == 1 else "searches are"
        text = f"The {are} not complete with {listed(lacking)}: what is said of {'it' if len(lacking) == 1 else 'them'}"
        yield Finding("incomplete", "caveat", f"{text} may change.")
    for form, t in searched.items():
        names, title = Naming(t), _capital(form_title(form))
        for finding in (*caveats.failures(t), *caveats.ends(t, names), *caveats.divergence(t, names)):
            yield Finding(finding.kind, finding.part, f"{title}: {_small(finding.text)}")
        for finding in own[form]:
            yield Finding("incomplete-form", "note", f"{title}: {_small(finding.text)}")


def _differing_settings(c: Comparison) -> Iterator[Finding]:
    """What else than the penalty differs between the studies."""
    differing = []
    for name in sorted(IDENTITY - set(OF_THE_FORM)):
        values = {form: t.record.settings.get(name) for form, t in c.estimates.items()}
        if any(one != other for one, other in combinations(values.values(), 2)):
            told = ", ".join(f"{value} ({form_title(form)})" for form, value in values.items())
            differing.append(f"{name} {told}")
    if differing:
        text = f"The studies differ in more than the penalty: {'; '.join(differing)}."
        yield Finding("settings-differ", "caveat", text)


def _sizes(c: Comparison) -> Iterator[Finding]:
    """What is left of the network that was refitted with the sparsest form."""
    table = _by_form(c)
    shares = {form: table[form]["one_se_nonzero"] / table[form]["one_se_parameters"] for form in c.estimates}
    sparse = {form: share for form, share in shares.items() if share < 1 - FEWER}
    if not sparse:
        return
    form = min(sparse, key=lambda name: sparse[name])
    row = table[form]
    text = (
        f"Refitted on all training data at λ_1se = {format_lambda(row['one_se_lambda'])}, {form_title(form)} has "
        f"{row['one_se_nonzero']:,.0f} of {row['one_se_parameters']:,.0f} parameters left that are not zero "
        f"({percentage(sparse[form])})"
    )
    if row["one_se_kept"] < row["one_se_parameters"]:
        text += f", or {row['one_se_kept']:,.0f} stored densely without the rows of dead units"
    yield Finding("size", "note", f"{text}.")


def _valued(c: Comparison, choice: Choice) -> list[str]:
    """Forms that have a value at this strength."""
    table = _by_form(c)
    return [form for form in c.estimates if math.isfinite(table[form][f"{choice}_value"])]


def _by_form(c: Comparison) -> dict[str, dict[str, Any]]:
    """Form, or `none` for λ = 0 → its row of the table."""
    rows = ({str(name): value for name, value in row.items()} for row in c.table.to_dict("records"))
    return {str(row["penalty"]): row for row in rows}


def _pairs_at(c: Comparison, choice: Choice) -> list[dict[str, Any]]:
    """Rows of the pairs at λ_best or λ_1se."""
    rows = ({str(name): value for name, value in row.items()} for row in c.pairs.to_dict("records"))
    return [row for row in rows if row["choice"] == choice]


def _pair(c: Comparison, choice: Choice, one: str, other: str) -> dict[str, Any] | None:
    return next((row for row in _pairs_at(c, choice) if {row["first"], row["second"]} == {one, other}), None)


def _range_of_values(c: Comparison, forms: Sequence[str]) -> str:
    """`validation loss is 0.100 nats (L1) to about 0.104 nats (L2)`; from the best to the worst."""
    table = _by_form(c)
    ranked = sorted(forms, key=lambda form: c.metric.cost(float(table[form]["best_value"])))
    first, last = ranked[0], ranked[-1]
    ends = _best_values(c, (first, last))
    if ends[0] == ends[1]:
        return f"validation {c.metric} is {ends[0]} with all"
    return f"validation {c.metric} is {ends[0]} ({form_title(first)}) to {ends[1]} ({form_title(last)})"


def _values(c: Comparison, forms: Sequence[str]) -> str:
    """`validation loss 0.100 nats with L1 and about 0.104 nats with L2`."""
    texts = _best_values(c, forms)
    parts = [f"{text} with {form_title(form)}" for form, text in zip(forms, texts, strict=True)]
    return f"validation {c.metric} {listed(parts)}"


def _best_values(c: Comparison, forms: Sequence[str]) -> list[str]:
    """The metric at each λ_best; `about` what is the curve's, for lack of folds."""
    table = _by_form(c)
    texts = amounts([float(table[form]["best_value"]) for form in forms], c.metric, unit=True)
    return [text if table[form]["best_complete"] else f"about {text}" for form, text in zip(forms, texts, strict=True)]


def _beside(c: Comparison, one: _Sparse) -> str:
    table = _by_form(c)
    column = f"{one.choice}_value"
    values = amounts([float(table[form][column]) for form in (one.form, one.other)], c.metric)
    return (
        f"validation {c.metric} {values[0]} against {values[1]}{unit_of_value(c.metric)}, "
        f"{p_value(float(one.pair['holm']))} after Holm's correction"
    )


def _changed(c: Comparison, form: str) -> str:
    """From λ = 0 to the form's λ_best; by how much, on the folds of both, where either lacks some."""
    table = _by_form(c)
    if table[form]["gain_folds"] < c.folds:
        return _on_folds(c, float(table[form]["gain"]), int(table[form]["gain_folds"]))
    values = [float(table[name]["best_value"]) for name in (BASELINE, form)]
    return change(values[0], values[1], c.metric)


def _clause(c: Comparison, row: Mapping[str, Any]) -> str:
    worse = row["second"] if row["better"] == row["first"] else row["first"]
    few = f"{_on_folds(c, float(row['difference']), int(row['folds']))}, " if row["folds"] < c.folds else ""
    return f"{form_title(row['better'])} is better than {form_title(worse)} ({few}{p_value(float(row['holm']))})"


def _on_folds(c: Comparison, difference: float, folds: int) -> str:
    """`by 0.012 nats on 3 of 5 folds`: the values of a form with all folds and of one that lacks some are no pair."""
    by = amount(abs(difference), c.metric, unit=False) + unit_of_difference(c.metric)
    return f"by {by} on {folds} of {c.folds} folds"


def _highest(p_values: Sequence[float]) -> str:
    """`p = 0.01` of one test; `each p = 0.01 or less`, or `each p < 0.001`, of several."""
    highest = p_value(max(p_values))
    if len(p_values) == 1:
        return highest
    return f"each {highest}" if "<" in highest else f"each {highest} or less"


def _tests(tested: Sequence[Any], pairs: Sequence[Any]) -> str:
    planned = count(len(pairs), "pair")
    return planned if len(tested) == len(pairs) else f"{count(len(tested), 'pair')} tested of {len(pairs)}"


def _all_others(forms: Sequence[str]) -> str:
    return (
        f"every other form ({listed([form_title(form) for form in forms])})" if len(forms) > 1 else form_title(forms[0])
    )


def _zero(share: float) -> str:
    return percentage(share) if share > 0 else "none"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _small(text: str) -> str:
    """A sentence that goes on after a colon."""
    return text if text[1:2].isupper() or text.startswith("λ") else text[:1].lower() + text[1:]
