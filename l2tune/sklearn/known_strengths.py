"""Which parameter of an estimator is its strength, which way it points, and where it is worth searching."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from l2tune.errors import UserError
from l2tune.penalty.strength import ScaleName, StrengthScale, check_range
from l2tune.settings import HIGHEST_LAMBDA, LOWEST_LAMBDA

PER_SAMPLE = (1e-6, 1.0)
"""λ of `mean loss over the samples + λ Σ w²`, with features of about unit variance."""

PER_SAMPLE_OF_MARGINS = (1e-5, 1.0)
"""The same for support vector machines, whose solvers take long below; the search goes there only where it pays."""

PER_SAMPLE_L1 = (1e-4, 1.0)
"""The same of Σ |w|, over the target's standard deviation: from about 1 on all weights are zero."""

UNKNOWN_C = (1e-4, 1e4)
"""1/C where nothing is known of the estimator."""


@dataclass(frozen=True, slots=True)
class Strength:
    """The strength of an estimator.

    Attributes:
        param: Its name in `get_params()`.
        scale: Of its numbers; up to a factor λ is the number of `alpha` and the inverse of `C`.
        low: Lowest λ to search at first.
        high: Highest.
        zero: Whether the estimator can do without a penalty, so that λ = 0 is run too.
    """

    param: str
    scale: StrengthScale
    low: float
    high: float
    zero: bool


@dataclass(frozen=True, slots=True)
class _Data:
    """What is known of the training data.

    Attributes:
        samples: How many.
        spread: Standard deviation of the target; 1 where it is no number.
    """

    samples: int
    spread: float


@dataclass(frozen=True, slots=True)
class _Rule:
    """What is known of a class of estimators.

    Attributes:
        param: Its strength.
        scale: Of its numbers.
        factor: λ on that scale for a λ of one per sample.
        per_sample: Range of λ per sample.
        zero: Whether this estimator can do without a penalty.
    """

    param: str
    scale: ScaleName
    factor: Callable[[Any, _Data], float]
    per_sample: tuple[float, float] = PER_SAMPLE
    zero: Callable[[Any], bool] = lambda estimator: False


def _batch(estimator: Any, data: _Data) -> float:
    """MLP*: mean loss over a batch + α/2 Σ w² / the batch's size; the size as its `_fit` chooses it."""
    if estimator.solver == "lbfgs":
        return 2.0 * data.samples
    return 2.0 * min(200 if estimator.batch_size == "auto" else estimator.batch_size, data.samples)


def _always(estimator: Any) -> bool:
    return True


# The objectives are those of scikit-learn's user guide; each is divided until its loss is a mean over samples.
_RIDGE = _Rule("alpha", "alpha", lambda e, data: data.samples, zero=_always)  # Σ loss + α Σ w²
_KERNEL_RIDGE = replace(_RIDGE, zero=lambda e: False)
_LASSO = _Rule("alpha", "alpha", lambda e, data: data.spread, PER_SAMPLE_L1)  # mean loss / 2 + α Σ |w|
_HALF = _Rule("alpha", "alpha", lambda e, data: 2.0, zero=_always)  # mean loss + α/2 Σ w²
_SGD = replace(_HALF, zero=lambda e: e.learning_rate != "optimal")  # which divides by α
_MLP = _Rule("alpha", "alpha", _batch, zero=_always)
_C = _Rule("C", "C", lambda e, data: 2.0 * data.samples)  # C Σ loss + ½ Σ w²
_C_OF_MARGINS = replace(_C, per_sample=PER_SAMPLE_OF_MARGINS)
_C_OF_ERRORS = replace(_C_OF_MARGINS, factor=lambda e, data: 2.0 * data.samples / data.spread)  # the loss is |y − f|
_TORCH = _Rule("optimizer__weight_decay", "weight_decay", lambda e, data: 1.0, zero=_always)

_RULES: Mapping[tuple[str, str], _Rule] = {
    ("sklearn", "Ridge"): _RIDGE,
    ("sklearn", "RidgeClassifier"): _RIDGE,
    ("sklearn", "KernelRidge"): _KERNEL_RIDGE,
    ("sklearn", "Lasso"): _LASSO,
    ("sklearn", "ElasticNet"): _LASSO,
    ("sklearn", "GammaRegressor"): _HALF,
    ("sklearn", "PoissonRegressor"): _HALF,
    ("sklearn", "TweedieRegressor"): _HALF,
    ("sklearn", "SGDClassifier"): _SGD,
    ("sklearn", "SGDRegressor"): _SGD,
    ("sklearn", "MLPClassifier"): _MLP,
    ("sklearn", "MLPRegressor"): _MLP,
    ("sklearn", "LogisticRegression"): _C,
    ("sklearn", "LinearSVC"): _C_OF_MARGINS,
    ("sklearn", "SVC"): _C_OF_MARGINS,
    ("sklearn", "SVR"): _C_OF_ERRORS,
    ("sklearn", "LinearSVR"): _C_OF_ERRORS,
    ("skorch", "NeuralNet"): _TORCH,
}
"""(package, class) → what is known of it and of classes made from it; so none of them is imported."""

