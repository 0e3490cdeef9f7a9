"""Optuna objectives: a trial's λ, scored by cross-validation.

`CrossValidationObjective` is an ordinary objective for `study.optimize`. Whoever drives several trials at once calls
its two steps instead: `open` a trial, then `advance` the open ones until they are done.
"""

from __future__ import annotations

import inspect
import math
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner, PercentilePruner, SuccessiveHalvingPruner

from l2tune.analysis.bias_variance import decompose
from l2tune.errors import TrialFailed, UserError
from l2tune.members import EpochScores, Member, Run, Trainer, together
from l2tune.records import tables as records
from l2tune.records.tables import FoldRecord, Metric
from l2tune.settings import Settings, build
from l2tune.training.function import Fit, FunctionTrainer

if TYPE_CHECKING:
    from l2tune.data.images import ImageData

Steps = Literal["fold", "epoch"]
History = Mapping[Member, Sequence[EpochScores]]

EPOCH_PRUNERS = (MedianPruner, PercentilePruner, HyperbandPruner, SuccessiveHalvingPruner)
"""Optuna's pruners that compare trials at equal steps; their step is the epoch. All others judge fold by fold."""


@dataclass(eq=False)
class OpenTrial:
    """A trial whose cross-validation is under way.

    Attributes:
        trial: Optuna's handle.
        strength: Its λ.
        todo: Folds still to train, in order.
        scores: Fold → final metric so far.
        keep: Not to be pruned: the baseline, and a trial whose folds are all wanted.
        pruned: A pruner ended it.
    """

    trial: optuna.Trial
    strength: float
    todo: list[int]
    scores: dict[int, float] = field(default_factory=dict)
    keep: bool = False
    pruned: bool = False

    @property
    def done(self) -> bool:
        return self.pruned or not self.todo

    @property
    def value(self) -> float:
        """Mean of the folds' final metric."""
        return sum(self.scores.values()) / len(self.scores)


