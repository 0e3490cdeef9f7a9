"""Random comparisons: every sentence is read back into its numbers, which are computed here from the folds alone."""

import math
import re
from collections.abc import Callable
from functools import partial
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import t as student

from l2tune.analysis.answer import has_learned
from l2tune.analysis.comparison import Comparison, form_title
from l2tune.analysis.comparison_findings import FEWER, comparison_findings
from l2tune.analysis.estimates import Estimates
from l2tune.records.refits import RefitRecord, write_refit
from l2tune.records.tables import read_study

STRENGTHS = (0.0, *map(float, np.geomspace(1e-6, 1, 13)))
FORMS = ("l2", "l2-loss", "l2-decoupled", "l1", "elastic")
TITLES = {form_title(form).lower(): form for form in FORMS}
NAME = "(?:L2 in the loss|decoupled L2|L2|L1|elastic net)"
NUM = r"-?[\d,]*\.?\d+(?:e[+-]?\d+)?"
P = rf"p (?:= {NUM}|< 0\.001)"
CHOICES = {"λ_best": "best", "λ_1se": "one_se"}
GUESS = math.log(10)

# ---- what is true, from the folds alone ----


class Truth:
    """Everything that the sentences may claim, without what they were made from."""

    def __init__(self, c: Comparison, folds: int) -> None:
        self.c, self.folds = c, folds
        self.metric = c.metric
        self.fits = {form: t.record.fits[t.record.fits["final"]] for form, t in c.estimates.items()}
        self.unit = " %" if self.metric.unit == "%" else " nats"
        self.points = " percentage points" if self.metric.unit == "%" else " nats"

    def strength(self, form: str, choice: str) -> float:
        if form == "none":
            return 0.0
        t = self.c.estimates[form]
        return t.best_lambda if choice == "best" else t.one_se_lambda

    def named(self, form: str) -> bool:
        """Whether the form has a λ above 0 that did not diverge."""
        fits = self.fits.get(form)
        return fits is not None and bool((~fits["diverged"] & (fits["lambda"] > 0)).any())

    def costs(self, form: str, choice: str) -> np.ndarray:
        costs = np.full(self.folds, math.nan)
        source = self.fits.get(form)
        if form == "none":
            zero = [fits[fits["lambda"] == 0] for fits in self.fits.values()]
            source = max(zero, key=lambda fits: (len(fits), -fits["diverged"].sum()))
        if source is None or (form != "none" and not self.named(form)):
            return costs
        own = source[source["lambda"] == self.strength(form, choice)]
        costs[own["fold"]] = np.where(own["diverged"], math.inf, own[f"val_{self.metric.name}"])
        return costs

    def whole(self, form: str, choice: str) -> bool:
        return bool(np.isfinite(self.costs(form, choice)).all())

    def test(self, first: str, second: str, choice: str) -> tuple[float, float, float, int] | None:
        """(mean of second − first, corrected standard error, p, folds); None where there is no test."""
        one, other = self.costs(first, choice), self.costs(second, choice)
        if np.isinf(one).any() or np.isinf(other).any():
            return None
        difference = (other - one)[np.isfinite(other - one)]
        k = len(difference)
        if k < 2:
            return None
        error = difference.std(ddof=1) * math.sqrt(1 / k + 1 / (self.folds - 1))
        mean = difference.mean()
        p = 2 * student.sf(abs(mean) / error, k - 1) if error > 0 else float(mean == 0)
        return mean, error, p, k

    def holm(self, choice: str) -> dict[frozenset[str], float]:
        tests = {frozenset(pair): self.test(*pair, choice) for pair in combinations(self.c.forms, 2)}
        return corrected({pair: None if found is None else found[2] for pair, found in tests.items()})

    def against_zero(self) -> dict[str, float]:
        p = {}
        for form in self.c.forms:
            found = self.test(form, "none", "best") if self.named(form) and self.strength(form, "best") > 0 else None
            p[form] = None if found is None else found[2]
        return corrected(p)

    def zeros(self, form: str, choice: str) -> float:
        """Share of zeros at the form's λ; NaN where not all folds that ran have a network."""
        own = self.fits[form][self.fits[form]["lambda"] == self.strength(form, choice)]
        return math.nan if not len(own) or own["diverged"].any() else float(own["zero_fraction"].mean())


