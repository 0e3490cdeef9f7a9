"""What `report.html`, the terminal and the dashboard's notes say of studies of every kind."""

import json
import re
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from optuna_dashboard import get_note

from l2tune.commands.results import print_verdict
from l2tune.metrics import Metric
from l2tune.objectives.pareto import TradeoffObjective
from l2tune.optuna_internals import note_handle
from l2tune.report.dashboard import publish
from l2tune.report.html import render as render_html
from l2tune.report.tables import results_json, trials_csv
from l2tune.report.terminal import render as render_terminal
from l2tune.tradeoff import Tradeoff

MakeStudy = Callable[..., optuna.Study]
HOSTILE = "<script>alert(1)</script><b>\"'&amp; [x](http://y) \x1b[31m %{y} `|` \u202e"


def shown(page: str) -> str:
    """The page without its scripts and styles, and without the marks around numbers."""
    page = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r'<span class="whole">(.*?)</span>', r"\1", page)


def beside_the_verdict(page: str) -> str:
    """What this part says itself: findings have their own tests."""
    findings = r'<p class="note verdict">.*?</p>|<dl class="findings">.*?</dl>'
    return re.sub(findings, "", shown(page), flags=re.DOTALL)


def table_of(page: str, title: str) -> str:
    """The table below this heading."""
    return page.partition(f"<h3>{title}</h3>")[2].partition("</table>")[0]


def heads(page: str, title: str) -> list[str]:
    """Of the table's columns below this heading."""
    return re.findall(r"<th [^>]*><button[^>]*>(.*?)</button></th>", table_of(page, title))


def rows(page: str, title: str) -> list[list[str]]:
    body = table_of(page, title).partition("<tbody>")[2]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", body)]


def value(page: str) -> str:
    """What the first screen says to use: `C=12.6`."""
    return "".join(re.findall(r'<p class="value.*?"><span>(.*?)</span><b>(.*?)</b></p>', page)[0])


def facts(page: str) -> dict[str, tuple[str, str]]:
    """What stands beside it: title → number, what is told of it."""
    found = re.findall(r"<dt>(.*?)</dt><dd><b>(.*?)</b>(?:<span>(.*?)</span>)?</dd>", shown(page))
    return {title: (number, text) for title, number, text in found}


def everything(study: optuna.Study, t: Tradeoff) -> list[str]:
    """All texts that are made of a study."""
    publish(study, t)
    notes = [value for key, value in study._storage.get_study_system_attrs(study._study_id).items() if "note" in key]
    return [
        render_html(t),
        results_json(t).decode(),
        trials_csv(t).decode(),
        render_terminal(t, 80, ascii_only=False),
        render_terminal(t, 30, ascii_only=True),
        *map(str, notes),
    ]


@pytest.mark.parametrize("name", ["loss", "error", "accuracy", "mse", "r2", "auc", "nll", "f1", "psnr", "regret"])
def test_a_function_s_page_says_nothing_that_is_not_so(
    name: str, make_own: MakeStudy, metrics: dict[str, Metric]
) -> None:
    metric = metrics[name]
    page = beside_the_verdict(render_html(Tradeoff.from_study(make_own(metric, name="mine"))))
    assert ("nats" in page) == (metric.unit == "nats")
    for word in ("torch.optim.SGD", "simple_cnn", "digits", "l2tune search", "epochs"):
        assert word not in page, word
    assert ("higher is better" in page) == metric.maximize
    title = f"validation {'cross-entropy' if name == 'loss' else 'error rate' if name == 'error' else name}"
    unit = f" ({metric.unit})" if metric.unit else ""
    gap = " (percentage points)" if metric.unit == "%" else unit
    own = [title + unit, "± SE", f"training{unit}", "± SE", f"gap{gap}", "± SE"]
    assert heads(page, "Every λ")[:9] == ["λ", "weight decay", "folds of 3", *own]
    assert ("percentage points" in page) == (metric.unit == "%")


def test_a_function_that_says_nothing_of_its_number_has_no_unit(make_own: MakeStudy) -> None:
    page = beside_the_verdict(render_html(Tradeoff.from_study(make_own())))
    assert "cross-entropy" not in page
    assert "nats" not in page


