"""Training steps as CUDA graphs, and the memory that they hold on to."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3
"""Steps before a capture: cuBLAS and cuDNN choose and allocate in them."""

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # bytes of an element → whole numbers as long

_abandoned: list[Any] = []
"""Graphs whose capture failed: torch's allocators may still ask them whether they are captured."""


class Capture:
    """A training step as a CUDA graph: its many small kernels start as one.

    Args:
        stream: Makes the stream to capture on, which lies on the current device.

    Attributes:
        failed: Whether a capture failed. What it had changed of torch's state is put back; the step was not taken.
    """

    def __init__(self, stream: Callable[[], Any]) -> None:
        self._stream = stream
        self._seen = 0
        self._inputs: list[Tensor] = []
        self._graph: Any = None
        self.failed = False

    def run(
        self, step: Callable[[Sequence[Tensor]], None], inputs: Sequence[Tensor], weights: Sequence[Tensor]
    ) -> None:
        """Take the step: as it is at first, captured from then on. Inputs keep their shapes.

        Args:
            weights: What the step trains.

        Raises:
            Exception: The step could not be captured, or its graph trains nothing.
        """
        if self._graph is None and self._seen < WARM_UP:
            self._seen += 1
            step(inputs)
            return
        if self._graph is not None:
            self._replay(inputs)
            return
        self._inputs, handled = [tensor.clone() for tensor in inputs], sys.exception()
        try:
            self._graph = self._captured(step)
            before = _bits_of(weights)
            self._replay(inputs)
            # weights that are no numbers any more look the same after every step
            if torch.equal(before, _bits_of(weights)) and _has_numbers(weights):
                raise RuntimeError("the captured graph trains nothing")
        except Exception as error:
            self.failed, self._graph = True, None
            raise _origin(error, handled) from None

    def _captured(self, step: Callable[[Sequence[Tensor]], None]) -> Any:
        """The step, recorded but not taken."""
        graph, pool, stream = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle(), self._stream()
        with _undone_if_failed(graph, pool), torch.cuda.graph(graph, pool=pool, stream=stream):
            step(self._inputs)
        return graph

    def _replay(self, inputs: Sequence[Tensor]) -> None:
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._graph.replay()


@contextmanager
def _undone_if_failed(graph: Any, pool: Any) -> Iterator[None]:
    """After a failed capture torch stays on the capture's stream, its generator takes every draw for one of the
    capture, and its allocator waits for the capture's end."""
    index, stream = torch.cuda.current_device(), torch.cuda.current_stream()
    generator = torch.cuda.default_generators[index]
    state = generator.clone_state()
    try:
        yield
    except BaseException:
        torch.cuda.set_stream(stream)
        generator.graphsafe_set_state(state)
        with suppress(Exception):  # it has ended already where the step failed but not the capture
            torch._C._cuda_endAllocateToPool(index, pool)
            torch._C._cuda_releasePool(index, pool)
        with suppress(Exception):
            graph.reset()
        _abandoned.append(graph)
        raise


def _origin(error: BaseException, handled: BaseException | None) -> BaseException:
    """What began a failure: torch's complaint about a capture that was broken off hides that memory ran out.

    Args:
        handled: What the caller is handling, which has nothing to do with it.
    """
    seen = {id(error), id(handled)}
    while error.__context__ is not None and id(error.__context__) not in seen:
        error = error.__context__
        seen.add(id(error))
    return error


def collect(device: torch.device) -> None:
    """Give memory that is no longer used back to the device."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def _bits_of(weights: Sequence[Tensor]) -> Tensor:
    """(weights,) sums of their bits, which any change changes; takes next to no memory."""
    return torch.stack([weight.detach().view(_BITS[weight.element_size()]).sum() for weight in weights])


def _has_numbers(weights: Sequence[Tensor]) -> bool:
    return any(bool(torch.isfinite(weight).any()) for weight in weights)