def corrected(p_values: dict) -> dict:
    """Holm's correction; tests that were not made count, and have none."""
    made = sorted((p, key) for key, p in p_values.items() if p is not None)
    found, highest = {}, 0.0
    for place, (p, key) in enumerate(made):
        highest = max(highest, min(1.0, p * (len(p_values) - place)))
        found[key] = highest
    return found


# ---- reading sentences ----

READERS: dict[str, Callable[[Truth, str], None]] = {}


def reads(*kinds: str) -> Callable:
    def keep(function: Callable[[Truth, str], None]) -> Callable[[Truth, str], None]:
        READERS.update(dict.fromkeys(kinds, function))
        return function

    return keep


def match(pattern: str, text: str) -> dict[str, str]:
    found = re.fullmatch(pattern, text)
    assert found, f"{text!r} is not {pattern!r}"
    return found.groupdict()


def names(text: str) -> list[str]:
    """`L1, L2 and elastic net` → forms, in order; all of the text is read."""
    assert re.fullmatch(rf"(?:{NAME}(?:, | and )?)+", text, re.IGNORECASE), text
    return [TITLES[name.lower()] for name in re.findall(NAME, text, re.IGNORECASE)]


def form_of(text: str) -> str:
    return TITLES[text.lower()]


def p_is(text: str, value: float) -> None:
    if "<" in text:
        assert value < 0.001
    else:
        number = float(text.removeprefix("p = "))
        assert number == pytest.approx(value, rel=0.06)
        assert (number < 0.05) == (value < 0.05)


def value_is(r: Truth, text: str, form: str, choice: str = "best") -> None:
    """A mean over all folds, or, said to be about so, the curve's."""
    about = text.startswith("about ")
    factor = 100 if r.metric.unit == "%" else 1
    assert about != r.whole(form, choice)
    if form != "none" and about:
        value = float(r.c.estimates[form].curve.mean([r.strength(form, choice)])[0])
    else:
        value = float(np.mean(r.costs(form, choice)))
    assert float(text.removeprefix("about ")) == pytest.approx(factor * value, rel=6e-3)


def difference_is(r: Truth, text: str, value: float) -> None:
    assert float(text) == pytest.approx(value * (100 if r.metric.unit == "%" else 1), rel=6e-3)


def values_are(r: Truth, text: str) -> list[str]:
    """`validation loss 0.1 nats with L1 and about 0.2 nats with L2` → the forms."""
    text = text.removeprefix(f"validation {r.metric.name} ")
    item = rf"((?:about )?{NUM}){r.unit} with ({NAME})"
    assert re.fullmatch(rf"(?:{item}(?:, | and )?)+", text), text
    for value, name in re.findall(item, text):
        value_is(r, value, form_of(name))
    return [form_of(name) for _, name in re.findall(item, text)]


@reads("none-yet")
def read_none_yet(r: Truth, text: str) -> None:
    assert not any(r.named(form) for form in r.c.forms)


@reads("only-one")
def read_only_one(r: Truth, text: str) -> None:
    found = match(rf"There is nothing to compare (?P<name>{NAME}) with yet: it is the only form with a best λ\.", text)
    assert [form for form in r.c.forms if r.named(form)] == [form_of(found["name"])]


@reads("not-compared")
def read_not_compared(r: Truth, text: str) -> None:
    assert not r.holm("best")


@reads("nothing-learned")
def read_nothing_learned(r: Truth, text: str) -> None:
    assert text.startswith("No form can be named: with none of them is held-out data predicted clearly better")
    assert not any(has_learned(t) for form, t in r.c.estimates.items() if r.named(form))


@reads("none-better")
def read_none_better(r: Truth, text: str) -> None:
    found = match(
        rf"No form is measurably better than another: validation {r.metric.name} is (?P<low>(?:about )?{NUM}){r.unit} "
        rf"(?:with all|\((?P<first>{NAME})\) to (?P<high>(?:about )?{NUM}){r.unit} \((?P<last>{NAME})\)) at their best "
        rf"λ, and of (?:(?P<all>\d+) pairs? the clearest|(?P<some>\d+) pairs? tested of (?P<of>\d+) the clearest) has "
        rf"(?P<p>{P}) after Holm's correction\.",
        text,
    )
    holm = r.holm("best")
    planned = math.comb(len(r.c.forms), 2)
    assert int(found["all"] or found["of"]) == planned
    assert int(found["all"] or found["some"]) == len(holm)
    assert min(holm.values()) >= 0.05
    p_is(found["p"], min(holm.values()))
    if found["first"]:
        value_is(r, found["low"], form_of(found["first"]))
        value_is(r, found["high"], form_of(found["last"]))
        assert float(found["low"].removeprefix("about ")) < float(found["high"].removeprefix("about "))


