"""How the strengths of a study are named: digits, the user's own number, and what has been run of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.wording import has_own_number, lambdas, listed, own_numbers


@dataclass(frozen=True, eq=False)
class Naming:
    """Names for the strengths of a study's estimates; made once, for digits depend on what else is named.

    Args:
        t: The estimates.
    """

    t: Estimates
    _texts: dict[float, str] = field(init=False)
    _own: dict[float, str] = field(init=False)

    def __post_init__(self) -> None:
        strengths = named_strengths(self.t)
        object.__setattr__(self, "_texts", lambdas(strengths))
        object.__setattr__(self, "_own", own_numbers(strengths, self.t.record))

    def number(self, strength: float) -> str:
        """`3.16e-3`; more digits where another strength of the study would look the same."""
        return self._texts[strength]

    def equal(self, strength: float) -> str:
        """`λ = 3.16e-3`."""
        return f"λ = {self.number(strength)}"

    def span(self, low: float, high: float) -> str:
        """`λ = 1.00e-3 to 1.00e-2`, or `λ = 1.00e-3` where both ends are one."""
        first, second = self.number(low), self.number(high)
        return f"λ = {first}" if first == second else f"λ = {first} to {second}"

    def own(self, strength: float) -> str | None:
        """`C = 3.16`, where the user knows the strength by that name; None where it is λ itself."""
        record = self.t.record
        return f"{record.parameter.name} = {self._own[strength]}" if has_own_number(record) else None

    def both(self, strength: float) -> str:
        """`C = 3.16, λ = 3.16e-1`; `λ = 3.16e-3` where that is the user's own number."""
        own = self.own(strength)
        return self.equal(strength) if own is None else f"{own}, {self.equal(strength)}"

    def both_spans(self, low: float, high: float) -> str:
        """`C = 1.60 to 40.0, λ = 2.50e-2 to 6.25e-1`."""
        if self.own(low) is None or self.number(low) == self.number(high):
            return self.both(low) if low == high else self.span(low, high)
        name, scale = self.t.record.parameter.name, self.t.record.parameter.scale
        first, second = sorted((low, high), key=scale.from_lambda)
        return f"{name} = {self._own[first]} to {self._own[second]}, {self.span(low, high)}"

    def folds(self, strength: float) -> int:
        """How many folds of this very λ are done, diverged ones included."""
        row = self.t.row(strength)
        return 0 if row is None else int(row["folds"])

    def diverged(self, strength: float) -> int:
        """How many folds of this very λ diverged."""
        row = self.t.row(strength)
        return 0 if row is None else int(row["diverged"])

    def lacks(self, strength: float) -> str:
        """What this λ lacks to be a full cross-validation score, e.g. `has 2 of 5 folds`; empty if nothing."""
        folds, diverged = self.folds(strength), self.diverged(strength)
        if not folds:
            return "was not run"
        lacking = [f"has {folds} of {self.t.record.folds} folds"] if folds < self.t.record.folds else []
        if diverged:
            lacking.append(f"diverged on {diverged} of {folds}" if folds > 1 else "diverged")
        return listed(lacking)


def named_strengths(t: Estimates) -> list[float]:
    """Every λ that a sentence may name, each once, rising."""
    named = [*t.strengths["lambda"], *t.record.range, *(t.record.asked_range or ())]
    if t.curve is not None:
        named += [
            t.best_lambda,
            t.one_se_lambda,
            *t.interval,
            *t.band,
            t.curve.low,
            t.curve.high,
            *t.curve.grid[[0, -1]],
        ]
        named += [strength for strength in (t.gain_lambda, t.other_best_lambda) if strength is not None]
    return sorted(set(map(float, named)))


def who_trains(t: Estimates) -> str:
    """What a trainer trains is a network; what a user's own function fits may be any model."""
    return "network" if t.record.trained_by in ("l2tune", "trainer") else "model"


def is_ours(t: Estimates) -> bool:
    """Whether l2tune's own trainer trained, so that its settings can be advised."""
    return t.record.trained_by == "l2tune"
