"""`tune`: a search around training code of the user's own, in one call."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from l2tune.errors import UserError, innermost
from l2tune.given import shown_value
from l2tune.members import Refit
from l2tune.metrics import CLASSIFICATION, Metric, as_metric
from l2tune.notebook import NotebookLines, in_notebook
from l2tune.penalty.strength import L1_NAMES, ScaleName, StrengthScale, check_range, format_lambda, scale_of
from l2tune.tradeoff import Tradeoff

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

    from l2tune.objectives.asked_fit import AskedFit, Scoring
    from l2tune.objectives.cross_validation import CrossValidationObjective
    from l2tune.search.fit_processes import FitProcesses

log = logging.getLogger("l2tune")

RefitAt = Literal["best", "one_se"]

_DEFAULT_RANGE = {"C": (1e-4, 1e4), "alpha": (1e-6, 1e2)}
"""Where it is not λ's own: of numbers in the user's scale, as scikit-learn's own paths and defaults lie."""


LAMBDA_NAMES = frozenset(
    {"lambda", "lambda_", "lam", "lmbda", "λ", "strength", "penalty", "regularization", "reg", "l2", "l2_strength"}
    | {"reg_lambda", "lambda_l2", "l2_lambda", "l2_reg", "reg_alpha", *L1_NAMES}
)
"""Names of a strength that is λ itself, in small letters; `scale_of` knows the others."""


@dataclass(frozen=True, eq=False, repr=False)
class Tuned(Tradeoff):
    """What `tune` found: a `Tradeoff` that knows how to train, and the final network where one was asked for.

    Attributes:
        study: Optuna's study, for whatever else is to be read.
        final: The final network: its λ (`strength`), the `model` that `fit` returned (None where it returned scores
            alone) and its `scores`; None where no refit was asked for.
    """

    study: optuna.Study = field(kw_only=True)
    final: Refit | None = field(default=None, kw_only=True)
    _fit: AskedFit = field(kw_only=True, repr=False)
    _test: Callable[[Any], Any] | None = field(default=None, kw_only=True, repr=False)

    @property
    def test(self) -> Mapping[str, float]:
        """Scores of the final network on what no fold has seen; empty where there are none."""
        return {} if self.final is None else self.final.scores

    @property
    def model(self) -> Any:
        """The final network; None where none was trained, or `fit` returned scores alone."""
        return None if self.final is None else self.final.model

    def refit(
        self,
        trainer: CrossValidationObjective | Callable[[float, int], Any] | None = None,
        *,
        one_se: bool = False,
        strength: float | None = None,
        seed: int | None = None,
    ) -> Refit:
        """Train on all samples but the test's, by the `fit` that was tuned, and score that on the test samples.

        Args: as of `Tradeoff.refit`.

        Raises:
            UserError: There is no λ, or `fit` cannot train on all samples.
        """
        if trainer is None:
            self._fit.check_final()
            trainer = self._train_final
        return super().refit(trainer, one_se=one_se, strength=strength, seed=seed)

    def _train_final(self, number: float, seed: int) -> Any:
        model, scores = self._fit.final(number, seed, self.record.others)
        if self._test is not None:
            found = self._test(model)
            named = found if isinstance(found, Mapping) else {self.record.metric.name: found}
            scores = scores | {_test_name(str(name)): value for name, value in named.items()}
        return model, scores


