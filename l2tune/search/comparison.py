"""Runs a comparison: one search for each form of the penalty, λ = 0 trained once, then the final networks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from l2tune.analysis.estimates import Estimates
from l2tune.assemble import assemble
from l2tune.comparison_settings import ComparisonSettings, study_name
from l2tune.errors import UserError
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.penalty.strength import format_lambda
from l2tune.records.comparison import (
    comparison_studies,
    join_comparison,
    membership,
    share_baseline,
)
from l2tune.records.keys import STRENGTH
from l2tune.records.observations import observations
from l2tune.records.refits import RefitRecord, refit_of, write_refit
from l2tune.records.study import is_described, keep_plan, part_of, stored_settings
from l2tune.records.tables import read_study
from l2tune.records.workers import Worker, clear_refitting, refitting, write_refitting
from l2tune.search.heartbeat import Heart, Watch
from l2tune.search.runner import run_as_asked
from l2tune.search.storage import delete_study, load_study, open_study, study_exists
from l2tune.search.workers import LOOK_SECONDS, others_at_work, take_over_lost, wait_for_signs_of_life
from l2tune.settings import OF_THE_FORM, differences

if TYPE_CHECKING:
    from l2tune.data.images import ImageData

Say = Callable[[str], None]


CLAIM_SECONDS = 0.2
"""So long after a worker's claim others may write theirs, having seen none."""


@dataclass(frozen=True, eq=False)
class Side:
    """One form's part of a comparison.

    Attributes:
        form: Of the penalty.
        objective: Trains with it.
        study: Keeps what was trained.
    """

    form: str
    objective: CrossValidationObjective
    study: optuna.Study


@dataclass(frozen=True, eq=False)
class Parts:
    """What a comparison trains with.

    Attributes:
        objectives: Form → its objective; all have the same images and folds.
        notes: Lines worth showing: about the images, and which engine trains.
    """

    objectives: Mapping[str, CrossValidationObjective]
    notes: tuple[str, ...]


def assemble_parts(settings: ComparisonSettings, images: ImageData | None = None, factory: Any = None) -> Parts:
    """Load the images, split them, and build a trainer for each form.

    Args:
        images: Instead of loading those that the settings name.
        factory: Instead of the model that the settings name.

    Raises:
        UserError: Bad data, model or device.
    """
    first = assemble(settings.first, images, factory)
    objectives, engines = {}, {}
    for form, own in settings.sides.items():
        assembled = first if own is settings.first else first.with_penalty(own.penalty)
        objectives[form] = CrossValidationObjective.from_settings(own, assembled.trainer, assembled.data, assembled)
        engines[form] = assembled.engine
    same = len(set(engines.values())) == 1
    told = [first.engine] if same else [f"{form}: {engine}" for form, engine in engines.items()]
    return Parts(objectives, (*first.problem.data.notes, *told, settings.note))


def open_sides(
    storage: BaseStorage,
    settings: ComparisonSettings,
    parts: Parts,
    *,
    restart: bool = False,
    say: Say = lambda line: None,
) -> list[Side]:
    """Create the studies of a comparison, or go on with them. Nothing is written unless all of them fit.

    Args:
        restart: Delete them first.
        say: Told what is deleted.

    Raises:
        UserError: The name is a study's, or a study was begun otherwise.
    """
    name = settings.name
    if study_exists(storage, name):
        raise UserError("is the name of a study", f"comparison {name!r}", "give the comparison another --study")
    if restart:
        _delete(storage, settings, say)
    before = comparison_studies(storage, name)
    for study in before.values():
        _check_alike(study, settings, next(iter(parts.objectives.values())).data)
    for form, objective in parts.objectives.items():
        for study in before.values():
            objective.keep_precision(study)  # a form that is added is trained as the others were
        if study_exists(storage, study_name(name, form)):
            study = open_study(storage, objective.settings)
            own = membership(study)
            if own is not None and own.name != name:
                raise UserError(f"is a part of {own.name!r}", f"study {study.study_name!r}", "use another --study")
            if is_described(study) or study.get_trials(deepcopy=False):
                objective.describe(study)
    stored = [form for study in before.values() if (own := membership(study)) for form in own.penalties]
    penalties = list(dict.fromkeys([*stored, *parts.objectives]))
    sides = []
    for form, objective in parts.objectives.items():
        study = open_study(storage, objective.settings)
        objective.describe(study)
        keep_plan(study, objective.settings.flat())
        sides.append(Side(form, objective, study))
    for study in [*before.values(), *(side.study for side in sides)]:
        join_comparison(study, name, penalties)
    return sides


