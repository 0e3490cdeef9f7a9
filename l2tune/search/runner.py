"""The search: asks the study for strengths, scores them, tells the results, stops when the answer is settled."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from l2tune.curve.observations import fit_curve
from l2tune.errors import TrialFailed
from l2tune.members import together
from l2tune.objectives.cross_validation import CrossValidationObjective
from l2tune.objectives.open_trial import OpenTrial
from l2tune.records.claims import begun, is_audit, is_of_parts, is_wanted_whole, part_of_folds
from l2tune.records.observations import observations
from l2tune.records.one_reading import one_reading
from l2tune.records.tables import write_summary
from l2tune.records.workers import Worker, write_beat
from l2tune.search.audit import audits_waiting, queue_audit
from l2tune.search.completion import is_copy, queue_wholes
from l2tune.search.failing import Failures, end_failed
from l2tune.search.heartbeat import Heart, Watch
from l2tune.search.patience import hurry
from l2tune.search.pending import of_others
from l2tune.search.stopping import StopWhenSettled
from l2tune.search.storage_faults import STORAGE_ERRORS, storage_failed
from l2tune.search.workers import (
    LOOK_SECONDS,
    ask_trial,
    others_at_work,
    release,
    requeue,
    take_over_from,
    take_over_lost,
    wait_for_signs_of_life,
    withdraw,
)


@dataclass(frozen=True)
class Budget:
    """How long to search.

    Attributes:
        trials: Trials that the study may hold in all, the baseline included.
        seconds: From now on; no new trial is begun afterwards.
        batch: Trials trained together.
        audit: Pruned strengths to finish in the end, beyond `trials`.
    """

    trials: int
    seconds: float | None = None
    batch: int = 1
    audit: int = 0


def run_search(
    study: optuna.Study,
    objective: CrossValidationObjective,
    budget: Budget,
    *,
    settle: StopWhenSettled | None = None,
    on_trial: Callable[[FrozenTrial], None] = lambda trial: None,
    say: Callable[[str], None] = lambda line: None,
    worker: Worker | None = None,
    wait: bool = True,
) -> str:
    """Search until the answer is settled or the budget is spent, alone or beside other workers of the same study.

    Args:
        settle: The stopping rule; without one, only the budget stops the search.
        on_trial: Called with each finished trial.
        say: Called with what else is worth a line.
        worker: Who searches.
        wait: Wait for a sign of life of workers that have trials under way, before the first trial.

    Returns:
        Why it stopped, in words.

    Raises:
        SearchAborted: Several trials in a row could not be trained, or the storage failed.
        KeyboardInterrupt: The trials in training are queued again; all that was told is kept.
    """
    worker = worker or Worker()
    hurry(study, False)
    with Heart() as heart:
        watch = Watch(heart.clock)
        search = WorkerSearch(study, objective, budget, worker, settle=settle, heart=heart)
        try:
            if wait:
                wait_for_signs_of_life(study, watch, worker, say)
            while True:
                with one_reading():
                    take_over_lost(study, watch, worker)
                    step = search.begin()
                for taken in search.taken():
                    say(f"trial {taken.number + 1} was taken over by another worker, for this one gave no sign of life")
                if not search.active:
                    if step is Step.STOP or (step is Step.DONE and not others_at_work(study, watch, worker)):
                        return search.why
                    time.sleep(LOOK_SECONDS)  # what others have in training may move the answer
                    continue
                for trial in search.advance():
                    on_trial(trial)
        except STORAGE_ERRORS as error:
            search.give_up()
            raise storage_failed(error) from error
        except BaseException as error:
            release(error)
            hurry(study, True)
            search.give_up()
            with suppress(*STORAGE_ERRORS):
                take_over_from(study, worker)  # what was only just asked for
            raise


def run_as_asked(
    study: optuna.Study,
    objective: CrossValidationObjective,
    *,
    on_trial: Callable[[FrozenTrial], None] = lambda trial: None,
    say: Callable[[str], None] = lambda line: None,
    worker: Worker | None = None,
    wait: bool = True,
) -> str:
    """`run_search` with the budget and the stopping rule that the objective's settings ask for."""
    return run_search(
        study,
        objective,
        budget_of(objective),
        settle=settle_of(objective),
        on_trial=on_trial,
        say=say,
        worker=worker,
        wait=wait,
    )


def budget_of(objective: CrossValidationObjective) -> Budget:
    """The budget that the objective's settings ask for."""
    search = objective.settings.search
    return Budget(search.trials, search.timeout, together(objective.trainer), search.audit)


