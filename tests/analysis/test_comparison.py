"""Forms side by side: the table and the pairs against plain recomputation, and sentences that claim no more."""

import math
import re
from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import t as student

from l2tune.analysis.comparison import BASELINE, CHOICES, Comparison, form_title
from l2tune.analysis.comparison_findings import comparison_findings, comparison_verdict
from l2tune.analysis.estimates import Estimates
from l2tune.analysis.wording import percentage
from l2tune.errors import UserError
from l2tune.records.refits import RefitRecord, write_refit
from l2tune.records.tables import read_study

STRENGTHS = (0.0, *map(float, np.geomspace(1e-6, 1, 25)))


def valley(strength, at=1e-3, depth=0.06, level=0.2):
    """Lowest at `at`, by `depth` below λ = 0; nothing is learned from 1 on."""
    if strength >= 1:
        return 2.3
    distance = math.log10(max(strength, 1e-7) / at)
    return level - depth * math.exp(-(distance**2) / 2) + (0.5 * (strength - 0.1) if strength > 0.1 else 0)


def rising(strength):
    return 0.01 + 0.5 * min(strength, 1.0)


@pytest.fixture
def make(make_study):
    """form → Estimates of a study of it, refitted at λ_best and λ_1se."""

    def made(form, *, refit=True, settings=None, **given):
        course = partial(valley, **{k: given.pop(k) for k in ("at", "depth", "level") if k in given})
        asked = {"penalty": form, "lambda_range": (1e-6, 1.0), **(settings or {})}
        study = make_study(course, rising, strengths=given.pop("strengths", STRENGTHS), settings=asked, **given)
        t = Estimates.from_record(read_study(study))
        if refit and t.curve is not None:
            for strength in dict.fromkeys((0.0, t.best_lambda, t.one_se_lambda)):
                zeros = round(1000 * given.get("zeros", lambda s: 0)(strength))
                layers = {"conv1": [100, 0, 10, 0], "fc1": [1000, zeros, 20, zeros // 100]}
                record = RefitRecord(strength, 0, test_loss=course(strength), test_error=0.05, layers=layers)
                write_refit(study, replace(record, parameters=1130, nonzero=1130 - zeros))
            t = Estimates.from_record(read_study(study))
        return t

    return made


def sparse(strength):
    """Share of zeros of a λ."""
    return min(1.0, 0.9 * strength / (strength + 3e-4)) if strength else 0.0


def by_hand(first, second, ratio):
    """(mean of second − first, corrected standard error, p) of paired costs."""
    difference = np.asarray(second) - np.asarray(first)
    k = len(difference)
    error = difference.std(ddof=1) * math.sqrt(1 / k + ratio)
    return difference.mean(), error, 2 * student.sf(abs(difference.mean()) / error, k - 1)


def test_the_table_has_what_each_study_has(make):
    sides = {"l2": make("l2", name="a-l2"), "l1": make("l1", name="a-l1", zeros=sparse)}
    c = Comparison("a", sides)
    table = c.table.set_index("penalty")
    assert list(table.index) == [BASELINE, "l2", "l1"]
    for form, t in sides.items():
        row = table.loc[form]
        assert (row["best_lambda"], row["one_se_lambda"]) == (t.best_lambda, t.one_se_lambda)
        assert (row["low"], row["high"]) == t.interval
        assert row["best_value"] == t.best_value
        assert row["gain"] == t.gain.mean
        assert row["gain_p"] == t.gain.p_value
        assert row["best_zeros"] == pytest.approx(t.row(t.best_lambda)["zero_fraction"])
        assert row["best_test_loss"] == pytest.approx(valley(t.best_lambda))
    zeros = round(1000 * sparse(sides["l1"].best_lambda))
    assert table.loc["l1", "best_nonzero"] == 1130 - zeros
    assert table.loc["l1", "best_kept"] == 1130 - 1000 * (zeros // 100) / 20
    assert table.loc[BASELINE, "best_lambda"] == 0
    assert table.loc["l2", "fits"] == 5 * (len(STRENGTHS) - 1)
    assert table.loc[BASELINE, "fits"] == 5
    ordered = sorted(table.loc[["l2", "l1"], "gain_p"])
    expected = np.minimum(1, np.maximum.accumulate([2 * ordered[0], ordered[1]]))
    assert sorted(table.loc[["l2", "l1"], "gain_holm"]) == pytest.approx(list(expected))


def test_pairs_are_corrected_tests_on_the_same_folds_with_holms_correction(make):
    forms = {"l2": make("l2"), "l1": make("l1", depth=0.03, seed=1), "elastic": make("elastic", depth=0.1, seed=2)}
    c = Comparison("a", forms)
    for choice in CHOICES:
        pairs = c.pairs[c.pairs["choice"] == choice].to_dict("records")
        assert [(row["first"], row["second"]) for row in pairs] == list(combinations(forms, 2))
        for row in pairs:
            costs = [c.of(row[side]).record.observations.by_strength() for side in ("first", "second")]
            own = [cost[row[f"{side}_lambda"]] for cost, side in zip(costs, ("first", "second"), strict=True)]
            mean, error, p = by_hand(*own, 0.25)
            assert (row["difference"], row["standard_error"], row["p"]) == pytest.approx((mean, error, p))
        ordered = sorted(row["p"] for row in pairs)
        corrected = np.minimum(1, np.maximum.accumulate([(3 - place) * p for place, p in enumerate(ordered)]))
        assert sorted(row["holm"] for row in pairs) == pytest.approx(list(corrected))
        for row in pairs:
            better = row["first"] if row["difference"] > 0 else row["second"]
            assert row["better"] == (better if row["holm"] < 0.05 else "")


def test_a_form_that_was_not_run_is_named_and_tested_nowhere(make):
    c = Comparison("a", {"l2": make("l2")}, ("l2", "l1"))
    assert c.missing == ("l1",)
    (best, one_se) = c.pairs.to_dict("records")
    assert best["reason"] == one_se["reason"] == "L1 was not run"
    assert math.isnan(best["p"])
    assert "L1 has not been run yet" in " ".join(finding.text for finding in comparison_findings(c))
    assert "nothing to compare L2 with" in comparison_verdict(c)


def test_a_form_whose_fits_all_diverged_is_told(make):
    c = Comparison("a", {"l2": make("l2"), "l1": make("l1", diverged=lambda s: True)})
    assert any(finding.text == "L1: every fit diverged." for finding in comparison_findings(c))
    assert math.isnan(c.table.set_index("penalty").loc["l1", "best_lambda"])


@pytest.mark.parametrize(
    ("other", "told"),
    [({"folds": 4}, "number of folds"), ({"settings": {"seed": 3}}, "seed"), ({"metric": "error"}, "metric")],
)
def test_folds_that_are_no_pairs_are_refused(make, other, told):
    with pytest.raises(UserError, match=f"cannot be compared by fold: the {told} of l2 is"):
        Comparison("a", {"l2": make("l2"), "l1": make("l1", **other)})


def test_without_any_score_there_is_nothing_to_compare():
    with pytest.raises(UserError, match="comparison 'a': no fold has been scored yet"):
        Comparison("a", {})


def test_sparse_and_as_good_is_recommended_and_sparse_and_worse_is_not(make):
    luck = {"noise": 0.002, "seed": 4}
    good = Comparison("a", {"l2": make("l2", **luck), "l1": make("l1", zeros=sparse, **luck)})
    told = comparison_verdict(good)
    assert re.search(r"L1 is as good as L2 within one standard error .*: take L1 if size matters\.", told)
    bad = Comparison("a", {"l2": make("l2", **luck), "l1": make("l1", zeros=sparse, depth=0.01, **luck)})
    told = comparison_verdict(bad)
    assert "L2 is measurably better than L1" in told
    assert "Zeros cost something here" in told
    assert "take L1" not in told


def test_what_is_only_not_measurably_worse_is_not_called_as_good(make):
    l2 = make("l2", noise=0.002, seed=4)
    forms = {"l2": l2, "l1": make("l1", zeros=sparse, depth=0.04, noise=0.2, seed=5)}
    c = Comparison("a", forms)
    pairs, table = c.pairs.set_index("choice"), c.table.set_index("penalty")
    assert set(pairs["better"]) == {""}
    for choice in CHOICES:  # else this is no case of it
        excess = table.loc["l1", f"{choice}_value"] - table.loc["l2", f"{choice}_value"]
        assert excess > table.loc["l2", f"{choice}_standard_error"]
    told = comparison_verdict(c)
    assert "L1 is not measurably worse than L2" in told
    assert told.count("take L1 if size matters more than such a difference.") == 1


def test_of_forms_with_about_as_many_zeros_the_better_one_is_recommended(make):
    luck = {"noise": 0.002, "seed": 4}
    forms = {
        "l2": make("l2", **luck),
        "l1": make("l1", zeros=sparse, **luck),
        "elastic": make("elastic", zeros=lambda s: min(1.0, 1.02 * sparse(s)), level=0.2001, **luck),
    }
    c = Comparison("a", forms)
    table = c.table.set_index("penalty")
    assert table.loc["elastic", "one_se_zeros"] > table.loc["l1", "one_se_zeros"]
    assert table.loc["elastic", "one_se_value"] > table.loc["l1", "one_se_value"]
    assert "take L1 if size matters." in comparison_verdict(c)


_SPARSE = {
    "sparse-as-good": re.compile(
        r"At λ_\w+ ([\w ]+?) is (?:as good as|not measurably worse than) ([\w ]+?)(?: within one| \()"
    ),
    "sparse-costs": re.compile(r"at λ_\w+ ([\w ]+?) leaves .* worse than ([\w ]+?) by "),
}


@pytest.mark.parametrize("seed", [*range(12), *[pytest.param(n, marks=pytest.mark.long) for n in range(12, 200)]])
def test_no_sentence_claims_more_than_the_tests_show(make, seed):
    c = random_comparison(make, np.random.default_rng(seed), seed)
    table = c.table.set_index("penalty")
    titles = {form_title(form): form for form in c.forms}
    better = list(c.pairs.loc[c.pairs["choice"] == "best", "better"])
    for finding in comparison_findings(c):
        text = finding.text
        assert "nan" not in text
        for one, two in re.findall(r"([\w ]+?) is better than ([\w ]+?) \(", text):
            assert pair_of(c, "best", titles[last_title(one, titles)], titles[two])["holm"] < 0.05
        pairs = c.pairs[c.pairs["choice"] == "best"]
        tested = pairs[pairs["p"].notna()]
        if finding.kind == "none-better":
            assert not any(better)
            low, high = re.search(r"is ([\d.]+) nats \(.*?\) to ([\d.]+) nats", text).groups()
            values = table.loc[list(c.estimates), "best_value"]
            assert (float(low), float(high)) == pytest.approx((values.min(), values.max()), rel=6e-3)
            assert is_p(tested["holm"].min(), text)
            assert (f"of {len(pairs)} pair" if len(tested) == len(pairs) else f"tested of {len(pairs)}") in text
        if finding.kind in ("best-form", "some-better"):
            assert any(better)
            for value, title in re.findall(r"([\d.]+) nats with ([\w ]+?)(?:,| and|\)| at)", text):
                assert float(value) == pytest.approx(table.loc[titles[title], "best_value"], rel=6e-3)
        if finding.kind == "best-form":
            assert len(pairs) - better.count("") >= len(c.forms) - 1
            assert is_p(tested.loc[tested["better"] != "", "holm"].max(), text)
        if finding.kind == "some-better":
            rest = re.search(r"the other (\d+) of (\d+) pairs? cannot", text)
            assert (int(rest.group(1)) if rest else 0) == better.count("")
            lacking = re.search(r"(\d+) of them for lack of folds", text)
            assert (int(lacking.group(1)) if lacking else 0) == len(pairs) - len(tested)
        if finding.kind in _SPARSE:
            choice = "best" if "λ_best" in text else "one_se"
            one, two = (titles[title] for title in _SPARSE[finding.kind].search(text).groups())
            pair = pair_of(c, choice, one, two)
            assert (pair["better"] == two) == (finding.kind == "sparse-costs")
            assert f"leaves {percentage(table.loc[one, f'{choice}_zeros'])} of its weights exactly zero" in text
            if "as good as" in text:
                excess = table.loc[one, f"{choice}_value"] - table.loc[two, f"{choice}_value"]
                assert excess <= pair["standard_error"] * (1 + 1e-9)
                assert excess <= table.loc[two, f"{choice}_standard_error"] * (1 + 1e-9)
        if finding.kind == "zeros":
            for share, title in re.findall(r"([\d.]+) % with (L1|elastic net)", text):
                assert float(share) == pytest.approx(100 * table.loc[titles[title], "one_se_zeros"], rel=0.06)
            none = re.split(r", | and |\.", text.partition("; none with ")[2])
            assert all(table.loc[form, "one_se_zeros"] == 0 for title, form in titles.items() if title in none)
        if finding.kind == "against-zero":
            for verb, sign in (("better", 1), ("worse", -1)):
                clause = re.search(rf"measurably {verb} with (.*?)(?:;|\.$)", text)
                for title in re.findall(r"(?:^|, | and )([A-Za-z][\w ]*?) \(", clause.group(1) if clause else ""):
                    row = table.loc[titles[last_title(title, titles)]]
                    assert row["gain_holm"] < 0.05
                    assert sign * row["gain"] > 0


def is_p(value, text):
    """Whether the one p that a sentence tells is this."""
    (sign, told) = re.search(r"p ([=<]) ([\d.e-]+)", text).groups()
    return value < 0.001 if sign == "<" else float(told) == pytest.approx(value, rel=0.06)


def random_comparison(make, rng, seed):
    """Two to four forms, in any order; of some, folds are missing."""
    sides = {}
    for place, form in enumerate(rng.permutation(["l2", "l2-decoupled", "l1", "elastic"])[: int(rng.integers(2, 5))]):
        given = {
            "noise": float(rng.choice([0.002, 0.02, 0.1])),
            "at": float(10 ** rng.uniform(-4, -1)),
            "depth": float(rng.choice([0.0, 0.02, 0.06, 0.1])),
            "seed": seed if rng.random() < 0.7 else seed + 100 + place,
        }
        if form in ("l1", "elastic"):
            given["zeros"] = sparse
        if rng.random() < 0.2:
            given["fold_limit"] = lambda strength: 5 if strength in (0.0, STRENGTHS[13]) else 2
        sides[str(form)] = make(str(form), **given)
    return Comparison("a", sides)


def last_title(text, titles):
    """The form's title that a piece of a sentence ends with."""
    return max((title for title in titles if text.lower().endswith(title.lower())), key=len)


def pair_of(c, choice, one, two):
    rows = c.pairs[c.pairs["choice"] == choice].to_dict("records")
    return next(row for row in rows if {row["first"], row["second"]} == {one, two})


def test_only_lambda_zero_has_been_run(make):
    sides = {form: make(form, strengths=(0.0,), refit=False) for form in ("l2", "l1")}
    assert comparison_verdict(Comparison("a", sides)).startswith("No form can be named yet")
