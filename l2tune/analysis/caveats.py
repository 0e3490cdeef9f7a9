"""What keeps the answer from being final: missing folds, ends of the range, divergence, the network, the metric."""

from __future__ import annotations

import math
from collections.abc import Iterator

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.finding import Finding, Part
from l2tune.analysis.naming import Naming, is_ours, who_trains
from l2tune.analysis.shape import is_worse_above, is_worse_below
from l2tune.analysis.wording import SAME, amount, amounts, count, listed, percentage, unit_of_value
from l2tune.penalty.strength import format_lambda

EDGE = 10**0.25
"""A best λ within a quarter decade of an end of the range lies at that end."""

LOST = 1 / 3
"""Share of what was learned on training data that does not carry over to new ones, from which a fit overfits."""

HIGH = 0.15
"""Share of the cost of guessing from which a training cost is high, and of the validation cost up to which a gap is
small."""

MUCH = 0.1
"""Share of the parameters in matrices and kernels from which it is worth telling that λ leaves them out."""
_NAMED = 3


def others(t: Estimates) -> Iterator[Finding]:
    """The other parameters' values at which everything holds."""
    if t.record.others:
        values = ", ".join(f"{name} = {_written(value)}" for name, value in t.record.others.items())
        yield Finding("others", "caveat", f"All this holds at {values}: λ was looked at along these values only.")


def progress(t: Estimates, names: Naming) -> Iterator[Finding]:
    """What is missing, where a search was cut short."""
    missing = []
    if 0 < names.folds(0.0) < t.record.folds:
        missing.append(f"λ = 0 has {names.folds(0.0)} of {t.record.folds} folds")
    if t.best_lambda > 0 and not t.complete:
        text = f"{names.equal(t.best_lambda)} {names.lacks(t.best_lambda)}, so its value is the curve's"
        rows = t.strengths[t.strengths["complete"]].dropna(subset=["validation"])
        if len(rows):
            full = rows.iloc[int(t.metric.cost(rows["validation"].to_numpy(float)).argmin())]
            value = amount(full["validation"], t.metric)
            text += f" (best with all folds: {names.equal(full['lambda'])}, validation {t.metric} {value})"
        missing.append(text)
    if t.one_se_lambda > t.best_lambda and names.folds(t.one_se_lambda) < t.record.folds:
        missing.append(f"λ_1se, {names.number(t.one_se_lambda)}, {names.lacks(t.one_se_lambda)}")
    running = t.record.trials.loc[t.record.trials["state"] == "RUNNING", "trial"].tolist()
    if running:
        missing.append(f"{count(len(running), 'trial')} still running or cut off")
    if missing:
        yield Finding("incomplete", "caveat", f"The search is not complete: {'; '.join(missing)}.")


def failures(t: Estimates) -> Iterator[Finding]:
    """Trials that could not be trained, where nothing is known of the metric."""
    trials = t.record.trials
    failed = trials[trials["failure"].fillna("") != ""]
    if not len(failed):
        return
    number = len(failed) + int(trials["state"].isin(["COMPLETE", "PRUNED"]).sum())
    where = listed([f"λ = {format_lambda(strength)}" for strength in sorted(set(failed["lambda"]))[:_NAMED]])
    more = " and elsewhere" if failed["lambda"].nunique() > _NAMED else ""
    why = str(failed["failure"].iloc[-1]).rstrip(".")
    yield Finding("failed", "caveat", f"{len(failed)} of {count(number, 'trial')} failed, at {where}{more}: {why}.")


