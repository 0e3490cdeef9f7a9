"""How a search went: the steps, what they say, and the figure's frames."""

import itertools
import json
import math
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects as go
import pytest
from optuna.trial import FrozenTrial, TrialState
from playwright.sync_api import Browser
from plotly.offline import get_plotlyjs

from l2tune.curve.choice import FEWEST_TRIED
from l2tune.metrics import Metric
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.records.keys import AUDIT, COMPLETE, FAILURE, PART, SHARED_FROM, fold_key
from l2tune.report.replay import replay, replay_caption
from l2tune.report.replay_figure import replay_figure
from l2tune.search.pruner import FoldRacingPruner
from l2tune.search.sampler import FoldCurveSampler
from l2tune.search.stopping import StopWhenSettled
from l2tune.tradeoff import Tradeoff

MakeStudy = Callable[..., optuna.Study]
HOSTILE = "<a href='http://y.org'>x</a> %{y} <b>"
FEW = (0.0, 1e-5, 1e-3, 1e-2, 1.0)

SHOW = """
const figure = %s;
function show(i) {
  const data = figure.data.map((trace, k) => ({...trace, ...figure.frames[i].data[k]}));
  Plotly.react("f", data, figure.layout, {displayModeBar: false});
}
"""
"""What a page does to show a frame."""


def edited(study: optuna.Study, change: Callable[[FrozenTrial], Any]) -> optuna.Study:
    """The study with its trials changed, one by one."""
    made = optuna.create_study(study_name=study.study_name, direction=study.direction)
    for key, value in study.user_attrs.items():
        made.set_user_attr(key, value)
    for trial in study.trials:
        change(trial)
        made.add_trial(trial)
    return made


def search(
    fit: Callable[[float, int, int], float], *, folds: int = 4, trials: int = 30, **settings: Any
) -> optuna.Study:
    """A whole search by one worker, of a function that trains at once."""
    objective = CrossValidationObjective(fit=fit, folds=folds, **settings)
    study = optuna.create_study(sampler=FoldCurveSampler(seed=1), pruner=FoldRacingPruner())
    study.optimize(objective, n_trials=trials, callbacks=[StopWhenSettled()])
    return study


def noisy(strength: float, fold: int, seed: int) -> float:
    """A valley at λ = 1e-3, with the folds' luck and noise."""
    x = math.log10(strength + 1e-6) + 3
    return 0.5 + 0.05 * x * x + 0.1 * math.sin(fold) + 0.01 * math.sin(1e7 * strength + 5 * fold)


@pytest.fixture(scope="module")
def searched() -> optuna.Study:
    """A whole search by one worker, of a function that trains at once."""
    study = optuna.create_study(sampler=FoldCurveSampler(seed=1), pruner=FoldRacingPruner())
    study.optimize(CrossValidationObjective(fit=noisy, folds=4), n_trials=30, callbacks=[StopWhenSettled()])
    return study


def sentences(study: optuna.Study) -> list[str]:
    return [step.says for step in replay(Tradeoff.from_study(study)).steps]


# ---- steps ----


def test_the_last_step_is_the_study_s_curve(searched: optuna.Study, make_valley: MakeStudy) -> None:
    for study in (searched, make_valley(metric="error", strengths=FEW), make_valley(fold_limit=lambda s: 1 + (s == 0))):
        t = Tradeoff.from_study(study)
        assert t.curve is not None
        course = replay(t)
        last = course.steps[-1]
        assert last.mean is not None
        assert last.band is not None
        assert last.mean.tolist() == t.metric.score(t.curve.mean(course.strengths)).tolist()
        assert (last.best, last.best_value, last.interval) == (t.best_lambda, t.best_value, t.interval)
        assert (last.band[0] <= last.band[1]).all()
        assert len(last.seen.cost) == last.fits == course.fits == len(t.record.observations.cost)
        assert len(course.strengths) == 61


def test_each_step_is_what_the_search_knew_then(searched: optuna.Study) -> None:
    """A study that ended after the same fits has the same curve."""
    course = replay(Tradeoff.from_study(searched))
    ends = [trial for trial in searched.trials if trial.state != TrialState.RUNNING]
    fits = 0
    for number, trial in enumerate(ends[:8]):
        fits = sum(len(t.intermediate_values) for t in ends[: number + 1])
        if number == 0:
            assert course.steps[fits - 1].best is None, "nothing but λ = 0 was tried"
            continue
        shorter = edited(searched, lambda trial: None)
        until = optuna.create_study()
        for key, value in shorter.user_attrs.items():
            until.set_user_attr(key, value)
        until.add_trials(shorter.trials[: trial.number + 1])
        t = Tradeoff.from_study(until)
        step = course.steps[fits - 1]
        assert t.curve is not None
        assert step.best == t.best_lambda
        assert step.mean is not None
        np.testing.assert_allclose(step.mean, t.metric.score(t.curve.mean(course.strengths)), rtol=1e-9)
    assert fits > 8


