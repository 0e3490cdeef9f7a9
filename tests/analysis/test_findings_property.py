"""Random studies: every sentence of every finding is read back into its numbers, which must be the estimates'."""

import ast
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import l2tune.analysis
from l2tune.analysis.estimates import Estimates
from l2tune.analysis.finding import Finding
from l2tune.analysis.findings import findings, in_brief

Case = Any
"""A study as `conftest.Case` describes it."""

# ---- reading sentences ----

LAM = r"(?:0|\d\.\d+e-?\d+)"
NUM = r"(?:∞|-?\d[\d.]*(?:e[+-]?\d+)?)"
PARSERS: dict[str, Callable[["Reader", str], None]] = {}


def reads(*kinds: str) -> Callable[[Callable[["Reader", str], None]], Callable[["Reader", str], None]]:
    def keep(function: Callable[["Reader", str], None]) -> Callable[["Reader", str], None]:
        PARSERS.update(dict.fromkeys(kinds, function))
        return function

    return keep


class Reader:
    """Compares what a finding's sentence says with the estimates."""

    def __init__(self, t: Estimates, case: Case) -> None:
        self.t, self.case, self.kind = t, case, ""
        self.metric = t.metric
        self.name = re.escape(t.metric.name)
        self.unit = re.escape(f" {t.metric.unit}" if t.metric.unit else "")
        self.points = " percentage points" if t.metric.unit == "%" else self.unit
        self.lambdas: dict[str, float] = {}
        self.values: dict[str, float] = {}
        self.openings: list[str] = []

    def read(self, finding: Finding) -> None:
        self.kind, self.values = finding.kind, {}
        self.openings.append(finding.text)
        PARSERS[finding.kind](self, finding.text)
        for first in self.values:
            for second in self.values:
                a, b = self.values[first], self.values[second]
                if math.isclose(a, b, rel_tol=3e-10, abs_tol=1e-14 * max(map(abs, self.values.values()))):
                    assert first == second, "one number is written in two ways"
                elif not math.isclose(a, b, rel_tol=3e-9, abs_tol=1e-11 * max(map(abs, self.values.values()))):
                    assert first != second, f"{a} and {b} look alike"

    def match(self, pattern: str, text: str) -> dict[str, str | None]:
        found = re.fullmatch(pattern, text)
        assert found, f"{text!r} is not {pattern!r}"
        return found.groupdict()

    def value(self, text: str | None, value: float) -> None:
        """The text is the value of the metric."""
        assert text is not None
        value *= 100 if self.metric.unit == "%" else 1
        assert float(text) == pytest.approx(value, rel=6e-3, abs=1e-12)
        assert self.values.setdefault(text, value) == pytest.approx(value, rel=2e-9, abs=1e-12), (
            f"{text} is two numbers"
        )

    def strength(self, text: str | None, value: float) -> None:
        """The text is this λ, and no other one of the study looks like it."""
        assert text is not None
        assert float(text) == pytest.approx(value, rel=6e-3)
        assert self.lambdas.setdefault(text, value) == pytest.approx(value, rel=2e-9)
        for other, seen in self.lambdas.items():
            assert other == text or not math.isclose(seen, value, rel_tol=1e-10)
        if value == 0:
            assert self.ran(0.0), "λ = 0 was never run"

    def own(self, name: str | None, text: str | None, strength: float) -> None:
        if name is None:
            assert self.case.parameter == ("lambda", "lambda")
            return
        assert name == self.case.parameter[0]
        value = self.t.record.parameter.scale.from_lambda(strength)
        assert text == "∞" if math.isinf(value) else float(text or "") == pytest.approx(value, rel=6e-3)

    def ran(self, strength: float) -> bool:
        return self.t.row(strength) is not None

    def find(self, text: str) -> float:
        """The λ of the table that a text names."""
        strengths = self.t.strengths["lambda"].tolist()
        [found] = [s for s in strengths if s == float(text)] or [
            min(strengths, key=lambda s: abs(math.log(s / float(text))) if s and float(text) else math.inf)
        ]
        self.strength(text, found)
        return float(found)

    def pair(self, first: float, second: float, column: str) -> tuple[float, float, int]:
        """Means over the folds that both have, of the metric, and how many."""
        fits = self.t.record.fits
        fits = fits[fits["final"] & ~fits["diverged"]]
        table = fits.pivot_table(index="fold", columns="lambda", values=column, dropna=False)
        both = table.reindex(columns=[first, second]).dropna()
        return float(both[first].mean()), float(both[second].mean()), len(both)


ACTS = "torch.optim.SGD, or λ Σ w² in the loss", "torch.optim.Adam, or λ Σ w² in the loss"
OPTIMIZERS = {
    ("sgd", "l2"): "torch.optim.SGD",
    ("sgd", "l2-loss"): ACTS[0],
    ("sgd", "l2-decoupled"): "SGD with decoupled weight decay, which torch.optim.SGD has not",
    ("adam", "l2"): "torch.optim.Adam",
    ("adam", "l2-loss"): ACTS[1],
    ("adam", "l2-decoupled"): "torch.optim.AdamW",
    ("adamw", "l2-decoupled"): "torch.optim.AdamW",
    **dict.fromkeys((("sgd", "l1"), ("sgd", "elastic")), "torch.optim.SGD"),
    **dict.fromkeys((("adam", "l1"), ("adam", "elastic")), "torch.optim.Adam"),
}
"""Optimizer and form → in which optimizer weight decay 2λ acts so."""


def span(name: str) -> str:
    return rf"λ = (?P<{name}>{LAM})(?: to (?P<{name}_high>{LAM}))?"


