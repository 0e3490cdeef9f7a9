"""Hugging Face's Trainer, around a model that is built from its configuration, so nothing is downloaded."""

import tempfile

import numpy as np
import torch
import transformers
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import l2tune

transformers.logging.set_verbosity_error()
rng = np.random.default_rng(0)
texts = rng.integers(2, 30, (240, 12))
labels = (texts.min(1) < 4).astype(int)  # whether one of two words is in it
data = [{"input_ids": torch.tensor(text), "labels": int(label)} for text, label in zip(texts, labels, strict=True)]


def train(weight_decay, train, validation, seed):
    transformers.set_seed(seed)
    config = BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=2
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=3,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=240,
            learning_rate=5e-3,
            weight_decay=weight_decay,
            seed=seed % 2**31,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = Trainer(BertForSequenceClassification(config), arguments, train_dataset=[data[i] for i in train])
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
        scores = trainer.evaluate([data[i] for i in validation])
    return trainer.model, {"val_loss": scores["eval_loss"]}


tradeoff = l2tune.tune(train, folds=3, y=labels, test=range(0, 240, 5), trials=6)
print(tradeoff.verdict)
print(tradeoff.weight_decay, dict(tradeoff.test))
