"""Trials that could not be trained: what was raised, kept with its traceback."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from l2tune.errors import TrialFailed, innermost
from l2tune.records.claims import was_given_up
from l2tune.records.keys import FAILURE, STRENGTH
from l2tune.storage_url import without_passwords

LONGEST = 7_000
"""Bytes of a traceback that are kept: the beginning and, mostly, the end."""
_BEGINNING = LONGEST // 4


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a trial failed.

    Attributes:
        line: Kind and message of the error that began it, in one line.
        traceback: As Python prints it, without passwords; its middle is left out where it is long.
    """

    line: str
    traceback: str

    @classmethod
    def of(cls, error: BaseException, where: str = "") -> Failure:
        """From what was raised.

        Args:
            where: The stack of the code that hangs, if that is what failed.
        """
        raised = error.__cause__ if isinstance(error, TrialFailed) and error.__cause__ else error
        whole = where + "".join(traceback.format_exception(raised))
        return cls(without_passwords(innermost(error)), _shortened(without_passwords(whole)))


def write_failure(trial: optuna.Trial, failure: Failure) -> None:
    """Store why an unfinished trial fails."""
    trial.set_user_attr(FAILURE, asdict(failure))


def failure_of(trial: FrozenTrial) -> Failure | None:
    """Why a trial failed; None where it did not, or failed only because its worker ended."""
    stored = trial.user_attrs.get(FAILURE)
    if trial.state != TrialState.FAIL or not isinstance(stored, dict) or was_given_up(trial):
        return None
    return Failure(str(stored.get("line", "")), str(stored.get("traceback", "")))


def failed_trials(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials of which it is known why they failed."""
    return [trial for trial in trials if failure_of(trial) is not None]


def has_usable(trials: Sequence[FrozenTrial]) -> bool:
    """Whether any trial came to its end, by itself or by a pruner."""
    return any(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)


def is_baseline_just_failed(trial: optuna.Trial) -> bool:
    """Whether λ = 0 has failed and nothing else was tried since: it is not tried again at once."""
    if STRENGTH in trial.user_attrs:
        return False
    trials = trial.study.get_trials(deepcopy=False)
    tried = [t for t in trials if t.number < trial.number and (t.state.is_finished() and not was_given_up(t))]
    newest = max(tried, key=lambda t: t.number, default=None)
    return newest is not None and failure_of(newest) is not None and newest.user_attrs.get(STRENGTH) == 0.0


def _shortened(text: str) -> str:
    whole = text.encode("utf-8", "backslashreplace")
    if len(whole) > LONGEST:
        whole = whole[:_BEGINNING] + "\n… (left out) …\n".encode() + whole[_BEGINNING - LONGEST :]
    return whole.decode("utf-8", "ignore")
