"""Rows, streams and ragged batches of stacked members."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from l2tune.members import Member
from l2tune.training.pixels import Normalization
from l2tune.training.stacked.batches import Stream
from l2tune.training.stacked.layout import Layout

IMAGES = {0: 21, 1: 27, 2: 27}
"""Of each fold; in batches of 8 three, four and four, the last with 5, 3 and 3."""

MEMBERS = [Member(strength, fold, fold) for fold in IMAGES for strength in (0.0, 0.1)][:5]


@pytest.fixture
def layout() -> Layout:
    def stream(fold: int) -> Stream:
        by = Normalization(torch.tensor([0.1 * fold]), torch.tensor([1.0 + fold]))
        return Stream(fold, fold, np.arange(IMAGES[fold]), by, 8, (), (2, 2))

    return Layout(MEMBERS, {(fold, fold): stream(fold) for fold in IMAGES}, torch.device("cpu"))


def test_rows_of_a_stream_lie_side_by_side(layout: Layout) -> None:
    assert layout.keys == [(0, 0), (1, 1), (2, 2)]
    assert layout.stream_of.tolist() == [0, 0, 1, 1, 2]
    assert [layout.rows(stream, stream + 1) for stream in range(3)] == [slice(0, 2), slice(2, 4), slice(4, 5)]


def test_batches_of_equal_length_are_trained_together(layout: Layout) -> None:
    assert [list(layout.ragged(batch, {})) for batch in range(5)] == [
        [(8, 0, 3)],
        [(8, 0, 3)],
        [(5, 0, 1), (8, 1, 3)],
        [(3, 1, 3)],
        [],
    ]


def test_streams_that_have_trained_on_a_batch_are_left_out(layout: Layout) -> None:
    assert list(layout.ragged(1, {(1, 1): 2})) == [(8, 0, 1), (8, 2, 3)]


def test_pixels_are_normalized_by_each_streams_statistics(layout: Layout) -> None:
    pixels = torch.arange(8, dtype=torch.uint8).view(1, 2, 1, 2, 2)
    found = layout.normalized(pixels)
    assert found.shape == (3, 2, 1, 2, 2)
    for fold in range(3):
        torch.testing.assert_close(found[fold], (pixels[0] / 255 - 0.1 * fold) / (1 + fold))
    torch.testing.assert_close(layout.normalized(pixels, 1, 2), found[1:2])


def test_no_members_have_no_streams() -> None:
    layout = Layout([], {}, torch.device("cpu"))
    assert (layout.streams, layout.stream_of.tolist()) == ([], [])
