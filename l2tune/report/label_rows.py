"""Where texts have room: names of marked places in rows, so that no text lies on another or on a mark's line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product


@dataclass(frozen=True, slots=True)
class Label:
    """A text beside a vertical line.

    Attributes:
        at: Where the line is, in pixels from the axis' left end.
        width: Of the text, in pixels.
        lines: Of the text.
    """

    at: float
    width: float
    lines: int = 1


@dataclass(frozen=True, slots=True)
class Place:
    """A row, 0 the lowest, and on which side of its line the text stands."""

    row: int
    grows_left: bool


def in_rows(labels: Sequence[Label], room_left: float, room_right: float) -> list[Place]:
    """A row of its own for each text, so that none is cut off and none is crossed by the line of another.

    A line reaches from below up to its own text, through the rows below it. What fits on an axis fits on a wider one.

    Args:
        labels: A few.
        room_left: Pixels left of the axis where text may be.
        room_right: Pixels from the axis' left end to where no text may be any more.
    """

    def faults(places: Sequence[Place]) -> tuple[float, int]:
        spans = [
            (label.at - label.width, label.at) if place.grows_left else (label.at, label.at + label.width)
            for label, place in zip(labels, places, strict=True)
        ]
        cut = sum(max(0.0, -room_left - start) + max(0.0, end - room_right) for start, end in spans)
        crossed = sum(
            places[other].row < place.row and spans[other][0] < label.at < spans[other][1]
            for label, place in zip(labels, places, strict=True)
            for other in range(len(labels))
            if places[other] is not place
        )
        return cut, crossed

    ways = (
        [Place(row, left) for row, left in zip(rows, sides, strict=True)]
        for sides in product((False, True), repeat=len(labels))
        for rows in permutations(range(len(labels)))
    )
    return min(ways, key=faults)


def spread_out(centers: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Centers moved as little as needed, so that texts of these widths lie beside each other within 0..1.

    Args:
        centers: Rising.
        widths: Together no more than 1.
    """
    places = [min(max(center, width / 2), 1 - width / 2) for center, width in zip(centers, widths, strict=True)]
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + (widths[index - 1] + widths[index]) / 2)
    limit = 1.0
    for index in reversed(range(len(places))):
        places[index] = min(places[index], limit - widths[index] / 2)
        limit = places[index] - widths[index] / 2
    return places
