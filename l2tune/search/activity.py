"""What a search is doing, and why, in one line."""

from __future__ import annotations

from l2tune.penalty.strength import format_lambda
from l2tune.search.pruner import FoldRacingPruner
from l2tune.search.sampler import FIRST_PLACES
from l2tune.search.state import InTraining, SearchState

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def activity(state: SearchState, idle: str = "nothing is in training") -> str:
    """What is in training and why; where nothing is, what that means. Of several trials the most telling one.

    Args:
        idle: Said where nothing is in training or queued, and more is wanted.
    """
    for found in (_baseline, _audit, _completion, _race, _look):
        line = found(state)
        if line:
            return line
    if state.training:
        return "choosing the next λ"
    if state.over:
        return "the answer is settled" if state.plan.settles and state.settled else "all trials are done"
    return f"{_count(state.waiting, 'trial')} queued" if state.waiting else idle


def _baseline(state: SearchState) -> str:
    """λ = 0, which all else is compared with."""
    found = [trial for trial in state.training if trial.strength == 0]
    if not found or found[0].done >= state.seen.folds:
        return ""
    return f"λ 0 (baseline), {_fold(state, found[0])}: all else is compared with it"


def _audit(state: SearchState) -> str:
    found = [trial for trial in state.training if trial.audit and trial.strength]
    if not found:
        return ""
    return f"auditing λ {_name(found[0])}, which was pruned: {_missing(state, found[0])}"


def _completion(state: SearchState) -> str:
    """A λ whose folds are all wanted."""
    found = [trial for trial in state.training if trial.whole and trial.strength and trial.done < state.seen.folds]
    if not found:
        return ""
    names = {
        chosen[0]: name for chosen, name in ((state.one_se, "λ_1se"), (state.best, "λ_best")) if chosen is not None
    }
    assert found[0].strength is not None
    return f"completing {names.get(found[0].strength, 'λ')} {_name(found[0])}: {_missing(state, found[0])}"


def _race(state: SearchState) -> str:
    """A λ that goes on because it may still win."""
    curve, tried = state.curve, state.seen.tried
    found = [t for t in state.training if t.strength and 0 < t.done < state.seen.folds and t.strength in tried]
    if not found or curve is None:
        return ""
    strength, rest = found[0].strength, state.seen.folds - found[0].done
    assert strength is not None
    if len(tried) < 2:
        return f"λ {format_lambda(strength)}, {_fold(state, found[0])}"
    rivals = [float(s) for s in state.seen.by_strength() if s != strength]
    best = min(rivals, key=lambda s: float(curve.mean(s)[0]))
    more = f"{_count(rest, 'more fold')} at most" if state.plan.settles else _count(rest, "more fold")
    if float(curve.mean(strength)[0]) <= float(curve.mean(best)[0]):
        return f"λ {format_lambda(strength)} is the most promising so far: {more}"
    if FoldRacingPruner().may_win(curve, strength):
        return f"λ {format_lambda(strength)} cannot yet be told from {format_lambda(best)}: {more}"
    return f"λ {format_lambda(strength)}, {_fold(state, found[0])}"


def _look(state: SearchState) -> str:
    """A λ without a finished fold."""
    found = [trial for trial in state.training if trial.strength and not trial.done]
    if not found:
        return ""
    strength = found[0].strength
    assert strength is not None
    if not state.plan.settles or state.curve is None:
        return f"trying λ {format_lambda(strength)}"
    if len(state.seen.tried) < len(FIRST_PLACES):
        return f"a first look at λ {format_lambda(strength)}"
    low, high = state.curve.interval
    if low <= strength <= high:
        between = f"below λ {format_lambda(high)}" if low == 0 else f"between λ {_ends(low, high)}"
        return f"looking {between}, where the minimum may lie"
    return f"trying λ {format_lambda(strength)}, where one more fit promised most"


def _fold(state: SearchState, trial: InTraining) -> str:
    """Which of its folds is in training; folds that other trials train meanwhile are not counted."""
    return f"fold {min(trial.done + 1, state.seen.folds)} of {state.seen.folds}"


def _missing(state: SearchState, trial: InTraining) -> str:
    return f"{_count(state.seen.folds - trial.done, 'fold')} missing"


def _name(trial: InTraining) -> str:
    return format_lambda(trial.strength or 0.0)


def _ends(low: float, high: float) -> str:
    return f"{format_lambda(low)} and {format_lambda(high)}"


def _count(number: int, noun: str) -> str:
    """`two more folds`, `12 trials`."""
    written = _NUMBERS[number] if number < len(_NUMBERS) else str(number)
    return f"{written} {noun}{'' if number == 1 else 's'}"