class RefitFailed(RuntimeError):
    """The search has ended well, but the final network could not be trained or scored.

    Attributes:
        tradeoff: What the search found.
    """

    def __init__(self, message: str, tradeoff: Tuned) -> None:
        super().__init__(message)
        self.tradeoff = tradeoff


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
    scorer: str | Callable[..., Any] | None = None,
    suggest: Callable[[optuna.Trial], Any] | None = None,
    refit: bool | RefitAt | None = None,
    test: Any = None,
    storage: str | Path | BaseStorage | None = None,
    study: str | optuna.Study | None = None,
    n_jobs: int = 1,
    report: str | Path | None = None,
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
            splitter of scikit-learn's, which is called with `y` and `groups`; or pairs (train, validation) of indices.
        metric: What a bare number is, and λ is chosen by: a name, or `Metric("psnr", maximize=True)`. By default what
            the scorer's name says, or else a loss, of which less is better.
        parameter: The strength's name: `weight_decay`, `alpha`, `C`, `l1`, …
        scale: How its numbers relate to λ, where the name does not tell: `lambda`, `weight_decay` (2λ), `alpha`, `C`
            (1/λ, so that a large one is a weak penalty).
        range: Lowest and highest number to search, on that scale; by default as it suits the scale. It is widened where
            the best lies at an end, unless `extend_range=False`.
        X: Samples, one row each, as the scorer needs them.
        y: Targets, one a sample, for splitter and scorer.
        groups: A group of each sample, for the splitter.
        scorer: Name of one of scikit-learn's scorers, or `scorer(model, X, y)`. Scores validation and training part.
        suggest: `suggest(trial)` draws with Optuna what else is to vary, before the strength is drawn; all of it is
            given to `fit` by name, and the answer holds at the best of these.
        refit: Train once more in the end, on all samples but the test's: at λ_best (True or `"best"`) or at the
            simplest network that is as good (`"one_se"`). By default where there is a `test`. `fit` is then called
            with `fold=None`, `train=` all these and `validation=` the test samples, or None without them. What will be
            None must have that default in the signature: so nobody's `folds[fold]` is asked for a fold None.
        test: Indices of samples that no fold sees, or a function `test(model)` that gives a score or a mapping of
            scores. Used once, for the final network; never for the search.
        storage: Where to keep the study: a path or URL as `--storage` takes it, or Optuna's; in memory by default. The
            same call goes on with it, also after Ctrl-C.
        study: Its name, by default the function's; or a study of your own, whose sampler and pruner are used.
        n_jobs: Fits at a time, in a process each, so that their seeds do not mix; -1 for one a core.
        report: Folder for `report.html`, `results.json` and `trials.csv`.
        progress: A line as each trial ends, on standard error or below the cell of a notebook; by default in a
            terminal and in a notebook. The same lines go to the logger `l2tune` (INFO) always.
        settings: Any other by its flat name: `trials`, `timeout`, `seed`, `repeats`, `fit_timeout`, `sampler`, …

    Returns:
        The tradeoff; with `refit` also `final` (λ, model, scores), `model` and `test`.

    Raises:
        UserError: Something cannot be done rightly, or the study was begun with other folds, settings or metric. A
            study goes on with a `fit` whose source has changed, but a `UserWarning` says so.
        SearchAborted: Too many fits failed in a row.
        RefitFailed: The final network could not be trained; what was found is its `tradeoff`.
        KeyboardInterrupt: Ctrl-C. What was told is in the study; one in memory is lost unless `study` is your own.
    """
    from l2tune.objectives.asked_fit import AskedFit
    from l2tune.objectives.cross_validation import CrossValidationObjective
    from l2tune.records.study import check_direction
    from l2tune.search.fit_processes import FitProcesses
    from l2tune.search.quiet import quiet_optuna

    at = _refit_at(refit, test)
    chosen = _metric(metric, scorer)
    jobs = _jobs(n_jobs, settings)
    kept_apart, tested = _test(test)
    splits, counted = _folds(folds, X, y, groups, kept_apart, settings)
    scoring = _scoring(scorer, X, y, splits, chosen)
    asked = AskedFit(
        fit,
        parameter if isinstance(parameter, str) else "",
        splits,
        metric=chosen.name if chosen is not None else "loss",
        draws=suggest is not None,
        scoring=scoring,
        needs_model=tested is not None,
    )
    if at is not None:
        asked.check_final()
    with contextlib.ExitStack() as stack:
        called = stack.enter_context(FitProcesses(asked, jobs)) if jobs > 1 else asked
        objective = CrossValidationObjective(
            fit=called,
            suggest=suggest,
            folds=counted,
            metric=chosen,
            parameter=parameter,
            scale=scale,
            classes=_classes(y, chosen),
            **_ranged(range, parameter, scale, settings),
        )
        stack.enter_context(quiet_optuna())
        opened = _open(objective, fit, storage, study, settings)
        check_direction(opened, objective.metric)
        _say_if_changed(opened, asked)
        objective.describe(opened)  # refuses at once, even where no trial is left to begin
        _search(opened, objective, progress, called if jobs > 1 else None)  # type: ignore[arg-type]
    found = Tradeoff.from_study(opened)
    tuned = Tuned(**_values(found), study=opened, _fit=asked, _test=tested)
    if report is not None:
        tuned.report(report)
    return tuned if at is None else _with_final(tuned, at)


def _search(
    study: optuna.Study, objective: CrossValidationObjective, progress: bool | None, processes: FitProcesses | None
) -> None:
    """Search until it is settled, telling each trial's end."""
    from l2tune.objectives.open_trial import OpenTrial
    from l2tune.records.fold_record import fold_records
    from l2tune.records.observations import strength_of
    from l2tune.search.failing import failures_line
    from l2tune.search.runner import run_as_asked

    show = _shown(progress)

    def say(line: str) -> None:
        if line:
            log.info("%s", line)
            show(line)

    def named(number: int, strength: float) -> str:
        own = objective.parameter
        text = f"λ {format_lambda(strength)}"
        if own.scale.name != "lambda":
            text = f"{own.name} {format_lambda(own.scale.from_lambda(strength))} ({text})"
        return f"trial {number + 1}: {text}"

    def on_trial(trial: FrozenTrial) -> None:
        done, folds = len(fold_records(trial)), objective.trainer.folds
        if trial.state.name == "COMPLETE":
            scored = f"validation {objective.metric} {trial.value:.4g}"
        else:  # a mean over some of the folds is not comparable with one over all
            scored = f"{done} of {folds} folds"
        say(f"{named(trial.number, strength_of(trial, objective.parameter) or 0.0)}: {scored}")

    def on_failure(trial: OpenTrial) -> None:
        assert trial.failure is not None
        say(f"{named(trial.trial.number, trial.strength)}: failed: {trial.failure.line}")

    def work(first: bool) -> str:
        return run_as_asked(study, objective, on_trial=on_trial, say=say, wait=first)

    objective.on_failure = on_failure
    try:
        why = work(True) if processes is None else processes.in_threads(work)
    except KeyboardInterrupt:
        say(f"interrupted; what was told is kept in study {study.study_name!r}")
        raise
    say(why)
    failed = failures_line(study)
    if failed:
        log.warning("%s", failed)