def one_span(r: Reader, found: dict[str, str | None], name: str, low: float, high: float) -> None:
    r.strength(found[name], low)
    r.strength(found[f"{name}_high"] or found[name], high)


@reads("best", "best-of-equals", "unproven", "disputed")
def read_best(r: Reader, text: str) -> None:
    t = r.t
    if r.kind == "disputed" and t.best_lambda == 0:
        found = r.match(
            rf"No clear answer yet: on the folds of both, (?:(?P<name>\w+) = (?P<own>{NUM}), )?λ = (?P<other>{LAM}) "
            rf"scores measurably better than λ = 0 \([^)]*\), the curve's best\.",
            text,
        )
        assert t.gain
        assert t.gain_lambda
        assert t.gain.is_measurable
        assert t.gain.mean > 0
        r.strength(found["other"], t.gain_lambda)
        return
    opening = {
        "best": "Use ",
        "best-of-equals": "No λ is measurably better than none; (?:by the curve )?the best is ",
        "unproven": "Use ",
        "disputed": "No clear answer yet: on the folds of both, λ = 0 scores better than the curve's best, ",
    }[r.kind]
    if r.kind == "disputed" and t.gain_lambda != t.best_lambda:
        assert t.gain_lambda is not None
        opening = "No clear answer yet: by the curve the best is "
        text, _, rest = text.partition(", but on the folds of both, ")
        text += "."
        found = r.match(
            rf"λ = 0 scores measurably better than (?:(?P<name>\w+) = (?P<own>{NUM}), )?λ = (?P<other>{LAM}), the best "
            r"that was run\.",
            rest,
        )
        r.strength(found["other"], t.gain_lambda)
        r.own(found["name"], found["own"], t.gain_lambda)
        assert not r.ran(t.best_lambda)
        read_is_best_compared(r)
    proof = ", though (?P<folds>\\d+) folds? cannot prove any λ better than none" if r.kind == "unproven" else ""
    found = r.match(
        rf"{opening}(?P<about>about )?(?:λ = (?P<best>{LAM}){proof}: "
        r"(?P<paste>weight_decay=\S+?(?P<in>(?: on the penalized weights, 0 on the rest,)? in [^:]*?)?"
        r"|λ (?P<term>Σ \|w\||\(0\.5 Σ \|w\| \+ 0\.5 Σ w²\)) by a proximal step after each step of (?P<of>[^:]*?))"
        rf"|(?P<name>\w+) = (?P<own>{NUM}){proof.replace('folds>', 'count>')}) \((?P<how>.*)\)\.",
        text,
    )
    gain = t.gain
    if r.kind == "best":
        assert gain is None or (gain.is_measurable and gain.mean > 0)
    elif r.kind == "disputed":
        assert gain
        assert gain.is_measurable
        assert gain.mean < 0
    else:
        assert gain
        assert not gain.is_measurable or gain.mean == pytest.approx(0, abs=1e-8 * abs(t.best_value))
        assert ("by the curve the best" in text) == (gain.mean <= 0)
    if r.kind == "unproven":
        assert gain is not None
        spread = gain.naive_standard_error * math.sqrt(gain.folds)
        assert 0 < gain.mean > 0.5 * spread
        assert int(found["folds"] or found["count"] or 0) == gain.folds
    assert (found["about"] is None) == r.ran(t.best_lambda)
    r.own(found["name"], found["own"], t.best_lambda)
    if found["best"]:
        r.strength(found["best"], t.best_lambda)
        read_paste(r, found)
    how = (found["how"] or "").split("; ")
    if found["name"]:
        r.strength(how.pop(0).removeprefix("λ = "), t.best_lambda)
    if found["about"]:
        assert how.pop(0) == "by the curve, not run"
    elif t.strengths.loc[t.strengths["lambda"] == t.best_lambda, "diverged"].any():
        read_lacks(r, how.pop(0), t.best_lambda)
    low, high = t.interval
    found = r.match(
        rf"95 % credible interval of the best: (?:(?P<name>\w+) = (?P<a>{NUM})(?: to (?P<b>{NUM}))?, )?{span('low')}"
        r"(?P<outside>, beside which it is the best of those run)?",
        how.pop(0),
    )
    one_span(r, found, "low", low, high)
    first, second = sorted((low, high), key=t.record.parameter.scale.from_lambda)
    r.own(found["name"], found["a"], first)
    r.own(found["name"], found["b"] or found["a"], second)
    assert (found["outside"] is None) == (low <= t.best_lambda <= high)
    read_strongest(r, how)


def read_paste(r: Reader, found: dict[str, str | None]) -> None:
    """How the strength is written in code: never as a weight decay where none does what was searched."""
    ours = r.case.trained_by == "l2tune"
    form = r.case.optimizer[1] if ours else "l2"
    if form in ("l1", "elastic"):
        assert found["term"] == {"l1": "Σ |w|", "elastic": "(0.5 Σ |w| + 0.5 Σ w²)"}[form]
        assert found["of"] == OPTIMIZERS[r.case.optimizer]
        return
    digits = re.match(rf"weight_decay=({LAM})", found["paste"] or "")
    assert digits
    assert float(digits[1]) == pytest.approx(2 * r.t.best_lambda, rel=6e-3)
    alike = r.case.reach == "everything"
    where = f"{'' if alike else ' on the penalized weights, 0 on the rest,'} in {OPTIMIZERS[r.case.optimizer]}"
    assert found["in"] == (where if ours else None)


