"""What is worth telling: one sentence each, with its place in the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Part = Literal["answer", "shape", "gain", "caveat", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something worth telling.

    Attributes:
        kind: What it is, in a word or two joined by dashes.
        part: Its place: the brief verdict has one `answer`, `shape` and `gain` at most, and two `caveat`s.
        text: A sentence, two at most.
    """

    kind: str
    part: Part
    text: str
