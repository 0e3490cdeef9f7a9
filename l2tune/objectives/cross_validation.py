"""The Optuna objective: a trial's λ, scored by cross-validation.

`CrossValidationObjective` is an ordinary objective for `study.optimize`. Whoever drives several trials at once calls
its two steps instead: `open` a trial, then `advance` the open ones until they are done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner, PercentilePruner, SuccessiveHalvingPruner

from l2tune.assemble import Assembled
from l2tune.errors import FitFailed, TrialFailed, UserError
from l2tune.members import EpochScores, Member, Refit, Run, Trainer, in_runs, make_member, together
from l2tune.metrics import Metric
from l2tune.objectives.drawing import draw_strength
from l2tune.objectives.guarded import History, Training
from l2tune.objectives.kept_predictions import KeptPredictions
from l2tune.objectives.open_trial import OpenTrial, noting_taken
from l2tune.objectives.setup import Setup
from l2tune.objectives.worst import worst_score
from l2tune.penalty.strength import ScaleName, StrengthScale, scale_of
from l2tune.records.claims import is_wanted_whole, part_of_folds
from l2tune.records.failures import Failure
from l2tune.records.fold_record import FoldRecord
from l2tune.records.observations import (
    as_taken_over,
    finished_folds_of,
    observations,
)
from l2tune.records.one_reading import one_reading
from l2tune.records.parameter import DEFAULT_NAME, Others, StrengthParameter
from l2tune.records.study import check_direction, name_objectives
from l2tune.records.tables import write_bias_variance
from l2tune.settings import Settings
from l2tune.training.function import Fit

Steps = Literal["fold", "epoch"]

EPOCH_PRUNERS = (MedianPruner, PercentilePruner, HyperbandPruner, SuccessiveHalvingPruner)
"""Optuna's pruners that compare trials at equal steps; their step is the epoch. All others judge fold by fold."""