@reads("best-form")
def read_best_form(r: Truth, text: str) -> None:
    found = match(
        rf"(?P<name>{NAME}|Decoupled L2|Elastic net) is measurably better than "
        rf"(?:every other form \((?P<others>.*?)\)|(?P<other>{NAME})): (?P<values>.*) at their best λ "
        rf"\((?P<each>each )?(?P<p>{P})(?P<less> or less)? after Holm's correction\)\.",
        text,
    )
    winner, holm = form_of(found["name"]), r.holm("best")
    others = names(found["others"] or found["other"])
    assert sorted([winner, *others]) == sorted(r.c.forms)
    assert values_are(r, found["values"]) == [winner, *others]
    p = [holm[frozenset((winner, other))] for other in others]
    assert max(p) < 0.05
    p_is(found["p"], max(p))
    assert (found["each"] is not None) == (len(p) > 1)
    assert (found["less"] is not None) == (len(p) > 1 and "=" in found["p"])
    for other in others:
        mean, _, _, k = r.test(winner, other, "best")
        assert mean > 0
        assert k == r.folds
    own = np.mean(r.costs(winner, "best"))
    assert all(own < np.mean(r.costs(other, "best")) for other in others)


@reads("some-better")
def read_some_better(r: Truth, text: str) -> None:
    found = match(
        r"Measurably different at their best λ \((?P<values>validation .*?)\): (?P<clauses>.*?)"
        r"(?:; the other (?P<rest>\d+) of (?P<of>\d+) pairs? cannot be told apart"
        r"(?:, (?P<untested>\d+) of them for lack of folds that did not diverge)?)?\.",
        text,
    )
    holm = r.holm("best")
    clause = rf"({NAME}) is better than ({NAME}) \((?:by ({NUM}){r.points} on (\d+) of (\d+) folds, )?({P})\)"
    assert re.fullmatch(rf"(?:{clause}(?:, | and )?)+", found["clauses"]), found["clauses"]
    told = re.findall(clause, found["clauses"])
    for one, other, by, k, of, p in told:
        mean, _, _, folds = r.test(form_of(one), form_of(other), "best")
        assert mean > 0
        assert bool(by) == (folds < r.folds)
        if by:
            difference_is(r, by, mean)
            assert (int(k), int(of)) == (folds, r.folds)
        p_is(p, holm[frozenset((form_of(one), form_of(other)))])
    pairs = {frozenset((form_of(one), form_of(other))) for one, other, *_ in told}
    assert pairs == {pair for pair, p in holm.items() if p < 0.05}
    assert set(values_are(r, found["values"])) == set().union(*pairs)
    planned = math.comb(len(r.c.forms), 2)
    assert int(found["rest"] or 0) == planned - len(pairs)
    assert int(found["untested"] or 0) == planned - len(holm)


@reads("sparse-as-good")
def read_sparse(r: Truth, text: str) -> None:
    found = match(
        rf"At (?P<choice>λ_best|λ_1se) (?P<name>{NAME}) is (?:(?P<good>as good as (?P<one>{NAME}) within one standard "
        rf"error)|not measurably worse than (?P<two>{NAME})) \(validation {r.metric.name} (?P<own>{NUM}) against "
        rf"(?P<its>{NUM}){r.unit}, (?P<p>{P}) after Holm's correction\) and leaves (?P<zeros>{NUM}) % of its weights "
        rf"exactly zero, against (?P<other_zeros>none|{NUM} %): take (?P<take>{NAME}) if size matters"
        r"(?P<more> more than such a difference)?\.",
        text,
    )
    form, other = form_of(found["name"]), form_of(found["one"] or found["two"])
    assert found["take"] == found["name"]
    choice = CHOICES[found["choice"]]
    read_zeros_of_both(r, form, other, choice, found)
    holm = r.holm(choice)
    mean, error, _, _ = r.test(form, other, choice)  # other − own: below 0 where the other is better
    excess, own_error = -mean, r.costs(other, choice).std(ddof=1) / math.sqrt(r.folds)
    assert (found["good"] is not None) == (excess <= min(error, own_error) * (1 + 1e-9))
    assert (found["good"] is None) == (found["more"] is not None)
    for rival in r.c.estimates:  # of none is it measurably worse
        pair = frozenset((form, rival))
        if pair in holm and holm[pair] < 0.05:
            assert r.test(form, rival, choice)[0] > 0
    if r.metric.name == "loss":
        assert np.mean(r.costs(form, choice)) < GUESS


