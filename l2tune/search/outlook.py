"""How many fits a search is likely to need still, and how long they take.

The rule for a search that the stopping rule ends is a line in four things that tell how far it is, and what is at most
left to do. Its constants are a fit to replayed searches: `studies/benchmarks/outlook.py` makes it again, tells how good
it is for recordings that it was not fitted to. Searches differ in ways that nothing tells beforehand: trees boosted on
twenty signs did no better on recordings left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l2tune.search.state import SearchState

USUAL_TOTAL = 5.2
"""Fits that a usual search takes, per fold of the cross-validation: 26 with 5 folds, 16 with 3."""

COARSE = 0.9
"""So many more per fold by a proportion, such as the error, whose scores are coarse."""

CONSTANT, USUAL, GAIN, MISSING = 0.32, 0.33, 2.95, 0.61
"""Fits left once the curve tells something: per fold of the cross-validation; per fit that a usual search would still
take; per factor of ten by which the expected gain is above the threshold; and per fold that λ_best and λ_1se lack,
which may change still."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What the rule goes by.

    Attributes:
        fits: Done.
        folds: Of the cross-validation.
        tried: λs above 0 with a finished fold.
        proportion: Whether the metric is one.
        excess: log10 of the expected gain of a fit over the one below which the answer is settled; 0 if it is.
        missing: Folds that λ_best and λ_1se lack.
    """

    fits: int
    folds: int
    tried: int
    proportion: bool
    excess: float
    missing: int

    @classmethod
    def of(cls, state: SearchState) -> Signs:
        """Those of a search."""
        excess = float(np.log10(max(state.gain, 1.0))) if np.isfinite(state.gain) else 0.0
        proportion = state.seen.metric.kind == "proportion"
        return cls(state.fits, state.seen.folds, len(state.seen.tried), proportion, excess, state.missing)

    @property
    def usual(self) -> float:
        """Fits that a usual search would still take."""
        return max(0.0, USUAL_TOTAL * self.folds - self.fits)


def expected_fits(signs: Signs) -> float:
    """Fits left of a search that the stopping rule ends, the one under way included; at least one."""
    coarse = COARSE * signs.folds if signs.proportion else 0.0
    if signs.tried < _TOLD:
        return max(1.0, signs.usual + coarse)
    known = CONSTANT * signs.folds + USUAL * signs.usual + GAIN * signs.excess + MISSING * signs.missing
    return max(1.0, known + coarse)


_TOLD = 3
"""λs above 0 before which the curve tells nothing of how far the search is."""


def fits_left(state: SearchState) -> float | None:
    """Fits that the search is likely to need still, those under way included; never more than its budget allows.

    None where no budget is known, and before the first fit is done.
    """
    plan, folds = state.plan, state.seen.folds
    if plan.trials is None or not state.fits:
        return None
    if state.over:
        return 0.0
    share = 1.0 if plan.settles else state.share
    under_way = _under_way(state, share)
    allowed = max(0, plan.trials - state.begun)
    most = under_way + allowed * folds * share
    audits = state.audits_left * max(1.0, folds / 2) + _audited(state)
    if not plan.settles:
        return most + audits
    if state.settled and not state.training and not state.waiting:
        return min(most, float(state.missing)) + audits
    return min(most, max(expected_fits(Signs.of(state)), _wanted(state))) + audits


def seconds_left(state: SearchState, workers: int = 1) -> float | None:
    """Seconds that the fits left take, with so many workers at once; None where nothing tells."""
    fits = fits_left(state)
    if fits is None or state.seconds_per_fit is None:
        return None
    return fits * state.seconds_per_fit / max(1, workers)


def _under_way(state: SearchState, share: float) -> float:
    """Folds that the running trials have still to train: of those that a pruner may stop, the usual share."""
    done = {t.strength: (t.done, t.whole) for t in state.training if not t.audit}
    return sum(max(0.0, (1.0 if whole else share) * state.seen.folds - folds) for folds, whole in done.values())


def _wanted(state: SearchState) -> float:
    """Folds that are wanted of running trials whatever comes."""
    whole = {t.strength: t.done for t in state.training if t.whole and not t.audit}
    return float(sum(state.seen.folds - done for done in whole.values()))


def _audited(state: SearchState) -> float:
    """Folds missing of the audits that are running."""
    audits = {t.strength: t.done for t in state.training if t.audit}
    return float(sum(state.seen.folds - done for done in audits.values()))
