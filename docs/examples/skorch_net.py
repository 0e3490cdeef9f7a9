"""A skorch net: its optimizer's weight decay, scored as any scikit-learn estimator is."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier

import l2tune

images, labels = load_digits(n_class=5, return_X_y=True)
X, y = (images / 16).astype(np.float32), labels.astype(np.int64)


def train(weight_decay, train, seed):
    torch.manual_seed(seed)
    module = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 5))
    net = NeuralNetClassifier(
        module,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__weight_decay=weight_decay,
        lr=0.1,
        max_epochs=5,
        train_split=None,
        verbose=0,
    )
    return net.fit(X[train], y[train])


tradeoff = l2tune.tune(train, folds=3, X=X, y=y, scorer="accuracy", test=range(0, 901, 5), trials=8)
print(tradeoff.verdict)
print(tradeoff.weight_decay, dict(tradeoff.test))
