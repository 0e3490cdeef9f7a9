"""Where texts have room: names of marked places in rows, so that no text lies on another or on a mark's line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    """Where a text stands.

    Attributes:
        row: 0 is the lowest.
        grows_left: On which side of its line.
        reached: Whether its line reaches up to it; one that would cross another text ends below all of them.
    """

    row: int
    grows_left: bool
    reached: bool = True


def in_rows(labels: Sequence[Label], room_left: float, room_right: float) -> list[Place]:
    """A row of its own for each text, so that none is cut off and none is crossed by the line of another.

    A line reaches from below up to its own text, through the rows below it, if it can. What fits on an axis fits on a
    wider one.

    Args:
        labels: A few.
        room_left: Pixels left of the axis where text may be.
        room_right: Pixels from the axis' left end to where no text may be any more.
    """

    def crosses(places: Sequence[Place], index: int) -> bool:
        """Whether its line runs through a text of a lower row."""
        spans = (
            _span(label, place) for label, place in zip(labels, places, strict=True) if place.row < places[index].row
        )
        return any(start < labels[index].at < end for start, end in spans)

    def faults(places: Sequence[Place]) -> tuple[float, int]:
        spans = [_span(label, place) for label, place in zip(labels, places, strict=True)]
        cut = sum(max(0.0, -room_left - start) + max(0.0, end - room_right) for start, end in spans)
        return cut, sum(crosses(places, index) for index in range(len(places)))

    ways = (
        [Place(row, left) for row, left in zip(rows, sides, strict=True)]
        for sides in product((False, True), repeat=len(labels))
        for rows in permutations(range(len(labels)))
    )
    best = min(ways, key=faults)
    return [replace(place, reached=not crosses(best, index)) for index, place in enumerate(best)]


def _span(label: Label, place: Place) -> tuple[float, float]:
    """Both ends of its text."""
    return (label.at - label.width, label.at) if place.grows_left else (label.at, label.at + label.width)


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
