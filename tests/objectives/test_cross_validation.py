"""The objectives around trainers that take no time: a user's function, and a trainer that counts what it is asked."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from sklearn.model_selection import StratifiedKFold

from l2tune.errors import TrialFailed, UserError
from l2tune.members import EpochScores, Member
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.objectives.pareto import TradeoffObjective
from l2tune.records.fold_record import fold_records
from l2tune.records.keys import COMPLETE
from l2tune.records.observations import observations, strength_of
from l2tune.search.pruner import FoldRacingPruner
from l2tune.search.sampler import FoldCurveSampler

FOLDS = 4


def valley(strength: float, fold: int, seed: int) -> float:
    """A loss with its minimum at λ = 1e-3 and a shift of each fold."""
    return 0.5 + 0.05 * (math.log10(strength or 1e-7) + 3) ** 2 + 0.1 * fold


class CountingTrainer:
    """Loss `valley` after each of three epochs, higher before; NaN above λ = 0.1; remembers every member started."""

    folds, epochs, test_labels = FOLDS, 3, None

    def __init__(self) -> None:
        self.started: list[list[Member]] = []
        self.dropped: list[Member] = []

    def start(self, members: Sequence[Member]) -> "CountingRun":
        self.started.append(list(members))
        return CountingRun(self, members)

    def describe(self) -> Mapping[str, object]:
        return {"engine": "counting"}


class CountingRun(Iterator[Sequence[EpochScores]]):
    def __init__(self, trainer: CountingTrainer, members: Sequence[Member]) -> None:
        self.trainer, self.members, self.epoch = trainer, list(members), 0

    def __next__(self) -> Sequence[EpochScores]:
        self.epoch += 1
        if self.epoch > 3 or not self.members:
            raise StopIteration
        found = []
        for member in self.members:
            loss = math.nan if member.strength > 0.1 else valley(member.strength, member.fold, 0) + 3 - self.epoch
            found.append(EpochScores(member, self.epoch, loss / 2, 0.1, loss, 0.2, 1.0, diverged=math.isnan(loss)))
        self.members = [s.member for s in found if not s.diverged]
        return found

    def drop(self, members: Sequence[Member]) -> None:
        self.trainer.dropped += members
        self.members = [member for member in self.members if member not in members]


def objective_and_study(
    pruner: optuna.pruners.BasePruner | None = None,
) -> tuple[CountingTrainer, CrossValidationObjective, optuna.Study]:
    trainer = CountingTrainer()
    objective = CrossValidationObjective(trainer=trainer, folds=FOLDS)
    return trainer, objective, optuna.create_study(pruner=pruner or optuna.pruners.NopPruner())


def test_it_optimizes_in_a_users_own_study_with_a_users_own_training() -> None:
    objective = CrossValidationObjective(fit=valley, folds=StratifiedKFold(FOLDS), lambda_range=(1e-6, 1.0))
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0), pruner=optuna.pruners.NopPruner())
    study.optimize(objective, n_trials=20)
    assert "lambda" not in study.trials[0].params, "the first trial is the baseline"
    assert study.trials[0].value == pytest.approx(0.5 + 0.05 * 16 + 0.15)
    assert 1e-4 < study.best_params["lambda"] < 1e-2
    assert all(len(t.intermediate_values) == FOLDS for t in study.trials)


def test_each_fold_is_one_step_and_the_value_is_their_mean() -> None:
    _, objective, study = objective_and_study()
    study.optimize(objective, n_trials=1)
    study.enqueue_trial({"lambda": 1e-4})
    study.optimize(objective, n_trials=1)
    for trial in study.trials:
        expected = [valley(strength_of(trial), fold, 0) for fold in range(FOLDS)]
        assert [trial.intermediate_values[fold] for fold in range(FOLDS)] == pytest.approx(expected)
        assert trial.value == pytest.approx(np.mean(expected))


def test_a_fold_starts_from_the_same_seed_at_every_strength() -> None:
    trainer, objective, study = objective_and_study()
    study.optimize(objective, n_trials=3)
    seeds: dict[int, set[int]] = {}
    for member in (m for members in trainer.started for m in members):
        seeds.setdefault(member.fold, set()).add(member.seed)
    assert [len(found) for found in seeds.values()] == [1] * FOLDS
    assert len(set.union(*seeds.values())) == FOLDS, "and folds differ"


class PruneFrom(optuna.pruners.BasePruner):
    """Prunes once so many values are reported."""

    def __init__(self, reported: int) -> None:
        self.reported = reported

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return len(trial.intermediate_values) >= self.reported


def test_a_pruned_trial_trains_no_further_fold_and_the_next_starts_with_the_least_seen() -> None:
    trainer, objective, study = objective_and_study(PruneFrom(1))
    study.optimize(objective, n_trials=4)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] + [TrialState.PRUNED] * 3
    assert [[m.fold for m in members] for members in trainer.started] == [[0], [1], [2], [3], [0], [1], [2]]


def test_a_strength_tried_before_takes_over_its_folds_and_completes_them() -> None:
    trainer, objective, study = objective_and_study(PruneFrom(2))
    study.optimize(objective, n_trials=1)
    study.enqueue_trial({"lambda": 1e-2})
    study.optimize(objective, n_trials=1)
    begun = len(trainer.started)
    study.enqueue_trial({"lambda": 1e-2}, user_attrs={COMPLETE: True})
    study.optimize(objective, n_trials=1)
    pruned, completed = study.trials[1:]
    assert (pruned.state, completed.state) == (TrialState.PRUNED, TrialState.COMPLETE)
    assert [m.fold for members in trainer.started[begun:] for m in members] == [2, 3]
    assert completed.value == pytest.approx(np.mean([valley(1e-2, fold, 0) for fold in range(FOLDS)]))
    reused = {fold: record.reused_from for fold, record in fold_records(completed).items()}
    assert reused == {0: 1, 1: 1, 2: None, 3: None}


def test_divergence_counts_as_the_worst_score_and_is_recorded() -> None:
    _, objective, study = objective_and_study()
    study.enqueue_trial({"lambda": 1e-6})
    study.enqueue_trial({"lambda": 0.5})
    study.optimize(objective, n_trials=2)
    fine, diverged = study.trials
    assert diverged.state == TrialState.COMPLETE
    assert min(diverged.intermediate_values.values()) > max(fine.intermediate_values.values())
    assert all(record.diverged and record.val_loss is None for record in fold_records(diverged).values())
    assert np.isinf(observations(study).cost).sum() == FOLDS


def test_epoch_pruners_get_the_mean_over_folds_in_lockstep() -> None:
    trainer, objective, study = objective_and_study(optuna.pruners.MedianPruner(n_startup_trials=1))
    study.enqueue_trial({"lambda": 1e-3})
    study.enqueue_trial({"lambda": 1e-6})
    study.optimize(objective, n_trials=2)
    good, bad = study.trials
    means = [np.mean([valley(1e-3, fold, 0) + 3 - epoch for fold in range(FOLDS)]) for epoch in (1, 2, 3)]
    assert good.intermediate_values == pytest.approx(dict(zip((1, 2, 3), means, strict=True)))
    assert good.value == pytest.approx(means[-1])
    assert [len(members) for members in trainer.started] == [FOLDS, FOLDS]
    assert bad.state == TrialState.PRUNED
    assert list(bad.intermediate_values) == [1]
    assert len(trainer.dropped) == FOLDS
    assert all(record.truncated and record.epochs == 1 for record in fold_records(bad).values())
    assert len(observations(study).cost) == FOLDS, "a fold cut short is no observation"


def test_several_trials_advance_in_one_run() -> None:
    trainer, objective, study = objective_and_study()
    study.enqueue_trial({"lambda": 1e-3})
    study.enqueue_trial({"lambda": 1e-2})
    trials = [objective.open(study.ask()) for _ in range(2)]
    while not all(trial.done for trial in trials):
        objective.advance(trials)
    assert [len(members) for members in trainer.started] == [2] * FOLDS
    assert trials[0].value < trials[1].value


def test_users_epochs_are_recorded_and_bad_scores_are_refused() -> None:
    def epochs(strength: float, fold: int, seed: int) -> Iterator[dict[str, float]]:
        for loss in (2.0, 1.0):
            yield {"val_loss": loss, "train_loss": loss / 2}

    study = optuna.create_study()
    study.optimize(CrossValidationObjective(fit=epochs, folds=2), n_trials=1)
    record = fold_records(study.trials[0])[0]
    assert record.curves["val_loss"] == [2.0, 1.0]
    assert (record.train_loss, record.val_error) == (0.5, None)
    for bad, message in [({"accuracy": 1.0}, "fit gave the scores accuracy"), ("x", "fit gave val_loss = 'x'")]:
        objective = CrossValidationObjective(fit=lambda *_, bad=bad: bad, folds=2)
        with pytest.raises(UserError, match=message):
            optuna.create_study().optimize(objective, n_trials=1)


def test_a_study_that_does_not_fit_is_refused() -> None:
    objective = CrossValidationObjective(fit=valley, folds=2)
    with pytest.raises(UserError, match="it maximizes, but of the metric 'loss' less is better"):
        optuna.create_study(direction="maximize").optimize(objective, n_trials=1)
    with pytest.raises(UserError, match="use TradeoffObjective"):
        optuna.create_study(directions=["minimize"] * 2).optimize(objective, n_trials=1)
    with pytest.raises(UserError, match="does not tell its number of folds"):
        CrossValidationObjective(fit=valley, folds=object())
    study = optuna.create_study()
    study.optimize(objective, n_trials=1)
    with pytest.raises(UserError, match="epochs was None, now 7"):
        study.optimize(CrossValidationObjective(fit=valley, folds=2, epochs=7), n_trials=1)


def test_a_trainer_that_gives_nothing_fails_the_trial() -> None:
    objective = CrossValidationObjective(fit=lambda *_: iter(()), folds=2)
    study = optuna.create_study()
    study.optimize(objective, n_trials=1, catch=TrialFailed)
    assert study.trials[0].state == TrialState.FAIL


def test_tradeoff_objective_gives_underfit_and_overfit() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"])
    study.enqueue_trial({"lambda": 1e-3})
    study.enqueue_trial({"lambda": 0.5})
    study.optimize(TradeoffObjective(trainer=CountingTrainer(), folds=FOLDS), n_trials=2)
    mean = np.mean([valley(1e-3, fold, 0) for fold in range(FOLDS)])
    assert study.trials[0].values == pytest.approx([mean / 2, mean / 2])
    assert all(math.isfinite(value) for value in study.trials[1].values), "divergence counts as the worst score seen"
    assert len(observations(study).cost) == 2 * FOLDS
    assert study.metric_names == ["underfit: training loss", "overfit: validation − training loss"]


@pytest.mark.parametrize(("parameter", "none"), [("lambda", 0), ("weight_decay", 0.0), ("C", math.inf)])
def test_a_trial_that_is_queued_without_a_penalty_is_a_baseline(parameter: str, none: float) -> None:
    study = optuna.create_study()
    objective = CrossValidationObjective(fit=lambda *member: 0.5, folds=2, parameter=parameter)
    study.enqueue_trial({parameter: 1.0})
    study.enqueue_trial({parameter: none})
    study.optimize(objective, n_trials=3)
    strengths = [strength_of(trial, objective.parameter) for trial in study.trials]
    assert strengths[1] == 0.0
    assert strengths.count(0.0) == 1
    study.enqueue_trial({parameter: -1.0})
    with pytest.raises(UserError, match=f"^parameter '{parameter}': -1.0 is no strength"):
        study.optimize(objective, n_trials=1)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"steps": "batch"}, "steps: 'batch' is no step; give one of fold, epoch"),
        ({"folds": "5"}, "folds: '5' does not tell its number of folds"),
        ({"folds": []}, "folds: 0 folds cannot be trained"),
        ({"parameter": ""}, "parameter: '' cannot name the strength"),
        ({"parameter": None}, "parameter: None cannot name the strength"),
        ({"scale": "decay"}, "scale: 'decay' is no scale"),
        ({"model": "linear"}, "CrossValidationObjective: 'model' has no effect, for fit trains"),
        ({"data": "mnist"}, "CrossValidationObjective: 'data' has no effect, for fit trains"),
    ],
)
def test_what_a_fit_cannot_go_with_is_refused(given: dict[str, object], line: str) -> None:
    with pytest.raises(UserError, match="^" + line):
        CrossValidationObjective(fit=valley, **given)  # type: ignore[arg-type]


def test_a_number_of_folds_may_be_numpys() -> None:
    assert CrossValidationObjective(fit=valley, folds=np.int64(3)).trainer.folds == 3


def test_a_study_of_one_fold_is_not_gone_on_with_on_two() -> None:
    study = optuna.create_study()
    study.optimize(CrossValidationObjective(fit=valley, folds=1), n_trials=1)
    with pytest.raises(UserError, match="begun otherwise: folds was 1, now 2"):
        study.optimize(CrossValidationObjective(fit=valley, folds=2), n_trials=1)


def test_a_baseline_that_diverges_before_anything_was_seen_fails_no_trial_of_two_objectives() -> None:
    def fit(strength: float, fold: int, seed: int) -> dict[str, float]:
        return {"val_loss": valley(strength, fold, seed) if strength else math.nan, "train_loss": 0.1}

    study = optuna.create_study(directions=["minimize", "minimize"])
    study.optimize(TradeoffObjective(fit=fit, folds=2), n_trials=3)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    assert [strength_of(trial) == 0 for trial in study.trials] == [True, False, False]


def by_epoch(strength: float, fold: int, seed: int) -> Iterator[float]:
    """The loss `valley` after four epochs, higher before."""
    yield from (valley(strength, fold, seed) + 1 / epoch for epoch in range(1, 5))


def test_a_study_whose_steps_are_folds_is_not_gone_on_with_by_epoch() -> None:
    study = optuna.create_study(pruner=optuna.pruners.NopPruner())
    objective = CrossValidationObjective(fit=by_epoch, folds=2)
    study.optimize(objective, n_trials=2)
    study.pruner = optuna.pruners.MedianPruner()
    with pytest.raises(UserError, match="begun otherwise: a trial's steps were folds, now they would be epochs"):
        study.optimize(CrossValidationObjective(fit=by_epoch, folds=2), n_trials=1)


def test_the_fold_pruner_ends_no_trial_on_its_epochs() -> None:
    study = optuna.create_study(sampler=FoldCurveSampler(seed=0), pruner=FoldRacingPruner())
    study.optimize(CrossValidationObjective(fit=by_epoch, folds=2, steps="epoch"), n_trials=8)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 8


def test_a_trial_that_another_process_ends_meanwhile_gives_no_value() -> None:
    study = optuna.create_study()

    def fit(strength: float, fold: int, seed: int) -> float:
        if fold == 1:
            study.tell(0, state=optuna.trial.TrialState.FAIL)
        return 1.0 + fold

    objective = CrossValidationObjective(fit=fit, folds=3)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        objective(study.ask())
