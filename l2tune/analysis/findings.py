"""The judgement in words: all that is worth telling of a study, in order, and the verdict made of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from l2tune.analysis import caveats, notes
from l2tune.analysis.answer import all_diverged, answer, has_learned, nothing_learned, only_baseline
from l2tune.analysis.estimates import Estimates
from l2tune.analysis.finding import Finding
from l2tune.analysis.gain import gain
from l2tune.analysis.naming import Naming
from l2tune.analysis.shape import shape

__all__ = ["Finding", "findings", "in_brief", "in_parts", "verdict"]


def findings(t: Estimates) -> Iterator[Finding]:
    """All findings about a tradeoff, in the order in which they matter."""
    names = Naming(t)
    if t.curve is None:
        yield all_diverged(t, names)
        yield from caveats.failures(t)
        yield from caveats.others(t)
        yield from caveats.widened(t, names)
        return
    if not (t.strengths["lambda"] > 0).any():
        yield only_baseline(t)
        yield from caveats.failures(t)
        yield from caveats.others(t)
        yield from caveats.progress(t, names)
        yield from caveats.divergence(t, names)
        yield from caveats.widened(t, names)
        return
    if not has_learned(t):
        yield from nothing_learned(t, names)
        yield from caveats.failures(t)
        yield from caveats.others(t)
        yield from caveats.divergence(t, names)
        yield from caveats.widened(t, names)
        return
    yield from answer(t, names)
    yield from shape(t, names)
    yield from gain(t, names)
    yield from caveats.failures(t)
    yield from caveats.others(t)
    yield from caveats.progress(t, names)
    yield from caveats.ends(t, names)
    yield from caveats.divergence(t, names)
    yield from caveats.widened(t, names)
    yield from caveats.network(t, names)
    yield from caveats.metrics_disagree(t, names)
    yield from caveats.left_out(t)
    yield from caveats.normalization(t)
    yield from notes.coverage(t)
    yield from notes.folds(t, names)
    yield from notes.all_zero(t)
    yield from notes.audit(t)


def verdict(t: Estimates) -> str:
    """Two to five sentences for people."""
    return in_brief(tuple(findings(t)))


def in_brief(found: Sequence[Finding]) -> str:
    """The verdict: answer, shape, gain and the first two caveats."""
    return " ".join(in_parts(found))


def in_parts(found: Sequence[Finding]) -> list[str]:
    """The verdict part by part, the answer first."""
    parts = [next((f.text for f in found if f.part == part), "") for part in ("answer", "shape", "gain")]
    parts += [f.text for f in found if f.part == "caveat"][:2]
    return [part for part in parts if part]
