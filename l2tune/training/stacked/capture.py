"""Training steps as CUDA graphs, and the memory that they hold on to."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3
"""Steps before a capture: cuBLAS and cuDNN choose and allocate in them."""


class Capture:
    """A training step as a CUDA graph: its many small kernels start as one."""

    def __init__(self) -> None:
        self._seen = 0
        self._inputs: list[Tensor] = []
        self._graph: Any = None
        self.failed = False

    def run(self, step: Callable[[Sequence[Tensor]], None], inputs: Sequence[Tensor]) -> None:
        """Take the step: as it is at first, captured from then on. Inputs keep their shapes."""
        if self._graph is None:
            if self._seen < WARM_UP:
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