def run_comparison(
    storage: BaseStorage,
    name: str,
    sides: Sequence[Side],
    *,
    search: Callable[[Side], object] = lambda side: run_as_asked(side.study, side.objective),
    say: Say = lambda line: None,
) -> None:
    """Search form after form, each until it is settled, then train the final networks.

    Whatever is finished already is not trained again, and processes that run the same comparison share the work.

    Args:
        search: Searches one side; may raise to end the comparison.
        say: Told what is done, line by line.

    Raises:
        SearchAborted: A search had to give up.
        KeyboardInterrupt: All that was told is kept.
    """
    with Heart() as heart:
        _Run(storage, name, sides, say, heart).all(search)


@dataclass(frozen=True, eq=False)
class _Run:
    """One process's part in a comparison, with the heart that tells others that it is alive."""

    storage: BaseStorage
    name: str
    sides: Sequence[Side]
    say: Say
    heart: Heart
    worker: Worker = field(default_factory=Worker)
    watch: Watch = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "watch", Watch(self.heart.clock))

    def all(self, search: Callable[[Side], object]) -> None:
        """Search all sides, then train the final networks."""
        for side in self.sides:
            self._share_known_baseline(side)
            search(side)
        for side in self.sides:
            self._wait(side.study, lambda trial: True)  # what others find may move λ_best
        self._train_refits()

    def _share_known_baseline(self, side: Side) -> None:
        """Copy the trial at λ = 0 from another study of the comparison, unless this one has its own or none has."""
        wait_for_signs_of_life(side.study, self.watch, self.worker, self.say)
        known = comparison_studies(self.storage, self.name).values()
        for other in [study for study in known if study.study_name != side.study.study_name]:
            self._wait(other, lambda trial: trial.user_attrs.get(STRENGTH) == 0.0)
            if share_baseline(other, side.study, self.worker):
                told = "without a penalty its form does nothing"
                self.say(f"λ 0 (baseline) is taken from study {other.study_name!r}: {told}")
                return

    def _train_refits(self) -> None:
        """Train on all training images at λ = 0, once for all forms, and at λ_best and λ_1se of each.

        Those whose scores are stored are not trained again; those that another process trains are waited for.
        """
        given_up: set[tuple[str, float]] = set()
        while True:
            waiting = False
            for side in self.sides:
                for strength in _chosen(side.study):
                    if (side.form, strength) in given_up or self._is_refitted(side, strength):
                        continue
                    if self._is_refitted_elsewhere(side, strength) or not self._claim(side, strength):
                        waiting = True
                    elif self._is_refitted(side, strength):  # another process was at it when this one looked before
                        clear_refitting(side.study, strength, side.objective.settings.search.seed)
                    elif not self._refit(side, strength):
                        given_up.add((side.form, strength))
                        if strength == 0:
                            given_up |= {(other.form, 0.0) for other in self.sides}
            if not waiting:
                return
            time.sleep(LOOK_SECONDS)

    def _is_refitted(self, side: Side, strength: float) -> bool:
        """Whether the final network is stored; that of λ = 0 is copied from another study of the comparison."""
        seed = side.objective.settings.search.seed
        if refit_of(side.study, strength, seed) is not None:
            return True
        if strength > 0:
            return False
        found = (refit_of(study, 0.0, seed) for study in comparison_studies(self.storage, self.name).values())
        record = next((record for record in found if record is not None), None)
        if record is None:
            return False
        write_refit(side.study, record)
        return True

    def _is_refitted_elsewhere(self, side: Side, strength: float) -> bool:
        """Whether another worker, which is not known to be dead, trains the final network now."""
        known = comparison_studies(self.storage, self.name).values()
        seed = side.objective.settings.search.seed
        for study in [side.study] if strength > 0 else list(known):
            at_work = refitting(study, strength, seed)
            if at_work is not None and at_work[0].token != self.worker.token:
                key = study.study_name, "refit", strength, seed
                self.watch.look(key, at_work)
                if not self.watch.is_dead(key):
                    return True
        return False

    def _claim(self, side: Side, strength: float) -> bool:
        """Write down that this worker trains it; False if another one has at the same moment, the last one counts."""
        seed = side.objective.settings.search.seed
        write_refitting(side.study, strength, seed, self.worker, 0)
        time.sleep(CLAIM_SECONDS)
        at_work = refitting(side.study, strength, seed)
        return at_work is not None and at_work[0].token == self.worker.token

    def _refit(self, side: Side, strength: float) -> bool:
        """Train a final network and store its scores; False if training diverged."""
        seed = side.objective.settings.search.seed
        write = partial(write_refitting, side.study, strength, seed, self.worker)
        key = side.study.study_name, strength
        self.heart.add(key, write)
        try:
            refit = side.objective.train_final(strength, seed)
            write_refit(side.study, RefitRecord.of(refit, seed))
        except UserError as error:
            self.say(f"{side.form}: no network on all training images ({error.what})")
            return False
        finally:
            self.heart.remove(key)
            clear_refitting(side.study, strength, seed)
        took = f"with λ {format_lambda(strength)} in {refit.seconds:.0f} s"
        self.say(f"{side.form}: trained on all training images {took}")
        return True

    def _wait(self, study: optuna.Study, matters: Callable[[FrozenTrial], bool]) -> None:
        """Wait for the trials that matter among those that other workers have in training."""
        told = False
        while any(map(matters, others_at_work(study, self.watch, self.worker))):
            if not told:
                self.say(f"waiting for another process that trains for study {study.study_name!r}")
                told = True
            time.sleep(LOOK_SECONDS)
        take_over_lost(study, self.watch, self.worker)