class CrossValidationObjective:
    """Scores a trial's λ by the mean validation metric over folds.

    Each trial suggests the strength on a log scale. The first trial of a study is the baseline λ = 0, which has no
    such parameter, for a log range rejects 0. Every finished fold is reported (step = fold) and the pruner asked;
    under a pruner that compares epochs (median, percentile, successive halving, Hyperband) the folds train in lockstep
    and their mean is reported per epoch (step = epoch). Where all parameters were tried before, those that a trial
    suggested before it came here among them, it takes over the finished folds.

        objective = CrossValidationObjective(data="digits", model="simple_cnn", folds=5, epochs=30)
        study = optuna.create_study()
        study.optimize(objective, n_trials=20)

    Around a function of one's own:

        objective = CrossValidationObjective(fit=lambda decay, fold, seed: 0.9 / (1 + decay), parameter="weight_decay",
                                             metric="accuracy", folds=5)
        study = optuna.create_study(direction="maximize")
        study.optimize(objective, n_trials=20)

    Args:
        data: A source name as `--data` takes it, an `ImageData`, or `(images, labels)` arrays or tensors.
        model: A model name as `--model` takes it, or a factory called with the input shape (C, H, W) and the classes.
        fit: Your own training instead: `fit(strength, fold, seed)` returns or yields scores (`FunctionTrainer`).
        trainer: Any `Trainer` instead.
        refit: With `fit`: `refit(strength, seed)` trains on all training data and returns a model, or (model, scores);
            `Tradeoff.refit` calls it.
        suggest: With `fit`: called with each trial before its λ is drawn, draws what else the trial is to vary, e.g.
            `lambda trial: trial.suggest_float("lr", 1e-4, 1e-1, log=True)`; `fit` gets these by name.
        folds: Number of folds, or with `fit` any splitter with `get_n_splits()`.
        classes: With `fit`: how many classes there are, so that the verdict can tell what guessing would score.
        steps: What a step is, `fold` or `epoch`; by default as the study's pruner needs it.
        metric: What λ is chosen by: a `Metric`, or a name. By default the validation loss.
        parameter: Name of the strength in the study.
        scale: What its numbers are, and those that `fit` is called with: `lambda`, `weight_decay`, `alpha` or `C`; by
            default what the name tells. `lambda_range` is in λ whatever the scale. Where l2tune's trainer trains, a
            mapping instead gives the multipliers of λ, as the setting `scale` does: `{"fc*": 0.1}`.
        settings: Any other setting by its flat name: `epochs`, `optimizer`, `lambda_range`, `fit_timeout`, … With `fit`
            or `trainer` only those that they do not decide themselves.

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
        refit: Callable[[float, int], Any] | None = None,
        suggest: Callable[[optuna.Trial], Any] | None = None,
        folds: Any = 5,
        classes: int | None = None,
        steps: Steps | None = None,
        metric: str | Metric | None = None,
        parameter: str = DEFAULT_NAME,
        scale: ScaleName | Mapping[str, float] | None = None,
        **settings: Any,
    ) -> None:
        if isinstance(scale, Mapping):  # the setting of that name: multipliers of λ
            settings, scale = {**settings, "scale": dict(scale)}, None
        if not isinstance(parameter, str) or not parameter:
            raise UserError(f"{parameter!r} cannot name the strength", "parameter", "give a name, e.g. 'weight_decay'")
        if steps not in (None, *get_args(Steps)):
            raise UserError(f"{steps!r} is no step", "steps", f"give one of {', '.join(get_args(Steps))}")
        self.parameter = StrengthParameter(parameter, scale_of(parameter) if scale is None else StrengthScale(scale))
        self.steps: Steps | None = steps
        self.baseline = True
        """Whether λ = 0 is run first; not where training cannot do without a penalty."""
        self.on_begin: Callable[[Sequence[Member]], None] | None = None
        """Called with the members that are about to be trained."""
        self.on_epoch: Callable[[Sequence[EpochScores]], None] | None = None
        self.on_stuck: Callable[[Sequence[OpenTrial], str], None] | None = None
        """Called in a thread of its own where a fit that took longer than `fit_timeout` does not stop; by default that
        is said on standard error."""
        self.on_failure: Callable[[OpenTrial], None] | None = None
        """Called with each trial that `advance` could not train."""
        self._predictions = KeptPredictions()
        self._refit, self._suggest = refit, suggest
        if fit is not None and trainer is not None:
            raise UserError("fit and trainer were both given", "CrossValidationObjective", "give one of them")
        for name, given, signature in (("refit", refit, "strength, seed"), ("suggest", suggest, "trial")):
            if given is not None and (fit is None or not callable(given)):
                fix = f"give a function {name}({signature}) together with fit"
                raise UserError(f"{name}={given!r} cannot be used", "CrossValidationObjective", fix)
        if fit is None and trainer is None:
            if classes is not None:
                raise UserError(f"{classes} was given", "classes", "leave it out: the images tell")
            self._setup = Setup.of_images(data, model, folds, metric, settings)
            return
        if not (isinstance(data, str) and data == "digits"):
            settings = {"data": data, **settings}
        elif not (isinstance(model, str) and model == "simple_cnn"):
            settings = {"model": model, **settings}
        if trainer is not None:
            self._setup = Setup.of_trainer(trainer, metric, classes, settings)
        else:
            assert fit is not None
            self._setup = Setup.of_function(fit, folds, metric, self.parameter.scale, classes, settings)

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        trainer: Trainer,
        data: Mapping[str, Any],
        assembled: Assembled | None = None,
        *,
        metric: Metric | None = None,
    ) -> CrossValidationObjective:
        """The objective of a whole search, sampler and pruner included, around a trainer that is there already.

        Args:
            metric: One that is not the settings' own.
        """
        objective = cls(trainer=trainer, metric=metric or settings.search.metric)
        objective._setup = Setup(settings, trainer, objective.metric, data, assembled)
        return objective

    @property
    def settings(self) -> Settings:
        """Of all that is decided by settings."""
        return self._setup.settings

    @property
    def trainer(self) -> Trainer:
        """Trains."""
        return self._setup.trainer

    @property
    def metric(self) -> Metric:
        """What λ is chosen by."""
        return self._setup.metric

    @property
    def data(self) -> Mapping[str, Any]:
        """What the study keeps of the data."""
        return self._setup.data

    def __call__(self, trial: optuna.Trial) -> float:
        """Score one trial. What training raises comes out as it is.

        Raises:
            optuna.TrialPruned: The pruner ended it.
            optuna.exceptions.UpdateFinishedTrialError: Another process has ended it meanwhile.
            TrialFailed: The trainer gave no scores, memory ran out, or a fit took longer than `fit_timeout`.
        """
        open_trial = self.open(trial)
        while not open_trial.done:
            self._advance([open_trial], told=False)
        if open_trial.taken:
            raise UpdateFinishedTrialError(f"trial {trial.number} was ended elsewhere while it was in training")
        if open_trial.pruned:
            raise optuna.TrialPruned(f"after {len(open_trial.scores)} of {self.trainer.folds} folds")
        return open_trial.value

    @one_reading()
    def open(self, trial: optuna.Trial) -> OpenTrial:
        """Begin a trial: draw its λ and take over the folds that its parameters have already finished.

        Raises:
            UserError: The study has two objectives or the wrong direction, or was begun otherwise.
        """
        study = trial.study
        if len(study.directions) > 1:
            raise UserError(
                f"the study has {len(study.directions)} objectives", "CrossValidationObjective", "use TradeoffObjective"
            )
        check_direction(study, self.metric)
        self.describe(study)
        name_objectives(study, [f"validation {self.metric}"])
        strength = self.draw(trial)
        seen = observations(study, self.parameter, others=self.parameter.others(trial.params))
        keep = strength == 0.0 or is_wanted_whole(trial)
        open_trial = OpenTrial(trial, strength, seen.fold_order()[: self.trainer.folds], keep=keep)
        own = part_of_folds(trial)
        if own is not None:
            open_trial.part, open_trial.todo = True, [own]
        known = finished_folds_of(study, strength, trial.params)
        if self.steps_of(study) == "epoch" and len(known) < self.trainer.folds:
            return open_trial  # folds in lockstep start together or not at all
        for fold, finished in known.items():
            if fold in open_trial.todo:
                self._finish_fold(open_trial, fold, as_taken_over(finished, trial.number))
        if known and not open_trial.done:
            open_trial.ask_pruner()
        return open_trial

    def advance(self, open_trials: Sequence[OpenTrial]) -> None:
        """Train one step of every open trial, all in one run: the next fold, or all folds in lockstep by epoch.

        A trainer that gains by training members together gets all folds at once of a trial that cannot be pruned.
        Where training fails, trials and folds are trained one by one, so that no other is lost by it.

        Raises:
            TrialFailed: Some trials could not be trained: their `failure` tells why. All others have what they trained.
        """
        if not open_trials:
            return
        by_epoch = self._by_epoch(open_trials)
        steps = [1 if by_epoch else len(self._next_folds(open_trial)) for open_trial in open_trials]
        try:
            self._advance(open_trials, told=True)
            return
        except TrialFailed as error:
            if sum(steps) == 1:
                self._fail(open_trials[0], error)
                raise
        said = ""  # from here on nothing holds on to what the error did
        for open_trial, count in zip(open_trials, steps, strict=True):
            open_trial.pruned = False
            try:
                for _ in range(count):
                    if not open_trial.done:
                        self._advance([open_trial], told=True, alone=True)
            except TrialFailed as error:
                self._fail(open_trial, error)
                said = said or str(error)
        if said:
            raise TrialFailed(said)

    def _advance(self, open_trials: Sequence[OpenTrial], *, told: bool, alone: bool = False) -> None:
        """Train a step of these trials.

        Args:
            told: Raise whatever training raises as `TrialFailed`.
            alone: Train one fold only where the step is the fold.
        """
        by_epoch = self._by_epoch(open_trials)
        owners: dict[Member, list[OpenTrial]] = {}
        for open_trial in open_trials:
            for fold in self._next_folds(open_trial)[: 1 if alone and not by_epoch else None]:
                member = self.member(open_trial.strength, fold, self.drawn(open_trial.trial))
                owners.setdefault(member, []).append(open_trial)

        def after_epoch(run: Run, history: History) -> None:
            for open_trial in open_trials if by_epoch else ():
                mine = {m: history[m] for m, trials in owners.items() if open_trial in trials}
                with noting_taken(open_trial):
                    self._report_epoch(open_trial, mine)
            over = [m for m, trials in owners.items() if all(t.pruned or t.taken for t in trials)]
            if over:
                run.drop(over)

        def stuck(line: str) -> None:
            (self.on_stuck or _say_stuck)(open_trials, line)

        history = self.train(list(owners), after_epoch, in_lockstep=by_epoch, told=told, on_stuck=stuck)
        for member, trials in owners.items():
            for open_trial in trials:
                truncated = open_trial.pruned and not history[member][-1].diverged
                record = FoldRecord.of(history[member], truncated=truncated)
                with noting_taken(open_trial):
                    self._finish_fold(open_trial, member.fold, record, history[member], report=not by_epoch)
        for open_trial in open_trials:
            with noting_taken(open_trial):
                if not by_epoch and not open_trial.done:
                    open_trial.ask_pruner()
                if open_trial.done:
                    self.decompose(open_trial.trial, open_trial.strength, sorted(open_trial.scores))

    def train(
        self,
        members: Sequence[Member],
        after_epoch: Callable[[Run, History], None] | None = None,
        *,
        in_lockstep: bool = False,
        told: bool = False,
        on_stuck: Callable[[str], None] | None = None,
    ) -> History:
        """Train members, and keep what they predict for the test images.

        Args:
            after_epoch: Called with the run, whose members it may drop, and with all scores so far of its members.
            in_lockstep: Whether all go through their epochs in one run; else as many as the trainer trains at once.
            told: Raise whatever training raises as `TrialFailed`.
            on_stuck: As of `time_limit`.

        Raises:
            TrialFailed: The trainer gave no scores for a member, or the members took longer than `fit_timeout` each.
            FitFailed: With `told`, the trainer raised an error.
        """
        self._predictions.forget_whole(self.trainer.folds)  # of trials that were decomposed before this one
        if self.on_begin is not None:
            self.on_begin(members)
        history: dict[Member, Sequence[EpochScores]] = {}
        for part in [members] if in_lockstep else in_runs(self.trainer, members):
            training = Training(part, self.settings.search.fit_timeout, told=told, on_stuck=on_stuck)
            history |= training.train(self.trainer, self.on_epoch, after_epoch)
        for member, scored in history.items():
            network = scored[-1].network
            if network is not None and network.test_log_probabilities is not None:
                self._predictions.keep(member.strength, member.fold, network.test_log_probabilities)
        return history

    def train_final(self, strength: float, seed: int | None = None) -> Refit:
        """Train on all training data with this λ: by l2tune's trainer, or by the `refit` that was given.

        Raises:
            UserError: There is no `refit`, or training diverged.
        """
        seed = self.settings.search.seed if seed is None else seed
        if self._setup.assembled is not None:
            return self._setup.assembled.refit(strength, seed)
        if self._refit is None:
            raise UserError(
                "how to train on all the data is not known",
                "refit",
                "give CrossValidationObjective(fit=…, refit=…) a function refit(strength, seed)",
            )
        return Refit.of(self._refit(self.parameter.scale.from_lambda(strength), seed), strength)

    def member(self, strength: float, fold: int, others: Others = ()) -> Member:
        """The member of a fold; its seed comes from the search seed and the fold alone."""
        return make_member(self.settings.search.seed, strength, fold, others)

    def drawn(self, trial: optuna.Trial) -> Others:
        """What `suggest` has drawn for a trial, for its members."""
        return () if self._suggest is None else self.parameter.others(trial.params)

    def steps_of(self, study: optuna.Study) -> Steps:
        """What a step means in this study."""
        by_epoch = isinstance(study.pruner, EPOCH_PRUNERS) and self.trainer.epochs > 1
        return self.steps or ("epoch" if by_epoch else "fold")

    @property
    def engine(self) -> str:
        """A line that says how l2tune's trainer trains, and why; empty for another trainer."""
        return self._setup.engine

    def keep_precision(self, study: optuna.Study) -> None:
        """Go on in the precision that the study was begun in, where the settings leave it open."""
        self._setup = self._setup.in_precision_of(study)

    def describe(self, study: optuna.Study) -> None:
        """Store what the study is about, or go on in its precision; refuse a study that was begun otherwise."""
        self.keep_precision(study)
        self._setup.describe(study, self.parameter, self.steps_of(study))

    def draw(self, trial: optuna.Trial) -> float:
        """The trial's λ: 0 if it becomes the baseline or was queued with 0, else as queued or as the sampler proposes.

        What else the trial varies is drawn before.

        Raises:
            UserError: The trial was queued with a number that is no strength.
        """
        if self._suggest is not None:
            self._suggest(trial)
        return draw_strength(trial, self.parameter, baseline=self.baseline)

    def worst(self, study: optuna.Study, history: Sequence[EpochScores]) -> float:
        """What a diverged fold counts as in the study's values: worse than all that was seen, and than guessing.

        Infinitely bad where nothing was seen yet.
        """
        classes = self.data.get("classes") or len(self.data.get("class_names", ())) or None
        return worst_score(study, history, self.metric, self.parameter, classes)

    def decompose(self, trial: optuna.Trial, strength: float, folds: Sequence[int]) -> None:
        """Store bias and variance over the folds whose predictions are at hand; two or more."""
        parts = self._predictions.decompose(strength, folds, self.trainer.test_labels)
        if parts is not None:
            write_bias_variance(trial, *parts)

    def _fail(self, open_trial: OpenTrial, error: TrialFailed) -> None:
        """Note why a trial cannot be trained, without holding on to what the error holds."""
        open_trial.failure, open_trial.blamed = Failure.of(error), isinstance(error, FitFailed)
        if self.on_failure is not None:
            self.on_failure(open_trial)

    def _by_epoch(self, open_trials: Sequence[OpenTrial]) -> bool:
        return self.steps_of(open_trials[0].trial.study) == "epoch"

    def _next_folds(self, open_trial: OpenTrial) -> list[int]:
        """The folds that a trial trains next."""
        whole = self._by_epoch([open_trial]) or self._whole(open_trial)
        return open_trial.todo[:] if whole else open_trial.todo[:1]

    def _whole(self, open_trial: OpenTrial) -> bool:
        """Whether to train all folds at once: nothing can prune the trial, and the trainer gains by it."""
        sure = open_trial.keep or isinstance(open_trial.trial.study.pruner, NopPruner)
        return sure and together(self.trainer) > 1

    def _report_epoch(self, open_trial: OpenTrial, history: Mapping[Member, Sequence[EpochScores]]) -> None:
        """Report the mean over folds of the newest epoch; a diverged fold counts as the worst score seen."""
        epoch = max((scores[-1].epoch for scores in history.values() if scores), default=0)
        newest = [scores[-1] for scores in history.values() if scores]
        if open_trial.pruned or epoch <= open_trial.reported or all(scores.epoch < epoch for scores in newest):
            return
        study = open_trial.trial.study
        values = [self.worst(study, history[s.member]) if s.diverged else s.score(f"val_{self.metric}") for s in newest]
        open_trial.report_epoch(epoch, sum(values) / len(values), last=epoch >= self.trainer.epochs)

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
        value = record.value("val", self.metric)
        score = self.worst(study, history) if record.diverged or value is None else value
        open_trial.finish_fold(fold, record, score, report=report and self.steps_of(study) == "fold")


def _say_stuck(open_trials: Sequence[OpenTrial], line: str) -> None:
    """In a process of the user's own: nothing else can be done."""
    print(f"l2tune: {line} and cannot be stopped; waiting for it", file=sys.stderr, flush=True)
