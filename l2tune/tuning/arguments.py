"""What the arguments of `tune` mean: each understood, or refused in one line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from l2tune.errors import UserError
from l2tune.given import shown_value
from l2tune.metrics import CLASSIFICATION, Metric, as_metric
from l2tune.penalty.strength import L1_NAMES, ScaleName, StrengthScale, check_range, scale_of

if TYPE_CHECKING:
    from l2tune.objectives.asked_fit import AskedFit, Scoring

log = logging.getLogger("l2tune")

RefitAt = Literal["best", "one_se"]

_DEFAULT_RANGE = {"C": (1e-4, 1e4), "alpha": (1e-6, 1e2)}
"""Where it is not λ's own: of numbers in the user's scale, as scikit-learn's own paths and defaults lie."""

LAMBDA_NAMES = frozenset(
    {"lambda", "lambda_", "lam", "lmbda", "λ", "strength", "penalty", "regularization", "reg", "l2", "l2_strength"}
    | {"reg_lambda", "lambda_l2", "l2_lambda", "l2_reg", "reg_alpha", *L1_NAMES}
)
"""Names of a strength that is λ itself, in small letters; `scale_of` knows the others."""


def asked_refit(refit: Any, test: Any) -> RefitAt | None:
    """At which λ the final network is trained; None for no final network."""
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


def asked_metric(metric: str | Metric | None, scorer: Any) -> Metric | None:
    """What λ is chosen by, where that is told: by `metric`, or by the scorer's name."""
    if metric is not None:
        return as_metric(metric)
    if scorer is None:
        return None
    if not isinstance(scorer, str):
        what = "what the scorer's numbers are is not known"
        raise UserError(what, "metric", "name them: metric='accuracy', or Metric('NAME', maximize=True)")
    return as_metric(scorer)


def jobs_of(n_jobs: Any, settings: Mapping[str, Any]) -> int:
    """How many fits run at a time."""
    from loky import cpu_count

    if not isinstance(n_jobs, int | np.integer) or isinstance(n_jobs, bool) or (n_jobs < 1 and n_jobs != -1):
        raise UserError(f"{shown_value(n_jobs)} fits cannot run at a time", "n_jobs", "give 1 or more, or -1")
    jobs = cpu_count() if n_jobs == -1 else int(n_jobs)
    if jobs > 1 and settings.get("fit_timeout") is not None:
        raise UserError("a fit in another process cannot be stopped by it", "fit_timeout", "leave it out, or n_jobs=")
    return jobs


def asked_test(test: Any) -> tuple[Any, Callable[[Any], Any] | None]:
    """Indices or a mask as they were given, or a function."""
    return (None, test) if callable(test) else (test, None)


def splits_of(folds: Any, X: Any, y: Any, groups: Any, test: Any, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """The splits, where samples are known, and what counts the folds."""
    from l2tune.objectives.splits import as_indices, make_splits, mask_length
    from l2tune.settings import build

    if X is not None and y is not None and _count(X, "X") != _count(y, "y"):
        raise UserError(f"{_count(X, 'X')} samples and {_count(y, 'y')} targets", "X", "give one target a sample")
    count = mask_length(test) if test is not None else None
    for name, given in (("X", X), ("y", y)):
        count = count if given is None else _count(given, name)
    kept_apart = None if test is None else np.unique(as_indices(test, "test", count))
    if kept_apart is not None and not len(kept_apart):
        raise UserError("there are no test samples", "test", "leave it out")
    if _is_number(folds) and count is None:
        for name, given in (("groups", groups), ("test", test)):
            if given is not None:
                raise UserError("which samples there are is not known", name, "give X= or y= too")
        return None, folds
    search = build({name: settings[name] for name in ("seed", "repeats") if name in settings}).search
    splits = make_splits(
        folds, count=count, y=y, groups=groups, test=kept_apart, seed=search.seed, repeats=search.repeats
    )
    return splits, len(splits.pairs) // search.repeats


def check_samples_are_used(fit: AskedFit, folds: Any, **given: Any) -> None:
    """Whether samples that were given reach `fit`, so that its folds are those that were asked for.

    Args:
        given: What tells of samples, by its name; None for what was not given.

    Raises:
        UserError: `fit` asks for none of them, and cannot know of splits that a number stands for.
    """
    known = [name for name, value in given.items() if value is not None]
    if fit.asks_for_samples or not known:
        return
    if _is_number(folds):
        fix = f"ask for them: fit(strength, train, validation, seed), or leave out {known[0]}="
        raise UserError("it has no effect, for fit asks for neither train nor validation", known[0], fix)
    if hasattr(folds, "split"):
        name = type(folds).__name__
        log.warning("of %s only the number of folds counts, for fit asks for neither train nor validation", name)


def _is_number(folds: Any) -> bool:
    return isinstance(folds, int | np.integer) and not isinstance(folds, bool)


def _count(samples: Any, where: str) -> int:
    shape = getattr(samples, "shape", None)
    try:
        return int(shape[0]) if shape is not None else len(samples)
    except (TypeError, IndexError):
        raise UserError(f"a {type(samples).__name__} has no samples", where, "give an array, one row each") from None


def scoring_of(scorer: Any, X: Any, y: Any, metric: Metric | None) -> Scoring | None:
    """What scores the models that `fit` returns; None where it returns scores."""
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


def class_count(y: Any, metric: Metric | None) -> int | None:
    """How many classes guessing has to choose from."""
    from l2tune.objectives.splits import is_classes

    if y is None or metric is None or metric.name not in CLASSIFICATION or not is_classes(y):
        return None
    return len(np.unique(np.asarray(y)))


def ranged(ends: Any, parameter: Any, scale: ScaleName | None, settings: Mapping[str, Any]) -> dict[str, Any]:
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
