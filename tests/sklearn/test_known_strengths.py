"""What is known of estimators' strengths, against the estimators themselves."""

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_wine
from sklearn.ensemble import VotingClassifier
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    Lasso,
    LogisticRegression,
    LogisticRegressionCV,
    MultiTaskLasso,
    Perceptron,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR

from l2tune.errors import UserError
from l2tune.sklearn import RegularizationSearchCV
from l2tune.sklearn.known_strengths import strength_of_estimator

REGRESSION, CLASSIFICATION = load_diabetes(return_X_y=True), load_wine(return_X_y=True)

LINEAR = [
    (Ridge(), "alpha"),
    (Lasso(), "alpha"),
    (ElasticNet(), "alpha"),
    (GammaRegressor(max_iter=1000), "alpha"),
    (PoissonRegressor(max_iter=1000), "alpha"),
    (TweedieRegressor(), "alpha"),
    (SGDRegressor(max_iter=2000, random_state=0), "alpha"),
    (LinearSVR(max_iter=50_000, random_state=0), "C"),
    (RidgeClassifier(), "alpha"),
    (SGDClassifier(max_iter=2000, random_state=0), "alpha"),
    (LogisticRegression(max_iter=1000), "C"),
    (LinearSVC(max_iter=50_000, random_state=0), "C"),
]


@pytest.mark.parametrize(("estimator", "param"), LINEAR, ids=lambda value: type(value).__name__)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_greater_strength_makes_smaller_weights(estimator, param):
    inputs, target = CLASSIFICATION if hasattr(estimator, "decision_function") else REGRESSION
    inputs = StandardScaler().fit_transform(inputs)
    strength = strength_of_estimator(estimator, len(target), target)
    assert strength.param == param
    weights = [
        np.abs(estimator.set_params(**{param: strength.scale.from_lambda(value)}).fit(inputs, target).coef_).sum()
        for value in np.geomspace(strength.low, strength.high, 4)[1:]
    ]
    assert weights[0] > weights[1] > weights[2] >= 0


def test_the_range_reaches_from_nothing_to_all():
    """Ridge: at its low end the weights are those of no penalty, at its high end they are shrunk a lot."""
    inputs, target = StandardScaler().fit_transform(REGRESSION[0]), REGRESSION[1]
    strength = strength_of_estimator(Ridge(), len(target), target)
    norm = [np.linalg.norm(Ridge(alpha=a).fit(inputs, target).coef_) for a in (0, strength.low, strength.high)]
    assert norm[1] == pytest.approx(norm[0], rel=1e-2)
    assert norm[2] < 0.5 * norm[0]


@pytest.mark.parametrize(
    ("estimator", "param", "zero"),
    [
        (MLPClassifier(), "alpha", True),
        (MLPRegressor(), "alpha", True),
        (SVC(), "C", False),
        (SVR(), "C", False),
        (KernelRidge(), "alpha", False),
        (MultiTaskLasso(), "alpha", False),
        (SGDClassifier(), "alpha", False),
        (SGDRegressor(), "alpha", True),
        (make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), SVC())), "pipeline__svc__C", False),
        (OneVsRestClassifier(LogisticRegression()), "estimator__C", False),
        (TransformedTargetRegressor(Ridge()), "regressor__alpha", True),
    ],
)
def test_it_is_found(estimator, param, zero):
    strength = strength_of_estimator(estimator, 100)
    assert (strength.param, strength.zero) == (param, zero)
    assert strength.low < strength.high


def test_classes_made_from_known_ones_are_known():
    class Mine(Ridge):
        pass

    assert strength_of_estimator(Mine(), 100).param == "alpha"


def test_the_range_goes_with_samples_batch_and_target():
    def low(estimator, samples, target=None):
        return strength_of_estimator(estimator, samples, target).low

    assert low(Ridge(), 200) == pytest.approx(2 * low(Ridge(), 100))
    assert low(LogisticRegression(), 200) == pytest.approx(2 * low(LogisticRegression(), 100))
    assert low(MLPClassifier(), 1000) == pytest.approx(low(MLPClassifier(), 200))
    assert low(MLPClassifier(batch_size=50), 1000) == pytest.approx(low(MLPClassifier(), 50))
    assert low(MLPClassifier(solver="lbfgs"), 1000) == pytest.approx(5 * low(MLPClassifier(), 200))
    target = np.linspace(0, 1, 50)
    assert low(Lasso(), 50, 10 * target) == pytest.approx(10 * low(Lasso(), 50, target))
    assert low(SVR(), 50, 10 * target) == pytest.approx(low(SVR(), 50, target) / 10)


def test_a_skorch_net_is_known():
    skorch = pytest.importorskip("skorch")
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(13, 3)

        def forward(self, inputs):
            return self.layer(inputs)

    torch.manual_seed(0)
    net = skorch.NeuralNetClassifier(
        Net,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.05,
        max_epochs=10,
        train_split=None,
        verbose=0,
    )
    inputs, target = CLASSIFICATION
    model = make_pipeline(StandardScaler(), net)
    search = RegularizationSearchCV(model, cv=3, max_candidates=4)
    search.fit(inputs.astype(np.float32), target.astype(np.int64))
    assert list(search.best_params_) == ["neuralnetclassifier__optimizer__weight_decay"]
    assert search.best_score_ > 0.8


@pytest.mark.parametrize(
    ("estimator", "line"),
    [
        (
            VotingClassifier([("a", LogisticRegression()), ("b", SVC())]),
            "several parameters are strengths: 'a__C'",
        ),
        (LogisticRegressionCV(), "which parameter of LogisticRegressionCV"),
        (Perceptron(), "which parameter of Perceptron"),
        (SGDClassifier(penalty=None), "SGDClassifier has no penalty"),
        (StandardScaler(), "which parameter of StandardScaler"),
    ],
)
def test_what_is_not_known_is_refused(estimator, line):
    with pytest.raises(UserError, match=line):
        strength_of_estimator(estimator, 100)


def test_what_is_given_goes_before():
    strength = strength_of_estimator(Ridge(), 100, param="alpha", scale="lambda", param_range=(0.1, 10))
    assert (strength.low, strength.high, strength.zero) == (0.1, 10, False)
    assert strength_of_estimator(Ridge(), 100, param="tol", scale="C").zero is False


def test_what_lies_beyond_all_ranges_is_refused():
    with pytest.raises(UserError, match="scale features and target"):
        strength_of_estimator(Lasso(), 100, 1e-12 * np.linspace(0, 1, 100))
    assert strength_of_estimator(Ridge(), 10**8).high == 1e6
