"""A network of timm's, fine-tuned or from scratch. (`l2tune search --model timm:NAME` does it without any code.)"""

import timm.optim
import torch
from sklearn.datasets import load_digits

import l2tune

images, labels = load_digits(n_class=3, return_X_y=True)
X = torch.nn.functional.interpolate(torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8), size=32)
y = torch.tensor(labels)


def train(weight_decay, train, validation, seed):
    torch.manual_seed(seed)
    model = timm.create_model("test_resnet", in_chans=1, num_classes=3)
    groups = timm.optim.param_groups_weight_decay(model, weight_decay)  # none on biases and normalization
    optimizer = torch.optim.AdamW(groups, lr=3e-3)
    for batch in torch.as_tensor(train)[torch.randperm(len(train))].split(64):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(X[batch]), y[batch]).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        logits = model(X[validation])
    return model, {"val_loss": torch.nn.functional.cross_entropy(logits, y[validation])}


tradeoff = l2tune.tune(train, folds=3, y=labels, test=range(0, 537, 5), trials=6)
print(tradeoff.verdict)
print(tradeoff.weight_decay, dict(tradeoff.test))
