"""`CNNClassifier`: l2tune's own trainer as a scikit-learn estimator."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from l2tune.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from l2tune.data.images import ImageData

_BATCH = 512
_MODEL, _FIT = "model.safetensors", "fit.json"
FIT_SCHEMA = 1
"""Of `fit.json`, as `l2tune fit` writes it."""


class CNNClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classifies images by a small network, regularized as strongly as cross-validation says.

        classifier = CNNClassifier(strength="auto").fit(images, labels)
        classifier.strength_, classifier.tradeoff_.verdict

    Args:
        strength: λ of the penalty; `auto` searches it by cross-validation.
        model: A model name as `--model` takes it, or a factory called with the input shape (C, H, W) and the classes.
        penalty: Its form, as `--penalty` takes it.
        optimizer: As `--optimizer` takes it.
        lr: Highest learning rate; by default the optimizer's usual one.
        epochs: Length of the training.
        batch_size: Images a step.
        folds: Of the search.
        trials: Strengths that the search tries at most.
        device: `auto` (CUDA when there is one), `cpu`, `cuda`, …
        random_state: A number, which seeds folds, weights and batches; None draws one.

    Attributes:
        classes_: The labels, in the order of the columns of `predict_proba`.
        strength_: λ that the network was trained with.
        tradeoff_: The search's `Tradeoff`; only after a search.
        model_: The `torch.nn.Module`, on the CPU in evaluation mode.
        shape_: (C, H, W) of the images.

    Raises:
        ValueError: Images, labels or an argument cannot be used.
    """

    def __init__(
        self,
        strength: float | str = "auto",
        *,
        model: Any = "simple_cnn",
        penalty: str = "l2",
        optimizer: str = "sgd",
        lr: float | None = None,
        epochs: int = 30,
        batch_size: int = 128,
        folds: int = 5,
        trials: int = 40,
        device: str = "auto",
        random_state: Any = 0,
    ) -> None:
        self.strength = strength
        self.model = model
        self.penalty = penalty
        self.optimizer = optimizer
        self.lr = lr
        self.epochs = epochs
        self.batch_size = batch_size
        self.folds = folds
        self.trials = trials
        self.device = device
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Search λ, unless it is given, and train on all images.

        Args:
            X: (N, H, W), (N, C, H, W) or (N, H, W, C): 0..255, or floating point in 0..1.
            y: (N,) labels of any kind.

        Raises:
            ValueError: They cannot be used, or training diverged.
        """
        from l2tune.objectives.cross_validation import CrossValidationObjective
        from l2tune.sklearn.searching import search_in_memory

        given: Any = self.strength
        searches = isinstance(given, str) and given == "auto"
        is_number = isinstance(given, int | float | np.number) and not isinstance(given, bool)
        number = float(given) if is_number else -1.0
        if not searches and not 0 <= number < float("inf"):
            raise UserError(f"{given!r} is no strength", "strength", "give 'auto', or a number not below 0")
        images = self._images(X, y)
        objective = CrossValidationObjective(
            images,
            self.model,
            folds=self.folds if searches else 2,
            **{name: value for name, value in self._settings().items() if value is not None},
        )
        if searches:
            self.tradeoff_ = search_in_memory(objective, type(self).__name__)
            self.strength_ = self.tradeoff_.best_lambda
        else:
            self.__dict__.pop("tradeoff_", None)  # of an earlier fit
            self.strength_ = number
        final = objective.train_final(self.strength_)
        self.model_, self.shape_ = final.model, images.shape
        self.mean_, self.std_ = (np.asarray(final.normalization[name]) for name in ("mean", "std"))
        self.fit_settings_ = dict(objective.settings.flat())
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """(N, classes) probabilities of the images, which are as `fit` takes them."""
        import torch

        from l2tune.training.pixels import Normalization

        check_is_fitted(self, "model_")
        mean, std = (torch.as_tensor(values, dtype=torch.float32) for values in (self.mean_, self.std_))
        normalization, found = Normalization(mean, std), []
        with torch.no_grad():
            for batch in self._batches(X):
                logits = self.model_(normalization.apply(batch)).double()
                found.append(logits.softmax(dim=1).numpy())
        return np.concatenate(found)

    def predict(self, X: Any) -> NDArray[Any]:
        """(N,) labels of the images."""
        chosen = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[chosen])

    def save(self, folder: str | Path) -> list[Path]:
        """Write `model.safetensors` and `fit.json`, as `l2tune fit` does.

        Returns:
            Their paths.

        Raises:
            OSError: A file cannot be written; the old ones are left.
            ValueError: The labels are neither numbers nor text.
        """
        from safetensors.torch import save

        from l2tune.assemble import versions
        from l2tune.whole_files import write_together

        check_is_fitted(self, "model_")
        if self.classes_.dtype.kind not in "iufbUO":
            raise UserError(f"labels of type {self.classes_.dtype} cannot be saved", "save", "use numbers or text")
        told = {
            "schema": FIT_SCHEMA,
            "lambda": self.strength_,
            "penalty": self.penalty,
            "class_names": [str(label) for label in self.classes_],
            "classes": self.classes_.tolist(),
            "pixels": self.pixels_,
            "shape": list(self.shape_),
            "mean": self.mean_.tolist(),
            "std": self.std_.tolist(),
            "settings": self.fit_settings_,
            "versions": versions(),
        }
        state = {name: tensor.clone().contiguous() for name, tensor in self.model_.state_dict().items()}
        contents = {
            _MODEL: save(state, {"lambda": repr(self.strength_), "model": str(self.fit_settings_["model"])}),
            _FIT: json.dumps(told, indent=2, allow_nan=False, default=list).encode(),
        }
        return write_together(Path(folder), contents)

    @classmethod
    def load(cls, folder: str | Path, *, model: Any = None) -> Self:
        """What `save`, or `l2tune fit`, has written.

        Args:
            model: The factory, where the network was made by one of your own.

        Raises:
            ValueError: The files are missing, or do not fit each other.
        """
        from safetensors.torch import load_file

        from l2tune.models.registry import build_model, make_factory
        from l2tune.settings import build

        where = str(folder)
        try:
            told = json.loads((Path(folder) / _FIT).read_text(encoding="utf-8"))
            state = load_file(Path(folder) / _MODEL)
            shape, settings, names = tuple(told["shape"]), dict(told["settings"]), told["class_names"]
            classes = np.asarray(told.get("classes", names))
            mean, std, strength = np.asarray(told["mean"]), np.asarray(told["std"]), float(told["lambda"])
        except Exception as error:
            fix = "give a folder that save or `l2tune fit` has written"
            raise UserError(f"cannot be read ({type(error).__name__}: {error})", where, fix) from error
        wanted = settings.get("model", "simple_cnn")
        if model is None and ":" in str(wanted):  # no code is imported because a file names it
            raise UserError(f"its network is {wanted!r}", where, "give load(folder, model=…) that factory")
        factory = model if callable(model) else make_factory(build({"model": model or wanted}).model)
        network = build_model(factory, shape, len(classes))
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            line = str(error).splitlines()[-1].strip()
            raise UserError(f"the weights are not this network's ({line})", where, "give another model=") from error
        own = {name: settings[name] for name in cls._get_param_names() if settings.get(name) is not None}
        found = cls(**own | {"strength": strength, "model": model or wanted})
        found.classes_, found.strength_, found.shape_ = classes, strength, shape
        found.model_, found.mean_, found.std_ = network.eval(), mean, std
        found.pixels_, found.fit_settings_ = told.get("pixels"), settings
        return found

    def _settings(self) -> dict[str, Any]:
        from sklearn.utils import check_random_state

        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        names = ("penalty", "optimizer", "lr", "epochs", "batch_size", "trials", "device")
        return {name: getattr(self, name) for name in names} | {"seed": int(seed)}

    def _images(self, X: Any, y: Any) -> ImageData:
        """The training images. No part of them is kept for testing: one image stands where a test part must be."""
        from l2tune.data.images import assemble

        labels = np.asarray(y)
        if labels.ndim != 1:
            raise UserError(f"have shape {labels.shape}", "y", "give one label per image")
        if labels.dtype.kind == "f" and not np.isfinite(labels).all():
            raise UserError("have NaN or infinite values", "y", "give labels")
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise UserError(f"there are {len(self.classes_)} classes", "y", "give images of two classes or more")
        self.pixels_ = _scale_of(X)
        names = [str(label) for label in self.classes_]
        return assemble(X, codes, X[:1], codes[:1], class_names=names, name="X")

    def _batches(self, X: Any) -> Iterator[Tensor]:
        """uint8 (n, C, H, W), on the scale of the training images."""
        from l2tune.data.pixels import image_tensors

        parts: list[tuple[str, Any]] = [("X", X)]
        known: Mapping[str, Any] | None = self.pixels_
        if known is not None and np.asarray(X).dtype.kind in "iuf" and known["type"] != "|u1":
            top = np.full((1, *self.shape_[1:]), known["top"], dtype=known["type"])
            parts.append(("training images", top))
            if float(np.max(X, initial=0)) > max(float(known["top"]), 255.0 if known["top"] > 1 else 1.0):
                what = f"pixels reach {np.max(X):g}, those of the training images {known['top']:g}"
                raise UserError(what, "X", "give images on the same scale")
        images = image_tensors(parts)[0][0]
        if tuple(images.shape[1:]) != tuple(self.shape_):
            what = f"images are {tuple(images.shape[1:])}, those trained on {tuple(self.shape_)}"
            raise UserError(what, "X", "give images of the same channels, height and width")
        for start in range(0, len(images), _BATCH):
            yield images[start : start + _BATCH]


def _scale_of(X: Any) -> dict[str, Any] | None:
    """Type and largest value of the pixels, so that others are read on the same scale."""
    array = np.asarray(X)
    if array.dtype.kind not in "iuf" or not array.size or not np.isfinite(array).all():
        return None
    return {"type": array.dtype.str, "top": float(array.max())}
