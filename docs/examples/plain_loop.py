"""A PyTorch loop of your own, with your own data loader."""

import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Subset, TensorDataset

import l2tune

images, labels = load_digits(n_class=5, return_X_y=True)
data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels))


def train(weight_decay, train, validation, seed):
    torch.manual_seed(seed)  # the same weights and batches at every weight decay
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=weight_decay)
    held_out = next(iter(DataLoader(Subset(data, validation), batch_size=len(validation))))
    for _ in range(4):
        for x, y in DataLoader(Subset(data, train), batch_size=64, shuffle=True):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            logits = model(held_out[0])
        val_loss = torch.nn.functional.cross_entropy(logits, held_out[1])
        yield {"val_loss": val_loss, "val_error": (logits.argmax(1) != held_out[1]).float().mean()}
    return model


tradeoff = l2tune.tune(train, folds=3, y=labels, test=range(0, 901, 5), trials=8)
print(tradeoff.verdict)
print(tradeoff.weight_decay, dict(tradeoff.test))