class CrossValidationObjective:
    """Scores a trial's λ by the mean validation metric over folds; for minimization.

    Each trial suggests the parameter `lambda` on a log scale. The first trial of a study is the baseline λ = 0, which
    has no parameter, for a log range rejects 0. Every finished fold is reported (step = fold) and the pruner asked;
    under a pruner that compares epochs (median, percentile, successive halving, Hyperband) the folds train in lockstep
    and their mean is reported per epoch (step = epoch). A λ that was tried before takes over its finished folds.

        objective = CrossValidationObjective(data="digits", model="simple_cnn", folds=5, epochs=30)
        study = optuna.create_study()
        study.optimize(objective, n_trials=20)

    Args:
        data: A source name as `--data` takes it, an `ImageData`, or `(images, labels)` arrays or tensors.
        model: A model name as `--model` takes it, or a factory called with the input shape (C, H, W) and the classes.
        fit: Your own training instead: `fit(strength, fold, seed)` returns or yields scores (`FunctionTrainer`).
        trainer: Any `Trainer` instead.
        folds: Number of folds, or with `fit` any splitter with `get_n_splits()`.
        steps: What a step is, `fold` or `epoch`; by default as the study's pruner needs it.
        settings: Any other setting by its flat name: `epochs`, `optimizer`, `lambda_range`, `metric`, …

    Raises:
        UserError: Bad settings or data, or a study that was begun with others.
    """

    def __init__(
        self,
        data: Any = "digits",
        model: Any = "simple_cnn",
        *,
        fit: Fit | None = None,
        trainer: Trainer | None = None,
        folds: Any = 5,
        steps: Steps | None = None,
        **settings: Any,
    ) -> None:
        if fit is not None and trainer is not None:
            raise UserError("fit and trainer were both given", "CrossValidationObjective", "give one of them")
        count = folds if isinstance(folds, int) else _splits(folds, fit)
        named: dict[str, Any] = {"folds": count} | settings
        if trainer is not None or fit is not None:
            self.settings = build(named)
            self.data: Mapping[str, Any] = {}
            search = self.settings.search
            self.trainer = trainer or FunctionTrainer(
                fit,  # type: ignore[arg-type]
                count * search.repeats,
                search.metric,
                self.settings.training.epochs if inspect.isgeneratorfunction(fit) else 1,
            )
        else:
            images, factory = None, None
            if not isinstance(data, str):
                from l2tune.data.images import from_object

                images = from_object(data, "data")
                data = images.name
            if not isinstance(model, str):
                factory, model = model, _name_of(model)
            self.settings = build({"data": data, "model": model} | named)
            self.trainer, self.data, _ = prepare(self.settings, images, factory)
        self.steps: Steps | None = steps
        self.on_epoch: Callable[[Sequence[EpochScores]], None] | None = None
        self._predictions: dict[tuple[float, int], NDArray[np.float32]] = {}

    @classmethod
    def from_settings(cls, settings: Settings, trainer: Trainer, data: Mapping[str, Any]) -> CrossValidationObjective:
        """The objective of a whole search, sampler and pruner included, around a trainer that `prepare` made."""
        objective = cls(trainer=trainer)
        objective.settings, objective.data = settings, data
        return objective

    @property
    def metric(self) -> Metric:
        return self.settings.search.metric

    def __call__(self, trial: optuna.Trial) -> float:
        """Score one trial.

        Raises:
            optuna.TrialPruned: The pruner ended it.
        """
        open_trial = self.open(trial)
        while not open_trial.done:
            self.advance([open_trial])
        if open_trial.pruned:
            raise optuna.TrialPruned(f"after {len(open_trial.scores)} of {self.trainer.folds} folds")
        return open_trial.value

    def open(self, trial: optuna.Trial) -> OpenTrial:
        """Begin a trial: draw its λ and take over the folds that this λ has already finished."""
        study = trial.study
        if len(study.directions) > 1:
            raise UserError(
                f"the study has {len(study.directions)} objectives", "CrossValidationObjective", "use TradeoffObjective"
            )
        if study.direction != optuna.study.StudyDirection.MINIMIZE:
            raise UserError("the study maximizes", "CrossValidationObjective", "create it with direction='minimize'")
        self.describe(study)
        strength = self._draw(trial)
        order = records.fold_order(study, self.trainer.folds)
        keep = strength == 0.0 or bool(trial.user_attrs.get(records.COMPLETE))
        open_trial = OpenTrial(trial, strength, order, keep=keep)
        known = records.finished_folds(study, strength)
        if self.steps_of(study) == "epoch" and len(known) < self.trainer.folds:
            return open_trial  # folds in lockstep start together or not at all
        for fold, (number, record) in known.items():
            if number != trial.number:
                record = replace(record, reused_from=number)
            self._finish_fold(open_trial, fold, record)
        if known and not open_trial.done:
            self._ask_pruner(open_trial)
        return open_trial

    def advance(self, open_trials: Sequence[OpenTrial]) -> None:
        """Train one step of every open trial, all in one run: the next fold, or all folds in lockstep by epoch.

        A trainer that gains by training members together gets all folds at once of a trial that cannot be pruned.
        """
        if not open_trials:
            return
        by_epoch = self.steps_of(open_trials[0].trial.study) == "epoch"
        owners: dict[Member, list[OpenTrial]] = {}
        for open_trial in open_trials:
            for fold in open_trial.todo if by_epoch or self._whole(open_trial) else open_trial.todo[:1]:
                owners.setdefault(self.member(open_trial.strength, fold), []).append(open_trial)

        def ask_by_epoch(run: Run, history: History) -> None:
            for open_trial in open_trials:
                mine = {m: history[m] for m, trials in owners.items() if open_trial in trials}
                self._report_epoch(open_trial, mine)
            run.drop([m for m, trials in owners.items() if all(t.pruned for t in trials)])

        history = self.train(list(owners), ask_by_epoch if by_epoch else None)
        for member, trials in owners.items():
            for open_trial in trials:
                record = FoldRecord.of(
                    history[member], truncated=open_trial.pruned and not history[member][-1].diverged
                )
                self._finish_fold(open_trial, member.fold, record, history[member], report=not by_epoch)
        for open_trial in open_trials:
            if not by_epoch and not open_trial.done:
                self._ask_pruner(open_trial)
            if open_trial.done:
                self._decompose(open_trial)

    def train(self, members: Sequence[Member], after_epoch: Callable[[Run, History], None] | None = None) -> History:
        """Train members in one run, and keep what they predict for the test images.

        Args:
            after_epoch: Called with the run, whose members it may drop, and with all scores so far.

        Raises:
            TrialFailed: The trainer gave no scores for a member.
        """
        history: dict[Member, list[EpochScores]] = {member: [] for member in members}
        run = self.trainer.start(members)
        for epoch_scores in run:
            for scores in epoch_scores:
                history[scores.member].append(scores)
            if self.on_epoch is not None:
                self.on_epoch(epoch_scores)
            if after_epoch is not None:
                after_epoch(run, history)
        for member, scored in history.items():
            if not scored:
                raise TrialFailed(f"the trainer gave no scores for fold {member.fold} at λ = {member.strength:g}")
            self._keep_predictions(member, scored[-1])
        return history

    def _whole(self, open_trial: OpenTrial) -> bool:
        """Whether to train all folds at once: nothing can prune the trial, and the trainer gains by it."""
        sure = open_trial.keep or isinstance(open_trial.trial.study.pruner, NopPruner)
        return sure and together(self.trainer) > 1

    def member(self, strength: float, fold: int) -> Member:
        """The member of a fold; its seed comes from the search seed and the fold alone."""
        sequence = np.random.SeedSequence([self.settings.search.seed, fold])
        return Member(strength, fold, int(sequence.generate_state(1)[0]))

    def steps_of(self, study: optuna.Study) -> Steps:
        """What a step means in this study."""
        by_epoch = isinstance(study.pruner, EPOCH_PRUNERS) and self.trainer.epochs > 1
        return self.steps or ("epoch" if by_epoch else "fold")

    def describe(self, study: optuna.Study) -> None:
        """Store what the study is about; refuse a study that was begun otherwise."""
        stored, identity = self.settings.flat(), self.settings.identity()
        records.describe_study(
            study,
            settings=_plain(stored),
            identity=_plain(identity),
            versions=versions(),
            trainer=dict(self.trainer.describe())
            | {"folds": self.trainer.folds, "epochs": self.trainer.epochs, "steps": self.steps_of(study)},
            data=self.data,
        )

    def _draw(self, trial: optuna.Trial) -> float:
        if records.claim_baseline(trial):
            return 0.0
        low, high = records.search_range(trial.study, *self.settings.penalty.lambda_range)
        strength = trial.suggest_float(records.PARAMETER, low, high, log=True)
        trial.set_user_attr(records.STRENGTH, strength)
        return strength

    def _report_epoch(self, open_trial: OpenTrial, history: Mapping[Member, Sequence[EpochScores]]) -> None:
        """Report the mean over folds of the newest epoch; a diverged fold counts as the worst score seen."""
        epoch = max((scores[-1].epoch for scores in history.values() if scores), default=0)
        newest = [scores[-1] for scores in history.values() if scores]
        if open_trial.pruned or not epoch or all(scores.epoch < epoch for scores in newest):
            return
        study = open_trial.trial.study
        values = [self._worst(study, history[s.member]) if s.diverged else self._value(s) for s in newest]
        open_trial.trial.report(sum(values) / len(values), step=epoch)
        if epoch < self.trainer.epochs:  # at the end there is nothing left to save
            self._ask_pruner(open_trial)

    def _finish_fold(
        self,
        open_trial: OpenTrial,
        fold: int,
        record: FoldRecord,
        history: Sequence[EpochScores] = (),
        *,
        report: bool = True,
    ) -> None:
        """Store a fold's end, and report it where the step is the fold."""
        study = open_trial.trial.study
        records.write_fold(open_trial.trial, fold, record)
        value = record.score(self.metric)
        open_trial.scores[fold] = value if math.isfinite(value) else self._worst(study, history)
        open_trial.todo.remove(fold)
        if report and self.steps_of(study) == "fold":
            open_trial.trial.report(open_trial.scores[fold], step=fold)

    def _ask_pruner(self, open_trial: OpenTrial) -> None:
        if not open_trial.keep and open_trial.trial.should_prune():
            open_trial.pruned = True

    def _value(self, scores: EpochScores) -> float:
        return scores.val_loss if self.metric == "loss" else scores.val_error

    def _worst(self, study: optuna.Study, history: Sequence[EpochScores]) -> float:
        """What a diverged fold counts as: the worst finite score seen, and no better than guessing."""
        classes = len(self.data.get("class_names", ())) or 2
        guessing = math.log(classes) if self.metric == "loss" else 1 - 1 / classes
        own = [value for value in map(self._value, history) if math.isfinite(value)]
        return max([guessing, records.worst_score(study, self.metric) or 0.0, *own])

    def _keep_predictions(self, member: Member, last: EpochScores) -> None:
        network = last.network
        if network is not None and network.test_log_probabilities is not None:
            self._predictions[member.strength, member.fold] = network.test_log_probabilities

    def _decompose(self, open_trial: OpenTrial) -> None:
        """Store bias and variance over the folds whose predictions are at hand; two or more."""
        kept = [self._predictions.get((open_trial.strength, fold)) for fold in sorted(open_trial.scores)]
        predictions = [p for p in kept if p is not None]
        labels = self.trainer.test_labels
        if len(predictions) < 2 or labels is None:
            return
        parts = decompose(np.stack(predictions), labels)
        numbers = {name: float(getattr(parts, name)) for name in parts.__dataclass_fields__}
        if all(math.isfinite(value) for value in numbers.values()):
            open_trial.trial.set_user_attr(records.BIAS_VARIANCE, {"folds": len(predictions)} | numbers)


