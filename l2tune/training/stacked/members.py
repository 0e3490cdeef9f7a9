"""Stacked members in training: what `MemberTraining` does for one network, done for many at once."""

from __future__ import annotations

import copy
import gc
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import stack_module_state

from l2tune.data.augment import move
from l2tune.members import EpochScores, Member, NetworkState
from l2tune.training.member_training import GRADIENT_IMAGES, Seeded, describe_network, initial_model
from l2tune.training.stacked import evaluate as stacked_scores
from l2tune.training.stacked.batches import Stream
from l2tune.training.stacked.model import Stacked

if TYPE_CHECKING:
    from l2tune.training.stacked.population import PopulationTrainer

StreamKey = tuple[int, int]
"""(fold, seed)."""

EVALUATION_PIXELS = {"cpu": 1 << 17, "cuda": 1 << 24}
"""Pixels of an evaluation batch, over all members."""

_FEWEST_IMAGES = 32  # of an evaluation batch
_SHRINK = 7 / 8  # a captured step is captured anew when so few of its members are left, not at every drop
_WARM_UP = 3  # steps before a capture: cuBLAS and cuDNN choose and allocate in them


class StackedMembers:
    """Stacked members. Those of one stream lie side by side, streams with fewer images first.

    Attributes:
        members: One for each row of the stacked tensors.
        streams: Of the members.
        state: `parameters`, `frozen`, `buffers`, the optimizer's `first` and `second` moments, and `initial_rms` of the
            regularized weights: name → (members, …); `vectors`: λ, seconds and the like, name → (members,).
    """

    def __init__(
        self,
        trainer: PopulationTrainer,
        members: Sequence[Member],
        streams: Mapping[StreamKey, Stream],
        *,
        capturing: bool = True,
    ) -> None:
        self._trainer = trainer
        images = [len(fold.train) for fold in trainer._splits]
        self.members = sorted(members, key=lambda m: (images[m.fold], m.fold, m.seed))
        self._all_streams = streams
        self._dropped: set[Member] = set()
        self._epoch = 0
        self._trained: dict[StreamKey, int] = {}
        """How many batches of the epoch a stream's members have trained on."""
        self._spent = dict.fromkeys(self.members, 0.0)
        self._capturing = capturing and trainer.captured
        self._draws = True
        self._capture: _Capture | None = None
        self._tables: _Tables | None = None
        try:
            self.state = self._initial_state(trainer.device)
        except torch.OutOfMemoryError:
            self.state = {}
        if not self.state:
            collect(trainer.device)
            self.state = self._initial_state(torch.device("cpu"))
        self._arrange()

    def drop(self, members: Sequence[Member]) -> None:
        """Give up members; `shrink` frees what they take."""
        self._dropped |= set(members) & set(self.members)

    def shrink(self) -> None:
        """Leave out dropped members, a captured step's only when enough have gathered: it is captured anew then."""
        kept = [row for row, member in enumerate(self.members) if member not in self._dropped]
        if len(kept) == len(self.members) or (self._capture and len(kept) > _SHRINK * len(self.members)):
            return
        self._free()
        try:
            self._keep(kept)
            return
        except torch.OutOfMemoryError:  # two copies at once do not fit
            pass
        self.park()
        self._keep(kept)

    def split(self) -> list[StackedMembers]:
        """Two halves that go on where this stopped; they lie in the host's memory until `unpark`."""
        self._free()
        self.park()
        half = len(self.members) // 2
        parts = []
        for rows in (range(half), range(half, len(self.members))):
            part = copy.copy(self)
            part._dropped, part._spent, part._trained = set(self._dropped), dict(self._spent), dict(self._trained)
            part._keep(list(rows))
            parts.append(part)
        return parts

    def park(self) -> None:
        """Move to the host's memory, to leave the device's to another population."""
        self._free()
        self._move(torch.device("cpu"))

    def unpark(self) -> None:
        self._move(self._trainer.device)

    def train_epoch(self, batches: int | None = None) -> None:
        """Train to the end of the epoch that the streams have drawn, from wherever it was left.

        Args:
            batches: Stop after so many; by default at the end.
        """
        if self._tables is None:
            self._tables = _Tables(self._trainer, self.streams, self._epoch)
        longest = max(stream.batches for stream in self.streams)
        with self._timed(), self._own_randomness() as randomness:
            for batch in range(longest if batches is None else batches):
                for size, first, last in self._ragged(batch):
                    self._train_batch(self._tables, batch, size, first, last)
                    self._trained |= dict.fromkeys(self._keys[first:last], batch + 1)
            if self._trainer.device.type == "cuda":
                torch.cuda.synchronize(self._trainer.device)

        self._draws = randomness is not None and randomness.drawn  # the first epoch tells

    def end_epoch(self) -> None:
        """Make ready for the next; `scores` does it too."""
        self._epoch, self._trained, self._tables = self._epoch + 1, {}, None

    def scores(self, epoch: int) -> list[EpochScores]:
        """Scores of the members that were not dropped; ends the epoch."""
        while True:
            try:
                with self._timed():
                    losses, errors, ratios, networks = self._evaluate(epoch)
                break
            except torch.OutOfMemoryError:
                if self._evaluation_size() == _FEWEST_IMAGES:
                    raise
            self._trainer._evaluation_pixels //= 2
            collect(self._trainer.device)
        finite = torch.isfinite(self.state["vectors"]["total"]).tolist()
        self.end_epoch()
        found = []
        for row, member in enumerate(self.members):
            if member in self._dropped:
                continue
            (train_loss, val_loss), (train_error, val_error) = losses[row], errors[row]
            if not finite[row]:
                train_loss = train_error = val_loss = val_error = math.nan
            diverged = not (math.isfinite(train_loss) and math.isfinite(val_loss))
            found.append(
                EpochScores(
                    member,
                    epoch,
                    train_loss,
                    train_error,
                    val_loss,
                    val_error,
                    self._spent[member],
                    diverged,
                    None if diverged else ratios.get(row),
                    None if diverged else networks.get(row),
                )
            )
        return found

    # state

    def _initial_state(self, device: torch.device) -> dict[str, Stacked]:
        trainer = self._trainer
        data, dtype = trainer._data, trainer._dtype
        seeds = list(dict.fromkeys(member.seed for member in self.members))
        models = [initial_model(trainer._factory, data.shape, data.classes, seed).to(dtype) for seed in seeds]
        trained = {name for name, p in models[0].named_parameters() if p.requires_grad}
        for model in models:
            model.requires_grad_(False)  # so that all can be stacked alike
        parameters, buffers = stack_module_state(models)
        rows = torch.tensor([seeds.index(member.seed) for member in self.members], device=device)
        with torch.no_grad():
            weights = {name: p.detach().to(device)[rows] for name, p in parameters.items()}
        state = {
            "parameters": {name: p for name, p in weights.items() if name in trained},
            "frozen": {name: p for name, p in weights.items() if name not in trained},
            "buffers": {name: b.to(device)[rows] for name, b in buffers.items()},
            "initial_rms": {
                name: weights[name].view(len(rows), -1).square().mean(1).sqrt() for name in trainer._regularized
            },
            "vectors": {
                "strength": torch.tensor([m.strength for m in self.members], device=device, dtype=dtype),
                "total": torch.zeros(len(self.members), device=device, dtype=dtype),
            },
        }
        for moment in ("first", "second")[: trainer._optimizer.moments]:
            state[moment] = {name: torch.zeros_like(p) for name, p in state["parameters"].items()}
        return state

    def _arrange(self) -> None:
        """What follows from the members: their streams, and which row sees which stream."""
        self._keys = list(dict.fromkeys((member.fold, member.seed) for member in self.members))
        self.streams = [self._all_streams[key] for key in self._keys]
        self._stream_rows = [self._keys.index((member.fold, member.seed)) for member in self.members]
        self._starts = [self._stream_rows.index(stream) for stream in range(len(self._keys))] + [len(self.members)]
        device = self._trainer.device
        self._stream_of = torch.tensor(self._stream_rows, dtype=torch.int64, device=device)
        if self.streams:
            mean = torch.stack([stream.normalization.mean for stream in self.streams])[:, None, :, None, None]
            std = torch.stack([stream.normalization.std for stream in self.streams])[:, None, :, None, None]
            self._shift, self._scale = -mean / std, 1 / (255 * std)  # (S, 1, C, 1, 1)

    def _keep(self, rows: list[int]) -> None:
        state = {
            kind: {name: t[torch.tensor(rows, dtype=torch.int64, device=t.device)] for name, t in named.items()}
            for kind, named in self.state.items()
        }
        self.state, self.members = state, [self.members[row] for row in rows]
        self._dropped &= set(self.members)
        self._arrange()

    def _move(self, device: torch.device) -> None:
        for named in self.state.values():
            for name in named:
                named[name] = named[name].to(device)

    def _free(self) -> None:
        self._capture = self._tables = None
        collect(self._trainer.device)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Every member has its share of the time spent inside, also of what ran out of memory."""
        began = time.perf_counter()
        try:
            yield
        finally:
            seconds = (time.perf_counter() - began) / len(self.members)
            for member in self.members:
                self._spent[member] += seconds

    # training

    def _ragged(self, batch: int) -> Iterator[tuple[int, int, int]]:
        """(images, first stream, last stream + 1) of the streams for which this batch is equally long."""
        sizes = [
            stream.images_in(batch) if self._trained.get(key, 0) <= batch else 0
            for key, stream in zip(self._keys, self.streams, strict=True)
        ]
        place = 0
        for size, group in groupby(sizes):
            count = len(list(group))
            if size:
                yield size, place, place + count
            place += count

    def _train_batch(self, tables: _Tables, batch: int, size: int, first: int, last: int) -> None:
        """One step of the members of some streams."""
        inputs = tables.batch(batch, size, first, last)
        whole = (size, last - first) == (self._trainer._training.batch_size, len(self.streams))
        if not (whole and self._capturing):
            self._step(inputs, first, last)
            return
        self._capture = self._capture or _Capture()
        try:
            self._capture.run(lambda given: self._step(given, first, last, fused=True), inputs)
            return
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            if not self._capture.failed:
                raise
            reason = str(error).splitlines()[0]
        warnings.warn(f"the training step is not captured ({reason})", RuntimeWarning, stacklevel=2)
        self._capturing, self._capture, self._trainer.captured = False, None, False
        self._step(inputs, first, last)

    def _step(self, inputs: Sequence[Tensor], first: int, last: int, *, fused: bool = False) -> None:
        """One step of the members of some streams.

        Until the gradients are there nothing is changed, and afterwards hardly any memory is taken: a step that runs
        out of memory can be taken again.

        Args:
            inputs: Pixels (S, N, C, H, W), labels (S, N), draws (S, N, 3) and rates (3, S) of the streams.
        """
        trainer = self._trainer
        pixels, labels, draws, rates = inputs
        rows = slice(self._starts[first], self._starts[last])
        which = self._stream_of[rows] - first
        if trainer._augment:
            pixels = move(pixels.flatten(0, 1), draws.flatten(0, 1), trainer._augment).view_as(pixels)
        images = self._normalized(pixels, first, last)[which]
        targets = labels[which]  # (M, N)
        parameters = {n: p[rows].detach().requires_grad_() for n, p in self.state["parameters"].items()}
        frozen = {n: p[rows] for n, p in self.state["frozen"].items()}
        buffers = {n: b[rows].clone() for n, b in self.state["buffers"].items()}
        logits, after = trainer._stacked(parameters | frozen, buffers, images, training=True)
        losses = stacked_scores.cross_entropies(logits, targets).mean(1)
        gradients = torch.autograd.grad(losses.sum(), list(parameters.values()))
        with torch.no_grad():
            trainer._optimizer.step(
                [p.detach() for p in parameters.values()],
                gradients,
                [[m[rows] for m in self.state[k].values()] for k in ("first", "second") if k in self.state],
                [name in trainer._regularized for name in parameters],
                self.state["vectors"]["strength"][rows],
                rates[:, which],
                fused=fused,
            )
            for name, buffer in self.state["buffers"].items():
                buffer[rows].copy_(after[name])
            self.state["vectors"]["total"][rows] += losses.detach()

    def _normalized(self, pixels: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """Pixels (S or 1, N, C, H, W) uint8 → (S, N, C, H, W) by each stream's statistics."""
        shift, scale = self._shift[first:last], self._scale[first:last]
        return torch.addcmul(shift, pixels.to(scale.dtype), scale)

    def _own_randomness(self) -> AbstractContextManager[Seeded | None]:
        """Dropout draws from the first member's seed and the epoch, and leaves torch's global generator as it was."""
        if not self._draws:
            return nullcontext()
        trained = sum(self._trained.values())  # after running out of memory, an epoch goes on with other draws
        return Seeded(self.members[0].seed + 1_000_003 * (self._epoch + 1) + trained, self._trainer.device)

    # evaluation

    def _evaluate(
        self, epoch: int
    ) -> tuple[list[list[float]], list[list[float]], dict[int, float], dict[int, NetworkState]]:
        counted = self._counted(sample=epoch < self._trainer.epochs)
        losses, errors = stacked_scores.losses_and_errors(self._logits(), counted).means()
        ratios = {}
        if self._trainer._regularized:
            ratios = self._gradient_ratios([row for row, m in enumerate(self.members) if m.strength == 0])
        networks = self._networks() if epoch == self._trainer.epochs else {}
        return losses, errors, ratios, networks

    def _logits(
        self, rows: Sequence[int] | None = None, weights: Mapping[str, Tensor] | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Pixels (N, C, H, W) → (M, N, K) logits of some members, with other weights if given."""
        network = self._network(rows, weights)
        which = self._stream_of if rows is None else self._stream_of[list(rows)]
        return lambda pixels: network(self._normalized(pixels[None])[which])

    def _network(
        self, rows: Sequence[int] | None = None, weights: Mapping[str, Tensor] | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Normalized images (M, N, C, H, W) → (M, N, K) logits, in evaluation mode."""
        kinds = ("parameters", "frozen", "buffers")
        parameters, frozen, buffers = (
            {n: t if rows is None else t[list(rows)] for n, t in self.state[kind].items()} for kind in kinds
        )
        everything = parameters | frozen | dict(weights or {})
        return lambda images: self._trainer._stacked(everything, buffers, images, training=False)[0]

    def _counted(
        self, rows: Sequence[int] | None = None, *, sample: bool = False
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """All images of any fold, batch by batch; of the training parts only a sample counts if asked."""
        trainer = self._trainer
        which = self._stream_of if rows is None else self._stream_of[list(rows)]
        counts = torch.stack([trainer._counts(stream.fold, sample) for stream in self.streams])  # (S, 2, images)
        place = 0
        for indices in torch.split(trainer._everything, self._evaluation_size()):
            part = counts[:, :, place : place + len(indices)][which]
            place += len(indices)
            yield trainer._pixels(indices), trainer._source.labels[indices.to(trainer.device)], part

    def _evaluation_size(self) -> int:
        _, height, width = self._trainer._data.shape
        size = self._trainer._evaluation_pixels // (height * width * len(self.members))
        return max(_FEWEST_IMAGES, min(2048, size))

    def _gradient_ratios(self, rows: list[int]) -> dict[int, float]:
        if not rows:
            return {}
        names = [name for name in self.state["parameters"] if name in self._trainer._regularized]
        weights = {n: self.state["parameters"][n][rows].requires_grad_() for n in names}
        ratios = stacked_scores.gradient_ratios(
            self._logits(rows, weights), list(weights.values()), self._counted(rows)
        )
        return dict(zip(rows, ratios.tolist(), strict=True))

    def _networks(self) -> dict[int, NetworkState]:
        trainer = self._trainer
        test, size = trainer._test, self._evaluation_size()
        labels = test.labels.cpu().numpy()
        log_p = stacked_scores.log_probabilities(self._logits(), torch.split(test.images, size)).numpy()
        every = -(-len(labels) // GRADIENT_IMAGES)
        which = self._stream_of
        some: Iterable[tuple[Tensor, Tensor]] = (
            (self._normalized(pixels[None])[which], targets)
            for pixels, targets in zip(
                torch.split(test.images[::every], size), torch.split(test.labels[::every], size), strict=True
            )
        )
        smoothness = stacked_scores.input_gradient_norms(self._network(), some).tolist()
        names = [name for name in self.state["parameters"] if name in trainer._regularized]
        return {
            row: describe_network(
                {name: self.state["parameters"][name][row] for name in names},
                {name: self.state["initial_rms"][name][row] for name in names},
                log_p[row],
                labels,
                smoothness[row],
            )
            for row in range(len(self.members))
        }


class _Tables:
    """An epoch's batches and rates of some streams, where the device finds them."""

    def __init__(self, trainer: PopulationTrainer, streams: Sequence[Stream], epoch: int) -> None:
        self._trainer, device = trainer, trainer.device
        self._size = trainer._training.batch_size
        longest = max(len(stream.order) for stream in streams)
        order = torch.zeros(len(streams), longest, dtype=torch.int64)
        draws = torch.zeros(len(streams), longest if trainer._augment else 0, 3, dtype=torch.int16)
        batches = max(stream.batches for stream in streams)
        rates = torch.zeros(batches, 3, len(streams), dtype=torch.float64)
        for row, stream in enumerate(streams):
            order[row, : len(stream.order)] = stream.order
            draws[row, : len(stream.draws)] = stream.draws
            for batch in range(stream.batches):
                step = epoch * stream.batches + batch
                rates[batch, :, row] = torch.tensor(
                    trainer._optimizer.rates(step, stream.batches * trainer.epochs), dtype=torch.float64
                )
        self._rates = rates.to(device, trainer._dtype)
        self._order = order
        self._device_order = order.to(device)
        self._draws = draws.to(device)

    def batch(self, batch: int, size: int, first: int, last: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pixels (S, N, C, H, W), labels (S, N), draws (S, N, 3) and rates (3, S) of some streams' batch."""
        trainer = self._trainer
        place = slice(batch * self._size, batch * self._size + size)
        indices = (self._device_order if trainer.resident else self._order)[first:last, place]
        labels = trainer._source.labels[self._device_order[first:last, place]]
        return trainer._pixels(indices), labels, self._draws[first:last, place], self._rates[batch, :, first:last]


class _Capture:
    """A training step as a CUDA graph: its many small kernels start as one."""

    def __init__(self) -> None:
        self._seen = 0
        self._inputs: list[Tensor] = []
        self._graph: Any = None
        self.failed = False

    def run(self, step: Callable[[Sequence[Tensor]], None], inputs: Sequence[Tensor]) -> None:
        """Take the step: as it is at first, captured from then on. Inputs keep their shapes."""
        if self._graph is None:
            if self._seen < _WARM_UP:
                self._seen += 1
                step(inputs)
                return
            self._inputs = [tensor.clone() for tensor in inputs]
            try:
                graph = torch.cuda.CUDAGraph()
                torch.cuda.synchronize()
                with torch.cuda.graph(graph):  # records the step, does not take it
                    step(self._inputs)
            except Exception:
                self.failed = True
                raise
            self._graph = graph
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._graph.replay()


def collect(device: torch.device) -> None:
    """Give memory that is no longer used back to the device."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
