"""Stacked members in training: what `MemberTraining` does for one network, done for many at once."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch

from l2tune.errors import is_out_of_memory
from l2tune.members import EpochScores, Member
from l2tune.models.registry import first_line
from l2tune.training.draws import Seeded
from l2tune.training.stacked.batches import Stream
from l2tune.training.stacked.capture import Capture, collect
from l2tune.training.stacked.layout import Layout, StreamKey
from l2tune.training.stacked.problem import FEWEST_IMAGES, StackedProblem, Tables
from l2tune.training.stacked.scores import Evaluation
from l2tune.training.stacked.state import State, initial_state, move, rows_of
from l2tune.training.stacked.step import training_step

_SHRINK = 7 / 8  # a captured step is captured anew when so few of its members are left, not at every drop


@dataclass
class Progress:
    """How far stacked members have come.

    Attributes:
        seconds: Member → spent on it so far.
        dropped: Members that were given up but still take memory.
        epoch: Epochs finished.
        trained: How many batches of the epoch a stream's members have trained on.
        lowest: Member without a penalty → its lowest validation loss so far.
        draws: Whether the network draws random numbers, as far as is known.
    """

    seconds: dict[Member, float]
    dropped: set[Member] = field(default_factory=set)
    epoch: int = 0
    trained: dict[StreamKey, int] = field(default_factory=dict)
    lowest: dict[Member, float] = field(default_factory=dict)
    draws: bool = True

    def copy(self) -> Progress:
        copied = dict(self.seconds), set(self.dropped), self.epoch, dict(self.trained), dict(self.lowest)
        return Progress(*copied, self.draws)


class StackedMembers:
    """Stacked members. `begin` makes new ones.

    Attributes:
        members: One for each row of the stacked tensors; those of one stream lie side by side.
        state: Of the members, row by row.
    """

    def __init__(
        self,
        problem: StackedProblem,
        members: Sequence[Member],
        streams: Mapping[StreamKey, Stream],
        state: State,
        progress: Progress,
        *,
        capturing: bool,
    ) -> None:
        self._problem, self._all_streams = problem, streams
        self.members, self.state, self._progress = list(members), state, progress
        self._capturing = capturing
        self._capture: Capture | None = None
        self._tables: Tables | None = None
        self._layout = Layout(self.members, streams, problem.device)

    @classmethod
    def begin(
        cls,
        problem: StackedProblem,
        members: Sequence[Member],
        streams: Mapping[StreamKey, Stream],
        *,
        capturing: bool = True,
    ) -> StackedMembers:
        """Members with their initial weights; on the CPU until `unpark` where the device has no room.

        Args:
            streams: (fold, seed) → what its members see.
            capturing: Whether to capture steps, where that is done at all.
        """
        images = [len(fold.train) for fold in problem.whole.folds]
        members = sorted(members, key=lambda m: (images[m.fold], m.fold, m.seed))  # shorter streams first
        state: State = {}
        try:
            state = initial_state(problem, members, problem.device)
        except Exception as error:
            if not is_out_of_memory(error) or problem.device.type == "cpu":
                raise
        if not state:
            collect(problem.device)
            state = initial_state(problem, members, torch.device("cpu"))
        progress = Progress(dict.fromkeys(members, 0.0))
        return cls(problem, members, streams, state, progress, capturing=capturing and problem.limits.captured)

    @property
    def streams(self) -> Sequence[Stream]:
        """What the members see; whoever trains them has the streams draw each epoch."""
        return self._layout.streams

    def drop(self, members: Sequence[Member]) -> None:
        """Give up members; `shrink` frees what they take."""
        self._progress.dropped |= set(members) & set(self.members)

    def shrink(self) -> None:
        """Leave out dropped members, a captured step's only when enough have gathered: it is captured anew then."""
        kept = [row for row, member in enumerate(self.members) if member not in self._progress.dropped]
        if len(kept) == len(self.members) or (self._capture and len(kept) > _SHRINK * len(self.members)):
            return
        self._free()
        try:
            self._keep(kept)
            return
        except Exception as error:  # two copies at once do not fit
            if not is_out_of_memory(error):
                raise
        self.park()
        self._keep(kept)

    def split(self) -> list[StackedMembers]:
        """Two halves that go on where this stopped; they lie in the host's memory until `unpark`."""
        self._free()
        self.park()
        half = len(self.members) // 2
        parts = []
        for rows in (range(half), range(half, len(self.members))):
            members, progress = [self.members[row] for row in rows], self._progress.copy()
            progress.dropped &= set(members)
            state = rows_of(self.state, rows)
            parts.append(
                StackedMembers(self._problem, members, self._all_streams, state, progress, capturing=self._capturing)
            )
        return parts

    def park(self) -> None:
        """Move to the host's memory, to leave the device's to another population."""
        self._free()
        move(self.state, torch.device("cpu"))

    def unpark(self) -> None:
        """Move to the device."""
        move(self.state, self._problem.device)

    def train_epoch(self, batches: int | None = None) -> None:
        """Train to the end of the epoch that the streams have drawn, from wherever it was left.

        Args:
            batches: Stop after so many; by default at the end.
        """
        problem, layout, progress = self._problem, self._layout, self._progress
        if self._tables is None:
            self._tables = Tables(problem, layout.streams, progress.epoch)
        longest = max(stream.batches for stream in layout.streams)
        with self._timed(), self._own_randomness() as randomness:
            for batch in range(longest if batches is None else batches):
                for size, first, last in layout.ragged(batch, progress.trained):
                    self._train_batch(self._tables, batch, size, first, last)
                    progress.trained |= dict.fromkeys(layout.keys[first:last], batch + 1)
            if problem.device.type == "cuda":
                torch.cuda.synchronize(problem.device)

        progress.draws = randomness is not None and randomness.drawn  # the first epoch tells

    def end_epoch(self) -> None:
        """Make ready for the next; `scores` does it too."""
        self._progress.epoch, self._progress.trained, self._tables = self._progress.epoch + 1, {}, None

    def scores(self, epoch: int) -> list[EpochScores]:
        """Scores of the members that were not dropped; ends the epoch.

        Args:
            epoch: Which one, from 1.
        """
        problem, last = self._problem, epoch == self._problem.epochs
        evaluation = Evaluation(problem, self.state, self._layout)
        while True:
            try:
                with self._timed():
                    losses, errors = evaluation.losses_and_errors(sample=not last)
                    lowest = self._lowest([val_loss for _, val_loss in losses])
                    estimates = evaluation.first_estimates(lowest, epoch)
                    networks = evaluation.networks() if last else {}
                break
            except Exception as error:
                if not is_out_of_memory(error) or problem.evaluation_size(len(self.members)) == FEWEST_IMAGES:
                    raise
            problem.limits.evaluation_pixels //= 2
            collect(problem.device)
        self._progress.lowest |= {self.members[row]: losses[row][1] for row in lowest}
        finite = torch.isfinite(self.state["vectors"]["total"]).tolist()
        self.end_epoch()
        found = []
        for row, member in enumerate(self.members):
            if member in self._progress.dropped:
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
                    self._progress.seconds[member],
                    diverged,
                    {} if diverged else estimates.get(row, {}),
                    None if diverged else networks.get(row),
                )
            )
        return found

    def _lowest(self, val_losses: Sequence[float]) -> list[int]:
        """Rows without a penalty whose validation loss is lower than ever: only there the first estimate is asked
        for, which takes as long as an epoch."""
        lowest = self._progress.lowest
        return [
            row
            for row, (member, loss) in enumerate(zip(self.members, val_losses, strict=True))
            if member.strength == 0 and member not in self._progress.dropped and loss < lowest.get(member, math.inf)
        ]

    def _keep(self, rows: Sequence[int]) -> None:
        self.state, self.members = rows_of(self.state, rows), [self.members[row] for row in rows]
        self._progress.dropped &= set(self.members)
        self._layout = Layout(self.members, self._all_streams, self._problem.device)

    def _free(self) -> None:
        self._capture = self._tables = None
        collect(self._problem.device)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Every member has its share of the time spent inside, also of what ran out of memory."""
        began = time.perf_counter()
        try:
            yield
        finally:
            seconds = (time.perf_counter() - began) / len(self.members)
            for member in self.members:
                self._progress.seconds[member] += seconds

    def _own_randomness(self) -> AbstractContextManager[Seeded | None]:
        """Dropout draws from the first member's seed and the epoch, and leaves torch's global generator as it was."""
        progress = self._progress
        if not progress.draws:
            return nullcontext()
        trained = sum(progress.trained.values())  # after running out of memory, an epoch goes on with other draws
        return Seeded(self.members[0].seed + 1_000_003 * (progress.epoch + 1) + trained, self._problem.device)

    def _train_batch(self, tables: Tables, batch: int, size: int, first: int, last: int) -> None:
        """One step of the members of some streams, captured where it is a whole batch of all of them."""
        problem, state, layout = self._problem, self.state, self._layout
        inputs = tables.batch(batch, size, first, last)
        whole = (size, last - first) == (problem.batch_size, len(layout.streams))
        if not (whole and self._capturing):
            training_step(problem, state, layout, inputs, first, last)
            return
        self._capture = self._capture or Capture(lambda: problem.capture_stream)
        try:
            self._capture.run(
                lambda given: training_step(problem, state, layout, given, first, last, fused=True),
                inputs,
                list(state["parameters"].values()),
            )
            return
        except Exception as error:
            if is_out_of_memory(error) or not self._capture.failed:
                raise
            reason = first_line(error)
        what = f"the training step is not captured but taken kernel by kernel, which is slower ({reason})"
        warnings.warn(what, RuntimeWarning, stacklevel=2)
        self._capturing, self._capture, problem.limits.captured = False, None, False
        training_step(problem, state, layout, inputs, first, last)