def read_strongest(r: Reader, parts: list[str]) -> None:
    """λ_1se, where it is told."""
    t, one_se = r.t, r.t.one_se_lambda
    assert one_se >= t.best_lambda
    row = t.row(one_se)
    if not parts:
        assert one_se == 0 or (row is not None and row["diverged"])
        return
    [text] = parts
    if text == "λ_1se is the same":
        assert one_se == t.best_lambda
        return
    found = r.match(
        rf"the strongest that is as good(?P<inverse>, the smallest)?: (?P<about>about )?"
        rf"(?:(?P<name>\w+) = (?P<own>{NUM}), )?λ = (?P<strength>{LAM})(?: \((?P<lacks>.*)\))?",
        text,
    )
    assert one_se > t.best_lambda
    assert (found["inverse"] is not None) == (r.case.parameter[1] == "C")
    r.strength(found["strength"], one_se)
    r.own(found["name"], found["own"], one_se)
    assert (found["about"] is not None) == (row is None)
    if row is None:
        assert found["lacks"] == "by the curve, not run"
    else:
        lacking = f"{int(row['folds'])} of {t.record.folds} folds"
        assert found["lacks"] == (lacking if row["folds"] < t.record.folds else None)
        assert not row["diverged"]


@reads("baseline-best")
def read_baseline_best(r: Reader, text: str) -> None:
    t = r.t
    assert t.best_lambda == 0
    assert r.ran(0.0)
    ours = r.case.trained_by == "l2tune" and r.case.optimizer[1] in ("l1", "elastic")
    zero = rf"\((?:{'no penalty' if ours else 'weight_decay=0'}|" + r"(?P<name>\w+) = (?P<own>" + NUM + r"))\)"
    value = rf"validation {r.name} (?P<about>about )?(?P<value>{NUM}){r.unit} without regularization"
    luck = rf"; (?P<other>{NUM}){r.unit} at λ = (?P<at>{LAM}) is within the luck of the folds"
    tail = r"(?P<strongest>; the strongest .*)?\."
    openings = {
        "luck": rf"By the curve no λ of the range beats λ = 0 {zero}: {value}{luck}{tail}",
        "broken": rf"Use λ = 0 {zero}, for every fit with a penalty diverged: {value}{tail}",
        "best": rf"No λ of the range beats λ = 0 {zero}: {value}{tail}",
    }
    which, found = next((name, m.groupdict()) for name, p in openings.items() if (m := re.fullmatch(p, text)))
    r.value(found["value"], t.best_value)
    r.own(found["name"], found["own"], 0.0)
    assert (found["about"] is None) == t.complete
    above = t.strengths[t.strengths["lambda"] > 0]
    whole = above[above["complete"]]
    best = r.metric.cost(t.best_value)
    better = whole[r.metric.cost(whole["validation"]) < best - 1e-9 * abs(best)]
    assert (which == "luck") == (len(better) > 0)
    if which == "luck":
        row = t.row(r.find(found["at"] or ""))
        assert row is not None
        r.value(found["other"], row["validation"])
        assert row["lambda"] in better["lambda"].tolist()
    if which == "broken":
        assert (above["diverged"] == above["folds"]).all()
    read_strongest(r, [found["strongest"].removeprefix("; ")] if found["strongest"] else [])


@reads("all-diverged")
def read_all_diverged(r: Reader, text: str) -> None:
    found = r.match(rf"Every fit diverged, at (?P<count>\d+) strengths? \({span('low')}\)\. (?P<advice>.*)\.", text)
    strengths = r.t.strengths
    assert int(found["count"] or 0) == len(strengths)
    one_span(r, found, "low", strengths["lambda"].min(), strengths["lambda"].max())
    assert (strengths["diverged"] == strengths["folds"]).all()
    assert ("learning rate" in text) == (r.case.trained_by == "l2tune")


@reads("only-baseline")
def read_only_baseline(r: Reader, text: str) -> None:
    found = r.match(
        rf"Only λ = 0 has been run so far: validation {r.name} (?P<value>{NUM}){r.unit}\. No λ can be named yet\.", text
    )
    r.value(found["value"], r.t.best_value)
    assert r.t.strengths["lambda"].tolist() == [0.0]


@reads("nothing-learned")
def read_nothing_learned(r: Reader, text: str) -> None:
    found = r.match(
        r"(?:No λ makes it useful: at none is held-out data predicted clearly better than by guessing|"
        r"No λ can be named yet: at none is held-out data predicted measurably better than by guessing) \(validation "
        rf"{r.name} (?P<best>{NUM}) at best, (?P<guess>{NUM}){r.unit} by guessing(?:, which may be the luck of "
        r"(?P<folds>\d+) folds?)?\)\.",
        text,
    )
    t = r.t
    assert t.guess is not None
    assert (found["folds"] is not None) == text.startswith("No λ can be named yet")
    if found["folds"]:
        assert int(found["folds"]) == t.record.folds
    best, guess = (r.metric.cost(float(found[name] or "")) for name in ("best", "guess"))
    if r.metric.unit == "%":
        guess, best = (r.metric.cost(float(found[name] or "") / 100) for name in ("guess", "best"))
    margin = 0.02 * guess if r.metric.kind != "real" else 0.0
    if best < guess - 1.2 * margin - 6e-3 * abs(guess):
        assert found["folds"], "better, if not measurably"
    if best > guess:
        assert not found["folds"]
    r.value(found["guess"], t.guess)
    whole = t.strengths.loc[t.strengths["complete"], "validation"].tolist()
    best = min([t.best_value, *whole], key=r.metric.cost)
    r.value(found["best"], best)


