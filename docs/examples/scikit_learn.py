"""A scikit-learn estimator, scored by one of scikit-learn's scorers."""

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import l2tune

X, y = load_breast_cancer(return_X_y=True)


def train(C, train):
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=2000)).fit(X[train], y[train])


tradeoff = l2tune.tune(train, X=X, y=y, parameter="C", scorer="neg_log_loss", test=range(0, 569, 5), trials=12)
print(tradeoff.verdict)
print(tradeoff.model, dict(tradeoff.test))