@reads("sparse-costs")
def read_sparse_costs(r: Truth, text: str) -> None:
    found = match(
        rf"Zeros cost something here: at (?P<choice>λ_best|λ_1se) (?P<name>{NAME}) leaves (?P<zeros>{NUM}) % of its "
        rf"weights exactly zero, and is measurably worse than (?P<other>{NAME}) by (?P<by>{NUM}){r.points} "
        rf"\(validation {r.metric.name} (?P<own>{NUM}) against (?P<its>{NUM}){r.unit}, (?P<p>{P}) after Holm's "
        r"correction\)\.",
        text,
    )
    form, other, choice = form_of(found["name"]), form_of(found["other"]), CHOICES[found["choice"]]
    found["other_zeros"] = None
    read_zeros_of_both(r, form, other, choice, found)
    mean = r.test(form, other, choice)[0]
    assert mean < 0
    assert r.holm(choice)[frozenset((form, other))] < 0.05
    difference_is(r, found["by"], -mean)


def read_zeros_of_both(r: Truth, form: str, other: str, choice: str, found: dict) -> None:
    zeros, other_zeros = r.zeros(form, choice), r.zeros(other, choice)
    share_is(found["zeros"], zeros)
    if found["other_zeros"] is not None:
        assert (found["other_zeros"] == "none") == (other_zeros == 0)
        if other_zeros:
            share_is(found["other_zeros"].removesuffix(" %"), other_zeros)
    assert zeros - other_zeros >= FEWER - 1e-12
    value_is(r, found["own"], form, choice)
    value_is(r, found["its"], other, choice)
    p_is(found["p"], r.holm(choice)[frozenset((form, other))])


def share_is(text: str, share: float) -> None:
    assert float(text) == pytest.approx(100 * share, rel=0.06)
    assert (float(text) == 100) == (share == 1)
    assert float(text) > 0


@reads("zeros")
def read_zeros(r: Truth, text: str) -> None:
    found = match(r"Weights that are exactly zero at λ_1se: (?P<some>.*?)(?:; none with (?P<none>.*?))?\.(?!\d)", text)
    told = dict(re.findall(rf"({NUM}) % with ({NAME})", found["some"]))
    assert told
    for share, name in re.findall(rf"({NUM}) % with ({NAME})", found["some"]):
        share_is(share, r.zeros(form_of(name), "one_se"))
    none = names(found["none"]) if found["none"] else []
    assert all(r.zeros(form, "one_se") == 0 for form in none)
    some = [form_of(name) for _, name in re.findall(rf"({NUM}) % with ({NAME})", found["some"])]
    known = [form for form in r.c.estimates if r.named(form) and not math.isnan(r.zeros(form, "one_se"))]
    assert sorted(some + none) == sorted(known)


@reads("no-zeros")
def read_no_zeros(r: Truth, text: str) -> None:
    found = match(
        r"No weight is exactly zero at λ_1se with (?P<names>[^:]*?)(?P<small>: (?:it makes|they make) weights small "
        r"only)?\.",
        text,
    )
    told = names(found["names"])
    assert all(r.zeros(form, "one_se") == 0 for form in told)
    assert (found["small"] is not None) == all(form not in ("l1", "elastic") for form in told)


@reads("no-baseline")
def read_no_baseline(r: Truth, text: str) -> None:
    assert not any((fits["lambda"] == 0).any() for fits in r.fits.values())