def divergence(t: Estimates, names: Naming) -> Iterator[Finding]:
    """Where fits diverged, and what that says."""
    broken = t.strengths[t.strengths["diverged"] > 0]
    if not len(broken):
        return
    fits, low, high = int(broken["diverged"].sum()), float(broken["lambda"].min()), float(broken["lambda"].max())
    inside = t.strengths[t.strengths["lambda"].between(low, high)]
    if low == high:
        where = f"at {names.equal(low)}"
    elif len(inside) == len(broken) and high == t.strengths["lambda"].max():
        where = f"from {names.equal(low)} up"
    else:
        where = f"at {count(len(broken), 'strength')}, {names.span(low, high)}"
    text = f"Training diverged {where} ({count(fits, 'fit')}, counted as worse than all others)"
    end = "."
    if t.one_se_lambda > t.best_lambda and names.diverged(t.one_se_lambda):
        end = f"; λ_1se, {names.number(t.one_se_lambda)}, is among them and not to be used."
    fine = t.strengths["lambda"][t.strengths["diverged"] == 0]
    if low > t.best_lambda and (not len(fine) or low > fine.min()):
        part: Part = "note" if end == "." else "caveat"
        yield Finding("diverged", part, f"{text}: too strong for this {_setting(t)}{end}")
    elif len(fine) and fine.max() > low:
        blame = "the learning rate is too high" if is_ours(t) else "the penalty is not the cause"
        text = f"{text}: {names.equal(float(fine.max()))} does not diverge though a weaker one does, so {blame}{end}"
        yield Finding("diverged", "caveat", text)
    else:
        yield Finding("diverged", "caveat", f"{text}: λ_best lies at the border{end}")


def ends(t: Estimates, names: Naming) -> Iterator[Finding]:
    """The minimum at an end of the range."""
    curve = t.curve
    assert curve is not None
    best = t.best_lambda
    helps = t.gain is not None and t.gain.is_measurable and t.gain.mean > 0
    if best >= curve.high / EDGE and is_worse_below(t) and not is_worse_above(t):
        yield Finding(
            "high-end",
            "caveat",
            f"The best λ lies at the upper end of the range, {names.number(curve.high)}: {_wider(t, 'higher')}.",
        )
    elif 0 < best <= curve.low * EDGE and is_worse_above(t) and (helps or not names.folds(0.0)):
        yield Finding(
            "low-end",
            "caveat",
            f"The best λ lies at the lower end of the range, {names.number(curve.low)}: {_wider(t, 'lower')}.",
        )


def widened(t: Estimates, names: Naming) -> Iterator[Finding]:
    """That the range is not the one asked for."""
    asked = t.record.asked_range
    if asked is None or not t.record.widened:
        return
    before, after = ("–".join(map(names.number, ends)) for ends in (asked, t.record.range))
    chosen = {"λ_best": t.best_lambda, "λ_1se": t.one_se_lambda}
    outside = [
        f"{name} ({names.number(strength)})"
        for name, strength in chosen.items()
        if strength > asked[1] * (1 + SAME) or 0 < strength < asked[0] * (1 - SAME)
    ]
    beyond = f"; {listed(outside)} {'lie' if len(outside) > 1 else 'lies'} outside the range asked for"
    yield Finding(
        "widened",
        "caveat" if outside else "note",
        f"The range of λ was widened from {before} to {after}{beyond if outside else ''}.",
    )


