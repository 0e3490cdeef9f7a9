"""Forms side by side: the table and the pairs against plain recomputation, and sentences that claim no more."""

import math
import re
from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import t as student

from l2tune.analysis.comparison import BASELINE, CHOICES, Comparison
from l2tune.analysis.comparison_findings import comparison_findings, comparison_verdict
from l2tune.analysis.estimates import Estimates
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


def test_only_lambda_zero_has_been_run(make):
    sides = {form: make(form, strengths=(0.0,), refit=False) for form in ("l2", "l1")}
    assert comparison_verdict(Comparison("a", sides)).startswith("No form can be named yet")


def test_where_a_fold_diverged_no_form_is_compared(make):
    folds = iter([False, False, True, False, False])

    def one_fold(strength):  # is asked once for each fold, then once more
        return strength == STRENGTHS[12] and next(folds, False)

    l2, whole = make("l2", depth=0.02, noise=0.0002), make("l1", depth=0.1, noise=0.0002)
    assert set(Comparison("a", {"l2": l2, "l1": whole}).pairs["better"]) == {"l1"}
    broken = make("l1", depth=0.1, noise=0.0002, diverged=one_fold)
    broken = replace(broken, best_lambda=STRENGTHS[12])  # as where nothing else was run
    c = Comparison("a", {"l2": l2, "l1": broken})
    row = c.pairs.to_dict("records")[0]
    assert math.isnan(row["p"])
    assert row["reason"] == "L1 diverged on 1 of 5"
    assert row["better"] == ""
    told = {finding.kind: finding.text for finding in comparison_findings(c)}
    assert "not-compared" in told
    assert "not to be tested for lack of folds that did not diverge with L1" in told["against-zero"]


def test_a_form_that_lacks_folds_is_told_apart_on_those_it_has(make):
    short = make("l1", level=0.3, noise=0.0002, fold_limit=lambda strength: 3 if strength else 5)
    c = Comparison("a", {"l2": make("l2", noise=0.0002), "l1": short})
    row = c.pairs.to_dict("records")[0]
    assert (row["folds"], row["better"]) == (3, "l2")
    told = next(comparison_findings(c))
    assert told.kind == "some-better"
    assert f"L2 is better than L1 (by {row['difference']:.3g} nats on 3 of 5 folds, " in told.text
    assert re.search(r"0\.\d+ nats with L2 and about 0\.\d+ nats with L1; p after Holm's correction", told.text)


def test_one_test_is_not_called_each_and_less_than_a_thousandth_is_not_or_less(make):
    luck = {"noise": 0.0002, "seed": 4}
    two = {"l2": make("l2", depth=0.1, **luck), "l1": make("l1", depth=0.02, **luck)}
    assert re.search(
        r"at their best λ \(p < 0\.001 after Holm's correction\)", comparison_verdict(Comparison("a", two))
    )
    three = two | {"elastic": make("elastic", depth=0.04, **luck)}
    told = comparison_verdict(Comparison("a", three))
    assert "L2 is better than L1 (p < 0.001)" in told or "(each p < 0.001 after Holm's correction)" in told
    assert "or less" not in told


def test_l1_that_is_too_weak_for_zeros_is_not_said_to_make_weights_small_only(make):
    told = {f.kind: f.text for f in comparison_findings(Comparison("a", {"l2": make("l2"), "l1": make("l1")}))}
    assert told["no-zeros"] == "No weight is exactly zero at λ_1se with L2 and L1."
    told = {f.kind: f.text for f in comparison_findings(Comparison("a", {"l2": make("l2")}))}
    assert told["no-zeros"] == "No weight is exactly zero at λ_1se with L2: it makes weights small only."


def test_a_form_of_which_only_lambda_zero_did_not_diverge_has_no_best(make):
    c = Comparison("a", {"l2": make("l2"), "l1": make("l1", diverged=lambda s: s > 0)})
    assert math.isnan(c.strength("l1", "best"))
    texts = [finding.text for finding in comparison_findings(c)]
    assert "L1: every fit above λ = 0 diverged." in texts
    assert "nothing to compare L2 with" in texts[0]


def test_a_form_that_is_measurably_worse_than_one_that_lacks_folds_is_not_recommended_for_its_zeros(make):
    luck = {"noise": 0.0002, "seed": 4}
    best = make("l2-loss", depth=0.1, fold_limit=lambda strength: 4 if strength else 5, **luck)
    c = Comparison("a", {"l2-loss": best, "l2": make("l2", **luck), "l1": make("l1", zeros=sparse, **luck)})
    pairs = c.pairs[c.pairs["choice"] == "best"].set_index(["first", "second"])
    assert pairs.loc[("l2-loss", "l1"), "better"] == "l2-loss"
    assert "take L1 if size matters" not in comparison_verdict(c)


def test_other_data_are_refused(make):
    other = make("l1")
    record = replace(other.record, data={**other.record.data, "fingerprint": "abc"})
    with pytest.raises(UserError, match="cannot be compared by fold: the data of l2 is"):
        Comparison("a", {"l2": make("l2"), "l1": replace(other, record=record)})


def test_dead_units_and_what_is_kept_are_counted(make):
    t = make("l1", zeros=sparse)
    c = Comparison("a", {"l2": make("l2"), "l1": t})
    rows = c.table.set_index("penalty")
    for choice in CHOICES:
        share = sparse(c.strength("l1", choice))
        assert rows.loc["l1", f"{choice}_units"] == 30
        assert rows.loc["l1", f"{choice}_dead_units"] == int(10 * share)
        dead = round(1000 * share) // 100
        assert rows.loc["l1", f"{choice}_kept"] == 1130 - 1000 * dead / 20
        assert rows.loc["l2", f"{choice}_kept"] == 1130
        assert rows.loc["l2", f"{choice}_dead_units"] == 0
