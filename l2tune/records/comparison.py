"""A comparison: studies of one storage that differ in the form of the penalty, and share the fits at λ = 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from l2tune.optuna_internals import mark_trial
from l2tune.records.check import check_stored
from l2tune.records.keys import BIAS_VARIANCE, COMPARISON, GIVEN_UP, PREFIX, SHARED_FROM, STRENGTH, WORKER, fold_key
from l2tune.records.observations import finished_folds_of
from l2tune.records.study import fold_count, stored_settings
from l2tune.records.workers import Worker

_SUMMARY = [PREFIX + name for name in ("weight_decay", "train", "gap")]
"""What the dashboard shows of a trial that holds whatever the form; its regime is of the study's own curve."""


@dataclass(frozen=True, slots=True)
class Membership:
    """The comparison that a study is a part of.

    Attributes:
        name: Of the comparison.
        penalties: The forms that are compared, in order.
    """

    name: str
    penalties: tuple[str, ...]


def membership(study: optuna.Study) -> Membership | None:
    """The comparison that a study is a part of; None if it is of none."""
    return _read(study.user_attrs)


def join_comparison(study: optuna.Study, name: str, penalties: Sequence[str]) -> None:
    """Make a study a part of a comparison."""
    wanted = {"name": name, "penalties": list(penalties)}
    if study.user_attrs.get(COMPARISON) != wanted:
        study.set_user_attr(COMPARISON, wanted)


def comparison_names(storage: BaseStorage) -> dict[str, str]:
    """Study → name of the comparison that it is a part of, for all of a storage that are a part of one."""
    found = optuna.get_all_study_summaries(storage, include_best_trial=False)
    return {s.study_name: own.name for s in found if (own := _read(s.user_attrs)) is not None}


def comparison_studies(storage: BaseStorage, name: str) -> dict[str, optuna.Study]:
    """Form → study, for all studies of a comparison that were begun, in its order; empty if there is none."""
    names = [study for study, comparison in comparison_names(storage).items() if comparison == name]
    loaded = [optuna.load_study(study_name=study, storage=storage) for study in names]
    for study in loaded:
        check_stored(study)
    studies = {_form(study): study for study in loaded}
    order = [form for study in studies.values() if (own := membership(study)) for form in own.penalties]
    return dict(sorted(studies.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def is_comparison(storage: BaseStorage, name: str) -> bool:
    """Whether a name is a comparison's, and not a study's."""
    names = comparison_names(storage)
    return name in names.values() and name not in optuna.get_all_study_names(storage)


def is_shared(trial: FrozenTrial | optuna.Trial) -> bool:
    """Whether another study of the comparison has trained the trial's folds."""
    return SHARED_FROM in trial.user_attrs


def baseline_of(study: optuna.Study) -> FrozenTrial | None:
    """The trial at λ = 0 with all its folds; None if there is none yet."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return next((trial for trial in done if trial.user_attrs.get(STRENGTH) == 0.0), None)


def has_baseline(study: optuna.Study) -> bool:
    """Whether the study has a trial at λ = 0, done or under way."""
    trials = study.get_trials(deepcopy=False)
    return any(t.user_attrs.get(STRENGTH) == 0.0 and t.state != TrialState.FAIL for t in trials)


def share_baseline(source: optuna.Study, target: optuna.Study, worker: Worker) -> bool:
    """Copy the trial at λ = 0 into a study of another form, which then needs none of its own.

    At λ = 0 the form of the penalty does nothing: the fits are the same. Processes that copy at once leave one copy.

    Args:
        worker: Who copies.

    Returns:
        False where the target has a trial at λ = 0 already, or the source has not finished all folds of its own.
    """
    trial = baseline_of(source)
    if trial is None or has_baseline(target):
        return False
    folds = finished_folds_of(source, 0.0, trial.params)
    if len(folds) < (fold_count(source) or 1):
        return False
    first = str(trial.user_attrs.get(SHARED_FROM, source.study_name))
    attrs = {STRENGTH: 0.0, SHARED_FROM: first, WORKER: asdict(worker)}
    try:
        target.add_trial(
            create_trial(state=TrialState.RUNNING, intermediate_values=trial.intermediate_values, user_attrs=attrs)
        )
        earliest, *_ = copies = _copies(target)
        mine = next(copy for copy in reversed(copies) if copy.user_attrs.get(WORKER) == asdict(worker))
        if earliest.number != mine.number:
            _give_up(target, mine)
            return False
        for fold, finished in folds.items():
            assert finished.record is not None
            # whichever trial of the source trained it, none of the target did
            mark_trial(target, mine, fold_key(fold), asdict(replace(finished.record, reused_from=None)))
        for key in (BIAS_VARIANCE, *_SUMMARY):
            if key in trial.user_attrs:
                mark_trial(target, mine, key, trial.user_attrs[key])
        target.tell(mine.number, trial.value)
    except KeyboardInterrupt:
        for copy in _copies(target):
            if copy.state == TrialState.RUNNING and copy.user_attrs.get(WORKER) == asdict(worker):
                _give_up(target, copy)
        raise
    return True


def _read(attrs: Mapping[str, Any]) -> Membership | None:
    """What a study's attributes tell; None where another program wrote something else there."""
    match attrs.get(COMPARISON):
        case {"name": str(name), "penalties": list(penalties)}:
            return Membership(name, tuple(map(str, penalties)))
        case _:
            return None


def _copies(study: optuna.Study) -> list[FrozenTrial]:
    """Trials at λ = 0, done or under way, in the order in which they were begun."""
    states = (TrialState.RUNNING, TrialState.COMPLETE)
    return [t for t in study.get_trials(deepcopy=False, states=states) if t.user_attrs.get(STRENGTH) == 0.0]


def _give_up(study: optuna.Study, trial: FrozenTrial) -> None:
    mark_trial(study, trial, GIVEN_UP, "copy")
    study.tell(trial.number, state=TrialState.FAIL)


def _form(study: optuna.Study) -> str:
    return str(stored_settings(study).get("penalty"))