def _chosen(study: optuna.Study) -> list[float]:
    """λ = 0, λ_best and λ_1se, each once, as far as they are known."""
    if not len(observations(study).cost):
        return []
    t = Estimates.from_record(read_study(study))
    known = [] if t.curve is None or not len(t.record.observations.tried) else [t.best_lambda, t.one_se_lambda]
    return list(dict.fromkeys([0.0, *known]))


def _delete(storage: BaseStorage, settings: ComparisonSettings, say: Say) -> None:
    names = [study.study_name for study in comparison_studies(storage, settings.name).values()]
    names += [name for form in settings.sides if study_exists(storage, name := study_name(settings.name, form))]
    for name in dict.fromkeys(names):
        say(f"deleting study {name!r} with its {len(load_study(storage, name).trials)} trials")
        delete_study(storage, name)


def _check_alike(study: optuna.Study, settings: ComparisonSettings, data: Mapping[str, Any]) -> None:
    """Whether a study that the comparison has already was begun with the same settings and data.

    Raises:
        UserError: It was not.
    """
    identity = {name: value for name, value in settings.first.identity().items() if name not in OF_THE_FORM}
    stored = stored_settings(study)
    changed = differences({name: stored[name] for name in identity if name in stored}, identity)
    if not changed and part_of(study, "data").get("fingerprint") != data.get("fingerprint"):
        changed = ["the images are others"]
    if changed:
        fix = "use another --study, or --restart to delete the comparison and start over"
        raise UserError("; ".join(changed), f"comparison {settings.name!r} was begun otherwise", fix)