KNOWN = ", ".join(sorted(name for package, name in _RULES if package == "sklearn")) + " and skorch's nets"


def strength_of_estimator(
    estimator: Any,
    samples: int,
    target: Any = None,
    *,
    param: str | None = None,
    scale: str | None = None,
    param_range: Any = None,
) -> Strength:
    """The strength to search, as far as given; the rest as the estimator's class tells.

    Args:
        samples: How many an estimator is fitted to.
        target: (samples, …) or None.
        param: As in `set_params`, `clf__alpha` for a step of a pipeline.
        scale: Of its numbers.
        param_range: Two of its numbers.

    Raises:
        UserError: It is not known, cannot be searched, or has no effect.
    """
    spread = _spread(target)
    found = _known(estimator)
    if param is None:
        param = _only(estimator, found)
    elif param not in estimator.get_params(deep=True) and param not in found:
        raise UserError(
            f"{type(estimator).__name__} has no parameter {param!r}", "param", "give one of estimator.get_params()"
        )
    owner, rule = found.get(param, (None, None))
    if scale is not None and scale not in get_args(ScaleName):
        raise UserError(f"{scale!r} is no scale", "scale", f"give one of {', '.join(get_args(ScaleName))}")
    if rule is None and scale is None:
        raise UserError(
            f"which way {param!r} of {type(estimator).__name__} points is not known",
            "scale",
            "give scale='alpha' if a greater number regularizes more, 'C' if it regularizes less",
        )
    if owner is not None and getattr(owner, "penalty", "l2") in (None, "none"):
        raise UserError(f"{type(owner).__name__} has no penalty", "estimator", "give it one, e.g. penalty='l2'")
    own = StrengthScale(rule.scale if scale is None and rule is not None else scale)  # type: ignore[arg-type]
    if rule is not None and (own.name == "C") != (rule.scale == "C"):
        what = f"{param!r} of {type(owner).__name__} points the other way than {scale!r}"
        raise UserError(what, "scale", f"leave it out, or give {rule.scale!r}")
    if param_range is not None:
        low, high = own.range_to_lambda(*_two_numbers(param_range))
    elif rule is not None:
        factor = rule.factor(owner, _Data(samples, spread))
        low, high = (end * factor for end in rule.per_sample)
    else:
        low, high = UNKNOWN_C if own.name == "C" else PER_SAMPLE
    if param_range is None and low < HIGHEST_LAMBDA < high:
        high = HIGHEST_LAMBDA
    if not LOWEST_LAMBDA <= low < high <= HIGHEST_LAMBDA:
        ends = own.range_from_lambda(low, high)
        limits = own.range_from_lambda(LOWEST_LAMBDA, HIGHEST_LAMBDA)
        raise UserError(
            f"{ends[0]:g} to {ends[1]:g} goes beyond {limits[0]:g} to {limits[1]:g}, which can be searched",
            "param_range",
            "give a range within, and scale features and target to about unit variance",
        )
    return Strength(param, own, low, high, zero=rule is not None and param_range is None and rule.zero(owner))


def _known(estimator: Any) -> dict[str, tuple[Any, _Rule]]:
    """Full name of a strength → its owner, and what is known of it; of the estimator and all that it is made of."""
    parts = {"": estimator}
    if hasattr(estimator, "get_params"):
        parts |= {f"{name}__": part for name, part in estimator.get_params(deep=True).items() if hasattr(part, "fit")}
    found = {}
    for prefix, part in parts.items():
        rule = _rule(part)
        # optimizer__weight_decay is no parameter of a skorch net before it is set
        if rule is not None and ("__" in rule.param or rule.param in part.get_params(deep=False)):
            found[prefix + rule.param] = (part, rule)
    return found


def _rule(part: Any) -> _Rule | None:
    if isinstance(part, type):
        return None
    for kind in type(part).__mro__:
        rule = _RULES.get((kind.__module__.partition(".")[0], kind.__name__))
        if rule is not None:
            return rule
    return None


def _only(estimator: Any, found: Mapping[str, Any]) -> str:
    """The one parameter that is known.

    Raises:
        UserError: There is none, or there are several.
    """
    if len(found) == 1:
        return next(iter(found))
    if found:
        names = ", ".join(map(repr, found))
        raise UserError(f"several parameters are strengths: {names}", "param", "name the one to search")
    raise UserError(
        f"which parameter of {type(estimator).__name__} is its strength is not known",
        "param",
        f"give param= and scale=; known are {KNOWN}",
    )


def _two_numbers(given: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in given)
    except (TypeError, ValueError):
        fix = "give two numbers of the parameter's own, e.g. (1e-3, 1e3)"
        raise UserError(f"{given!r} is no range", "param_range", fix) from None
    return check_range(low, high, "param_range")


def _spread(target: Any) -> float:
    """Standard deviation of the target, 1 where there is none above 0."""
    try:
        values = np.asarray(target, dtype=np.float64)
    except (TypeError, ValueError):
        return 1.0
    spread = float(values.std()) if values.size else 0.0
    return spread if np.isfinite(spread) and spread > 0 else 1.0
