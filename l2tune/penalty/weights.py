"""Which weights the penalty takes, and how strongly: the settings' patterns on what the parameters are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from l2tune.errors import UserError
from l2tune.penalty.roles import DIRECTION, Role, has_normalization, roles
from l2tune.settings import PenaltySettings

__all__ = ["Taken", "coverage", "has_normalization", "multipliers", "regularized_parameters", "taken_parameters"]

_SHOWN = 5
_MOST_ENDINGS = 12


@dataclass(frozen=True, eq=False, slots=True)
class Taken:
    """A parameter, and whether the penalty takes it.

    Attributes:
        role: What it is.
        multiplier: λ times this acts on it; 0 where none does.
        why_not: Why none does, in a word or two; empty where one does.
    """

    role: Role
    multiplier: float
    why_not: str

    @property
    def name(self) -> str:
        return self.role.name

    @property
    def parameter(self) -> nn.Parameter:
        return self.role.parameter


def taken_parameters(model: nn.Module, penalty: PenaltySettings) -> list[Taken]:
    """Every parameter of a network once, in its order, and whether and how strongly the penalty takes it.

    With `weights` it takes what `roles` says are weights, with `all` all that is trained, with patterns what they
    match; `penalty.scale` multiplies λ, the last of its patterns that matches counting.

    Raises:
        UserError: A pattern matches nothing, or one of `scale` nothing that is penalized.
    """
    found = roles(model)
    which = penalty.regularize
    if not isinstance(which, str):
        _check_patterns(which, [role for role in found if role.why_not != "frozen"], found)
    reasons = [_reason(role, which) for role in found]
    penalized = [role.name for role, reason in zip(found, reasons, strict=True) if not reason]
    for pattern in penalty.scale:
        if not any(fnmatchcase(name, pattern) for name in penalized):
            what = f"{pattern!r} matches no penalized parameter"
            raise UserError(what, "scale", _close(pattern, penalized))
    factors = multipliers(penalized, penalty)
    return [
        Taken(role, factors.get(role.name, 0.0), reason or ("" if factors[role.name] else "multiplier 0"))
        for role, reason in zip(found, reasons, strict=True)
    ]


def regularized_parameters(model: nn.Module, penalty: PenaltySettings) -> dict[str, nn.Parameter]:
    """Name → parameter that the penalty takes, tied ones once, in the model's order.

    Raises:
        UserError: A pattern of the settings matches nothing.
    """
    return {taken.name: taken.parameter for taken in taken_parameters(model, penalty) if taken.multiplier}


def multipliers(names: Iterable[str], penalty: PenaltySettings) -> dict[str, float]:
    """Name → by how much λ is multiplied there: 1, or what the last matching pattern of `penalty.scale` says."""
    return {
        name: next((by for pattern, by in reversed(penalty.scale.items()) if fnmatchcase(name, pattern)), 1.0)
        for name in names
    }


def coverage(found: Sequence[Taken]) -> dict[str, Any]:
    """On how much of a network λ acts: plain values worth storing with a study.

    | key | what |
    |---|---|
    | `tensors` | how many tensors λ acts on |
    | `matrices` | trained parameters in tensors with two or more dimensions larger than 1, no biases or normalization |
    | `left_out` | those of them that λ does not act on, directions of weight_norm not counted |
    | `largest` | the largest tensors of those: [name, parameters, why] |
    | `directions` | parameters of directions of weight_norm, on which λ acts through their magnitude |
    | `everything` | whether λ acts on all that is trained, with multiplier 1, as a plain `weight_decay` would |
    | `exceptions` | endings of names that tell where 'penalized: two or more dimensions' is wrong; null if too many.
      A multiplier of 0 is none |
    """
    trained = [taken for taken in found if taken.role.why_not != "frozen"]
    left = [t for t in trained if not t.multiplier and sum(size > 1 for size in t.parameter.shape) >= 2]
    directions = [t for t in left if t.role.why_not == DIRECTION]
    left = sorted(
        (t for t in left if t.role.why_not not in ("bias", "normalization", DIRECTION)),
        key=lambda t: -t.parameter.numel(),
    )
    wide = [t for t in trained if t.multiplier and sum(size > 1 for size in t.parameter.shape) >= 2]
    left_out = sum(t.parameter.numel() for t in left)
    return {
        "tensors": sum(t.multiplier > 0 for t in trained),
        "matrices": sum(t.parameter.numel() for t in wide) + left_out,
        "left_out": left_out,
        "largest": [[t.name, t.parameter.numel(), t.why_not] for t in left[:_SHOWN]],
        "directions": sum(t.parameter.numel() for t in directions),
        "everything": all(t.multiplier == 1 for t in trained),
        "exceptions": _exceptions(trained),
    }


def _exceptions(trained: Sequence[Taken]) -> dict[str, list[str]] | None:
    """Endings of names that are left out in spite of two dimensions, and of those taken without."""
    reached = {t.name for t in trained if t.multiplier or t.why_not == "multiplier 0"}
    out = [t.name for t in trained if t.parameter.ndim > 1 and t.name not in reached]
    others = [t.name for t in trained if t.name not in set(out)]
    within = [t.name for t in trained if t.parameter.ndim < 2 and t.name in reached]
    rest = [t.name for t in trained if t.name not in set(within)]
    found = {"left_out": _endings(out, others), "taken": _endings(within, rest)}
    return found if all(len(endings) <= _MOST_ENDINGS for endings in found.values()) else None


def _endings(names: Sequence[str], others: Sequence[str]) -> list[str]:
    """Few endings that all these names have and none of the others: the last word where that will do."""
    found: dict[str, None] = {}
    for name in names:
        if name.endswith(tuple(found)):
            continue
        parts = name.split(".")
        tails = [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
        found[next((tail for tail in tails if not any(o.endswith(tail) for o in others)), name)] = None
    return list(found)


def _reason(role: Role, which: str | tuple[str, ...]) -> str:
    if role.why_not == "frozen" or which == "weights":
        return role.why_not
    if which == "all" or any(fnmatchcase(role.name, pattern) for pattern in which):
        return ""
    return "not matched"


def _check_patterns(patterns: Iterable[str], trained: list[Role], everything: list[Role]) -> None:
    names = [role.name for role in trained]
    for pattern in patterns:
        if any(fnmatchcase(name, pattern) for name in names):
            continue
        tied = next((role.name for role in trained if any(fnmatchcase(a, pattern) for a in role.aliases)), None)
        if tied is not None:
            raise UserError(f"{pattern!r} is tied to {tied!r}", "regularize", f"write {tied!r}")
        if any(fnmatchcase(role.name, pattern) for role in everything):
            raise UserError(f"{pattern!r} matches frozen parameters only", "regularize", _close(pattern, names))
        what = f"{pattern!r} matches no parameter of the network"
        raise UserError(what, "regularize", _close(pattern, names))


def _close(pattern: str, names: list[str]) -> str:
    """What was perhaps meant."""
    plain = pattern.replace("*", "").replace("?", "")
    close = [name for name in names if plain and plain.lower() in name.lower()]
    close += difflib.get_close_matches(plain, names, n=3, cutoff=0.4)
    start = plain.split(".")[0].rstrip("0123456789")  # fc9 is close to fc1
    close += [name for name in names if start and name.startswith(start)]
    if close:
        return f"did you mean {' or '.join(map(repr, list(dict.fromkeys(close))[:2]))}?"
    if not names:
        return "none is penalized"
    more = f" and {len(names) - _SHOWN} more (`l2tune layers` lists them)" if len(names) > _SHOWN else ""
    return f"known are {', '.join(names[:_SHOWN])}{more}"
