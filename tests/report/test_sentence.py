"""The result for a paper: right for every kind of study, and safe to paste."""

import math
from collections.abc import Callable, Mapping

import optuna
import pytest

import l2tune
from l2tune import Metric, Tradeoff, UserError
from l2tune.analysis.wording import amount
from l2tune.penalty.strength import format_lambda
from l2tune.report.sentence import sentence_file

MakeStudy = Callable[..., optuna.Study]
TEST = "corrected resampled t-test of Nadeau and Bengio (2003) over"


@pytest.fixture(scope="module")
def tradeoff(make_valley: MakeStudy) -> Tradeoff:
    return Tradeoff.from_study(make_valley())


def test_it_has_all_that_a_paper_needs(tradeoff: Tradeoff) -> None:
    t, text = tradeoff, tradeoff.sentence()
    low, high = t.interval
    for part in (
        "The strength λ of the L2 penalty (weight decay 2λ, λ Σ w² in the objective) was chosen by 5-fold",
        "validation loss (mean cross-entropy)",
        f"l2tune {t.record.versions.get('l2tune', l2tune.__version__)} (60 fits at 12 values of λ, seed 0)",
        f"The best is λ = {format_lambda(t.best_lambda)}, a weight decay of {format_lambda(2 * t.best_lambda)} (95 %",
        f"interval λ = {format_lambda(low)} to {format_lambda(high)}): validation loss ",
        f"validation loss {amount(t.best_value, t.metric, unit=False)} ± ",
        "nats (mean ± one standard error over 5 folds)",
        f"{TEST} 5 folds, p",
        "within one standard error of the best",
    ):
        assert part in text, part
    assert t.gain is not None
    assert amount(t.gain.interval[0], t.metric, unit=False) in text
    assert "\n" not in text


@pytest.mark.parametrize("name", ["accuracy", "error", "psnr", "regret", "loss"])
def test_more_is_better_where_it_is(make_own: MakeStudy, metrics: Mapping[str, Metric], name: str) -> None:
    t = Tradeoff.from_study(make_own(metrics[name]))
    text = t.sentence()
    assert (f"validation {name} (higher is better)" in text) == metrics[name].maximize
    assert (f"raises validation {name}" in text) == metrics[name].maximize
    assert (f"lowers validation {name}" in text) != metrics[name].maximize
    assert ("percentage points" in text) == (metrics[name].unit == "%")
    value = amount(t.best_value, t.metric, unit=False)
    assert f"validation {name} {value} ± " in text
    assert "The regularization strength λ was chosen" in text, "nothing is known of a function's penalty"


@pytest.mark.parametrize(
    ("scale", "relation"), [("C", "C = 1/λ"), ("weight_decay", "reg_% = 2λ"), ("alpha", "alpha = λ")]
)
def test_the_study_s_own_number_stands_beside_lambda(make_own: MakeStudy, scale: str, relation: str) -> None:
    name = relation.partition(" = ")[0]
    t = Tradeoff.from_study(make_own("loss", parameter=name, scale=scale))
    text = t.sentence()
    assert f"here {relation}, was chosen" in text
    assert f"The best is {name} = " in text
    assert "a weight decay of" not in text, "alpha and C are on scales of their own"
    assert f"{name.replace('%', chr(92) + '%').replace('_', chr(92) + '_')} = " in t.sentence("tex")


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("l1", "the L1 penalty (λ Σ |w|)"),
        ("elastic", "the elastic net penalty (λ (0.5 Σ |w| + 0.5 Σ w²))"),
        ("l2-decoupled", "the decoupled L2 penalty (weight decay 2λ, apart from the gradient)"),
    ],
)
def test_each_form_of_the_penalty(make_valley: MakeStudy, form: str, said: str) -> None:
    text = Tradeoff.from_study(make_valley(settings={"penalty": form, "lambda_range": (1e-6, 1.0)})).sentence()
    assert said in text
    assert ("weight decay" in text) == (form == "l2-decoupled")


def test_what_is_not_proven_is_not_claimed(make_objective: MakeStudy, make_valley: MakeStudy) -> None:
    def flat(strength: float, fold: int) -> float:
        return 0.2 + 0.02 * math.sin(1e7 * strength + 3 * fold)

    text = Tradeoff.from_study(make_objective(score=flat, baseline=True)).sentence()
    assert "no measurable difference" in text
    assert "lowers" not in text
    text = Tradeoff.from_study(make_objective()).sentence()
    assert "λ = 0 was not run, so whether regularization helps at all is not known" in text
    assert "t-test" not in text
    harmful = Tradeoff.from_study(make_objective(score=lambda s, f: 0.1 + s + 0.01 * f, baseline=True)).sentence()
    assert "is better than λ = 0 by the fitted curve" in harmful
    assert "Regularization harms here" in harmful


def test_a_search_that_is_not_complete_says_so(make_valley: MakeStudy) -> None:
    text = Tradeoff.from_study(make_valley(fold_limit=lambda s: 2 if s > 0 else 5)).sentence()
    assert "The search is not complete" in text
    assert "by the fitted curve" in text


@pytest.mark.parametrize(
    ("given", "said"),
    [({"diverged": lambda s: True}, "Every fit diverged"), ({"strengths": (0.0,)}, "Only λ = 0 has been run so far")],
)
def test_without_a_best_none_is_named(make_study: MakeStudy, given: dict[str, object], said: str) -> None:
    t = Tradeoff.from_study(make_study(lambda s: 0.2, lambda s: 0.1, **given))
    assert said in t.sentence()
    assert "The best is" not in t.sentence()
    assert "nan" not in t.sentence()
    assert b"@article" not in sentence_file(t, "tex"), "what is not cited"


def test_latex_cites_and_brings_the_entry(tradeoff: Tradeoff) -> None:
    first, *rest = sentence_file(tradeoff, "tex").decode().splitlines()
    assert r"corrected resampled $t$-test~\cite{nadeau2003inference} over 5 folds" in first
    entry = [line for line in rest if line]
    assert all(line.startswith("% ") for line in entry)
    assert entry[0] == "% @article{nadeau2003inference,"
    assert "×" in sentence_file(tradeoff, "md").decode()


def test_an_unknown_format(tradeoff: Tradeoff) -> None:
    with pytest.raises(UserError, match="'pdf' is no format; give one of text, md, tex"):
        tradeoff.sentence("pdf")  # type: ignore[arg-type]