def network(t: Estimates, names: Naming) -> Iterator[Finding]:
    """Whether something other than λ would help more. Known only of metrics with a zero and a value of guessing."""
    if t.guess is None or t.metric.kind == "real":
        return
    guess, who = t.metric.cost(t.guess), who_trains(t)
    baseline = t.row(0.0)
    helped = t.gain is not None and t.gain.is_measurable and t.gain.mean > 0
    if baseline is not None and not helped and not is_worse_below(t):
        train, gap = t.metric.cost(float(baseline["train"])), float(baseline["gap"])
        if train >= HIGH * guess and gap <= HIGH * (train + gap):
            texts = amounts([baseline["train"], baseline["validation"]], t.metric)
            yield Finding(
                "underfits-at-zero",
                "caveat",
                f"The {who} still underfits at λ = 0 (training {t.metric} {texts[0]}, validation "
                f"{texts[1]}{unit_of_value(t.metric)}): a larger {who} or longer training will help more than λ.",
            )
            return
    strength = t.best_lambda if t.row(t.best_lambda) is not None else t.gain_lambda
    best = t.row(strength) if strength is not None else None
    if best is None or strength is None or not math.isfinite(best["train"]):
        return
    scored = t.strengths.dropna(subset=["train", "validation"])
    validation = t.metric.cost(scored["validation"].to_numpy(float))
    learns = scored[guess - validation >= 0.5 * (guess - t.metric.cost(t.best_value))]
    gained = guess - t.metric.cost(learns["train"].to_numpy(float))
    own = guess - t.metric.cost(float(best["train"]))
    if own > 0 and bool((gained > 0).all()) and bool((learns["gap"].to_numpy(float) >= LOST * gained).all()):
        share = best["gap"] / own
        if share < LOST:
            return
        yield Finding(
            "overfits-everywhere",
            "caveat",
            f"It overfits at every λ that still learns: even at {names.equal(strength)}, {100 * share:.0f} % of what "
            "training gained over guessing does not carry over to new data, so more data or augmentation will help "
            "more than λ.",
        )


def metrics_disagree(t: Estimates, names: Naming) -> Iterator[Finding]:
    """Whether another of l2tune's own metrics has another best λ."""
    other = t.other_best_lambda
    if other is None:
        return
    (low, high), (first, last) = t.band, t.interval
    if min(low, first, t.best_lambda) <= other <= max(high, last, t.one_se_lambda):
        return
    name = "error" if t.metric.name == "loss" else "loss"
    side = "stronger" if other > t.best_lambda else "weaker"
    choose = {"l2tune": " (--metric)", "function": " (metric=)"}.get(t.record.trained_by, "")
    yield Finding(
        "metrics-disagree",
        "caveat",
        f"By validation {name} another λ is best, {names.number(other)}, {side} than {names.number(t.best_lambda)} by "
        f"{t.metric}: loss also judges how sure the predictions are, {'error' if name == 'error' else t.metric.name} "
        f"only which class comes first, so choose by what you need{choose}.",
    )


def left_out(t: Estimates) -> Iterator[Finding]:
    """Whether λ leaves out much of what it could act on."""
    known = t.record.trainer.get("regularization")
    if not known or not known["matrices"] or known["left_out"] <= MUCH * known["matrices"]:
        return
    largest = [f"{name} ({number:,}, {why})" for name, number, why in known["largest"][:_NAMED]]
    total = sum(number for _, number, _ in known["largest"][:_NAMED])
    more = ["others"] if total < known["left_out"] else []
    yield Finding(
        "left-out",
        "caveat",
        f"λ leaves out {percentage(known['left_out'] / known['matrices'])} of the parameters in matrices and kernels: "
        f"{listed([*largest, *more])}. --regularize takes patterns of names.",
    )


def normalization(t: Estimates) -> Iterator[Finding]:
    """Where λ acts otherwise than by shrinking the function."""
    if t.record.trainer.get("normalization"):
        yield Finding(
            "normalization",
            "caveat",
            "This network has normalization layers, where λ acts mostly through the effective learning rate: what "
            "looks like under- and overfitting is partly that, and the best λ moves with the learning rate.",
        )


def _setting(t: Estimates) -> str:
    return "learning rate" if is_ours(t) else "training"


def _wider(t: Estimates, side: str) -> str:
    """How to search beyond an end of the range, in the words of whoever set it."""
    match t.record.trained_by:
        case "l2tune":
            return f"search with a {side} --lambda-range"
        case "function" | "trainer":
            return f"search with a {side} lambda_range="
    stronger = side == "higher"
    larger = stronger != (t.record.parameter.scale.name == "C")
    return f"search a wider range, with {'larger' if larger else 'smaller'} {t.record.parameter.name}"


def _written(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
