"""Capturing steps, on a device that pretends to have graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from l2tune.training.stacked.capture import Capture


class Graphs:
    """torch.cuda as `Capture` sees it: what is recorded is not done, replaying does it.

    Attributes:
        stream: The current one.
        on: What captures were made on.
        fails: Whether a capture's end fails, as it does after a step that may not be captured.
        forgets: Whether nothing is recorded, as on another device's stream.
        generator: That of the device; "stuck" once a capture has begun and not ended.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.recording: list[Callable[[], None]] | None = None
        self.stream, self.on = "the user's", list[str]()
        self.fails = self.forgets = False
        self.generator = SimpleNamespace(
            state="as before",
            clone_state=lambda: self.generator.state,
            graphsafe_set_state=lambda state: setattr(self.generator, "state", state),
        )
        for name, value in {
            "CUDAGraph": lambda: SimpleNamespace(replay=lambda: None, reset=lambda: None),
            "graph_pool_handle": lambda: (0, 1),
            "graph": self.capture,
            "current_device": lambda: 0,
            "current_stream": lambda: self.stream,
            "set_stream": lambda stream: setattr(self, "stream", stream),
            "default_generators": [self.generator],
        }.items():
            patch.setattr(torch.cuda, name, value)

    def capture(self, graph: Any, *, pool: Any, stream: str) -> Any:
        graphs = self

        class Capturing:
            def __enter__(self) -> None:
                self.outside, graphs.stream = graphs.stream, stream
                graphs.on.append(stream)
                graphs.generator.state = "stuck"
                graphs.recording = []

            def __exit__(self, *exception: object) -> None:
                work, graphs.recording = graphs.recording or [], None
                if graphs.fails:
                    raise RuntimeError("operation failed due to a previous error during capture")
                graph.replay = lambda: None if graphs.forgets else [do() for do in work]
                graphs.generator.state, graphs.stream = "as before", self.outside

        return Capturing()

    def step(self, weight: Tensor) -> Callable[[Sequence[Tensor]], None]:
        def step(inputs: Sequence[Tensor]) -> None:
            (given,) = inputs
            work = lambda: weight.add_(given)  # noqa: E731
            if self.recording is None:
                work()
            else:
                self.recording.append(work)

        return step


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Graphs:
    return Graphs(monkeypatch)


def test_a_captured_step_is_taken_once_for_each_batch_and_captured_on_its_own_stream(graphs: Graphs) -> None:
    capture, weight, seen = Capture(lambda: "its own"), torch.zeros(1), list[float]()
    for batch in range(8):
        capture.run(graphs.step(weight), [torch.tensor(float(batch))], [weight])
        seen.append(float(weight))
    assert seen == [0, 1, 3, 6, 10, 15, 21, 28]
    assert graphs.on == ["its own"]
    assert graphs.stream == "the user's"


def warmed_up(graphs: Graphs, weight: Tensor) -> Capture:
    capture = Capture(lambda: "its own")
    for _ in range(3):
        capture.run(graphs.step(weight), [torch.tensor(1.0)], [weight])
    return capture


def test_after_a_failed_capture_stream_and_generator_are_those_from_before(graphs: Graphs) -> None:
    weight = torch.zeros(1)
    capture = warmed_up(graphs, weight)
    graphs.fails = True

    def forbidden(inputs: Sequence[Tensor]) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="operation not permitted when stream is capturing"):
        capture.run(forbidden, [torch.tensor(1.0)], [weight])
    assert capture.failed
    assert graphs.stream == "the user's"
    assert graphs.generator.state == "as before"
    assert float(weight) == 3


def test_memory_that_runs_out_in_a_capture_is_told_as_such(graphs: Graphs) -> None:
    weight = torch.zeros(1)
    capture = warmed_up(graphs, weight)
    graphs.fails = True

    def large(inputs: Sequence[Tensor]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        capture.run(large, [torch.tensor(1.0)], [weight])


def test_a_graph_that_trains_nothing_is_refused(graphs: Graphs) -> None:
    weight = torch.zeros(1)
    capture = warmed_up(graphs, weight)
    graphs.forgets = True
    with pytest.raises(RuntimeError, match="the captured graph trains nothing"):
        capture.run(graphs.step(weight), [torch.tensor(1.0)], [weight])
    assert capture.failed


def test_weights_that_are_no_numbers_any_more_refuse_no_graph(graphs: Graphs) -> None:
    weight = torch.full((1,), float("nan"))
    capture = warmed_up(graphs, weight)
    capture.run(graphs.step(weight), [torch.tensor(1.0)], [weight])
    assert not capture.failed