class TradeoffObjective:
    """Two objectives at once, both minimized, for a Pareto front: underfit and overfit.

    Underfit is the mean training loss over folds, overfit the mean of validation minus training loss (or the same of
    the error rates). Optuna neither reports nor prunes with two objectives, so every fold is trained.

        study = optuna.create_study(directions=["minimize", "minimize"])
        study.optimize(TradeoffObjective(data="digits", epochs=30), n_trials=20)

    Args: as of `CrossValidationObjective`, without `steps`.
    """

    def __init__(self, data: Any = "digits", model: Any = "simple_cnn", **settings: Any) -> None:
        self.cross_validation = CrossValidationObjective(data, model, steps="fold", **settings)

    def __call__(self, trial: optuna.Trial) -> tuple[float, float]:
        """(underfit, overfit) of the trial's λ."""
        inner = self.cross_validation
        if len(trial.study.directions) != 2:
            raise UserError(
                "the study has one objective",
                "TradeoffObjective",
                "create it with directions=['minimize', 'minimize'], or use CrossValidationObjective",
            )
        inner.describe(trial.study)
        records.name_objectives(
            trial.study, [f"underfit: training {inner.metric}", f"overfit: validation − training {inner.metric}"]
        )
        strength = inner._draw(trial)
        known = records.finished_folds(trial.study, strength)
        members = [inner.member(strength, fold) for fold in range(inner.trainer.folds)]
        history = inner.train([m for m in members if m.fold not in known])
        found = {fold: replace(record, reused_from=number) for fold, (number, record) in known.items()}
        found |= {member.fold: FoldRecord.of(scored) for member, scored in history.items()}
        underfit, overfit = [], []
        for fold, record in found.items():
            records.write_fold(trial, fold, record)
            train = record.train_loss if inner.metric == "loss" else record.train_error
            validation = record.score(inner.metric)
            worst = inner._worst(trial.study, history.get(members[fold], ()))
            train = worst if record.diverged or train is None else train
            underfit.append(train)
            overfit.append((validation if math.isfinite(validation) else worst) - train)
        inner._decompose(OpenTrial(trial, strength, [], scores=dict.fromkeys(found, 0.0)))
        return sum(underfit) / len(underfit), sum(overfit) / len(overfit)


