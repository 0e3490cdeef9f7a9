"""An objective that varies more than λ: `suggest` draws it, the function gets it by name."""

import torch
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import scale

import l2tune

inputs, targets = load_diabetes(return_X_y=True)
X, y = (torch.tensor(scale(part), dtype=torch.float32) for part in (inputs, targets))


def train(weight_decay, train, validation, seed, lr, width):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(10, width), torch.nn.Tanh(), torch.nn.Linear(width, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    for _ in range(50):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(X[train])[:, 0], y[train]).backward()
        optimizer.step()
    with torch.no_grad():
        losses = {"train": train, "val": validation}
        return model, {f"{k}_mse": torch.nn.functional.mse_loss(model(X[v])[:, 0], y[v]) for k, v in losses.items()}


def suggest(trial):
    trial.suggest_float("lr", 1e-3, 1e-1, log=True)
    trial.suggest_categorical("width", [8, 32])


tradeoff = l2tune.tune(train, folds=3, y=y, metric="mse", suggest=suggest, test=range(0, 442, 5), trials=10)
print(tradeoff.verdict)
print(tradeoff.weight_decay, dict(tradeoff.record.others), dict(tradeoff.test))
