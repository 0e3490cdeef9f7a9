"""One fit of an estimator on one fold: scikit-learn's own, and the loss of the probabilities beside the scores."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.metrics import log_loss
from sklearn.model_selection._validation import _fit_and_score
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.multiclass import type_of_target

from l2tune.sklearn.fold_trainer import Fitted


def fit_and_score(
    estimator: BaseEstimator,
    X: Any,
    y: Any,
    *,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    with_loss: bool,
    **options: Any,
) -> Fitted:
    """scikit-learn's `_fit_and_score`, with `test_loss` where it is asked for and the estimator tells probabilities.

    Accuracies are counts of a few samples; the losses of the same fits are far less noisy, and the curve learns its
    shape from them.

    Args:
        X: (samples, features).
        y: (samples,).
        train: Indices of the samples to fit to.
        test: Of those to score.
        with_loss: Whether to look for it.
        **options: Of `_fit_and_score`.
    """
    result: Fitted = _fit_and_score(estimator, X, y, train=train, test=test, return_estimator=with_loss, **options)
    fitted = result.pop("estimator", None)
    if fitted is not None and not result["fit_error"]:
        loss = _loss(fitted, *_safe_split(fitted, X, y, test, train))
        if loss is not None:
            result["test_loss"] = loss
    return result


def _loss(fitted: BaseEstimator, X: Any, y: Any) -> float | None:
    """Mean cross-entropy in nats; None where there is none: nobody asked for it, so it never fails a fit."""
    try:
        if not hasattr(fitted, "predict_proba") or type_of_target(y) not in ("binary", "multiclass"):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(log_loss(y, fitted.predict_proba(X), labels=fitted.classes_))
    except Exception:  # e.g. a class that the training part lacks, or probabilities that need what is not routed
        return None