def test_scores_that_are_not_known_have_no_column_and_all_others_one(make_own: MakeStudy) -> None:
    def extra(strength: float) -> dict[str, float]:
        return {"macro_f1": 0.5, "train_macro_f1": 0.75, "test_mse": 3.25}

    page = render_html(Tradeoff.from_study(make_own("mse", training=False, extra=extra)))
    own = ["λ", "weight decay", "folds of 3", "validation mse", "± SE", "regime"]
    assert heads(page, "Every λ") == [*own, "validation macro_f1", "training macro_f1", "test mse"]
    assert {tuple(row[-3:]) for row in rows(page, "Every λ")} == {("0.500", "0.750", "3.25")}
    assert "<h3>Overfitting and underfitting</h3>" not in page
    assert "training below" not in shown(page)


def test_values_that_differ_are_written_differently(make_own: MakeStudy) -> None:
    study = make_own("mse", strengths=(0.0, 1e-3, 1.001e-3), extra=lambda s: {"val_mse": 0.5 + s * 1e-3})
    table = rows(render_html(Tradeoff.from_study(study)), "Every λ")
    assert len({row[0] for row in table}) == 3
    assert len({row[3] for row in table}) == 3


@pytest.mark.parametrize(
    ("parameter", "head", "at_zero", "at_last"),
    [
        ("lambda", "weight decay", "0", "2.00e0"),
        ("wd", "wd", "0", "2.00e0"),
        ("alpha", "alpha", "0", "1.00"),
        ("C", "C", "∞", "1.00"),
    ],
)
def test_the_study_s_own_number_stands_beside_the_strength(
    parameter: str, head: str, at_zero: str, at_last: str, make_own: MakeStudy
) -> None:
    t = Tradeoff.from_study(make_own("mse", parameter=parameter))
    page = render_html(t)
    for title in ("Every λ", "Fold by fold"):
        assert heads(page, title)[:2] == ["λ", head]
        table = rows(page, title)
        assert (table[0][:2], table[-1][:2]) == (["0", at_zero], ["1.00e0", at_last])
    assert heads(page, "Every trial")[:3] == ["trial", "λ", head]
    assert value(page).startswith(f"{parameter}=")
    if parameter == "C":
        low, high = (float(end) for end in facts(page)["95 % credible interval"][0].split(" to "))
        assert low < high


def test_a_best_strength_of_zero_is_an_infinite_c(make_own: MakeStudy) -> None:
    study = make_own("mse", parameter="C", extra=lambda s: {"val_mse": 1 + 100 * s})
    page = render_html(Tradeoff.from_study(study))
    assert value(page) == "C=∞"
    assert "Use no penalty" in page
    assert "data-code" not in page.partition("<script>")[0], "nothing to paste"


def test_other_parameters_are_told_and_tabled(make_own: MakeStudy) -> None:
    lrs = iter([0.1, 0.01, 0.1, 0.1])
    study = make_own(
        "mse", strengths=(0.0, 1.0, 1e-3, 1e-2), others=lambda trial: trial.suggest_float("lr", *[next(lrs)] * 2)
    )
    page = shown(render_html(Tradeoff.from_study(study)))
    assert "The study drew other parameters, too; all that is told here holds at lr = 0.1." in page
    column = heads(page, "Every trial").index("lr")
    table = rows(page, "Every trial")
    assert [row[column] for row in table] == ["0.1", "0.01", "0.1", "0.1"]
    spent = heads(page, "Every trial").index("fits spent")
    assert [row[spent] for row in table] == ["3", "–", "3", "3"], "fits at other values are not in the tables"
    assert "9 fits in" in page
    assert "would take 9." in page
    assert "other parameters, too" not in render_html(Tradeoff.from_study(make_own("mse", strengths=(0.0, 1e-3))))


def test_a_trial_at_other_parameters_is_not_marked_as_the_best(make_own: MakeStudy) -> None:
    lrs = iter([0.1, 0.1, 0.1, 0.01, 0.1])
    study = make_own(
        "mse", strengths=(0.0, 1e-4, 1e-3, 1e-3, 1e-1), others=lambda trial: trial.suggest_float("lr", *[next(lrs)] * 2)
    )
    t = Tradeoff.from_study(study)
    assert (t.best_lambda, t.record.others) == (1e-3, {"lr": 0.1})
    publish(study, t)
    assert "best λ" in note_of(study, 2)
    assert "best λ" not in note_of(study, 3)


