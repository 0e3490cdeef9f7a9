"""Two objectives at once: how much the network underfits, and how much it overfits."""

from __future__ import annotations

from typing import Any

import optuna

from l2tune.errors import UserError
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.records.fold_record import FoldRecord, write_fold
from l2tune.records.observations import as_taken_over, finished_folds_of
from l2tune.records.study import name_objectives


class TradeoffObjective:
    """Two objectives, both minimized, for a Pareto front: underfit and overfit.

    Underfit is the mean training loss over folds, overfit the mean of validation minus training loss; for another
    metric the same of its costs. Optuna neither reports nor prunes with two objectives, so every fold is trained.

        study = optuna.create_study(directions=["minimize", "minimize"])
        study.optimize(TradeoffObjective(data="digits", epochs=30), n_trials=20)

    Args: as of `CrossValidationObjective`, without `steps`. A `fit` must score the training part too.
    """

    def __init__(self, data: Any = "digits", model: Any = "simple_cnn", **settings: Any) -> None:
        self.cross_validation = CrossValidationObjective(data, model, steps="fold", **settings)

    def __call__(self, trial: optuna.Trial) -> tuple[float, float]:
        """(underfit, overfit) of the trial's λ.

        Raises:
            UserError: The study does not minimize two objectives, or `fit` gives no training score.
        """
        inner, study = self.cross_validation, trial.study
        if [direction.name for direction in study.directions] != ["MINIMIZE"] * 2:
            raise UserError(
                "the study has one objective" if len(study.directions) == 1 else "the study's objectives do not fit",
                "TradeoffObjective",
                "create it with directions=['minimize', 'minimize'], or use CrossValidationObjective",
            )
        metric = inner.metric
        inner.describe(study)
        name_objectives(study, [f"underfit: training {metric}", f"overfit: validation − training {metric}"])
        strength = inner.draw(trial)
        known = finished_folds_of(study, strength, trial.params)
        members = [inner.member(strength, fold, inner.drawn(trial)) for fold in range(inner.trainer.folds)]
        history = inner.train([m for m in members if m.fold not in known])
        found = {fold: as_taken_over(finished, trial.number) for fold, finished in known.items()}
        found |= {member.fold: FoldRecord.of(scored) for member, scored in history.items()}
        underfit, overfit = [], []
        for fold, record in sorted(found.items()):
            write_fold(trial, fold, record)
            train, validation = record.value("train", metric), record.value("val", metric)
            if record.diverged or validation is None:
                train = validation = inner.worst(study, history.get(members[fold], ()))
            if train is None:
                raise UserError(
                    f"fit gave no train_{metric}", "TradeoffObjective", f"return train_{metric} and val_{metric}"
                )
            underfit.append(metric.cost(train))
            # where nothing tells what a diverged fold counts as, both are infinite, and their difference no number
            overfit.append(0.0 if validation == train else metric.cost(validation) - metric.cost(train))
        inner.decompose(trial, strength, sorted(found))
        return sum(underfit) / len(underfit), sum(overfit) / len(overfit)