@reads("memorized", "not-trained")
def read_training(r: Reader, text: str) -> None:
    t = r.t
    fitted = t.strengths.dropna(subset=["train"])
    if "is not known" in text:
        assert not len(fitted)
        return
    best = fitted["train"].max() if r.metric.maximize else fitted["train"].min()
    if r.kind == "memorized":
        found = r.match(
            rf"It does learn the training data \(training {r.name} (?P<train>{NUM}){r.unit} at λ = "
            rf"(?P<at>{LAM})\), but "
            "(?:(?P<nothing>nothing of that carries over: check that the labels belong to the inputs)|whether any of "
            "that carries over cannot be told yet: more data or folds would tell)\\.",
            text,
        )
        assert (found["nothing"] is not None) == r.openings[0].startswith("No λ makes it useful")
        row = t.row(r.find(found["at"] or ""))
        assert row is not None
        assert row["train"] == best
        assert t.guess is not None
        assert r.metric.cost(best) < r.metric.cost(t.guess)
    else:
        found = r.match(
            rf"It does not fit the training data well either \(training {r.name} (?P<train>{NUM}){r.unit} "
            rf"at best\): check "
            r"learning rate, epochs and (?:network|model) before λ\.",
            text,
        )
    r.value(found["train"], best)


@reads("two-valleys")
def read_two_valleys(r: Reader, text: str) -> None:
    found = r.match(
        rf"The curve has two valleys about equally deep, one at λ = (?P<best>{LAM}) and one at {span('low')}\.", text
    )
    r.strength(found["best"], r.t.best_lambda)
    one_span(r, found, "low", *r.t.band)
    assert not r.t.band[0] <= r.t.best_lambda <= r.t.band[1]


@reads("flat")
def read_flat(r: Reader, text: str) -> None:
    t = r.t
    assert t.curve is not None
    broken = bool(t.strengths["diverged"].any())
    where = "The curve is flat where training does not diverge: there"
    if not broken:
        where = rf"The curve is flat: from {span('low')}"
    found = r.match(
        rf"{where} the expected validation {r.name} stays within one standard error of the best"
        r"(?P<paired>, as long as folds are not compared in pairs)?\.",
        text,
    )
    assert (found["paired"] is not None) == bool(t.gain and t.gain.is_measurable)
    if not broken:
        one_span(r, found, "low", float(t.curve.grid[0]), float(t.curve.grid[-1]))
        costs = t.curve.mean(t.curve.grid)[:-1]
        highest = t.curve.best_value + t.curve.best_standard_error
        assert (costs <= highest + 1e-9 * abs(highest)).all()


@reads("bracketed", "worse-below", "worse-above")
def read_sides(r: Reader, text: str) -> None:
    clauses = text[0].lower() + text[1:].removesuffix(".")
    sides = clauses.split("; ")
    expected = {"bracketed": ["below", "above"], "worse-below": ["below"], "worse-above": ["above"]}[r.kind]
    assert [clause.split()[0] for clause in sides] == expected
    for clause in sides:
        read_side(r, clause)


def read_side(r: Reader, clause: str) -> None:
    t = r.t
    below = clause.startswith("below")
    head = rf"(?:below|above) λ [≈=] (?P<end>{LAM}) "
    pair = (
        rf"\(λ = (?P<at>{LAM}) against (?P<reference>{LAM}): (?:training {r.name} (?P<fit>{NUM}) against "
        rf"(?P<best_fit>{NUM}), )?"
        rf"validation (?P<value>{NUM}) against (?P<best_value>{NUM}){r.unit}(?:, on (?P<folds>\d+) of "
        rf"(?P<of>\d+) folds)?\)"
    )
    worse = rf"validation {r.name} is worse"
    forms = {
        "unrun": rf"{head}{worse} by the curve, though nothing was run there",
        "diverges": rf"{head}training diverges",
        "curve": rf"{head}{worse} by the curve",
        "worse": rf"{head}{worse} {pair}",
        "overfits": rf"{head}the (?P<who>network|model) overfits {pair}",
        "underfits": rf"{head}it underfits {pair}",
        "not overfitting": rf"{head}{worse} {pair}, which is not overfitting, for training {r.name} is no better there",
        "not underfitting": rf"{head}{worse} {pair}, which is not underfitting, for training {r.name} is "
        "no worse there",
    }
    form, found = next((name, m.groupdict()) for name, p in forms.items() if (m := re.fullmatch(p, clause)))
    end = min((*t.band, t.best_lambda, t.one_se_lambda), key=lambda s: abs(s - float(found["end"])))
    r.strength(found["end"], end)
    assert t.curve is not None
    assert end > t.curve.grid[0] if below else end < t.curve.grid[-1]
    beyond = t.strengths[
        t.strengths["lambda"] < end * (1 - 1e-9) if below else t.strengths["lambda"] > end * (1 + 1e-9)
    ]
    if form == "unrun":
        assert not len(beyond)
    elif form == "diverges":
        assert len(beyond)
        assert (beyond["diverged"] == beyond["folds"]).all()
    if "at" not in found:
        return
    at, reference = r.find(found["at"]), r.find(found["reference"])
    assert at in beyond["lambda"].tolist()
    assert reference == (t.best_lambda if r.ran(t.best_lambda) else t.gain_lambda)
    value, best_value, folds = r.pair(at, reference, f"val_{r.metric}")
    r.value(found["value"], value)
    r.value(found["best_value"], best_value)
    assert (int(found["folds"]) if found["folds"] else t.record.folds) == folds
    assert r.metric.cost(value) > r.metric.cost(best_value)
    assert r.metric.cost(float(found["value"])) > r.metric.cost(float(found["best_value"])), "as printed, too"
    if form == "worse":
        assert found["fit"] is None
        return
    assert (found.get("who", "network") == "network") == (
        r.case.trained_by in ("l2tune", "trainer")
    ) or "who" not in found
    fit, best_fit, _ = r.pair(at, reference, f"train_{r.metric}")
    r.value(found["fit"], fit)
    r.value(found["best_fit"], best_fit)
    train, best_train = r.metric.cost(float(found["fit"])), r.metric.cost(float(found["best_fit"]))  # as printed
    assert {
        "overfits": below and train < best_train,
        "underfits": not below and train > best_train,
        "not overfitting": below and train >= best_train,
        "not underfitting": not below and train <= best_train,
    }[form]


