"""A Lightning module and data module."""

import logging
import warnings

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Subset, TensorDataset

import l2tune

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="lightning")
images, labels = load_digits(n_class=5, return_X_y=True)


class Net(L.LightningModule):
    def __init__(self, weight_decay):
        super().__init__()
        self.weight_decay = weight_decay
        self.layers = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 5))

    def training_step(self, batch, number):
        return torch.nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

    def validation_step(self, batch, number):
        logits = self.layers(batch[0])
        self.log("val_loss", torch.nn.functional.cross_entropy(logits, batch[1]))
        self.log("val_error", (logits.argmax(1) != batch[1]).float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=self.weight_decay)


class Digits(L.LightningDataModule):
    def __init__(self, train, validation):
        super().__init__()
        data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels))
        self.train, self.validation = Subset(data, train), Subset(data, validation)

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=64, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.validation, batch_size=len(self.validation))


def train(weight_decay, train, validation, seed):
    L.seed_everything(seed, verbose=False)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(max_epochs=3, accelerator="cpu", enable_model_summary=False, **quiet)
    trainer.fit(net := Net(weight_decay), Digits(train, validation))
    return net, trainer.callback_metrics


tradeoff = l2tune.tune(train, folds=3, y=labels, test=range(0, 901, 5), trials=6)
print(tradeoff.verdict)
print(tradeoff.weight_decay, dict(tradeoff.test))
