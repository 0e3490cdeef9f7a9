"""`RegularizationSearchCV`: l2tune's search of a strength, as an estimator beside GridSearchCV."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import _warn_or_raise_about_fit_failures
from sklearn.utils import get_tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _check_method_params, check_is_fitted, indexable

from l2tune.errors import UserError
from l2tune.metrics import BUILT_IN, Metric
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.records.parameter import StrengthParameter
from l2tune.sklearn.fold_fit import fit_and_score
from l2tune.sklearn.fold_trainer import FitRaised, Fitted, FoldTrainer
from l2tune.sklearn.known_strengths import Strength, strength_of_estimator
from l2tune.sklearn.results_table import results_table
from l2tune.sklearn.searching import search_in_memory
from l2tune.tradeoff import Tradeoff

if TYPE_CHECKING:
    import plotly.graph_objects as go

_MOST_TOGETHER = 8
"""Strengths side by side at most: each is chosen without knowing the others' scores."""


class RegularizationSearchCV(BaseSearchCV):  # type: ignore[misc]
    """Searches how strongly to regularize an estimator, by cross-validation that gives up folds which cannot matter.

    Instead of a grid, a curve through all folds' scores says which strength to fit next, whether its next fold is
    worth it, and when the answer is settled. The best strength and the strongest one that is as good always get all
    folds. Without parameters of its own it knows the strength of most of scikit-learn's penalized estimators, of
    pipelines around them and of skorch's nets: which parameter, which way it points, and where to search; it goes
    beyond that range where the best strength may lie beyond.

        search = RegularizationSearchCV(make_pipeline(StandardScaler(), LogisticRegression())).fit(X, y)
        search.best_params_, search.best_score_, search.best_interval_

    Args:
        estimator: Any estimator with a strength.
        param: Its name, `clf__alpha` for a step of a pipeline; by default the one that is known.
        scale: Which way it points: `alpha`, `lambda` or `weight_decay` (a greater number regularizes more) or `C`
            (less). Needed with an estimator that is not known.
        param_range: Two numbers of the parameter's own, which the search never leaves. By default it begins where is
            known to be worthwhile, goes beyond as need be, and tries no penalty at all too where an estimator can do
            without and the parameter then is 0.
        max_candidates: Strengths to try at most; the search mostly settles long before.
        scoring: As of GridSearchCV. Of several metrics `refit` names the one that the strength is searched by.
        n_jobs: Fits at once: the folds of a strength, and several strengths. Beside each other these are chosen with
            less knowledge, so that other strengths are tried than with one.
        refit: As of GridSearchCV. A callable gets `cv_results_`, whose means may be masked.
        cv: As of GridSearchCV; split once.
        verbose: As of GridSearchCV.
        pre_dispatch: As of GridSearchCV.
        error_score: As of GridSearchCV. NaN counts as worse than all scores seen.
        return_train_score: As of GridSearchCV.

    Attributes:
        best_params_: The parameter at the best strength: of those tried that the curve cannot tell from its optimum,
            the one of the best mean. So it need not have rank 1, which may be luck.
        best_index_: Its row of `cv_results_`.
        best_score_: Its mean score over all folds.
        best_estimator_: Fitted to all samples with it.
        best_interval_: 95 % credible interval of the best parameter, lower end first. Where the penalty may be left out
            altogether it ends at 0, or for C at infinity.
        one_se_params_: The strongest regularization within one standard error of the best.
        cv_results_: The columns of GridSearchCV, a row per strength. Folds that were not run are masked, and so are
            means and standard deviations over them; their `rank_test_…` comes after those of all whole rows.
        n_fits_: How many fits it took, without the refit.
        n_splits_: How many folds there are.
        refit_time_: Seconds of the last fit.
        scorer_: As of GridSearchCV.
        multimetric_: Whether there are several metrics.
        tradeoff_: The `Tradeoff`: the verdict in words, the curve, the report.

    Raises:
        ValueError: Which parameter is the strength is not known, or another argument cannot be answered.
    """

    _parameter_constraints = {  # noqa: RUF012 scikit-learn's own
        **BaseSearchCV._parameter_constraints,
        "param": [str, None],
        "scale": [StrOptions({"lambda", "weight_decay", "alpha", "C"}), None],
        "param_range": ["array-like", None],
        "max_candidates": [Interval(Integral, 2, None, closed="left")],
    }

    def __init__(
        self,
        estimator: BaseEstimator,
        *,
        param: str | None = None,
        scale: str | None = None,
        param_range: Any = None,
        max_candidates: int = 40,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: Any = np.nan,
        return_train_score: bool = False,
    ) -> None:
        super().__init__(
            estimator=estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.param = param
        self.scale = scale
        self.param_range = param_range
        self.max_candidates = max_candidates

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.target_tags.multi_output = inner.target_tags.multi_output
        return tags

    def fit(self, X: Any, y: Any = None, **params: Any) -> RegularizationSearchCV:
        """Search the strength, and fit the best estimator to all samples.

        Args:
            X: (samples, features), as the estimator takes it.
            y: (samples,) or (samples, outputs); None for unsupervised learning.
            **params: Passed to the estimator's `fit`, the splitter (`groups`) and the scorer as GridSearchCV does.

        Raises:
            ValueError: The arguments cannot be answered, or all fits failed.
        """
        self._validate_params()
        if getattr(self, "_skl_callbacks", None):
            raise UserError("its callbacks would not be called", "set_callbacks", "give them to the estimator inside")
        scorers, key = self._get_scorers()
        if not isinstance(key, str):  # refit, where there are several metrics
            raise UserError(
                "there are several metrics", "refit", "name the one that the strength is searched by, e.g. 'accuracy'"
            )
        X, y = indexable(X, y)
        params = _check_method_params(X, params=params)
        routed = self._get_routed_params_for_fit(params)
        splits = self._splits(X, y, routed.splitter.split)
        strength = strength_of_estimator(
            self.estimator,
            len(splits[0][0]),
            y if not is_classifier(self.estimator) else None,
            param=self.param,
            scale=self.scale,
            param_range=self.param_range,
        )
        base = clone(self.estimator)
        metric = self._metric(key, weighted=bool(routed.scorer.score))

        def evaluate(pairs: Sequence[tuple[float, int]]) -> list[Fitted]:
            return list(
                parallel(
                    delayed(fit_and_score)(
                        clone(base),
                        X,
                        y,
                        with_loss=metric == BUILT_IN["accuracy"],
                        scorer=scorers,
                        train=splits[fold][0],
                        test=splits[fold][1],
                        verbose=self.verbose,
                        parameters={strength.param: strength.scale.from_lambda(value)},
                        fit_params=routed.estimator.fit,
                        score_params=routed.scorer.score,
                        return_train_score=self.return_train_score,
                        return_n_test_samples=True,
                        return_times=True,
                        error_score=self.error_score,
                        split_progress=(fold, len(splits)),
                    )
                    for value, fold in pairs
                )
            )

        with Parallel(n_jobs=self.n_jobs, pre_dispatch=self.pre_dispatch) as parallel:
            trainer = FoldTrainer(
                evaluate,
                len(splits),
                metric,
                self.refit if isinstance(self.refit, str) else None,
                f"{type(base).__module__}:{type(base).__qualname__}",
                min(_MOST_TOGETHER, effective_n_jobs(self.n_jobs)),
            )
            self.tradeoff_ = self._search(trainer, strength)
        self._keep(trainer, strength)
        self.scorer_ = getattr(scorers, "_scorers", scorers)
        if self.refit:
            self._refit(base, X, y, routed.estimator.fit)
        return self

    def plot(self) -> go.Figure:
        """The cross-validated score over the strength, with the best one, its interval and its one-standard-error rule.

        Raises:
            ValueError: There is no curve to draw.
        """
        check_is_fitted(self, "tradeoff_")
        return self.tradeoff_.plot()

    def _splits(self, X: Any, y: Any, routed: Mapping[str, Any]) -> list[tuple[Any, Any]]:
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(cv.split(X, y, **routed))
        if not splits:
            raise UserError("it gives no splits", "cv", "give a number of folds or another splitter")
        self.n_splits_ = len(splits)
        return splits

    def _metric(self, key: str, *, weighted: bool) -> Metric:
        """What the strength is chosen by; a greater score is better, as all of scikit-learn's."""
        scoring = self.scoring
        if isinstance(scoring, Mapping):
            scoring = scoring[key]
        elif isinstance(scoring, list | tuple):
            scoring = key
        final = getattr(self.estimator, "_final_estimator", self.estimator)
        own = getattr(type(final), "score", None) if scoring is None else None
        if scoring == "accuracy" or own is ClassifierMixin.score:
            return Metric("accuracy", maximize=True) if weighted else BUILT_IN["accuracy"]
        if scoring == "r2" or own is RegressorMixin.score:
            return BUILT_IN["r2"]
        name = key if key not in ("score", "loss", "error") else scoring if isinstance(scoring, str) else "score"
        return Metric(name, maximize=True)

    def _search(self, trainer: FoldTrainer, strength: Strength) -> Tradeoff:
        """Search until the answer is settled.

        Raises:
            UserError: All fits failed.
            Exception: What a fit raised, where `error_score` says so.
        """
        parameter = StrengthParameter(strength.param, strength.scale)
        objective = CrossValidationObjective(
            trainer=trainer,
            metric=trainer.metric,
            parameter=parameter.name,
            scale=parameter.scale.name,
            lambda_range=(strength.low, strength.high),
            extend_range=self.param_range is None,
            trials=self.max_candidates,
        )
        objective.baseline = strength.zero
        try:
            return search_in_memory(objective, type(self).__name__)
        except FitRaised as raised:
            raise raised.error from None

    def _keep(self, trainer: FoldTrainer, strength: Strength) -> None:
        """The fitted attributes that follow from the search."""
        every = list(trainer.fitted)
        results = [result for folds in trainer.fitted.values() for result in folds.values()]
        if self.error_score != "raise":
            _warn_or_raise_about_fit_failures(results, self.error_score)
        self.n_fits_ = len(results)
        self.multimetric_ = any(isinstance(result["test_scores"], Mapping) for result in results)
        key = self.refit if self.multimetric_ else "score"
        own, tradeoff = strength.scale.from_lambda, self.tradeoff_
        self.cv_results_ = results_table(
            strength.param,
            [own(value) for value in every],
            list(trainer.fitted.values()),
            trainer.folds,
            train=self.return_train_score,
        )
        self.best_interval_ = strength.scale.range_from_lambda(*tradeoff.interval)
        self.one_se_params_ = {strength.param: own(tradeoff.one_se_lambda)}
        if callable(self.refit):
            self.best_index_ = self._select_best_index(self.refit, key, self.cv_results_)
        else:
            best = tradeoff.best_lambda
            whole = np.ma.count(self.cv_results_[f"mean_test_{key}"]) > 0
            found = best in trainer.fitted and len(trainer.fitted[best]) == trainer.folds
            if not found and not whole:
                raise UserError("no candidate has all its folds", "max_candidates", "give more of them")
            ranked = self.cv_results_[f"rank_test_{key}"].argmin()
            self.best_index_ = every.index(best) if found else int(ranked)
            self.best_score_ = float(self.cv_results_[f"mean_test_{key}"][self.best_index_])
        self.best_params_ = self.cv_results_["params"][self.best_index_]

    def _refit(self, base: BaseEstimator, X: Any, y: Any, fit_params: Mapping[str, Any]) -> None:
        self.best_estimator_ = clone(base).set_params(**self.best_params_)
        began = time.time()
        if y is None:
            self.best_estimator_.fit(X, **fit_params)
        else:
            self.best_estimator_.fit(X, y, **fit_params)
        self.refit_time_ = time.time() - began
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_
