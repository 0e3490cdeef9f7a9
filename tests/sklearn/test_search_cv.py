"""RegularizationSearchCV beside GridSearchCV."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine, make_classification
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning, NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, ShuffleSplit, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from l2tune.sklearn import RegularizationSearchCV

X, Y = load_diabetes(return_X_y=True)
X_CLASSES, CLASSES = load_wine(return_X_y=True)


def small(estimator, **given):
    return RegularizationSearchCV(estimator, cv=2, error_score="raise", max_candidates=4, **given)


@parametrize_with_checks(
    [small(Ridge()), small(Pipeline([("pca", PCA()), ("logisticregression", LogisticRegression())]))]
)
@pytest.mark.filterwarnings("ignore")
def test_it_is_an_estimator_as_scikit_learn_has_it(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def ridge():
    return RegularizationSearchCV(Ridge(), return_train_score=True).fit(X, Y)


def test_the_columns_are_those_of_grid_search(ridge):
    grid = GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, return_train_score=True).fit(X, Y)
    assert set(ridge.cv_results_) == set(grid.cv_results_)
    frame = pd.DataFrame(ridge.cv_results_)
    assert len(frame) == len(ridge.cv_results_["params"])


def test_a_candidate_scores_what_cross_validation_scores(ridge):
    best = cross_val_score(Ridge(**ridge.best_params_), X, Y)
    row = ridge.best_index_
    assert [ridge.cv_results_[f"split{fold}_test_score"][row] for fold in range(5)] == pytest.approx(best.tolist())
    assert ridge.best_score_ == pytest.approx(best.mean())
    assert ridge.cv_results_["std_test_score"][row] == pytest.approx(best.std())


def test_folds_that_were_not_run_are_masked_and_rank_last(ridge):
    table = ridge.cv_results_
    scores = np.ma.stack([table[f"split{fold}_test_score"] for fold in range(ridge.n_splits_)])
    assert scores.count() == ridge.n_fits_ < scores.size
    lacking = np.ma.getmaskarray(scores).any(axis=0)
    assert (np.ma.getmaskarray(table["mean_test_score"]) == lacking).all()
    assert (np.ma.getmaskarray(table["std_train_score"]) == lacking).all()
    assert table["rank_test_score"][lacking].min() > table["rank_test_score"][~lacking].max()
    assert table["rank_test_score"].min() == 1
    assert not lacking[ridge.best_index_]


def test_it_is_as_good_as_a_grid_with_fewer_fits():
    grid = {"alpha": np.geomspace(1e-3, 1e3, 30)}
    for data, estimator in ((load_diabetes, Ridge()), (load_breast_cancer, RidgeClassifier())):
        inputs, target = data(return_X_y=True)
        searched = RegularizationSearchCV(estimator).fit(inputs, target)
        all_of_them = GridSearchCV(estimator, grid).fit(inputs, target)
        error = all_of_them.cv_results_["std_test_score"][all_of_them.best_index_] / np.sqrt(4)
        assert searched.best_score_ >= all_of_them.best_score_ - error
        assert searched.n_fits_ <= 0.4 * 150


def test_the_interval_and_the_strongest_as_good(ridge):
    low, high = ridge.best_interval_
    assert 0 <= low <= ridge.best_params_["alpha"] <= high
    assert ridge.one_se_params_["alpha"] >= ridge.best_params_["alpha"]


def test_c_points_the_other_way():
    search = RegularizationSearchCV(make_pipeline(StandardScaler(), SVC())).fit(X_CLASSES, CLASSES)
    assert list(search.best_params_) == ["svc__C"]
    assert search.one_se_params_["svc__C"] <= search.best_params_["svc__C"]
    low, high = search.best_interval_
    assert low < high
    assert np.isfinite(search.cv_results_["param_svc__C"]).all(), "an infinite C is never run"


def test_what_the_best_estimator_can_is_delegated():
    model = make_pipeline(StandardScaler(), LogisticRegression())
    search = RegularizationSearchCV(model, scoring="neg_log_loss").fit(X_CLASSES, CLASSES)
    assert search.predict_proba(X_CLASSES).shape == (len(CLASSES), 3)
    assert search.decision_function(X_CLASSES).shape == (len(CLASSES), 3)
    assert (search.predict(X_CLASSES) == search.best_estimator_.predict(X_CLASSES)).all()
    assert search.score(X_CLASSES, CLASSES) < 0, "the given scoring"
    assert list(search.classes_) == [0, 1, 2]
    assert search.n_features_in_ == X_CLASSES.shape[1]
    assert search.refit_time_ > 0
    assert not hasattr(search, "inverse_transform")


def test_it_is_cloned_and_pickled(ridge):
    assert clone(ridge).get_params()["estimator"].get_params() == Ridge().get_params()
    with pytest.raises(NotFittedError):
        clone(ridge).predict(X)
    again = pickle.loads(pickle.dumps(ridge))
    assert (again.predict(X) == ridge.predict(X)).all()
    assert again.tradeoff_.verdict == ridge.tradeoff_.verdict


def test_the_search_is_the_same_again(ridge):
    again = clone(ridge).fit(X, Y)
    assert again.cv_results_["params"] == ridge.cv_results_["params"]
    assert again.best_params_ == ridge.best_params_


def test_it_is_nested_in_cross_validation():
    scores = cross_val_score(RegularizationSearchCV(Ridge(), cv=3, max_candidates=6), X, Y, cv=2)
    assert np.isfinite(scores).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a forking thread, in joblib's resource tracker
def test_fits_run_side_by_side():
    search = RegularizationSearchCV(Ridge(), n_jobs=2, cv=3, max_candidates=8).fit(X, Y)
    alone = cross_val_score(Ridge(**search.best_params_), X, Y, cv=3)
    assert search.best_score_ == pytest.approx(alone.mean())


def test_a_figure_shows_the_curve(ridge):
    figure = ridge.plot()
    assert len(figure.data) > 2


@pytest.mark.parametrize("scoring", [["accuracy", "neg_log_loss"], {"loss": "neg_log_loss", "accuracy": "accuracy"}])
def test_several_metrics(scoring):
    model = make_pipeline(StandardScaler(), LogisticRegression())
    refit = "loss" if "loss" in scoring else "neg_log_loss"
    search = RegularizationSearchCV(model, scoring=scoring, refit=refit, cv=3).fit(X_CLASSES, CLASSES)
    assert search.multimetric_
    assert search.best_score_ == pytest.approx(search.cv_results_[f"mean_test_{refit}"][search.best_index_])
    assert search.best_score_ == pytest.approx(
        cross_val_score(
            model.set_params(**search.best_params_), X_CLASSES, CLASSES, cv=3, scoring="neg_log_loss"
        ).mean()
    )
    assert search.cv_results_["mean_test_accuracy"].count() > 1
    assert search.score(X_CLASSES, CLASSES) < 0


def two_metrics(model, inputs, target):
    return {"r2": model.score(inputs, target), "size": -float(np.abs(model.coef_).sum())}


def test_a_scorer_that_returns_several_metrics():
    search = RegularizationSearchCV(Ridge(), scoring=two_metrics, refit="r2", cv=3, max_candidates=6).fit(X, Y)
    assert search.best_score_ == pytest.approx(cross_val_score(Ridge(**search.best_params_), X, Y, cv=3).mean())
    assert search.score(X, Y) == pytest.approx(search.best_estimator_.score(X, Y))


def test_which_metric_decides_is_asked_for():
    with pytest.raises(ValueError, match="several metrics"):
        RegularizationSearchCV(Ridge(), scoring=["r2", "neg_mean_squared_error"], refit=False).fit(X, Y)
    with pytest.raises(ValueError, match="refit"):
        RegularizationSearchCV(Ridge(), scoring=["r2", "neg_mean_squared_error"]).fit(X, Y)
    with pytest.raises(ValueError, match="several metrics"):
        RegularizationSearchCV(Ridge(), scoring=two_metrics).fit(X, Y)


def test_refit_may_choose_or_be_left_out():
    search = RegularizationSearchCV(Ridge(), refit=lambda table: int(np.argmax(table["mean_test_score"]))).fit(X, Y)
    assert search.cv_results_["rank_test_score"][search.best_index_] == 1
    assert not hasattr(search, "best_score_"), "as GridSearchCV"
    bare = RegularizationSearchCV(Ridge(), refit=False).fit(X, Y)
    assert bare.best_params_
    assert not hasattr(bare, "best_estimator_")
    with pytest.raises(AttributeError):
        bare.predict(X)


def test_groups_go_to_the_splitter():
    groups = np.arange(len(Y)) % 7
    search = RegularizationSearchCV(Ridge(), cv=GroupKFold(3), max_candidates=5).fit(X, Y, groups=groups)
    best = cross_val_score(Ridge(**search.best_params_), X, Y, groups=groups, cv=GroupKFold(3))
    assert search.best_score_ == pytest.approx(best.mean())
    with pytest.raises(ValueError, match="groups"):
        RegularizationSearchCV(Ridge(), cv=GroupKFold(3)).fit(X, Y)


def test_metadata_is_routed():
    groups, weights = np.arange(len(Y)) % 7, np.linspace(0.5, 1.5, len(Y))
    with sklearn.config_context(enable_metadata_routing=True):
        model = Ridge().set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        search = RegularizationSearchCV(model, cv=GroupKFold(3), max_candidates=5)
        search.fit(X, Y, groups=groups, sample_weight=weights)
        assert search.n_splits_ == 3
        refit = Ridge(**search.best_params_).fit(X, Y, sample_weight=weights)
        assert search.predict(X) == pytest.approx(refit.predict(X))
        with pytest.raises(TypeError, match="unexpected"):
            RegularizationSearchCV(model, cv=KFold(3)).fit(X, Y, nothing=weights)


def test_a_splitter_is_asked_once():
    splitter = ShuffleSplit(4, random_state=np.random.RandomState(0))
    search = RegularizationSearchCV(Ridge(), cv=splitter, max_candidates=6).fit(X, Y)
    splits = list(ShuffleSplit(4, random_state=np.random.RandomState(0)).split(X, Y))
    assert search.best_score_ == pytest.approx(cross_val_score(Ridge(**search.best_params_), X, Y, cv=splits).mean())


def test_one_split_is_enough():
    search = RegularizationSearchCV(Ridge(), cv=ShuffleSplit(1, random_state=0)).fit(X, Y)
    assert search.n_fits_ == len(search.cv_results_["params"])


class Fragile(RegressorMixin, BaseEstimator):
    """Fails above a strength, and scores NaN below another."""

    def __init__(self, strength=1.0, fails_above=np.inf, nan_below=0.0):
        self.strength, self.fails_above, self.nan_below = strength, fails_above, nan_below

    def fit(self, inputs, target):
        if self.strength > self.fails_above:
            raise RuntimeError("too strong")
        self.ridge_ = Ridge(alpha=self.strength).fit(inputs, target)
        return self

    def predict(self, inputs):
        return self.ridge_.predict(inputs)

    def score(self, inputs, target):
        return np.nan if self.strength < self.nan_below else self.ridge_.score(inputs, target)


def fragile(**given):
    return RegularizationSearchCV(Fragile(**given), param="strength", scale="alpha", param_range=(1e-4, 100), cv=3)


def test_fits_that_fail_count_as_the_worst():
    with pytest.warns(FitFailedWarning, match="fits failed"):
        search = fragile(fails_above=0.5).fit(X, Y)
    assert search.best_params_["strength"] <= 0.5
    failed = search.cv_results_["param_strength"] > 0.5
    assert failed.any()
    assert np.isnan(np.ma.getdata(search.cv_results_["mean_test_score"])[failed]).all()


def test_an_error_score_is_a_score_like_any_other():
    search = fragile(fails_above=0.5).set_params(error_score=-5.0)
    with pytest.warns(FitFailedWarning, match="-5.0"):
        search.fit(X, Y)
    failed = search.cv_results_["param_strength"] > 0.5
    assert search.cv_results_["split0_test_score"][failed].compressed() == pytest.approx(-5.0)


def test_scores_of_nan_are_never_best():
    search = fragile(nan_below=0.01).fit(X, Y)
    assert search.best_params_["strength"] >= 0.01
    assert np.isfinite(search.best_score_)


def test_an_error_is_raised_as_it_is_where_that_is_asked_for():
    with pytest.raises(RuntimeError, match="too strong"):
        fragile(fails_above=0.0).set_params(error_score="raise").fit(X, Y)


def test_where_all_fails_one_line_says_why():
    with pytest.raises(ValueError, match="all the 6 fits failed: RuntimeError: too strong"):
        fragile(fails_above=0.0).fit(X, Y)
    with pytest.raises(ValueError, match="all the 10 fits failed: ValueError: Input X contains NaN"):
        RegularizationSearchCV(Ridge()).fit(np.full_like(X, np.nan), Y)
    with pytest.raises(ValueError, match="all 6 scores are NaN"):
        fragile(nan_below=np.inf).fit(X, Y)


@pytest.mark.parametrize(
    ("search", "line"),
    [
        (RegularizationSearchCV(LinearRegression()), "which parameter of LinearRegression is its strength"),
        (RegularizationSearchCV(KMeans(2)), "which parameter of KMeans"),
        (RegularizationSearchCV(Ridge(), param="nothing"), "Ridge has no parameter 'nothing'"),
        (RegularizationSearchCV(KMeans(2), param="tol"), "which way 'tol' of KMeans points is not known"),
        (RegularizationSearchCV(Ridge(), param_range=(1, 0.1)), "not below"),
        (RegularizationSearchCV(Ridge(), param_range=(0, 1)), "cannot start a log range"),
        (RegularizationSearchCV(Ridge(), param_range=3), "param_range"),
        (RegularizationSearchCV(Ridge(), param_range=(1, 1e9)), "goes beyond"),
        (RegularizationSearchCV(Ridge(), scale="beta"), "scale"),
        (RegularizationSearchCV(Ridge(), scale="C"), "'alpha' of Ridge points the other way than 'C'"),
        (RegularizationSearchCV(Ridge(), max_candidates=1), "max_candidates"),
        (RegularizationSearchCV(Ridge(), cv=[]), "no splits"),
        (RegularizationSearchCV(Ridge(), scoring="nonsense"), "scoring"),
    ],
)
def test_what_cannot_be_answered_is_refused(search, line):
    with pytest.raises(ValueError, match=line):
        search.fit(X, Y)


def test_the_given_range_is_never_left():
    search = RegularizationSearchCV(Ridge(), param_range=(10.0, 100.0)).fit(X, Y)
    tried = search.cv_results_["param_alpha"]
    assert ((tried >= 10 * (1 - 1e-9)) & (tried <= 100 * (1 + 1e-9))).all()


def test_the_fewest_candidates_still_give_an_answer():
    for candidates in (2, 3, 4):
        search = RegularizationSearchCV(Ridge(), max_candidates=candidates).fit(X, Y)
        assert len(search.cv_results_["params"]) <= candidates
        assert np.isfinite(search.best_score_)


class Guesser(ClassifierMixin, BaseEstimator):
    """Whatever its strength, it says the same."""

    def __init__(self, C=1.0):
        self.C = C

    def fit(self, inputs, target):
        self.classes_ = np.unique(target)
        return self

    def predict(self, inputs):
        return np.full(len(inputs), self.classes_[0])


def test_a_flat_curve_has_an_answer_too():
    search = RegularizationSearchCV(Guesser(), param="C", scale="C").fit(X_CLASSES, CLASSES)
    assert 0 < search.best_params_["C"] < np.inf
    assert search.one_se_params_["C"] <= search.best_params_["C"]


def test_frames_keep_their_names():
    inputs, target = load_diabetes(return_X_y=True, as_frame=True)
    search = RegularizationSearchCV(Ridge(), max_candidates=4).fit(inputs, target)
    assert list(search.feature_names_in_) == list(inputs.columns)


def test_sparse_input_and_no_target():
    from scipy.sparse import csr_array

    inputs, target = make_classification(120, random_state=0)
    search = RegularizationSearchCV(RidgeClassifier(), max_candidates=5).fit(csr_array(inputs), target)
    assert search.score(csr_array(inputs), target) > 0.5


def test_nothing_is_said_and_no_torch_is_loaded():
    code = (
        "import sys; from sklearn.datasets import load_diabetes; from sklearn.linear_model import Ridge\n"
        "from l2tune.sklearn import RegularizationSearchCV\n"
        "RegularizationSearchCV(Ridge(), max_candidates=4).fit(*load_diabetes(return_X_y=True))\n"
        "print([name for name in ('torch', 'torchvision', 'plotly') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
    assert run.stderr == ""


def test_warnings_of_the_estimator_come_through():
    model = LogisticRegression(max_iter=1)
    with pytest.warns(ConvergenceWarning):
        RegularizationSearchCV(model, max_candidates=2, cv=2).fit(X_CLASSES, CLASSES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RegularizationSearchCV(Ridge(), max_candidates=2, cv=2).fit(X, Y)


@pytest.mark.parametrize(
    ("estimator", "given", "name", "kind"),
    [
        (Ridge(), {}, "r2", "real"),
        (RidgeClassifier(), {}, "accuracy", "proportion"),
        (make_pipeline(StandardScaler(), RidgeClassifier()), {}, "accuracy", "proportion"),
        (RidgeClassifier(), {"scoring": "accuracy"}, "accuracy", "proportion"),
        (RidgeClassifier(), {"scoring": "f1_macro"}, "f1_macro", "real"),
        (RidgeClassifier(), {"scoring": ["f1_macro", "accuracy"], "refit": "accuracy"}, "accuracy", "proportion"),
        (RidgeClassifier(), {"scoring": {"error": "f1_macro"}, "refit": "error"}, "f1_macro", "real"),
    ],
)
def test_the_metric_has_its_name(estimator, given, name, kind):
    search = RegularizationSearchCV(estimator, max_candidates=3, cv=2, **given).fit(X_CLASSES, CLASSES)
    metric = search.tradeoff_.metric
    assert (metric.name, metric.kind, metric.maximize) == (name, kind, True)


class Unsure(LogisticRegression):
    """Tells probabilities of nothing."""

    def predict_proba(self, X):
        raise RuntimeError("no idea")


@pytest.mark.parametrize("jobs", [1, 2])
def test_accuracies_learn_from_the_loss_of_the_probabilities(jobs):
    model = make_pipeline(StandardScaler(), LogisticRegression())
    search = RegularizationSearchCV(model, max_candidates=3, cv=3, n_jobs=jobs).fit(X_CLASSES, CLASSES)
    seen = search.tradeoff_.record.observations
    assert (seen.metric.name, seen.guide.metric.name) == ("accuracy", "loss")
    train, test = list(StratifiedKFold(3).split(X_CLASSES, CLASSES))[seen.fold[-1]]
    fitted = model.set_params(logisticregression__C=1 / seen.strength[-1]).fit(X_CLASSES[train], CLASSES[train])
    assert seen.guide.cost[-1] == pytest.approx(log_loss(CLASSES[test], fitted.predict_proba(X_CLASSES[test])))


@pytest.mark.parametrize(
    ("estimator", "given"),
    [(RidgeClassifier(), {}), (Unsure(), {}), (LogisticRegression(), {"scoring": "f1_macro"})],
)
def test_without_such_a_loss_accuracies_do(estimator, given):
    search = RegularizationSearchCV(estimator, max_candidates=3, cv=2, error_score="raise", **given)
    assert search.fit(StandardScaler().fit_transform(X_CLASSES), CLASSES).tradeoff_.record.observations.guide is None


def test_weighted_accuracies_are_no_shares():
    weights = np.linspace(0.1, 3, len(CLASSES))
    model = make_pipeline(StandardScaler(), LogisticRegression())
    search = RegularizationSearchCV(model, scoring="accuracy", max_candidates=4)
    search.fit(X_CLASSES, CLASSES, logisticregression__sample_weight=weights)
    assert np.isfinite(search.best_score_)
    with sklearn.config_context(enable_metadata_routing=True):
        inner = LogisticRegression().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = RegularizationSearchCV(inner, max_candidates=4).fit(
            StandardScaler().fit_transform(X_CLASSES), CLASSES, sample_weight=weights
        )
    assert search.tradeoff_.metric.kind == "real"
