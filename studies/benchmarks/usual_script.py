"""The script that a competent user of Optuna and PyTorch writes to find a weight decay; `end_to_end.py` runs it.

    python studies/benchmarks/usual_script.py SEED

TPE proposes the weight decay on a log scale, five folds are trained one after the other with a DataLoader, MedianPruner
judges every epoch. Prints one line of JSON: the weight decay, the cross-validated loss, fits and trials.
"""

from __future__ import annotations

import json
import sys

import optuna
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, train_test_split
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

EPOCHS, BATCH, FOLDS, TRIALS = 30, 128, 5, 20
SEED = int(sys.argv[1])

digits = load_digits()
X = torch.tensor(digits.images / 16.0, dtype=torch.float32).unsqueeze(1)
Y = torch.tensor(digits.target)
keep, _ = train_test_split(range(len(Y)), test_size=0.2, stratify=Y, random_state=0)
X, Y = X[keep], Y[keep]
splits = list(StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(X, Y))
epochs_trained = 0


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 8 * 8, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def validation_loss(model: nn.Module, loader: DataLoader[tuple[torch.Tensor, ...]]) -> float:
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for x, y in loader:
            total += functional.cross_entropy(model(x), y, reduction="sum").item()
            count += len(y)
    return total / count


def objective(trial: optuna.Trial) -> float:
    global epochs_trained
    weight_decay = trial.suggest_float("weight_decay", 1e-6, 1.0, log=True)
    losses = []
    for fold, (train, validation) in enumerate(splits):
        mean, std = X[train].mean(), X[train].std()
        loader = DataLoader(TensorDataset((X[train] - mean) / std, Y[train]), BATCH, shuffle=True)
        held_out = DataLoader(TensorDataset((X[validation] - mean) / std, Y[validation]), 512)
        torch.manual_seed(1000 * SEED + fold)
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, epochs=EPOCHS, steps_per_epoch=len(loader))
        for epoch in range(EPOCHS):
            model.train()
            for x, y in loader:
                optimizer.zero_grad()
                functional.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
            loss = validation_loss(model, held_out)
            epochs_trained += 1
            trial.report(loss, step=fold * EPOCHS + epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        losses.append(loss)
    return sum(losses) / len(losses)


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=SEED), pruner=optuna.pruners.MedianPruner())
study.optimize(objective, n_trials=TRIALS)
print(
    json.dumps(
        {
            "weight_decay": study.best_params["weight_decay"],
            "value": study.best_value,
            "fits": epochs_trained / EPOCHS,
            "trials": len(study.trials),
        }
    )
)