def test_steps_come_in_the_order_in_which_fits_ended(make_valley: MakeStudy) -> None:
    def mix(trial: FrozenTrial) -> None:  # two workers: the first has even trials, the second odd ones, half as fast
        half, odd = divmod(trial.number, 2)
        trial.datetime_start = trial.datetime_start.replace(year=2026, month=1, day=1, hour=0, minute=0, second=0)  # type: ignore[union-attr]
        trial.datetime_start += timedelta(seconds=half * (20 if odd else 10))
        trial.datetime_complete = trial.datetime_start + timedelta(seconds=20 if odd else 10)

    study = edited(make_valley(folds=2, strengths=(0.0, 1e-4, 1e-3, 1e-2)), mix)
    steps = replay(Tradeoff.from_study(study)).steps
    newest = [(int(step.seen.trial[-1]), int(step.seen.fold[-1])) for step in steps]
    # ends: trial 0 at 5 and 10, trial 1 at 10 and 20, trial 2 at 15 and 20, trial 3 at 30 and 40
    assert newest == [(0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (2, 1), (3, 0), (3, 1)]


def test_what_folds_say_of_their_end_goes_before_their_trial_s_times(make_valley: MakeStudy) -> None:
    def backwards(trial: FrozenTrial) -> None:
        for fold in range(2):
            trial.user_attrs[fold_key(fold)]["ended"] = 1e9 - 10 * trial.number - fold

    study = edited(make_valley(folds=2, strengths=(0.0, 1e-3, 1e-2)), backwards)
    steps = replay(Tradeoff.from_study(study)).steps
    assert [int(step.seen.trial[-1]) for step in steps] == [2, 2, 1, 1, 0, 0]
    assert [int(step.seen.fold[-1]) for step in steps] == [1, 0] * 3


def test_without_times_trials_and_folds_are_in_order(make_valley: MakeStudy) -> None:
    t = Tradeoff.from_study(make_valley(folds=2, strengths=FEW))
    t.record.fits["ended"] = math.nan
    newest = [(int(step.seen.trial[-1]), int(step.seen.fold[-1])) for step in replay(t).steps]
    assert newest == sorted(newest)


def test_what_was_taken_over_is_known_and_no_fit(make_valley: MakeStudy) -> None:
    def share(trial: FrozenTrial) -> None:
        if trial.number == 0:
            trial.user_attrs[SHARED_FROM] = "other"

    t = Tradeoff.from_study(edited(make_valley(strengths=FEW), share))
    course = replay(t)
    assert course.fits == len(course.steps) == len(t.record.observations.cost) - 5
    assert len(course.steps[0].seen.cost) == 6
    assert course.steps[0].says.startswith(
        "λ 0 was taken over from another study of the comparison, with 5 folds. Fit 1"
    )
    assert "taken over" not in " ".join(step.says for step in course.steps[1:])


@pytest.mark.parametrize(("most", "many"), [(10, 25), (20, 24)], ids=["many", "very many"])
def test_a_long_search_is_thinned_and_says_so(
    make_valley: MakeStudy, monkeypatch: pytest.MonkeyPatch, most: int, many: int
) -> None:
    monkeypatch.setattr("l2tune.report.replay.MOST_STEPS", most)
    monkeypatch.setattr("l2tune.report.replay.MANY_FITS", many)
    course = replay(Tradeoff.from_study(make_valley(strengths=FEW)))
    assert course.fits == 25
    assert course.note == "Every third of 25 fits is shown."
    assert [step.fits for step in course.steps] == list(range(1, 26, 3))


def test_where_every_fit_diverged_there_is_nothing_to_replay(make_valley: MakeStudy) -> None:
    t = Tradeoff.from_study(make_valley(diverged=lambda s: True))
    assert replay_figure(t) is None
    with pytest.raises(ValueError, match="every fit diverged"):
        replay(t)


def test_the_caption_counts_fits_and_strengths(make_valley: MakeStudy, make_own: MakeStudy) -> None:
    t = Tradeoff.from_study(make_valley(strengths=FEW, fold_limit=lambda s: 5 if s in (0.0, 1e-3) else 2))
    assert replay_caption(t) == "16 fits at 5 λ; of 4 above 0, 1 has all 5 folds."
    assert replay_caption(Tradeoff.from_study(make_own(strengths=(1e-3, 1e-2), folds=1))) == "2 fits at 2 λ."
    assert replay_caption(Tradeoff.from_study(make_valley(strengths=(0.0,)))) == ""


# ---- sentences ----


def test_a_search_tells_what_became_of_each_strength(searched: optuna.Study) -> None:
    says = sentences(searched)
    place = 0
    for trial in searched.trials:
        completes = bool(trial.user_attrs.get(COMPLETE))
        own = [fold for fold in trial.intermediate_values if trial.user_attrs[fold_key(fold)]["reused_from"] is None]
        for number, _ in enumerate(own, 1):
            text = says[place]
            assert text.startswith(f"Fit {place + 1} of {len(says)}: λ ")
            if number < len(own):
                expected = "This completes" if completes else "One more fold follows" if trial.params else ""
                assert expected in text, text
                assert "given up" not in text
            elif trial.state == TrialState.COMPLETE:
                assert "It is complete:" in text, text
                assert "over 4 folds" in text
            else:
                assert (
                    f"It is given up after {len(trial.intermediate_values)} of 4 folds: the probability that" in text
                ), text
            place += 1
    assert place == len(says)
    assert {trial.state for trial in searched.trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert says[-1].endswith("That settles it: one more fit is expected to gain less than 1 % of a standard error.")


def test_what_is_given_up_is_improbable_by_the_pruner_s_rule(searched: optuna.Study) -> None:
    shares = [
        (float(share), "given up" in text)
        for text in sentences(searched)
        for share in re.findall(r"probability that it is as good as the best is (?:less than )?([\d.]+) %", text)
    ]
    assert any(given_up for _, given_up in shares)
    assert all((share <= 30) == given_up for share, given_up in shares)


def test_the_best_strength_moves_as_the_curve_tells(searched: optuna.Study) -> None:
    steps = replay(Tradeoff.from_study(searched)).steps
    told = 0
    for before, step in itertools.pairwise(steps):
        if before.best is None or step.best is None:
            continue
        moved = re.search(
            r"best λ so far (stays|stays about|moves from) (\S+?)(?: to ([^;, ]+))?(?: \(by|;)", step.says
        )
        assert moved, step.says
        assert (moved[1] == "stays") == (f"{before.best:.2e}" == f"{step.best:.2e}")
        widths = [math.log(step.interval[1] / step.interval[0]) for step in (before, step) if step.interval[0] > 0]
        if "interval narrows" in step.says and len(widths) == 2:
            assert widths[1] < widths[0]
        elif "interval widens" in step.says and len(widths) == 2:
            assert widths[1] > widths[0]
        told += 1
    assert told > 10


def test_hand_made_outcomes_are_told_as_they_are(make_valley: MakeStudy) -> None:
    strengths = (0.0, 1e-4, 1e-3, 1e-2, 1e-1)

    def change(trial: FrozenTrial) -> None:
        match trial.number:
            case 1:
                trial.user_attrs[PART] = 0
            case 2:
                trial.state, trial.values, trial.datetime_complete = TrialState.RUNNING, None, None
            case 3:
                trial.state, trial.values = TrialState.FAIL, None
                trial.user_attrs[FAILURE] = {"line": "MemoryError: \x1b[2J no\nroom", "traceback": ""}
            case 4:
                trial.user_attrs |= {COMPLETE: True, AUDIT: True}

    limits = {1e-4: 1, 1e-3: 2, 1e-2: 2, 1e-1: 3}
    study = edited(make_valley(strengths=strengths, fold_limit=lambda s: limits.get(s, 5)), change)
    by_trial: dict[int, list[str]] = {}
    for step in replay(Tradeoff.from_study(study)).steps:
        by_trial.setdefault(int(step.seen.trial[-1]), []).append(step.says)
    assert by_trial[0][0].endswith("All else is compared with it.")
    assert "(the baseline) on fold 1, cross-entropy 0." in by_trial[0][0]
    assert by_trial[0][-1].endswith(" nats over 5 folds.")
    assert by_trial[1][0].endswith("It has 1 of 5 folds, which workers share.")
    assert re.search(r"Best λ so far: \S+ \(by the curve, not run\), 95 % interval \S+ to \S+\. ", by_trial[1][0])
    assert "It is still in training." in by_trial[2][1]
    assert "Its next fold failed: MemoryError: \\x1b[2J no room." in by_trial[3][1]
    assert "This completes a λ that was given up: 4 folds more." in by_trial[4][0]
    assert by_trial[2][-1].endswith("1 trial is not finished yet."), "the last fit"


def test_a_diverged_fit_says_so(make_valley: MakeStudy) -> None:
    study = make_valley(diverged=lambda s: s in (0.0, 1.0), strengths=(0.0, 1e-3, 1e-2, 1.0))
    says = sentences(study)
    assert says[0] == (
        "Fit 1 of 20: λ 0 (the baseline) on fold 1, which diverged. "
        "There is no curve yet, for every fit so far diverged. All else is compared with it."
    )
    assert "It is complete: 5 of 5 folds diverged." in says[4]


def test_a_widened_range_is_told_where_it_was_first_used(make_valley: MakeStudy) -> None:
    study = make_valley(strengths=(0.0, 1e-3, 1e-2, 1.0, 5.0, 7.0), drawn=(1e-6, 10.0))
    said = [text for text in sentences(study) if "which was widened" in text]
    assert len(said) == 1
    assert "λ 5.00e0 on fold 1" in said[0]
    assert "It lies above the range asked for, 1.00e-6 to 1.00e0, which was widened." in said[0]


def test_a_spent_budget_is_told_of_a_search_of_l2tune_s(make_valley: MakeStudy) -> None:
    strengths = (0.0, 1e-3)
    assert len(strengths) - 1 < FEWEST_TRIED
    says = sentences(make_valley(strengths=strengths, settings={"trials": 2}, name="x"))
    assert says[-1].endswith("All 2 trials that were asked for are done.")
    assert "asked for" not in sentences(make_valley(strengths=strengths, settings={"trials": 3}, name="x"))[-1]


def test_another_pruner_s_reasons_are_not_guessed(make_valley: MakeStudy) -> None:
    for pruner in ("wilcoxon", "racing"):
        study = make_valley(
            strengths=(0.0, 1e-3, 1e-2, 1e-1, 1.0),
            fold_limit=lambda s: 2 if s >= 0.1 else 5,
            settings={"pruner": pruner},
        )
        given_up = [text for text in sentences(study) if "given up" in text]
        assert len(given_up) == 2
        assert all(("probability" in text) == (pruner == "racing") for text in given_up)


# ---- figure ----


def drawn(study: optuna.Study) -> dict[str, Any]:
    figure = replay_figure(Tradeoff.from_study(study))
    assert figure is not None
    found: dict[str, Any] = json.loads(figure.to_json())
    return found


def merged(figure: dict[str, Any], frame: int) -> list[dict[str, Any]]:
    """The traces as a page draws them."""
    return [base | changes for base, changes in zip(figure["data"], figure["frames"][frame]["data"], strict=True)]


def points(traces: list[dict[str, Any]], *names: str) -> list[tuple[float, float]]:
    return [
        (x, y)
        for trace in traces
        if trace.get("name") in names
        for x, y in zip(trace["x"], trace["y"], strict=False)
        if y is not None
    ]


def test_frames_show_more_and_more_fits_and_end_with_the_figure(searched: optuna.Study) -> None:
    figure = drawn(searched)
    frames = figure["frames"]
    assert len({frame["name"] for frame in frames}) == len(frames) == replay(Tradeoff.from_study(searched)).fits
    for number in range(len(frames)):
        traces = merged(figure, number)
        assert len(points(traces, "folds", "beyond the scale", "diverged")) == number + 1
        assert len(points(traces, "newest fit")) == 1
        assert set(frames[number]["layout"]) == {"meta"}
    assert merged(figure, -1) == figure["data"]
    assert [frame["layout"]["meta"]["says"] for frame in frames] == sentences(searched)
    low, high = figure["layout"]["yaxis"]["range"]
    for trace in figure["data"]:
        if trace.get("mode") == "markers":
            assert all(low <= y <= high for y in trace["y"] if y is not None), "nothing is drawn out of sight"


def test_a_figure_of_forty_fits_is_small(make_valley: MakeStudy) -> None:
    study = make_valley(strengths=(0.0, 1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 1e-1))
    figure = replay_figure(Tradeoff.from_study(study))
    assert figure is not None
    assert len(figure.frames) == 40
    assert len(figure.to_json().encode()) <= 150_000


@pytest.mark.parametrize("name", ["loss", "error", "accuracy", "mse", "r2", "auc", "nll", "f1", "psnr", "regret"])
def test_every_kind_of_metric_is_drawn(name: str, make_own: MakeStudy, metrics: dict[str, Metric]) -> None:
    study = make_own(metrics[name], strengths=(0.0, 1e-6, 1e-3, 1e-1, 1.0))
    t = Tradeoff.from_study(study)
    figure = drawn(study)
    low, high = figure["layout"]["yaxis"]["range"]
    assert low < t.best_value < high
    [(x, y)] = points(figure["data"], "best λ so far, 95 % interval")
    assert (x, y) == (pytest.approx(t.best_lambda, rel=1e-4), pytest.approx(t.best_value, rel=1e-4))
    assert len(points(figure["data"], "folds", "beyond the scale")) == 15


def test_studies_of_all_kinds_are_replayed(
    make_objective: MakeStudy, make_own: MakeStudy, make_valley: MakeStudy
) -> None:
    for study in (
        make_objective(strengths=FEW[1:]),
        make_objective(parameter="C", direction="maximize", score=lambda s, fold: -s - fold, strengths=FEW[1:]),
        make_own(strengths=(1e-3, 1e-2), parameter="weight_decay"),
        make_own(strengths=(1e-3, 1e-2, 1e-1), folds=1),
        make_own(strengths=(0.0, 1e-2), others=lambda trial: trial.suggest_categorical("lr", [0.1])),
        make_valley(diverged=lambda s: s >= 0.1, strengths=FEW),
        make_valley(metric="error", fold_limit=lambda s: 2, strengths=FEW),
    ):
        t = Tradeoff.from_study(study)
        figure = drawn(study)
        assert len(figure["frames"]) == len(t.record.observations.cost)
        known = points(figure["data"], "folds", "beyond the scale", "diverged")
        assert len(known) == len(figure["frames"])


def test_there_is_no_figure_of_less_than_two_fits_or_of_nothing_but_the_baseline(
    make_own: MakeStudy, make_valley: MakeStudy
) -> None:
    assert replay_figure(Tradeoff.from_study(make_own(strengths=(1e-3,), folds=1))) is None
    assert replay_figure(Tradeoff.from_study(make_valley(strengths=(0.0,)))) is None


def test_frames_are_drawn_calmly_and_without_a_word_on_the_console(
    browser: Browser, searched: optuna.Study, make_own: MakeStudy, tmp_path: Path
) -> None:
    hostile = make_own(Metric(HOSTILE), name=HOSTILE, parameter=HOSTILE, scale="C", strengths=(0.0, 1e-3, 1e-1))
    for number, study in enumerate((searched, hostile)):
        figure = replay_figure(Tradeoff.from_study(study))
        assert figure is not None
        said: list[str] = []
        page = browser.new_context(viewport={"width": 390, "height": 700}, offline=True).new_page()
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        plain = json.loads(figure.to_json())
        data = json.dumps(plain).replace("<", "\\u003c")
        path = tmp_path / f"{number}.html"
        path.write_text(f"<div id=f></div><script>{get_plotlyjs()}</script><script>{SHOW % data}</script>", "utf-8")
        page.goto(path.as_uri())
        looks = set()
        for frame in range(len(figure.frames)):
            page.evaluate(f"show({frame})")
            looks.add(
                (
                    page.eval_on_selector_all("#f .xtick, #f .ytick", "all => all.map(e => e.textContent).join()"),
                    page.eval_on_selector(
                        "#f .xy .nsewdrag", "e => Object.values(e.getBoundingClientRect().toJSON()).join()"
                    ),
                )
            )
            shown = [trace for trace in merged(plain, frame) if trace["mode"] == "markers"]
            marks = sum(y is not None for trace in shown for y in trace["y"])
            assert page.locator("#f .scatterlayer .points path").count() == marks >= frame + 2, "each fit, one ringed"
        assert said == []
        assert len(looks) == 1, "axes stay as they are"
        assert page.locator("[href*='y.org'], [*|href*='y.org']").count() == 0


def test_names_are_text(make_own: MakeStudy) -> None:
    figure = replay_figure(
        Tradeoff.from_study(
            make_own(Metric(HOSTILE), name=HOSTILE, parameter=HOSTILE, scale="C", strengths=(0.0, 1e-3, 1e-1))
        )
    )
    assert isinstance(figure, go.Figure)
    for frame in figure.frames:
        assert "\n" not in frame.layout.meta["says"]
        assert "\x1b" not in frame.layout.meta["says"]
    figure.frames = ()
    text = figure.to_json().replace("\\u003c", "<")
    assert "<a" not in text
    assert "%{y} " not in text
    assert "&lt;a href" in text