def prepare(
    settings: Settings, images: ImageData | None = None, factory: Any = None
) -> tuple[Trainer, Mapping[str, Any], str]:
    """Load the images, split them and build the trainer that the settings ask for.

    Args:
        images: Instead of loading `settings.data.source`.
        factory: Instead of the model named in the settings.

    Returns:
        The trainer, the images' summary, and a line that says which engine was chosen and why.

    Raises:
        UserError: Bad data, model or device.
    """
    from l2tune.data.folds import make_folds
    from l2tune.data.sources import load
    from l2tune.models.registry import make_factory
    from l2tune.training.device import choose_device
    from l2tune.training.engine import choose_engine
    from l2tune.training.problem import Problem

    images = images or load(settings.data)
    search = settings.search
    folds = make_folds(
        images.labels.numpy(),
        folds=search.folds,
        repeats=search.repeats,
        seed=search.seed,
        groups=images.groups,
        class_names=images.class_names,
    )
    problem = Problem(
        images,
        folds,
        factory or make_factory(settings.model),
        settings.training,
        settings.penalty,
        settings.data.augment,
        choose_device(settings.device),
    )
    trainer, reason = choose_engine(problem)
    return trainer, images.summary(), reason


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    names = ("l2tune", "optuna", "torch", "torchvision", "numpy", "scikit-learn", "scipy")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON keeps them."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _splits(splitter: Any, fit: Fit | None) -> int:
    if fit is None:
        raise UserError(
            f"{splitter!r} is not a number", "folds", "give a number of folds (a splitter goes with your own fit)"
        )
    if isinstance(splitter, Iterable):
        return len(list(splitter))
    try:
        return int(splitter.get_n_splits())
    except (AttributeError, TypeError):
        raise UserError(
            f"{splitter!r} does not tell its number of folds", "folds", "give a number, a list, or a splitter"
        ) from None


def _name_of(factory: Any) -> str:
    if not callable(factory):
        raise UserError(f"{factory!r} cannot be called", "model", "give a name or a factory(shape, classes)")
    return f"{getattr(factory, '__module__', '')}:{getattr(factory, '__qualname__', type(factory).__qualname__)}"
