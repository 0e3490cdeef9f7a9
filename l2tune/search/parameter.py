"""The strength's parameter as each part of a search asks for it: given, found, or a warning that there is none."""

from __future__ import annotations

import logging
import warnings

import optuna

from l2tune.optuna_internals import whole_study
from l2tune.penalty.strength import ScaleName
from l2tune.records.one_reading import one_reading
from l2tune.records.parameter import StrengthParameter, keep_parameter, parameter_of, whole_trials, why_unknown

log = logging.getLogger("l2tune")


class GivenParameter:
    """Name and scale of the strength as they were given to a sampler, pruner or stopping rule, if they were.

    Args:
        part: Whose, for the warning.
        name: None to take what the study tells.
        scale: None to take what the study, or else the name, tells.
    """

    def __init__(self, part: str, name: str | None, scale: ScaleName | None) -> None:
        self._part, self._name, self._scale = part, name, scale
        self._warned = False

    @one_reading()
    def of(self, study: optuna.Study) -> StrengthParameter | None:
        """The study's parameter, kept in the study once it was given or a trial has drawn it.

        Without one the part can do nothing, and says so once, as a warning.

        Raises:
            UserError: The study keeps another one than was given.
        """
        study = whole_study(study)
        found = parameter_of(study, self._name, self._scale)
        drawn = any(trial.params for trial in whole_trials(study))
        if found is not None:
            if self._name is not None or drawn:
                keep_parameter(study, found)
        elif drawn and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self._part} does nothing in study {study.study_name!r}: {why_unknown(study)}; "
                "name the strength with parameter='NAME'",
                UserWarning,
                stacklevel=3,
            )
        return found