def _shown(progress: bool | None) -> Callable[[str], None]:
    """Shows a line of progress where it is seen: below the cell of a notebook, or on standard error."""
    notebook = in_notebook()
    if not (sys.stderr.isatty() or notebook if progress is None else progress):
        return lambda line: None
    if notebook:
        return NotebookLines().say
    return lambda line: print(f"l2tune: {line}", file=sys.stderr, flush=True)


def _with_final(tuned: Tuned, at: RefitAt) -> Tuned:
    try:
        final = tuned.refit(one_se=at == "one_se")
    except Exception as error:
        raise RefitFailed(f"the final network could not be trained ({innermost(error)})", tuned) from error
    own = {name: getattr(tuned, name) for name in ("study", "_fit", "_test")}
    return Tuned(**_values(tuned), **own, final=final)


def _values(tradeoff: Tradeoff) -> dict[str, Any]:
    return {part.name: getattr(tradeoff, part.name) for part in fields(Tradeoff)}


def _refit_at(refit: Any, test: Any) -> RefitAt | None:
    if refit is None:
        return None if test is None else "best"
    if refit is True or refit == "best":
        return "best"
    if isinstance(refit, str) and refit == "one_se":
        return "one_se"
    if refit is not False:
        raise UserError(
            f"{shown_value(refit)} is no place to refit at", "refit", "give True, 'best', 'one_se' or False"
        )
    if test is not None:
        raise UserError("there is no final network to score without refit", "test", "leave out refit=False or test=")
    return None


