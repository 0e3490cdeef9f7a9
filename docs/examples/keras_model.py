"""Keras 3 on torch. Beware: its `loss` and `val_loss` contain the penalty, so of two models that predict alike the one
with the larger λ looks worse. Choose λ by the loss of the data alone: a metric such as `SparseCategoricalCrossentropy`.
"""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
from sklearn.datasets import load_digits

import l2tune

images, labels = load_digits(n_class=5, return_X_y=True)
images = (images / 16).astype("float32")


def train(l2, train, validation, seed):
    keras.utils.set_random_seed(seed)
    penalty = keras.regularizers.L2(l2)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(32, "relu", kernel_regularizer=penalty),
            keras.layers.Dense(5, kernel_regularizer=penalty),
        ]
    )
    data_loss = keras.metrics.SparseCategoricalCrossentropy("data_loss", from_logits=True)  # without the penalty
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", entropy, metrics=[data_loss])
    told = model.fit(
        images[train], labels[train], validation_data=(images[validation], labels[validation]), epochs=3, verbose=0
    )
    last = {name: values[-1] for name, values in told.history.items()}
    return model, {"train_loss": last["data_loss"], "val_loss": last["val_data_loss"]}  # not last["val_loss"]


tradeoff = l2tune.tune(train, folds=3, y=labels, parameter="l2", test=range(0, 901, 5), trials=6)
print(tradeoff.verdict)
print(tradeoff.best_lambda, dict(tradeoff.test))