@reads("against-zero")
def read_against_zero(r: Truth, text: str) -> None:
    found = match(r"Against λ = 0, at λ_best(?P<corrected> \(p after Holm's correction\))?: (?P<clauses>.*)\.", text)
    holm, seen = r.against_zero(), []
    changed = rf"(?:(?P<before>{NUM}) → (?P<after>{NUM}){r.unit}|by (?P<by>{NUM}){r.points} on (?P<k>\d+) of \d+ folds)"
    for clause in found["clauses"].split("; "):
        verb, _, rest = clause.partition(" with ")
        if verb in ("measurably better", "measurably worse", "not measurably different"):
            for name, inside in re.findall(rf"({NAME}) \(([^)]*)\)", rest):
                form = form_of(name)
                seen.append(form)
                change, _, p = inside.rpartition(", ")
                p_is(p, holm[form])
                assert (holm[form] < 0.05) == (verb != "not measurably different")
                mean, _, _, k = r.test(form, "none", "best")
                if change:
                    assert (mean > 0) == (verb == "measurably better")
                    told = match(changed, change)
                    assert (told["by"] is not None) == (k < r.folds)
                    if told["by"]:
                        difference_is(r, told["by"], abs(mean))
                    else:
                        value_is(r, told["before"], "none")
                        value_is(r, told["after"], form)
        elif verb == "λ_best is 0":
            assert all(r.strength(form, "best") == 0 for form in names(rest))
            seen += names(rest)
        else:
            assert verb == "not to be tested for lack of folds that did not diverge"
            assert not any(form in holm for form in names(rest))
            seen += names(rest)
    assert sorted(seen) == sorted(form for form in r.c.estimates if r.named(form))
    assert (found["corrected"] is not None) == bool(holm)


@reads("missing")
def read_missing(r: Truth, text: str) -> None:
    found = match(r"(?P<names>.*) (?:has|have) not been run yet: nothing is known of (?:it|them)\.", text)
    assert names(found["names"]) == [form for form in r.c.forms if form not in r.fits]


@reads("all-diverged")
def read_all_diverged(r: Truth, text: str) -> None:
    found = match(r"(?P<name>.*): every fit (?P<above>above λ = 0 )?diverged\.", text)
    fits = r.fits[form_of(found["name"])]
    fits = fits[fits["lambda"] > 0] if found["above"] else fits
    assert len(fits)
    assert fits["diverged"].all()


@reads("only-baseline")
def read_only_baseline(r: Truth, text: str) -> None:
    found = match(r"(?P<name>.*): only λ = 0 has been run so far\.", text)
    assert set(r.fits[form_of(found["name"])]["lambda"]) == {0.0}


@reads("incomplete")
def read_incomplete(r: Truth, text: str) -> None:
    found = match(
        r"The search(?:es are| is) not complete with (?P<names>.*): what is said of (?:it|them) may change\.", text
    )
    assert all(r.named(form) for form in names(found["names"]))


@reads("settings-differ")
def read_settings_differ(r: Truth, text: str) -> None:
    raise AssertionError("all settings are the same")


@reads("size")
def read_size(r: Truth, text: str) -> None:
    found = match(
        rf"Refitted on all training data at λ_1se = (?P<strength>{NUM}), (?P<name>{NAME}) has (?P<left>[\d,]+) of "
        r"(?P<all>[\d,]+) parameters left that are not zero \((?P<share>[\d.]+) %\)"
        r"(?:, or (?P<kept>[\d,]+) stored densely without the rows of dead units)?\.",
        text,
    )
    form = form_of(found["name"])
    strength = r.strength(form, "one_se")
    assert float(found["strength"]) == pytest.approx(strength, rel=6e-3)
    record = final_network(strength, sparse)
    assert (found["left"], found["all"]) == (f"{record.nonzero:,}", f"{record.parameters:,}")
    share_is(found["share"], record.nonzero / record.parameters)
    weights, _, units, dead = record.layers["fc1"]
    assert (found["kept"] or "1,130") == f"{1130 - weights * dead / units:,.0f}"
    others = [o for o in r.c.estimates if o in ("l1", "elastic") and o != form and r.named(o)]
    for other in others:
        refits = r.c.estimates[other].record.refits
        own = refits[refits["lambda"] == r.strength(other, "one_se")]
        assert not len(own) or own["nonzero"].min() >= record.nonzero


@reads("selection")
def read_selection(r: Truth, text: str) -> None:
    assert len(r.fits) > 1