def _metric(metric: str | Metric | None, scorer: Any) -> Metric | None:
    if metric is not None:
        return as_metric(metric)
    if scorer is None:
        return None
    if not isinstance(scorer, str):
        what = "what the scorer's numbers are is not known"
        raise UserError(what, "metric", "name them: metric='accuracy', or Metric('NAME', maximize=True)")
    return as_metric(scorer)


def _jobs(n_jobs: Any, settings: Mapping[str, Any]) -> int:
    from loky import cpu_count

    if not isinstance(n_jobs, int | np.integer) or isinstance(n_jobs, bool) or (n_jobs < 1 and n_jobs != -1):
        raise UserError(f"{shown_value(n_jobs)} fits cannot run at a time", "n_jobs", "give 1 or more, or -1")
    jobs = cpu_count() if n_jobs == -1 else int(n_jobs)
    if jobs > 1 and settings.get("fit_timeout") is not None:
        raise UserError("a fit in another process cannot be stopped by it", "fit_timeout", "leave it out, or n_jobs=")
    return jobs


def _test(test: Any) -> tuple[Any, Callable[[Any], Any] | None]:
    """Indices, or a function."""
    from l2tune.objectives.splits import as_indices

    if test is None:
        return None, None
    if callable(test):
        return None, test
    found = as_indices(test, "test")
    if not len(found):
        raise UserError("there are no test samples", "test", "leave it out")
    return np.unique(found), None