def note_of(study: optuna.Study, number: int) -> str:
    return str(get_note(note_handle(study, study.trials[number])))


def test_a_widened_range_is_told(make_valley: MakeStudy) -> None:
    page = shown(render_html(Tradeoff.from_study(make_valley(drawn=(1e-6, 1e2)))))
    assert "The range was widened from λ = 1.00e-6 to 1.00e0 to λ = 1.00e-6 to 1.00e2." in page
    assert "The range was widened" not in shown(render_html(Tradeoff.from_study(make_valley())))


def test_what_only_the_curve_tells_of_is_said_to_be_so(make_own: MakeStudy) -> None:
    study = make_own("mse")
    t = Tradeoff.from_study(study)
    assert t.row(t.one_se_lambda) is None, "so that this tests something"
    found = facts(render_html(t))
    assert [title for title, (_, text) in found.items() if "by the curve, not run" in text] == [
        "Strongest penalty as good"
    ]
    publish(study, t)
    last = get_note(study).splitlines()[-3]  # the signature stands below
    assert last.startswith("| one-SE |")
    assert last.endswith("| by the curve |")


@pytest.mark.parametrize("drawn", ["only the baseline", "no baseline", "one strength", "all diverged", "one fold"])
def test_little_is_known_and_nothing_else_is_said(drawn: str, make_valley: MakeStudy) -> None:
    study = {
        "only the baseline": lambda: make_valley(strengths=(0.0,)),
        "no baseline": lambda: make_valley(strengths=(1e-3, 1e-2)),
        "one strength": lambda: make_valley(strengths=(1e-3,)),
        "all diverged": lambda: make_valley(diverged=lambda s: True),
        "one fold": lambda: make_valley(fold_limit=lambda s: 1),
    }[drawn]()
    t = Tradeoff.from_study(study)
    everything(study, t)
    page = beside_the_verdict(render_html(t))
    numbers = "95 % credible interval" in facts(page)
    assert numbers == (drawn not in ("only the baseline", "all diverged"))
    assert ('<p class="value' in page) == numbers
    assert ('id="tradeoff"' in page) == numbers
    assert ("│" in render_terminal(t, 80)) == numbers
    if drawn in ("no baseline", "one strength"):
        assert facts(page)["Gain over λ = 0"] == (
            "not known",
            "λ = 0 was not run, so whether regularization helps at all is not known.",
        )
        assert "Grey: λ = 0" not in page
    if drawn == "only the baseline":
        assert "| best |" not in get_note(study)
    if drawn == "all diverged":
        assert {cell for row in rows(page, "Fold by fold") for cell in row[2:]} == {"diverged"}


def test_a_study_of_schema_1_is_read(make_valley: MakeStudy) -> None:
    new = make_valley(metric="error")
    old = optuna.create_study(study_name="old")
    for key, value in new.user_attrs.items():
        if key not in ("l2tune:metric", "l2tune:parameter"):
            old.set_user_attr(key, 1 if key == "l2tune:schema" else value)
    left_out = ("scores", "truncated", "near_zero_fraction", "input_gradient_norm")
    for trial in new.trials:
        for key, value in trial.user_attrs.items():
            if key.startswith("l2tune:fold:"):
                trial.user_attrs[key] = {name: part for name, part in value.items() if name not in left_out}
        old.add_trial(trial)
    t = Tradeoff.from_study(old)
    page = everything(old, t)[0]
    assert heads(page, "Every λ")[3] == "validation error rate (%)"
    assert json.loads(results_json(t))["metric"] == "error"


def test_a_password_is_shown_nowhere(make_valley: MakeStudy) -> None:
    study = make_valley()
    settings = dict(study.user_attrs["l2tune:settings"]) | {"storage": "postgresql://bob:secret@host/db"}
    study.set_user_attr("l2tune:settings", settings)
    t = Tradeoff.from_study(study)
    texts = everything(study, t)
    texts[0] = shown(texts[0])  # plotly's own script knows such words
    assert not [text for text in texts if "secret" in text]
    assert "bob@host/db" in texts[0]
    assert "bob@host/db" in texts[1]