@reads("helps", "harms", "no-difference", "too-few-folds")
def read_gain(r: Reader, text: str) -> None:
    t, gain = r.t, r.t.gain
    assert gain is not None
    assert t.gain_lambda is not None
    if "makes no difference" in text:
        found = r.match(
            rf"Regularization makes no difference here: validation {r.name} (?P<value>{NUM}){r.unit} at λ = 0 and at "
            rf"λ = (?P<at>{LAM})\.",
            text,
        )
        first, second, _ = r.pair(0.0, t.gain_lambda, f"val_{r.metric}")
        r.value(found["value"], first)
        assert first == pytest.approx(second, rel=1e-9)
        r.strength(found["at"], t.gain_lambda)
        return
    values = rf"(?P<before>{NUM}) → (?P<after>{NUM}){r.unit}"
    test = (
        rf"\(95 % interval of the (?P<noun>rise|fall) (?P<low>{NUM}) to (?P<high>{NUM}){r.points}; corrected resampled "
        r"t-test over (?P<folds>\d+)(?: of (?P<of>\d+))? folds?, p (?P<sign>[=<]) (?P<p>[\d.e-]+)(?:; left "
        r"out: (?P<out>[^)]+))?\)"
    )
    by = (
        rf"(?P<verb>raises|lowers) validation {r.name} by (?P<by>{NUM})(?P<by_unit> %|{r.points}) against "
        rf"λ = 0, {values} {test}"
    )
    moved = rf"validation {r.name} {values} from λ = 0 to λ = (?P<at>{LAM}) {test}"
    found = r.match(
        {
            "helps": rf"(?:It|λ = (?P<at>{LAM})) {by}\.",
            "harms": rf"(?P<even>Regularization harms here: even )?λ = (?P<at>{LAM}) {by}\.",
            "no-difference": rf"Regularization makes no measurable difference here: {moved}\.",
            "too-few-folds": r"With (?P<few>\d+) folds? the difference is not measurable, though the "
            "(?P<large>rise|fall) is "
            rf"large against its spread: {moved}; more folds(?P<repeats> or --repeats| or repeats=)? would tell\.",
        }[r.kind],
        text,
    )
    if found["at"]:
        r.strength(found["at"], t.gain_lambda)
    else:
        assert t.gain_lambda == t.best_lambda
    assert gain.is_measurable == (r.kind in ("helps", "harms"))
    if gain.is_measurable:
        assert (gain.mean > 0) == (r.kind == "helps")
    if r.kind == "harms":
        assert (found["even"] is not None) == (t.best_lambda == 0)
    if found["at"]:
        read_is_best_compared(r)
    before, after, folds = r.pair(0.0, t.gain_lambda, f"val_{r.metric}")
    r.value(found["before"], before)
    r.value(found["after"], after)
    assert int(found["folds"] or 0) == gain.folds == folds
    assert (found["of"] is None) == (folds == t.record.folds)
    assert r.metric.cost(before) - r.metric.cost(after) == pytest.approx(gain.mean, abs=1e-9 * max(abs(before), 1))
    printed = float(found["after"] or "") - float(found["before"] or "")
    assert printed
    assert (printed > 0) == (found["noun"] == "rise")
    if "verb" in found:
        assert (found["verb"] == "raises") == (printed > 0)
        if found["by_unit"] == " %" and r.metric.unit != "%":
            assert t.relative_gain is not None
            assert float(found["by"] or "") == pytest.approx(100 * abs(gain.mean) / before, rel=0.06)
        else:
            r.values.clear()
            r.value(found["by"], abs(gain.mean))
    sign = 1 if gain.mean >= 0 else -1
    r.values.clear()  # values and differences are different things
    low, high = sorted(sign * end for end in gain.interval)
    r.value(found["low"], low)
    r.value(found["high"], high)
    excludes = float(found["low"] or "") > 0
    assert gain.mean == 0 or excludes == gain.is_measurable
    assert (float(found["p"] or "") < 0.05 or found["sign"] == "<") == gain.is_measurable
    assert float(found["p"] or "") == pytest.approx(gain.p_value, rel=0.06) or found["sign"] == "<"
    rows = [t.row(strength) for strength in (0.0, t.gain_lambda)]
    assert (found["out"] is not None) == any(row is not None and row["diverged"] for row in rows)
    if r.kind == "too-few-folds":
        assert found["large"] == found["noun"]
        assert int(found["few"] or 0) == gain.folds


def read_is_best_compared(r: Reader) -> None:
    """Of the strengths that share two folds with λ = 0, the curve expects none to be clearly better than the one named.

    But λ_best itself, where it was run.
    """
    t = r.t
    assert t.curve is not None
    assert t.gain_lambda is not None
    others = [s for s in t.strengths["lambda"] if s > 0 and r.pair(0.0, s, f"val_{r.metric}")[2] >= 2]
    assert t.gain_lambda in others
    lowest = float(t.curve.mean(others).min())
    assert t.gain_lambda == t.best_lambda or (
        float(t.curve.mean([t.gain_lambda])[0]) <= lowest + 0.1001 * t.curve.best_standard_error
    )