def _folds(folds: Any, X: Any, y: Any, groups: Any, test: Any, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """The splits, where samples are known, and what counts the folds."""
    from l2tune.objectives.splits import make_splits
    from l2tune.settings import build

    count = None if X is None and y is None else _count(y if y is not None else X, "y" if y is not None else "X")
    if X is not None and y is not None and _count(X, "X") != count:
        raise UserError(f"{_count(X, 'X')} samples and {count} targets", "X", "give one target a sample")
    if test is not None and count is not None and test.max() >= count:
        raise UserError(f"its index {test.max()} is beyond the {count} samples", "test", "count from 0")
    is_number = isinstance(folds, int | np.integer) and not isinstance(folds, bool)
    if is_number and count is None:
        for name, given in (("groups", groups), ("test", test)):
            if given is not None:
                raise UserError("which samples there are is not known", name, "give X= or y= too")
        return None, folds
    search = build({name: settings[name] for name in ("seed", "repeats") if name in settings}).search
    splits = make_splits(folds, count=count, y=y, groups=groups, test=test, seed=search.seed, repeats=search.repeats)
    return splits, len(splits.pairs) // search.repeats


def _count(samples: Any, where: str) -> int:
    shape = getattr(samples, "shape", None)
    try:
        return int(shape[0]) if shape is not None else len(samples)
    except (TypeError, IndexError):
        raise UserError(f"a {type(samples).__name__} has no samples", where, "give an array, one row each") from None


def _scoring(scorer: Any, X: Any, y: Any, splits: Any, metric: Metric | None) -> Scoring | None:
    from sklearn.metrics import get_scorer

    from l2tune.objectives.asked_fit import Scoring

    if scorer is None:
        return None
    if X is None:
        raise UserError("which samples to score is not known", "scorer", "give X= (and y=) too")
    if isinstance(scorer, str):
        try:
            scorer = get_scorer(scorer)
        except ValueError:
            fix = "give one of sklearn.metrics.get_scorer_names(), or a function scorer(model, X, y)"
            raise UserError(f"scikit-learn has no scorer {scorer!r}", "scorer", fix) from None
    if not callable(scorer):
        raise UserError(f"{shown_value(scorer)} cannot be called", "scorer", "give a function scorer(model, X, y)")
    assert metric is not None
    return Scoring(scorer, X, y, metric.name)


def _classes(y: Any, metric: Metric | None) -> int | None:
    """How many classes guessing has to choose from."""
    from l2tune.objectives.splits import is_classes

    if y is None or metric is None or metric.name not in CLASSIFICATION or not is_classes(y):
        return None
    return len(np.unique(np.asarray(y)))


def _ranged(ends: Any, parameter: Any, scale: ScaleName | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the range of λ."""
    if ends is not None and "lambda_range" in settings:
        raise UserError("range and lambda_range were both given", "range", "give one of them")
    if not isinstance(parameter, str):
        return dict(settings)
    own = scale_of(parameter) if scale is None else StrengthScale(scale)
    if scale is None and own.name == "lambda" and parameter.lower() not in LAMBDA_NAMES and parameter:
        what = f"how {parameter!r} relates to the strength of a penalty is not known"
        raise UserError(what, "parameter", "give scale= lambda, weight_decay, alpha or C (the inverse)")
    if "lambda_range" in settings:
        return dict(settings)
    if ends is None:
        if own.name not in _DEFAULT_RANGE:
            return dict(settings)
        ends = _DEFAULT_RANGE[own.name]
    try:
        low, high = (float(end) for end in ends)
    except (TypeError, ValueError):
        raise UserError(f"{shown_value(ends)} is no range", "range", "give two numbers, e.g. (1e-6, 1)") from None
    return {**settings, "lambda_range": own.range_to_lambda(*check_range(low, high, "range"))}


def _open(
    objective: CrossValidationObjective,
    fit: Any,
    storage: str | Path | BaseStorage | None,
    study: str | optuna.Study | None,
    settings: Mapping[str, Any],
) -> optuna.Study:
    """The user's study, or one of our own, created or gone on with."""
    import optuna

    from l2tune.search.storage import open_storage, open_study
    from l2tune.settings import build

    if isinstance(study, optuna.Study):
        if storage is not None:
            raise UserError("storage and a study were both given", "study", "give a name of a study, or no storage=")
        if len(study.directions) > 1:
            raise UserError(
                f"it has {len(study.directions)} objectives", f"study {study.study_name!r}", "give one of one"
            )
        taken = next((name for name in ("sampler", "pruner") if name in settings), None)
        if taken is not None:
            raise UserError(f"the study has its own {taken}", taken, "leave it out, or create the study with it")
        return study
    if study is not None and not isinstance(study, str):
        raise UserError(f"{shown_value(study)} is no study", "study", "give a name, or an Optuna study")
    own_name = str(getattr(fit, "__name__", ""))
    name = study or (own_name if own_name.isidentifier() else "tune")  # a lambda has none
    asked = build({name: value for name, value in settings.items() if name != "lambda_range"} | {"study": name})
    if storage is None:
        opened: BaseStorage = optuna.storages.InMemoryStorage()
    elif isinstance(storage, str | Path):
        opened = open_storage(str(storage), patience=asked.search.storage_patience, say=log.warning)
    elif isinstance(storage, optuna.storages.BaseStorage):
        opened = storage
    else:
        raise UserError(f"{shown_value(storage)} is no storage", "storage", "give a path, a URL or Optuna's storage")
    return open_study(opened, asked, maximize=objective.metric.maximize)


def _say_if_changed(study: optuna.Study, fit: AskedFit) -> None:
    """Say that folds of this study were trained by another source of the function."""
    from l2tune.records.study import accept_source, is_described
    from l2tune.training.function import source_hash

    if is_described(study) and accept_source(study, source_hash(fit)):
        scorer = "" if fit.scored_by is None else " or its scorer"
        line = (
            f"the source of {fit.__qualname__!r}{scorer} has changed since study {study.study_name!r} was begun: "
            "folds that are done count as they were; name another study= to begin anew"
        )
        log.warning("%s", line)
        warnings.warn(line, UserWarning, stacklevel=3)


def _test_name(name: str) -> str:
    return name if name.startswith("test_") else f"test_{name}"
