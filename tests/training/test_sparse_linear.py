"""L1 and the elastic net against scikit-learn: linear least squares and logistic regression, trained to convergence.

Ours minimizes `E + λ (ρ Σ |w| + (1 − ρ) Σ w²)`, E the mean over n rows. scikit-learn's `Lasso` and `ElasticNet` take
`half the mean square + α (r Σ |w| + (1 − r) / 2 Σ w²)`; its `LogisticRegression`, divided by Cn, takes `mean
cross-entropy + (r Σ |w| + (1 − r) / 2 Σ w²) / (Cn)`. The intercept is penalized by none of them.
"""

import numpy as np
import pytest
import sklearn
import torch
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from l2tune.settings import PenaltySettings, TrainingSettings
from l2tune.training.optimizers import RegularizedOptimizer

sklearn_version = tuple(map(int, sklearn.__version__.split(".")[:2]))
OPTIMIZERS = {
    "plain": {"optimizer": "sgd", "lr": 0.2, "momentum": 0.0},
    "momentum": {"optimizer": "sgd", "lr": 0.02, "momentum": 0.9},
    "adam": {"optimizer": "adam", "lr": 0.02},
}
STEPS = 3000
PENALTIES = {"l1": {"form": "l1"}, "elastic": {"form": "elastic", "l1_ratio": 0.7}}


def half_mean_square(found, wanted):
    return (found - wanted).square().mean() / 2


LOSSES = {"least squares": half_mean_square, "logistic": binary_cross_entropy_with_logits}


@pytest.fixture(params=LOSSES)
def problem(request):
    """Name, X (120, 12) of unequal scales, and y, which four of the twelve columns decide."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(120, 12)) * np.geomspace(0.5, 2, 12)
    score = x[:, :4] @ [1.5, -2.0, 1.0, 0.5] + 0.4 + rng.normal(0, 1, 120)
    return request.param, x, score if request.param == "least squares" else (score > 0).astype(float)


def ours(problem, penalty, strength, optimizer):
    """(12,) coefficients and the intercept after many steps on all rows, the last of them ever smaller."""
    kind, x, y = problem
    rows, wanted = torch.from_numpy(x), torch.from_numpy(y)
    torch.manual_seed(0)
    layer = nn.Linear(x.shape[1], 1).double()
    training = TrainingSettings(**OPTIMIZERS[optimizer])
    steps = RegularizedOptimizer(layer, strength, training, PenaltySettings(**PENALTIES[penalty]))
    for step in range(STEPS):
        lr = training.lr * min(1.0, 2 * (1 - step / STEPS))
        steps.step(LOSSES[kind](layer(rows)[:, 0], wanted), lr)
    return layer.weight.detach()[0].numpy(), layer.bias.item()


def scikit_learns(problem, penalty, strength):
    kind, x, y = problem
    ratio = PENALTIES[penalty].get("l1_ratio", 1.0)
    first, second = strength * ratio, 2 * strength * (1 - ratio)  # of Σ |w|, and of Σ w² / 2
    total, share = first + second, first / (first + second)
    if kind == "least squares":
        tight = {"tol": 1e-10, "max_iter": 100_000}
        model = Lasso(total, **tight) if share == 1 else ElasticNet(total, l1_ratio=share, **tight)
    else:
        given = {"C": 1 / (total * len(y)), "l1_ratio": share, "solver": "saga", "tol": 1e-9, "max_iter": 100_000}
        older = {"penalty": "elasticnet"} if sklearn_version < (1, 8) else {}  # since 1.8 the ratio alone tells
        model = LogisticRegression(**given | older)
    model.fit(x, y)
    return np.ravel(model.coef_), float(np.ravel(model.intercept_)[0])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_coefficients_and_zeros_are_scikit_learns(problem, penalty, optimizer):
    strength = 0.1 if problem[0] == "least squares" else 0.03
    found, intercept = ours(problem, penalty, strength, optimizer)
    expected, theirs = scikit_learns(problem, penalty, strength)
    assert 3 <= (expected == 0).sum() <= 9, "a problem on which zeros tell something"
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert intercept == pytest.approx(theirs, abs=1e-3)
    np.testing.assert_array_equal(found == 0, expected == 0)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_from_the_largest_useful_strength_on_all_weights_are_zero(problem, penalty, optimizer):
    """λ_max of glmnet: the steepest slope at zero weights, the intercept fitted, divided by ρ."""
    kind, x, y = problem
    assert kind in LOSSES  # of both, the slope is X'(prediction − y) / n, the prediction being the mean of y
    highest = np.abs(x.T @ (y.mean() - y)).max() / len(y) / PENALTIES[penalty].get("l1_ratio", 1.0)
    assert not ours(problem, penalty, 1.001 * highest, optimizer)[0].any()
    assert (ours(problem, penalty, 0.98 * highest, optimizer)[0] != 0).sum() == 1