@reads("no-baseline", "not-compared")
def read_no_gain(r: Reader, text: str) -> None:
    assert r.t.gain is None
    assert r.ran(0.0) == (r.kind == "not-compared")
    row = r.t.row(0.0)
    if "diverged on every fold run" in text:
        assert row is not None
        assert row["diverged"] == row["folds"]
    elif "Every fit above" in text:
        above = r.t.strengths[r.t.strengths["lambda"] > 0]
        assert (above["diverged"] == above["folds"]).all()
    elif "One fold tells" in text:
        assert r.t.record.folds == 1
    elif r.kind == "not-compared":
        assert "do not share two folds" in text


@reads("others")
def read_others(r: Reader, text: str) -> None:
    found = r.match(r"All this holds at (?P<values>.*): λ was looked at along these values only\.", text)
    told = dict(part.split(" = ") for part in (found["values"] or "").split(", "))
    assert told == {name: "none" if value is None else str(value) for name, value in r.case.others}


@reads("incomplete")
def read_incomplete(r: Reader, text: str) -> None:
    t = r.t
    body = r.match(r"The search is not complete: (?P<parts>.*)\.", text)["parts"] or ""
    for part in body.split("; "):
        if "still running" in part:
            assert r.case.running
        elif part.startswith("λ = 0 has"):
            row = t.row(0.0)
            assert row is not None
            assert part == f"λ = 0 has {row['folds']:.0f} of {t.record.folds} folds"
            assert row["folds"] < t.record.folds
        elif part.startswith("λ_1se"):
            found = r.match(rf"λ_1se, (?P<at>{LAM}), (?P<lacks>.*)", part)
            r.strength(found["at"], t.one_se_lambda)
            read_lacks(r, found["lacks"], t.one_se_lambda)
        else:
            found = r.match(
                rf"λ = (?P<at>{LAM}) (?P<lacks>[^,]*), so its value is the curve's"
                rf"(?: \(best with all folds: λ = (?P<full>{LAM}), validation {r.name} (?P<value>{NUM}){r.unit}\))?",
                part,
            )
            assert not t.complete
            r.strength(found["at"], t.best_lambda)
            read_lacks(r, found["lacks"], t.best_lambda)
            if found["full"]:
                row = t.row(r.find(found["full"]))
                assert row is not None
                assert row["complete"]
                r.value(found["value"], row["validation"])
                whole = t.strengths.loc[t.strengths["complete"], "validation"].to_numpy(float)
                assert r.metric.cost(row["validation"]) == r.metric.cost(whole).min()


def read_lacks(r: Reader, text: str | None, strength: float) -> None:
    row = r.t.row(strength)
    if text == "was not run":
        assert row is None
        return
    assert row is not None
    found = re.fullmatch(r"(?:has (\d+) of (\d+) folds)?(?: and )?(?:diverged(?: on (\d+) of (\d+))?)?", text or "")
    assert found, text
    assert (found[1] is not None) == (row["folds"] < r.t.record.folds)
    assert ("diverged" in found[0]) == bool(row["diverged"])
    if found[3]:
        assert (int(found[3]), int(found[4])) == (row["diverged"], row["folds"])


@reads("high-end", "low-end")
def read_end(r: Reader, text: str) -> None:
    t = r.t
    found = r.match(
        rf"The best λ lies at the (?P<end>upper|lower) end of the range, (?P<at>{LAM}): (?P<advice>.*)\.", text
    )
    low, high = t.record.range
    r.strength(found["at"], high if r.kind == "high-end" else low)
    assert abs(math.log10(t.best_lambda / (high if r.kind == "high-end" else low))) < 0.26
    advice = found["advice"] or ""
    assert ("--lambda-range" in advice) == (r.case.trained_by == "l2tune")
    if r.case.trained_by == "objective":
        larger = (r.kind == "high-end") != (r.case.parameter[1] == "C")
        assert advice == f"search a wider range, with {'larger' if larger else 'smaller'} {r.case.parameter[0]}"
    else:
        assert ("higher" in advice) == (r.kind == "high-end")


@reads("diverged")
def read_diverged(r: Reader, text: str) -> None:
    found = r.match(
        rf"Training diverged (?:at λ = (?P<one>{LAM})|from λ = (?P<up>{LAM}) up|at (?P<count>\d+) "
        rf"strengths, {span('low')}) "
        r"\((?P<fits>\d+) fits?, counted as worse than all others\): (?P<rest>.*)\.",
        text,
    )
    broken = r.t.strengths[r.t.strengths["diverged"] > 0]
    assert int(found["fits"] or 0) == broken["diverged"].sum()
    low, high = float(broken["lambda"].min()), float(broken["lambda"].max())
    fine = r.t.strengths["lambda"][r.t.strengths["diverged"] == 0]
    if found["one"]:
        r.strength(found["one"], low)
        assert low == high
    elif found["up"]:
        r.strength(found["up"], low)
        assert not (fine > low).any()
    else:
        one_span(r, found, "low", low, high)
        assert int(found["count"] or 0) == len(broken)
    if stronger := re.search(rf"λ = ({LAM}) does not diverge though a weaker one does", text):
        assert r.find(stronger[1]) in fine.tolist()
        assert r.find(stronger[1]) > low
    row = r.t.row(r.t.one_se_lambda)
    among = row is not None and row["diverged"] > 0 and r.t.one_se_lambda > r.t.best_lambda
    assert ("is among them and not to be used" in text) == among
    if "too strong" in text:
        assert low > r.t.best_lambda


