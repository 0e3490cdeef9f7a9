"""`tune`: a search around training code of the user's own, in one call."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2tune.metrics import Metric
from l2tune.penalty.strength import ScaleName
from l2tune.tradeoff import Tradeoff
from l2tune.tuning.arguments import (
    RefitAt,
    asked_metric,
    asked_refit,
    asked_test,
    check_samples_are_used,
    class_count,
    jobs_of,
    ranged,
    scoring_of,
    splits_of,
)
from l2tune.tuning.study import describe_tuned, open_tuned, say_if_changed
from l2tune.tuning.tuned import Tuned, with_final

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

    from l2tune.trackers.tracker import Tracker


def tune(
    fit: Callable[..., Any],
    folds: Any = 5,
    *,
    metric: str | Metric | None = None,
    parameter: str = "weight_decay",
    scale: ScaleName | None = None,
    range: tuple[float, float] | None = None,
    X: Any = None,
    y: Any = None,
    groups: Any = None,
    classes: int | None = None,
    scorer: str | Callable[..., Any] | None = None,
    suggest: Callable[[optuna.Trial], Any] | None = None,
    refit: bool | RefitAt | None = None,
    test: Any = None,
    storage: str | Path | BaseStorage | None = None,
    study: str | optuna.Study | None = None,
    n_jobs: int = 1,
    report: str | Path | None = None,
    tracker: str | Tracker | Sequence[str | Tracker] | None = None,
    progress: bool | None = None,
    **settings: Any,
) -> Tuned:
    """Search how strongly to regularize training code of your own: study, search, refit and report in one call.

        def fit(weight_decay, fold, seed):
            return 0.5 + abs(weight_decay - 0.01) + 0.1 * fold

        tradeoff = tune(fit, folds=3)
        print(tradeoff.verdict)

    `fit` is called once for each fold of each strength that is tried, first without any penalty (λ = 0, where `C` is
    infinite), and gets by name what it asks for:

    | argument | what |
    |---|---|
    | the name of `parameter`, or `strength`, or else the first | the strength, on its own scale |
    | `fold`, `seed` | number of the fold from 0; a seed that is the same for a fold at every strength |
    | `train`, `validation` | int64 index arrays of the fold's samples |
    | whatever `suggest` draws | its value |

    A `fit` of three other names is called as `fit(strength, fold, seed)`. It returns the validation score, a mapping of
    scores (`val_loss`, `train_loss`, `val_f1`, …), or (model, either); or yields scores epoch by epoch, and may return
    the model at its end; or, with a `scorer`, returns the fitted model alone. Seed its weights and batches with `seed`.

    Args:
        fit: Your training.
        folds: A number: with `X` or `y` shuffled splits of these samples, stratified by classes, and by `groups`. Or a
            splitter of scikit-learn's, which is called with `y` and `groups`; or pairs (train, validation) of indices
            or of boolean masks.
        metric: What a bare number is, and λ is chosen by: a name, or `Metric("psnr", maximize=True)`. By default what
            the scorer's name says, or else a loss, of which less is better.
        parameter: The strength's name: `weight_decay`, `alpha`, `C`, `l1`, …
        scale: How its numbers relate to λ, where the name does not tell: `lambda`, `weight_decay` (2λ), `alpha`, `C`
            (1/λ, so that a large one is a weak penalty).
        range: Lowest and highest number to search, on that scale; by default as it suits the scale. It is widened where
            the best lies at an end, unless `extend_range=False`.
        X: Samples, one row each, as the scorer needs them.
        y: Targets, one a sample, for splitter and scorer. A `fit` that asks for neither `train` nor `validation` splits
            the samples itself: then they are refused with a number of folds, and said to be counted only with others.
        groups: A group of each sample, for the splitter.
        classes: How many classes guessing has to choose from, where `y` does not tell.
        scorer: Name of one of scikit-learn's scorers, or `scorer(model, X, y)`. Scores validation and training part.
        suggest: `suggest(trial)` draws with Optuna what else is to vary, before the strength is drawn; all of it is
            given to `fit` by name, and the answer holds at the best of these.
        refit: Train once more in the end, on all samples but the test's: at λ_best (True or `"best"`) or at the
            simplest network that is as good (`"one_se"`). By default where there is a `test`. `fit` is then called
            with `fold=None`, `train=` all these and `validation=` the test samples, or None without them. What will be
            None must have that default in the signature: so nobody's `folds[fold]` is asked for a fold None.
        test: Indices or a mask of samples that no fold sees, or a function `test(model)` that gives a score or a
            mapping of scores. Used once, for the final network; never for the search.
        storage: Where to keep the study: a path or URL as `--storage` takes it, or Optuna's; in memory by default. The
            same call goes on with it, also after Ctrl-C.
        study: Its name, by default the function's; or a study of your own, whose sampler and pruner are used.
        n_jobs: Fits at a time, in a process each, so that their seeds do not mix; -1 for one a core.
        report: Folder for `report.html`, `results.json` and `trials.csv`.
        tracker: Where to log a run for each fit, and one for the study with the verdict: `tensorboard`, `mlflow` or
            `wandb`, `NAME=PLACE`, a `TensorBoardTracker(…)` or the like, or several of these.
        progress: A line as each trial ends, on standard error or below the cell of a notebook; in a terminal and in a
            notebook also a bar, what is in training and why, the time left and the best λ so far. By default there
            only. The same lines go to the logger `l2tune` (INFO) always.
        settings: Any other by its flat name: `trials`, `timeout`, `seed`, `repeats`, `fit_timeout`, `sampler`, …

    Returns:
        The tradeoff; with `refit` also `final` (λ, model, scores), `model` and `test`.

    Raises:
        UserError: Something cannot be done rightly, a tracker cannot be had, or the study was begun with other folds,
            settings or metric. A study goes on with a `fit` whose source has changed, but a `UserWarning` says so.
        SearchAborted: Too many fits failed in a row.
        RefitFailed: The final network could not be trained; what was found is its `tradeoff`.
        KeyboardInterrupt: Ctrl-C. What was told is in the study; one in memory is lost unless `study` is your own.
    """
    from l2tune.objectives.asked_fit import AskedFit
    from l2tune.objectives.cross_validation import CrossValidationObjective
    from l2tune.records.study import check_direction
    from l2tune.search.fit_processes import FitProcesses
    from l2tune.search.quiet import quiet_optuna
    from l2tune.trackers.named import as_trackers
    from l2tune.tuning.progress import search_told

    at = asked_refit(refit, test)
    chosen = asked_metric(metric, scorer)
    jobs = jobs_of(n_jobs, settings)
    kept_apart, tested = asked_test(test)
    splits, counted = splits_of(folds, X, y, groups, kept_apart, settings)
    asked = AskedFit(
        fit,
        parameter if isinstance(parameter, str) else "",
        splits,
        metric=chosen.name if chosen is not None else "loss",
        draws=suggest is not None,
        scoring=scoring_of(scorer, X, y, chosen),
        needs_model=tested is not None,
    )
    check_samples_are_used(asked, folds, y=y, X=X, groups=groups, test=kept_apart)
    if at is not None:
        asked.check_final()
    with contextlib.ExitStack() as stack:
        processes = stack.enter_context(FitProcesses(asked, jobs)) if jobs > 1 else None
        objective = CrossValidationObjective(
            fit=asked if processes is None else processes,
            suggest=suggest,
            folds=counted,
            metric=chosen,
            parameter=parameter,
            scale=scale,
            classes=class_count(y, chosen) if classes is None else classes,
            **ranged(range, parameter, scale, settings),
        )
        stack.enter_context(quiet_optuna())
        trackers = as_trackers(tracker, "tracker")
        opened = open_tuned(objective, fit, storage, study, settings)
        check_direction(opened, objective.metric)
        say_if_changed(opened, asked)
        describe_tuned(opened, objective)  # refuses at once, even where no trial is left to begin
        search_told(opened, objective, progress, processes, trackers)
    found = Tradeoff.from_study(opened)
    tuned = Tuned.of(found, study=opened, _fit=asked, _test=tested)
    if report is not None:
        tuned.report(report)
    return tuned if at is None else with_final(tuned, at)
