"""Captions: the numbers are the study's, and what is not known is not said."""

from collections.abc import Callable

import optuna
import pytest

from l2tune.analysis.wording import amounts
from l2tune.metrics import Metric
from l2tune.penalty.strength import format_lambda
from l2tune.report.captions import CAPTIONS
from l2tune.report.figures import FIGURES
from l2tune.tradeoff import Tradeoff

MakeStudy = Callable[..., optuna.Study]


def captions(study: optuna.Study) -> dict[str, str]:
    t = Tradeoff.from_study(study)
    return {name: caption(t) for name, caption in CAPTIONS.items()}


def test_every_figure_has_a_caption() -> None:
    assert list(CAPTIONS) == list(FIGURES)


def test_captions_have_the_study_s_numbers(make_valley: MakeStudy) -> None:
    study = make_valley()
    t, said = Tradeoff.from_study(study), captions(study)
    base, best = t.row(0.0), t.row(t.best_lambda)
    assert base is not None
    assert best is not None
    before, after = amounts([base["validation"], best["validation"]], t.metric)
    at = f"the best λ ({format_lambda(t.best_lambda)})"
    assert said["tradeoff"].startswith(f"Validation cross-entropy is {before} nats at λ = 0 and {after} nats at {at};")
    low, high = (format_lambda(end) for end in t.band)
    assert said["tradeoff"].endswith(f"within one standard error of the best from λ = {low} to {high}.")
    worst = t.strengths.iloc[-1]
    first, second, third = amounts([base["gap"], best["gap"], worst["excess"]], t.metric)
    assert said["gap"] == (
        f"Validation is {first} nats worse than training at λ = 0 and {second} nats worse at {at}; at λ = 1.00e0, the "
        f"strongest that was run, training itself is {third} nats worse than where it is best."
    )
    assert said["bias_variance"].startswith(f"From λ = 0 to {at}, bias falls from ")
    assert said["weights"].startswith(f"From λ = 0 to {at}, ‖w‖² falls from ")
    assert said["network"].startswith(f"From λ = 0 to {at}, the input gradient falls from ")
    assert "weights exactly zero" not in said["network"], "there are none"
    assert said["learning"].startswith("After 4 epochs validation cross-entropy is ")
    assert not any("expected" in text for name, text in said.items()), "all folds are done"


def test_a_flat_curve_is_good_everywhere_and_a_rising_one_up_to_somewhere(make_study: MakeStudy) -> None:
    strengths = (0.0, 1e-6, 1e-4, 1e-3, 1e-2, 1.0)
    flat = captions(make_study(lambda s: 0.1, lambda s: 0.01, strengths=strengths))["tradeoff"]
    assert flat.endswith("within one standard error of the best over the whole range.")
    rising = captions(make_study(lambda s: 0.1 + s, lambda s: 0.01 + s))["tradeoff"]
    assert "of the best up to λ = " in rising


def test_more_is_better_where_it_is(make_own: MakeStudy) -> None:
    study = make_own(Metric("psnr", maximize=True, kind="positive", unit="dB"))
    t, said = Tradeoff.from_study(study), captions(study)
    base = t.row(0.0)
    assert base is not None
    assert base["validation"] < t.best_value
    assert said["tradeoff"].startswith(f"Validation psnr is {amounts([base['validation']], t.metric)[0]} dB at λ = 0")
    assert "dB worse than training at λ = 0" in said["gap"]


def test_percentages_differ_by_percentage_points(make_valley: MakeStudy) -> None:
    said = captions(make_valley(metric="error"))
    assert " % at λ = 0 and " in said["tradeoff"]
    assert "percentage points worse than training at λ = 0" in said["gap"]


def test_what_was_not_run_is_not_said(make_valley: MakeStudy, make_own: MakeStudy, make_objective: MakeStudy) -> None:
    assert "λ = 0" not in " ".join(captions(make_valley(strengths=(1e-4, 1e-3, 1e-2))).values())
    without = captions(make_own("mse", training=False))
    assert without["gap"] == without["weights"] == without["network"] == without["learning"] == ""
    assert captions(make_objective())["gap"] == ""
    for study in (make_valley(strengths=(0.0,)), make_valley(diverged=lambda s: True)):
        said = captions(study)
        assert said["tradeoff"] == said["gap"] == ""


def test_fits_that_diverged_are_counted(make_valley: MakeStudy) -> None:
    assert captions(make_valley(diverged=lambda s: s >= 0.1))["tradeoff"].endswith("Of 12 λ, 2 had fits that diverged.")


def test_expected_numbers_are_called_so(make_valley: MakeStudy) -> None:
    said = captions(make_valley(fold_limit=lambda s: 2 if s > 0.01 else 5))
    assert "training itself is about " in said["gap"]
    one = captions(make_valley(strengths=(0.0, 1e-3), fold_limit=lambda s: 2 if s else 5))
    assert "by the curve" in one["tradeoff"]
    assert one["weights"].endswith("(expected: not all folds are done).")


@pytest.mark.parametrize("folds", [1, 3])
def test_every_caption_is_one_line_of_numbers_that_are_numbers(folds: int, make_own: MakeStudy) -> None:
    for text in captions(make_own(Metric("a b <i>"), folds=folds)).values():
        assert "\n" not in text
        assert "nan" not in text.lower().split()
        assert not text or text.endswith(".")
