"""What l2tune needs of Optuna that has no public name: here and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState


def whole_study(study: optuna.Study) -> optuna.Study:
    """The study itself where Optuna's HyperbandPruner hands a sampler only the trials of one bracket."""
    whole: optuna.Study = getattr(study, "_study", study)
    return whole


def storage_of(study: optuna.Study) -> BaseStorage:
    """Where the study is kept."""
    return study._storage


def take_waiting(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Take a queued trial as `Study.ask` would; False if another worker has it."""
    return study._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)


def mark_trial(study: optuna.Study, trial: FrozenTrial | optuna.Trial, key: str, value: Any) -> None:
    """Set a user attribute of an unfinished trial that another worker may be running."""
    study._storage.set_trial_user_attr(trial._trial_id, key, value)


def trial_handle(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """Optuna's handle of a trial that was taken, as `Study.ask` makes one."""
    study._thread_local.cached_all_trials = None  # what samplers see is read anew
    return optuna.Trial(study, trial._trial_id)


def note_handle(study: optuna.Study, trial: FrozenTrial) -> Any:
    """What optuna-dashboard's `save_note` asks of a trial, which it expects to be under way."""
    return SimpleNamespace(storage=study._storage, study=study, _trial_id=trial._trial_id)


def queued_params(trial: FrozenTrial) -> dict[str, Any]:
    """The parameters that a trial was queued with; empty if it was not."""
    return dict(trial.system_attrs.get("fixed_params", {}))


def was_queued(trial: FrozenTrial) -> bool:
    """Whether the trial was queued before it was begun."""
    return "fixed_params" in trial.system_attrs


class SomeTrials:
    """A study of which a sampler sees only some trials.

    Args:
        shown: Whether to show a trial.
    """

    def __init__(self, study: optuna.Study, shown: Callable[[FrozenTrial], bool]) -> None:
        self._study, self._shown = study, shown

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Sequence[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = self._study._get_trials(deepcopy=deepcopy, states=states, use_cache=use_cache)
        return [trial for trial in trials if self._shown(trial)]


CREATED = "l2tune:created"
"""System attribute of a trial: the name under which it was asked for, so that it is not created twice."""


class OnceDatabase(RDBStorage):
    """A database in which a trial that was asked for under a name of its own is created once.

    Optuna tries up to five times to create a trial. Where the first attempt was carried out and only its answer was
    lost, the second would leave a trial that nobody runs or, if it was to be queued, one that is run twice.
    """

    def _get_prepared_new_trial(self, study_id: int, template_trial: FrozenTrial | None, session: Any) -> Any:
        name = None if template_trial is None else template_trial.system_attrs.get(CREATED)
        if name is not None:
            attr = models.TrialSystemAttributeModel
            found = (
                session.query(models.TrialModel)
                .join(attr, attr.trial_id == models.TrialModel.trial_id)
                .filter(models.TrialModel.study_id == study_id, attr.key == CREATED)
                .filter(attr.value_json == json.dumps(name))
                .first()
            )
            if found is not None:
                return found
        return super()._get_prepared_new_trial(study_id, template_trial, session)