def test_hostile_names_are_shown_as_they_are(make_own: MakeStudy) -> None:
    metric = Metric("<script>alert(2)</script>[x](http://y)`|%{y}", maximize=True)
    study = make_own(
        metric,
        name=HOSTILE,
        parameter=HOSTILE,
        function=HOSTILE,
        strengths=(0.0, 1e-3, 1e-2),
        extra=lambda s: {HOSTILE: 1.0},
        others=lambda trial: trial.suggest_categorical(f"2{HOSTILE}", [HOSTILE]) and None,
    )
    t = Tradeoff.from_study(study)
    page, numbers, table, *texts = everything(study, t)
    assert "alert(1)</script>" not in page
    assert "alert(2)</script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    found = json.loads(numbers)
    assert (found["study"], found["metric"], found["others"]) == (HOSTILE, metric.name, {f"2{HOSTILE}": HOSTILE})
    assert HOSTILE in table.replace('""', '"')
    for text in (shown(page), get_note(study)):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", text)
    note = get_note(study)
    assert not re.search(r"(?<!\\)<(?! )", note)
    assert not re.search(r"(?<!\\)\[x", note)
    assert len(texts) >= 3


def test_halves_of_characters_do_no_harm(make_valley: MakeStudy) -> None:
    study = make_valley(name="half \udc80")
    t = Tradeoff.from_study(study)
    assert json.loads(results_json(t))["study"] == "half \udc80"
    render_html(t).encode()


def test_the_terminal_draws_more_higher(make_own: MakeStudy, metrics: dict[str, Metric]) -> None:
    for name, low in (("mse", True), ("accuracy", False)):
        drawn = render_terminal(Tradeoff.from_study(make_own(metrics[name])), 80, ascii_only=True)
        lines = [line for line in drawn.splitlines() if " |" in line]
        [place] = [place for place, line in enumerate(lines) if "*" in line]
        assert (place > 4) == low
        top, bottom = (float(line.partition("|")[0]) for line in (lines[0], lines[-1]))
        assert top > bottom
        assert ("higher is better" in drawn) == (not low)


def test_the_terminal_is_not_steered(make_own: MakeStudy, capsys: pytest.CaptureFixture[str]) -> None:
    study = make_own("mse", parameter="\x1b[31mC", scale="C", strengths=(0.0, 1e-3, 1e-2))
    print_verdict(Tradeoff.from_study(study))
    assert "\x1b" not in capsys.readouterr().out


def test_publishing_does_not_change_what_an_own_study_is_called(make_objective: MakeStudy) -> None:
    study = make_objective(direction="maximize", score=lambda s, f: -s - f)
    before = Tradeoff.from_study(study).metric
    publish(study, Tradeoff.from_study(study))
    assert Tradeoff.from_study(study).metric == before


def test_diverged_trials_have_no_invented_mean(make_valley: MakeStudy) -> None:
    page = render_html(Tradeoff.from_study(make_valley(diverged=lambda s: s > 0.05)))
    last = [row[-1] for row in rows(page, "Every trial")]
    assert last[-2:] == ["diverged", "diverged"]
    assert "9" not in last


def test_a_study_of_two_objectives_has_a_page_too() -> None:
    def fit(strength: float, fold: int, seed: int) -> dict[str, float]:
        train = 0.01 + 2 * strength
        return {"train_loss": train, "val_loss": train + 0.3 / (1 + 1e3 * strength) + 0.01 * fold}

    study = optuna.create_study(directions=["minimize", "minimize"])
    study.optimize(TradeoffObjective(fit=fit, folds=3), n_trials=4)
    t = Tradeoff.from_study(study)
    page = everything(study, t)[0]
    assert "mean validation loss" not in heads(page, "Every trial")
    assert study.metric_names == ["underfit: training loss", "overfit: validation − training loss"]


def test_a_study_with_no_metric_of_its_own_takes_the_one_that_is_named() -> None:
    study = optuna.create_study(direction="maximize")
    for number, strength in enumerate((1e-3, 1e-2, 1e-1)):
        values: dict[int, float] = {fold: 0.5 + 0.1 * number - 0.01 * fold for fold in range(3)}
        attrs: dict[str, Any] = {"params": {"lambda": strength}}
        attrs["distributions"] = {"lambda": FloatDistribution(1e-6, 1, log=True)}
        study.add_trial(create_trial(state=TrialState.COMPLETE, value=values[0], intermediate_values=values, **attrs))
    page = render_html(Tradeoff.from_study(study, metric="auc"))
    assert heads(page, "Every λ")[3] == "validation auc"