def settle_of(objective: CrossValidationObjective) -> StopWhenSettled | None:
    """The stopping rule that the objective's settings ask for."""
    return StopWhenSettled() if objective.settings.search.sampler == "curve" else None


class Step(Enum):
    """What a worker can do next."""

    BEGUN = auto()
    """It has trials to train."""
    WAIT = auto()
    """What other workers have in training decides whether more is wanted."""
    DONE = auto()
    """Nothing is wanted, unless other workers die."""
    STOP = auto()
    """Nothing is to be begun any more, whatever others do."""


class WorkerSearch:
    """One worker's part of a search: begins trials, trains them step by step, tells the results.

    Args:
        worker: Whose part it is.
        heart: Beats for the trials in training; none where nobody else is to be told.

    Attributes:
        active: The trials in training.
        why: Why the last `begin` began nothing, in words.
    """

    def __init__(
        self,
        study: optuna.Study,
        objective: CrossValidationObjective,
        budget: Budget,
        worker: Worker,
        *,
        settle: StopWhenSettled | None = None,
        heart: Heart | None = None,
    ) -> None:
        self.active: list[OpenTrial] = []
        self.why = ""
        self._study, self._objective, self._budget, self._settle = study, objective, budget, settle
        self._worker, self._heart = worker, heart
        self._began = time.monotonic()
        self._failures = Failures()
        self._shared = False
        self._taken: list[optuna.Trial] = []

    @one_reading()
    def begin(self) -> Step:
        """Begin as many trials as are trained together, as far as any are wanted."""
        step = Step.BEGUN
        while len(self.active) < self._budget.batch and step is Step.BEGUN:
            step, queued = self.next()
            if step is Step.BEGUN:
                self._begin(queued)
        return Step.BEGUN if self.active else step

    @one_reading()
    def next(self) -> tuple[Step, bool]:
        """What to do next, and whether only a queued trial is wanted. May queue trials that complete the answer."""
        study, budget = self._study, self._budget
        queue_wholes(study, self._objective.trainer.folds)
        if budget.seconds is not None and time.monotonic() - self._began >= budget.seconds:
            self.why = f"the {budget.seconds:g} s are over"
            return Step.STOP, False
        step, queued = self._next_of_search()
        if step is not Step.DONE or not budget.audit:
            return step, queued
        seed = self._objective.settings.search.seed
        if audits_waiting(study) or queue_audit(study, budget.audit, seed):
            return Step.BEGUN, True
        return step, queued

    def advance(self) -> list[FrozenTrial]:
        """Train one step of the trials in training; returns those that are done, as they were told.

        Raises:
            SearchAborted: Several times in a row training failed.
        """
        try:
            self._objective.advance([trial for trial in self.active if not trial.done])
            self._failures.trained()
        except TrialFailed as error:
            self._failures.count(self._study, error, self._end_failed())
        with one_reading():
            self._stop_racing()
            ended = [self._end(trial) for trial in [trial for trial in self.active if trial.done]]
        return [trial for trial in ended if trial is not None]

    def _end(self, trial: OpenTrial) -> FrozenTrial | None:
        """Tell the study how a trial ended; None if another worker has taken it over."""
        told = None if trial.taken else self._tell(trial)
        if told is None:
            self._taken.append(trial.trial)
        else:
            self._failures.finished()
        self._stop_beating(trial)
        self.active.remove(trial)  # not before: what an interrupt finds here is given up in good order
        return told

    def taken(self) -> list[optuna.Trial]:
        """The trials that other workers have taken over since the last call."""
        taken, self._taken = self._taken, []
        return taken

    def give_up(self) -> None:
        """Queue the trials in training again."""
        while self.active:
            trial = self.active.pop()
            self._stop_beating(trial)
            self._requeue(trial.trial)

    def _next_of_search(self) -> tuple[Step, bool]:
        """The same, leaving audits aside."""
        trials = self._study.get_trials(deepcopy=False)
        shares = self._shares_folds(trials)
        count = begun(trials)
        waiting = any(t.state == TrialState.WAITING and not is_audit(t) for t in trials)
        if count >= self._budget.trials:
            self.why = f"all {self._budget.trials} trials are done"
            return (Step.BEGUN, True) if any(map(_is_queued_part, trials)) else (Step.DONE, False)
        if waiting:
            return Step.BEGUN, True
        if self._settle is None:
            return Step.BEGUN, False
        if self._settle.is_settled(self._study):
            self.why = "the answer is settled"
            if shares and any(map(_is_racing, of_others(trials, self._worker))):
                return Step.WAIT, False  # they end with the fold in training, which may move the answer
            if not self._settle.queue_missing(self._study, in_parts=shares):
                return Step.DONE, False
            return (Step.BEGUN, True) if self._is_anything_queued() else (Step.WAIT, False)
        if self._budget.trials - count <= 2 and self._settle.queue_missing(self._study, in_parts=shares):
            # the last trials complete λ_best and λ_1se
            return (Step.BEGUN, True) if self._is_anything_queued() else (Step.WAIT, False)
        others = of_others(trials, self._worker)
        if others and self._settle.is_worth_waiting(self._study, others):
            self.why = "what others have in training is waited for"
            return Step.WAIT, False
        return Step.BEGUN, False

    def _stop_racing(self) -> None:
        """End trials between folds where others have helped to settle the answer: what it lacks is shared out."""
        racing = [t for t in self.active if not (t.done or t.keep or t.part)]
        if not racing or self._settle is None:
            return
        trials = self._study.get_trials(deepcopy=False)
        if not self._shares_folds(trials) or not self._settle.is_settled(self._study):
            return
        lacking = self._settle.missing(self._study) if begun(trials) >= self._budget.trials else []
        for trial in racing:
            trial.pruned = not is_wanted_whole(trials[trial.trial.number]) and trial.strength not in lacking
            if trial.pruned:
                self._objective.decompose(trial.trial, trial.strength, sorted(trial.scores))

    def _shares_folds(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether other workers, even if they wait now, share the folds of a λ: not where those train in lockstep."""
        self._shared = self._shared or bool(of_others(trials, self._worker))
        return self._shared and self._objective.steps_of(self._study) == "fold"

    def _is_anything_queued(self) -> bool:
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        return any(not is_audit(trial) for trial in waiting)

    def _begin(self, queued: bool) -> None:
        """Ask for a trial and add it to those in training, unless other workers have in this instant begun all, or it.

        Args:
            queued: Only one that is queued.
        """
        trial = ask_trial(self._study, self._worker, queued=queued)
        if trial is None:
            return
        try:
            trials = self._study.get_trials(deepcopy=False)
            me = trials[trial.number]
            beyond = not is_audit(me) and not is_of_parts(me) and begun(trials[: me.number]) >= self._budget.trials
            if beyond or is_copy(trials, me):
                withdraw(self._study, trial)
                return
            opened = self._objective.open(trial)
            self.active.append(opened)
            if self._heart is not None:
                self._heart.add(trial.number, partial(write_beat, self._study, trial), opened.note_taken)
        except UpdateFinishedTrialError:  # it came so slowly that another worker took it over
            self._taken.append(trial)
        except BaseException:
            if not any(opened.trial is trial for opened in self.active):
                self._requeue(trial)
            raise

    @one_reading()
    def _tell(self, trial: OpenTrial) -> FrozenTrial | None:
        """Tell the study how a trial ended; None if another worker has taken it over."""
        others = self._objective.parameter.others(trial.trial.params)
        curve = fit_curve(observations(self._study, self._objective.parameter, others=others))
        regime = None if curve is None else curve.regime(trial.strength)
        try:
            write_summary(trial.trial, self._objective.metric, regime)
            if trial.pruned or trial.part:
                told = self._study.tell(trial.trial, state=TrialState.PRUNED, skip_if_finished=True)
            else:
                told = self._study.tell(trial.trial, trial.value, skip_if_finished=True)
        except UpdateFinishedTrialError:
            return None
        return None if told.state == TrialState.FAIL else told

    def _end_failed(self) -> int:
        """End the trials that could not be trained, all where none is named; those whose strength is not to blame wait.

        Returns:
            How many failed for good.
        """
        blamed = 0
        for trial in [trial for trial in self.active if trial.failure is not None] or self.active[:]:
            self._stop_beating(trial)
            if trial.failure is not None and trial.blamed:
                end_failed(self._study, trial.trial, trial.failure)
                blamed += 1
            else:
                self._requeue(trial.trial)
            self.active.remove(trial)
        return blamed

    def _stop_beating(self, trial: OpenTrial) -> None:
        if self._heart is not None:
            self._heart.remove(trial.trial.number)

    def _requeue(self, trial: optuna.Trial) -> None:
        with suppress(*STORAGE_ERRORS):  # the next search takes up the trials of a worker that is gone
            requeue(self._study, self._study.get_trials(deepcopy=False)[trial.number])


def _is_racing(trial: FrozenTrial) -> bool:
    """Whether a running trial goes on only as long as its λ may win."""
    return part_of_folds(trial) is None and not is_wanted_whole(trial)


def _is_queued_part(trial: FrozenTrial) -> bool:
    """Whether a queued trial is a part of what has been begun, or joins the parts."""
    return trial.state == TrialState.WAITING and is_of_parts(trial)
