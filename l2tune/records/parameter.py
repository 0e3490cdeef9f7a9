"""Which parameter of a study is the strength, and on which scale its numbers are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from l2tune.errors import UserError
from l2tune.penalty.strength import ScaleName, StrengthScale, scale_of
from l2tune.records.keys import PARAMETER, SCHEMA_KEY

DEFAULT_NAME = "lambda"
Others = tuple[tuple[str, Any], ...]
"""(name, value) of a trial's parameters other than the strength, by name."""


LAMBDA = StrengthScale()


@dataclass(frozen=True, slots=True)
class StrengthParameter:
    """A study's parameter for the strength.

    Attributes:
        name: In the study.
        scale: Of its numbers.
        decays: Whether 2λ is a weight decay: not with L1 and the elastic net. Known of a study that is read as tables.
    """

    name: str = DEFAULT_NAME
    scale: StrengthScale = LAMBDA
    decays: bool = field(default=True, compare=False)

    def strength(self, params: Mapping[str, Any]) -> float | None:
        """λ of a trial's parameters; None where the parameter is not among them.

        Raises:
            UserError: Its value is no strength.
        """
        if self.name not in params:
            return None
        value = params[self.name]
        try:
            strength = self.scale.to_lambda(float(value))
        except (TypeError, ValueError):
            strength = math.nan
        if not 0 <= strength < math.inf:
            raise UserError(
                f"{value!r} is no strength on the scale {self.scale.name!r}",
                f"parameter {self.name!r}",
                "draw the strength itself, a number not below 0 (not its exponent), or name another parameter=",
            )
        return strength

    def others(self, params: Mapping[str, Any]) -> Others:
        """The other parameters."""
        return tuple(sorted((name, value) for name, value in params.items() if name != self.name))

    def params(self, strength: float, others: Others | Mapping[str, Any] = ()) -> dict[str, Any]:
        """What to queue so that a trial gets this λ and these others; λ = 0 has no parameter."""
        own = {} if strength == 0 else {self.name: self.scale.from_lambda(strength)}
        return dict(others) | own

    def range(self, distribution: BaseDistribution) -> tuple[float, float] | None:
        """Lowest and highest λ above 0 that a distribution can draw; None for one that is no range of numbers."""
        match distribution:
            case FloatDistribution() | IntDistribution():
                low, high = float(distribution.low), float(distribution.high)
            case CategoricalDistribution():
                numbers = [c for c in distribution.choices if isinstance(c, int | float) and not isinstance(c, bool)]
                numbers = [number for number in numbers if number > 0]
                if not numbers:
                    return None
                low, high = float(min(numbers)), float(max(numbers))
            case _:
                return None
        if high <= 0 or low < 0:
            return None
        return self.scale.range_to_lambda(low or 1e-9 * high, high)


DEFAULT = StrengthParameter()


def parameter_of(
    study: optuna.Study, name: str | None = None, scale: ScaleName | StrengthScale | None = None
) -> StrengthParameter | None:
    """The study's parameter for the strength: as it is kept in the study, as given, or else as it can be found.

    It is found where a study has exactly one log-scaled float among its parameters; one called `lambda` goes before.

    Args:
        name: Given by the user.
        scale: Given by the user; by default what the name tells (`weight_decay`, `alpha`, `C`), else `lambda`.

    Returns:
        None where nothing tells which it is: there is none yet, or there are several.

    Raises:
        UserError: The study keeps another name or scale than the one given.
    """
    kept = study.user_attrs.get(PARAMETER)
    if kept is None and SCHEMA_KEY in study.user_attrs:
        kept = {"name": DEFAULT_NAME, "scale": "lambda"}  # as schema 1 had it
    if kept is not None:
        found = StrengthParameter(kept["name"], StrengthScale(kept["scale"]))
        wanted = _given(name or found.name, scale or (found.scale if name in (None, found.name) else None))
        if wanted != found:
            raise UserError(
                f"its strength is {found.name!r} on the scale {found.scale.name!r}, "
                f"not {wanted.name!r} on {wanted.scale.name!r}",
                f"study {study.study_name!r}",
                f"give parameter={found.name!r}, or leave it out",
            )
        return found
    if name is not None:
        return _given(name, scale)
    names = log_scaled(whole_trials(study) or study.get_trials(deepcopy=False))
    if DEFAULT_NAME in names or not names:
        return _given(DEFAULT_NAME, scale) if names or scale else None
    return _given(names[0], scale) if len(names) == 1 else None


def keep_parameter(study: optuna.Study, parameter: StrengthParameter) -> None:
    """Keep the parameter in the study, for all who read it later."""
    if PARAMETER not in study.user_attrs:
        study.set_user_attr(PARAMETER, {"name": parameter.name, "scale": parameter.scale.name})


def whole_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that have drawn all their parameters: one that is running or has failed may have more to draw."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def log_scaled(trials: Iterable[FrozenTrial]) -> list[str]:
    """Names of the log-scaled float parameters of these trials, and `lambda` whatever its distribution."""
    found = {
        name: None
        for trial in trials
        for name, distribution in trial.distributions.items()
        if name == DEFAULT_NAME or (isinstance(distribution, FloatDistribution) and distribution.log)
    }
    return list(found)


def why_unknown(study: optuna.Study) -> str:
    """Why `parameter_of` found none, for a message."""
    names = log_scaled(whole_trials(study))
    several = ", ".join(map(repr, names))
    return f"several parameters are log-scaled ({several})" if names else "no parameter is a log-scaled float"


def _given(name: str, scale: ScaleName | StrengthScale | None) -> StrengthParameter:
    if scale is None:
        return StrengthParameter(name, scale_of(name))
    return StrengthParameter(name, scale if isinstance(scale, StrengthScale) else StrengthScale(scale))