@reads("widened")
def read_widened(r: Reader, text: str) -> None:
    found = r.match(
        rf"The range of λ was widened from (?P<a>{LAM})–(?P<b>{LAM}) to (?P<c>{LAM})–(?P<d>{LAM})"
        r"(?:; (?P<outside>.*) lies? outside the range asked for)?\.",
        text,
    )
    assert r.case.widened is not None
    for name, value in zip("abcd", (1e-6, 1.0, *r.case.widened), strict=True):
        r.strength(found[name], value)
    chosen = {"λ_best": r.t.best_lambda, "λ_1se": r.t.one_se_lambda}
    for name, strength in chosen.items():
        outside = not (strength == 0 or math.isnan(strength) or 1e-6 * (1 - 1e-8) <= strength <= 1 + 1e-8)
        assert (name in (found["outside"] or "")) == outside


@reads("underfits-at-zero")
def read_underfits_at_zero(r: Reader, text: str) -> None:
    found = r.match(
        rf"The (?P<who>network|model) still underfits at λ = 0 \(training {r.name} (?P<train>{NUM}), validation "
        rf"(?P<value>{NUM}){r.unit}\): a larger (?:network|model) or longer training will help more than λ\.",
        text,
    )
    row = r.t.row(0.0)
    assert row is not None
    r.value(found["train"], row["train"])
    r.value(found["value"], row["validation"])
    assert r.t.gain is None or not (r.t.gain.is_measurable and r.t.gain.mean > 0)


@reads("overfits-everywhere")
def read_overfits(r: Reader, text: str) -> None:
    found = r.match(
        rf"It overfits at every λ that still learns: even at λ = (?P<at>{LAM}), (?P<share>\d+) % of what "
        rf"training gained "
        "over guessing does not carry over to new data, so more data or augmentation will help more than λ\\.",
        text,
    )
    row = r.t.row(r.find(found["at"] or ""))
    assert row is not None
    assert r.t.guess is not None
    share = row["gap"] / (r.metric.cost(r.t.guess) - r.metric.cost(row["train"]))
    assert float(found["share"] or "") == pytest.approx(100 * share, abs=0.51)
    assert share >= 1 / 3


@reads("metrics-disagree")
def read_disagree(r: Reader, text: str) -> None:
    found = r.match(
        rf"By validation (?:loss|error) another λ is best, (?P<other>{LAM}), (?P<side>stronger|weaker) "
        rf"than (?P<best>{LAM}) by "
        rf"{r.name}: loss also judges how sure the predictions are, (?:error|accuracy) only which class "
        rf"comes first, so "
        r"choose by what you need(?P<flag> \(--metric\)| \(metric=\))?\.",
        text,
    )
    assert r.t.other_best_lambda is not None
    r.strength(found["other"], r.t.other_best_lambda)
    r.strength(found["best"], r.t.best_lambda)
    assert (found["side"] == "stronger") == (r.t.other_best_lambda > r.t.best_lambda)


@reads("reach")
def read_reach(r: Reader, text: str) -> None:
    told = {
        "everything": "2 tensors",
        "weights": "1 tensor, 12 more through the magnitudes of weight_norm",
        "little": "3 tensors",
    }
    assert text == f"λ acts on 59,850 of 60,074 parameters, in {told[r.case.reach]}."


@reads("lambda-max")
def read_lambda_max(r: Reader, text: str) -> None:
    assert r.case.reach == "everything"
    found = re.fullmatch(rf"From λ = (?P<strength>{NUM}).* \(λ_max\) on all penalized weights are zero\.", text)
    assert found is not None
    assert float(found["strength"]) == 5e6


@reads("left-out")
def read_left_out(r: Reader, text: str) -> None:
    assert r.case.reach == "little"
    assert text == (
        "λ leaves out 70 % of the parameters in matrices and kernels: token.weight (40,000, embedding), table (10,000, "
        "embedding) and others. --regularize takes patterns of names."
    )


@reads("normalization")
def read_normalization(r: Reader, text: str) -> None:
    assert r.case.normalization
    assert text.startswith("This network has normalization layers")


@reads("indistinguishable")
def read_indistinguishable(r: Reader, text: str) -> None:
    found = r.match(
        r"Of the strengths with all folds, the paired test cannot tell λ = (?P<alike>.*?)(?: and "
        r"(?P<more>\d+) more)? from "
        r"λ_best at 5 %; with (?P<folds>\d+) folds? that is weak evidence that they are equal\.",
        text,
    )
    alike = [strength for strength in r.t.indistinguishable if strength != r.t.best_lambda]
    shown = (found["alike"] or "").split(", ")
    for told, strength in zip(shown, alike, strict=False):
        r.strength(told, strength)
    assert len(shown) + int(found["more"] or 0) == len(alike)


@reads("selection")
def read_selection(r: Reader, text: str) -> None:
    assert r.t.complete
    assert ("gain" in text) == (r.t.gain is not None)
    assert ("test images" in text) == (r.case.trained_by == "l2tune")


@reads("audit")
def read_audit(r: Reader, text: str) -> None:
    found = r.match(
        r"Audit: of (?P<count>\d+) pruned strengths? finished after all, (?P<wrong>\d+|none) turned out "
        r"better than the best "
        r"that was not pruned\.",
        text,
    )
    whole = r.t.strengths[r.t.strengths["complete"]]
    audited = whole["lambda"].isin(r.case.audited)
    costs = r.metric.cost(whole["validation"].to_numpy(float))
    assert int(found["count"] or 0) == audited.sum()
    wrong = (costs[audited] < costs[~audited].min()).sum()
    assert found["wrong"] == (str(wrong) if wrong else "none")