def read_own(r: Truth, text: str) -> None:
    """What a form's own study says, which its own test reads."""
    assert form_of(text.partition(": ")[0]) in r.fits


# ---- random comparisons ----


def sparse(strength: float) -> float:
    return min(1.0, 0.95 * strength / (strength + 3e-4)) if strength else 0.0


def few(strength: float) -> float:
    return 0.02 if strength else 0.0


def final_network(strength: float, zeros: Callable[[float], float]) -> RefitRecord:
    gone = round(1000 * zeros(strength))
    layers = {"conv1": [100, 0, 10, 0], "fc1": [1000, gone, 20, gone // 100]}
    return RefitRecord(strength, 0, test_loss=0.2, test_error=0.1, parameters=1130, nonzero=1130 - gone, layers=layers)


def course(strength: float, *, at: float, depth: float, level: float) -> float:
    if strength >= 1:
        return max(GUESS, level)
    distance = math.log10(max(strength, 1e-7) / at)
    return level - depth * math.exp(-(distance**2) / 2) + (0.5 * (strength - 0.1) if strength > 0.1 else 0)


def random_comparison(make_study: Callable, seed: int) -> Truth:
    """Any forms, folds and metric; searches that were raced, cut short, diverged, or have not begun."""
    rng = np.random.default_rng(seed)
    folds = int(rng.choice([2, 3, 5, 5, 10]))
    metric = str(rng.choice(["loss", "loss", "error"]))
    forms = [str(form) for form in rng.permutation(FORMS)[: int(rng.integers(1, 5))]]
    level = float(rng.choice([0.2, 0.2, 0.2, 2.35]))
    flat = level > 2 or rng.random() < 0.2
    breaks = float(rng.choice([0, 0, 0, 0.1, 0.4]))
    baseline = rng.random() < 0.9
    sides = {}
    for place, form in enumerate(forms):
        zeros = (lambda s: 0.0) if form.startswith("l2") else sparse if rng.random() < 0.8 else few
        depth = 0.0 if flat else float(rng.choice([0.0, 0.02, 0.06, 0.1]))
        tried = [s for s in STRENGTHS if (s and rng.random() < 0.8) or (s == 0 and baseline)]
        state = rng.choice(["whole", "whole", "whole", "raced", "raced", "begun", "broken", "broken above"])
        tried = ([0.0] if baseline else tried[:2]) if state == "begun" and rng.random() < 0.5 else tried
        limits = {s: int(rng.integers(1, folds + 1)) for s in tried}
        bad = (
            {"broken": lambda s: True, "broken above": lambda s: s > 0}.get(str(state)) if rng.random() < 0.5 else None
        )
        study = make_study(
            partial(course, at=float(10 ** rng.uniform(-4, -1)), depth=depth, level=level),
            lambda s: 0.01 + 0.5 * min(s, 1.0),
            strengths=tried,
            folds=folds,
            metric=metric,
            noise=float(rng.choice([0.0002, 0.002, 0.02, 0.1])),
            zeros=zeros,
            fold_limit=limits.__getitem__ if state == "raced" else lambda s: 99,
            diverged=bad or (lambda s: bool(s >= 1e-3 and rng.random() < breaks)),
            settings={"penalty": form, "lambda_range": (1e-6, 1.0)},
            seed=seed if rng.random() < 0.7 else seed + 100 + place,
        )
        for strength in tried:
            write_refit(study, final_network(strength, zeros))
        sides[form] = Estimates.from_record(read_study(study))
    wanted = [*forms, *[form for form in FORMS if form not in forms and rng.random() < 0.1]]
    return Truth(Comparison("a", sides, wanted), folds)


SEEDS = [*range(40), *[pytest.param(seed, marks=pytest.mark.long) for seed in range(40, 600)]]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_sentence_of_a_comparison_says_what_the_folds_say(make_study, seed):
    truth = random_comparison(make_study, seed)
    told = list(comparison_findings(truth.c))
    for finding in told:
        assert "nan" not in finding.text.lower().split()
        READERS.get(finding.kind, read_own)(truth, finding.text)
    assert told[0].part == "answer"
    kinds = {finding.kind for finding in told}
    holm = truth.holm("best")
    assert ({"best-form", "some-better"} & kinds == set()) or min(holm.values()) < 0.05
