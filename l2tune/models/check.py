"""A network is tried once before anything is trained or written: whatever is wrong is told in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from l2tune.errors import UserError, mend
from l2tune.models.global_state import forked_generators, kept
from l2tune.models.registry import (
    ModelFactory,
    build_model,
    check_logits,
    first_line,
    place_of,
    sample_images,
)
from l2tune.models.sharing import Part, parts_of, same_values

_FEW = 3
"""Images of a trial batch: the last batch of an epoch may have any number from two, and so few cost little."""

_DRAWING = "draw from the global generators of torch, numpy or Python, which are seeded, not from one of your own"

_SEEDS = (1, 1, 2)
"""Of three networks: equal seeds give equal weights, and no two share any."""


def check_factory(factory: ModelFactory, shape: tuple[int, int, int], classes: int, batch_size: int) -> None:
    """Try a factory's networks as training uses them: build three, take two steps with one, and score with it.

    Nothing is trained: weights stay as they are. torch's settings and all global generators are left as they were.

    Args:
        factory: Called three times.
        shape: (C, H, W) of an image.
        classes: K.
        batch_size: Images of a training step, at most; the trial takes three of them or fewer.

    Raises:
        UserError: The network cannot be built, trained or scored; it gives NaN at the start; networks share what
            training changes; or equal seeds give different networks.
    """
    where = place_of(factory)
    with kept(), forked_generators(), torch.inference_mode(False), torch.enable_grad():
        torch.set_num_threads(1)  # for three images others only wait, and make each other wait beside other work
        networks = []
        for seed in _SEEDS:
            torch.manual_seed(seed)
            with _told("cannot be built", where, "mend the factory"):
                networks.append(build_model(factory, shape, classes))
        _check_equal(networks[0], networks[1], where)
        trial = _Trial(networks[2], shape, classes, where)
        sizes = [min(batch_size, _FEW), min(batch_size, _FEW - 1)]
        for size in sizes:  # scoring comes between steps: what it leaves behind must not stop the second
            trial.step(size)
            trial.score()
        trial.differentiate()
        _check_equal_outputs(networks[0], networks[1], sample_images(sizes[1], shape), where)


class _Trial:
    """One network, used as training does.

    Args:
        where: Of messages.
    """

    def __init__(self, model: nn.Module, shape: tuple[int, int, int], classes: int, where: str) -> None:
        self._model, self._shape, self._classes, self._where = model, shape, classes, where
        self._parts = _parameters(model)
        self._size = "×".join(map(str, shape))

    def step(self, count: int) -> None:
        """Forward and backward in training mode; the weights are written to, but keep their values."""
        self._model.train()
        images = f"{count} image{'s' * (count > 1)}"
        fix = "mend what it does in training mode"
        if count == 1:
            fix = "give a larger --batch-size"
        with _told(f"cannot be trained on batches of {images} of {self._size}", self._where, fix):
            loss = self._loss(sample_images(count, self._shape), " in training mode")
            if not loss.requires_grad:
                what = "its output needs no gradient in training mode"
                raise UserError(what, self._where, "leave out detach, torch.no_grad and whole numbers on the way to it")
            loss.backward()  # type: ignore[no-untyped-call]
        self._check_parameters()
        self._check_gradients()
        with _told("has weights that cannot be changed in place", self._where, "clone them"), torch.no_grad():
            for part in self._parts:
                if part.trained:
                    part.tensor.add_(0)
                    part.tensor.grad = None

    def score(self) -> None:
        """Evaluation mode, without gradients; the last batch may be of a single image."""
        self._model.eval()
        for count in (1, 2):
            images = f"{count} image{'s' * (count > 1)}"
            fix = "mend what it does in evaluation mode"
            with _told(f"cannot be scored on {images} of {self._size}", self._where, fix), torch.inference_mode():
                self._loss(sample_images(count, self._shape), " in evaluation mode")

    def differentiate(self) -> None:
        """Gradients in evaluation mode: over the weights for the first estimate, over images for their smoothness."""
        self._model.eval()
        images = sample_images(2, self._shape).requires_grad_()
        wanted = [part.tensor for part in self._parts if part.trained]
        with _told("cannot be differentiated in evaluation mode", self._where, "let gradients flow there too"):
            loss = self._loss(images, " in evaluation mode")
            found: Sequence[Tensor | None] = torch.autograd.grad(loss, [images, *wanted], allow_unused=True)
        if found[0] is None:
            what = "its output has no gradient over the images in evaluation mode"
            raise UserError(what, self._where, "leave out detach, comparisons and whole numbers on the way from them")

    def _loss(self, images: Tensor, when: str) -> Tensor:
        """Mean cross-entropy of a pass that does what it should."""
        given = images.detach().clone()
        torch.manual_seed(0)
        with kept() as changed:
            output = self._model(images)
            names = changed()
        if names:
            fix = "leave it to the caller"
            if "random" in names[0]:
                fix = "draw from torch's generator, the only one that is seeded in training"
            raise UserError(f"its forward pass changes {names[0]}{when}", self._where, fix)
        if not same_values(images.detach(), given):
            what = f"its forward pass changes the images that it is given{when}"
            raise UserError(what, self._where, "compute anew: x = x - 1 for x -= 1, no inplace=True on the input")
        logits = check_logits(output, len(images), self._classes, self._where, when)
        labels = torch.arange(len(images), device="cpu") % self._classes
        loss = cross_entropy(logits, labels)
        if not torch.isfinite(logits).all():
            what = f"gives NaN or infinity for ordinary images{when}, before any training"
            raise UserError(what, self._where, "mend its initial weights or its forward pass")
        return loss

    def _check_parameters(self) -> None:
        """The optimizer has the parameters of the start: none may come or be replaced later."""
        known = {id(part.tensor) for part in self._parts}
        late = [part.name for part in _parameters(self._model) if id(part.tensor) not in known]
        if late:
            what = f"makes the weights {late[0]!r} while it is trained, where no optimizer knows them"
            raise UserError(what, self._where, "make all weights when the network is built")

    def _check_gradients(self) -> None:
        gradients = {part.name: part.tensor.grad for part in self._parts if part.trained}
        found = {name: gradient for name, gradient in gradients.items() if gradient is not None}
        if not found:
            what = "its loss has no gradient over any of its weights"
            raise UserError(what, self._where, "return logits that are computed from them")
        for name, gradient in found.items():
            if gradient.layout != torch.strided:
                raise UserError(f"the gradient over {name!r} is sparse", self._where, "leave out sparse=True")
            if not torch.isfinite(gradient).all():
                what = f"the gradient over {name!r} is NaN or infinite for ordinary images, before any training"
                raise UserError(what, self._where, "mend its initial weights or its forward pass")


def _check_equal(one: nn.Module, other: nn.Module, where: str) -> None:
    """Fold f must start from the same weights at every λ."""
    first, second = ({part.name: part.tensor for part in parts_of(model)} for model in (one, other))
    differing = [name for name in [*first, *second] if name not in first or name not in second]
    differing = differing or [name for name in first if not same_values(first[name], second[name])]
    if differing:
        raise UserError(f"two networks built with one seed differ in {differing[0]!r}", where, _DRAWING)


def _check_equal_outputs(one: nn.Module, other: nn.Module, images: Tensor, where: str) -> None:
    """What is drawn elsewhere than for the weights must follow the seed too."""
    for training, mode in ((False, "evaluation"), (True, "training")):
        outputs = []
        for model in (one, other):
            torch.manual_seed(0)
            with _told(f"cannot take {len(images)} images again in {mode} mode", where, ""), torch.no_grad():
                outputs.append(model.train(training)(images.clone()))
        if not torch.allclose(outputs[0], outputs[1], rtol=1e-3, atol=1e-4, equal_nan=True):
            raise UserError(f"two networks built with one seed give different outputs in {mode} mode", where, _DRAWING)


def _parameters(model: nn.Module) -> list[Part]:
    return [part for part in parts_of(model) if isinstance(part.tensor, nn.Parameter)]


@contextmanager
def _told(what: str, where: str, fix: str) -> Iterator[None]:
    """An error inside becomes one line."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{what} ({first_line(error)})", where, mend(error, fix)) from None