@reads("failed")
def read_failed(r: Reader, text: str) -> None:
    found = r.match(
        r"(?P<failed>\d+) of (?P<count>\d+) trials failed, at (?P<where>.*?)(?P<more> and elsewhere)?: (?P<why>.*)\.",
        text,
    )
    assert int(found["failed"] or 0) == len(r.case.failed)
    assert int(found["count"] or 0) == len(r.case.failed) + len(r.case.rows)
    named = [float(word) for word in re.findall(r"λ = (\S+?)(?:,| and|$)", found["where"] or "")]
    different = sorted(set(r.case.failed))
    assert named == pytest.approx(different[: len(named)])
    assert bool(found["more"]) == (len(named) < len(different))
    assert found["why"] == f"ValueError: too strong ({r.case.failed[-1]})"


# ---- properties ----

REACHED: Counter[str] = Counter()
QUICK, LONG = 200, 4000
RANDOM = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


@pytest.fixture(scope="session")
def check(build_estimates: Callable[[Case], Estimates]) -> Callable[[Case], list[str]]:
    """All that holds of the findings of any study; returns their kinds."""

    def run(case: Case) -> list[str]:
        t = build_estimates(case)
        found = tuple(findings(t))
        reader = Reader(t, case)
        for finding in found:
            REACHED[finding.kind] += 1
            reader.read(finding)
            check_words(t, case, finding)
        kinds = [finding.kind for finding in found]
        check_together(t, case, found, kinds)
        return kinds

    return run


def check_together(t: Estimates, case: Case, found: tuple[Finding, ...], kinds: list[str]) -> None:
    """What holds of the findings of a study as a whole."""
    for chosen in (t.best_lambda, t.one_se_lambda):
        row = t.row(chosen)
        assert row is None or row["regime"] == ("diverged" if row["diverged"] else "balanced")
    assert len(set(kinds)) == len(kinds)
    for part in ("answer", "shape", "gain"):
        assert sum(finding.part == part for finding in found) <= 1
    assert found[0].part == "answer"
    brief = in_brief(found)
    assert 2 <= len(re.findall(r"\.(?: (?=[A-Zλ])|$)", brief)) <= 5, brief
    assert ("widened" in kinds) == t.record.widened
    assert ("others" in kinds) == bool(case.others)
    for finding in found:
        assert finding.kind != "widened" or (finding.part == "caveat") == ("outside" in finding.text)
    assert "only-baseline" in kinds or ("diverged" in kinds) == (t.curve is not None and t.strengths["diverged"].any())
    if "too-few-folds" in kinds:
        assert t.gain is not None
        assert ("unproven" in kinds) == (t.gain.mean > 0 and t.best_lambda > 0)
    if "underfits-at-zero" in kinds:
        assert not {"worse-below", "bracketed"} & set(kinds)
    as_good = r"the strongest that is as good.*?: (?:about )?(?:\w+ = \S+, )?λ = (\d[\d.]*(?:e-?\d+)?)"
    strongest = re.search(as_good, found[0].text)
    above = re.search(r"[Aa]bove λ ≈ (\S+)", " ".join(finding.text for finding in found if finding.part == "shape"))
    if strongest and above:
        assert float(strongest[1]) <= float(above[1]) * 1.001, "as good, and worse"
    if "flat" in kinds:
        assert not {"high-end", "low-end"} & set(kinds)


def check_words(t: Estimates, case: Case, finding: Finding) -> None:
    """Words that a sentence may not have."""
    text = finding.text
    assert not re.search(r"\b(nan|inf|None|NaN)\b", text), text
    if 0.0 not in t.strengths["lambda"].tolist() and finding.kind != "no-baseline":
        assert not re.search(r"λ [=≈] 0(?![.\d])|\b0 to|without regularization", text), text
    assert t.metric.unit == "nats" or "nats" not in text
    assert t.metric.unit == "%" or "percentage point" not in text
    if case.trained_by != "l2tune":
        assert not re.search(r" --|torch\.optim|learning rate is|learning rate, then|images", text), text
    assert text.endswith(".")
    assert "  " not in text
    assert "()" not in text


@settings(max_examples=QUICK, derandomize=True, **RANDOM)
@given(data=st.data())
def test_every_sentence_says_what_the_estimates_say(
    data: st.DataObject, any_study: st.SearchStrategy[Case], check: Callable[[Case], list[str]]
) -> None:
    check(data.draw(any_study))


@pytest.mark.long
@settings(max_examples=LONG, **RANDOM)
@given(data=st.data())
def test_every_sentence_of_thousands_of_studies(
    data: st.DataObject, any_study: st.SearchStrategy[Case], check: Callable[[Case], list[str]]
) -> None:
    check(data.draw(any_study))


def test_each_kind_of_finding_has_its_study(
    studies_by_kind: dict[str, list[Case]], check: Callable[[Case], list[str]]
) -> None:
    for kind, cases in studies_by_kind.items():
        for case in cases:
            assert kind in check(case), case


def test_every_kind_of_finding_was_reached() -> None:
    """By the tests above: a sentence that no study reaches is not tested."""
    assert set(PARSERS) == set(kinds_in_the_code())
    if REACHED.total() < QUICK:
        pytest.skip("the tests above were not run")
    assert set(PARSERS) - set(REACHED) == set()


def kinds_in_the_code() -> Iterator[str]:
    """The first argument of every `Finding(...)` about one study."""
    modules = Path(l2tune.analysis.__file__).parent.glob("*.py")
    for path in [module for module in modules if module.stem != "comparison_findings"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
                names = [c.value for c in ast.walk(node.args[0]) if isinstance(c, ast.Constant)]
                yield from names or ["bracketed", "worse-below", "worse-above"]
