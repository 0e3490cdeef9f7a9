"""Capturing steps, on a device that pretends to have graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from l2tune.training.stacked.capture import Capture


class Recorded:
    """A CUDA graph as `Capture` sees it: what is recorded is not done, replaying does it."""

    recording: Recorded | None = None

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []

    def __enter__(self) -> None:
        Recorded.recording = self

    def __exit__(self, *exception: object) -> None:
        Recorded.recording = None

    def replay(self) -> None:
        for work in self.work:
            work()


def test_a_captured_step_is_taken_once_for_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recorded)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: graph)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    seen: list[float] = []

    def step(inputs: Sequence[Tensor]) -> None:
        def work() -> None:
            seen.append(float(inputs[0]))

        work() if Recorded.recording is None else Recorded.recording.work.append(work)

    capture = Capture()
    for batch in range(8):
        capture.run(step, [torch.tensor(float(batch))])
    assert seen == list(range(8))
