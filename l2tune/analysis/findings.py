"""The judgement in words: a finding for every shape that a regularization curve can take."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.wording import amount, count, listed, p_value, paste
from l2tune.penalty.strength import format_lambda

EDGE = 10**0.25
"""A best λ within a quarter decade of an end of the range lies at that end."""

LOST = 1 / 3
"""Share of what was learned on training images that does not carry over to new ones, from which a fit overfits."""

Part = Literal["answer", "shape", "gain", "caveat", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something worth telling.

    Attributes:
        kind: What it is, in a word or two joined by dashes.
        part: Its place: the brief verdict has one `answer`, `shape` and `gain` at most, and two `caveat`s.
        text: One or two sentences.
    """

    kind: str
    part: Part
    text: str


def findings(t: Estimates) -> Iterator[Finding]:
    """All findings about a tradeoff, in the order in which they matter."""
    if t.curve is None:
        yield Finding(
            "all-diverged",
            "answer",
            f"Every fit diverged, at {count(len(t.strengths), 'strength')}: lower the learning rate, then search "
            "again.",
        )
        return
    positive = t.strengths[t.strengths["lambda"] > 0]
    if not len(positive):
        yield Finding(
            "only-baseline",
            "answer",
            f"Only λ = 0 has been run so far: validation {amount(t.best_value, t.metric)}. No λ can be named yet.",
        )
        yield from _progress(t)
        return
    if _learned_nothing(t):
        yield from _nothing_learned(t)
        yield from _divergence(t)
        return
    yield from _answer(t)
    yield from _shape(t)
    yield from _gain(t)
    yield from _progress(t)
    yield from _ends(t)
    yield from _network(t)
    yield from _divergence(t)
    yield from _metrics(t)
    yield from _normalization(t)
    yield from _folds(t)
    yield from _audit(t)


def verdict(t: Estimates) -> str:
    """Two to four sentences for people."""
    return in_brief(tuple(findings(t)))


def in_brief(found: Sequence[Finding]) -> str:
    """The verdict: answer, shape, gain and the first two caveats."""
    parts = [next((f.text for f in found if f.part == part), "") for part in ("answer", "shape", "gain")]
    parts += [f.text for f in found if f.part == "caveat"][:2]
    return " ".join(part for part in parts if part)


def _answer(t: Estimates) -> Iterator[Finding]:
    low, high = t.interval
    if t.best_lambda == 0:
        yield Finding(
            "baseline-best",
            "answer",
            f"No λ of the range beats λ = 0 (weight_decay=0): validation {t.metric} "
            f"{amount(t.best_value, t.metric)} without regularization"
            + (f", as good up to λ = {format_lambda(t.one_se_lambda)}." if t.one_se_lambda > 0 else "."),
        )
        return
    span = f"about {format_lambda(low)}" if high < 1.02 * low else f"{format_lambda(low)} to {format_lambda(high)}"
    strongest = f"the strongest that is as good: λ = {format_lambda(t.one_se_lambda)}"
    known = f"(95 % credible interval of the best λ: {span}; {strongest})."
    if t.gain is not None and not t.gain.is_measurable:
        yield Finding(
            "best-of-equals",
            "answer",
            f"No λ is measurably better than none; lowest is λ = {format_lambda(t.best_lambda)}, "
            f"{paste(t.record, t.best_lambda)} " + known,
        )
        return
    yield Finding("best", "answer", f"Use λ = {format_lambda(t.best_lambda)}: {paste(t.record, t.best_lambda)} {known}")


def _shape(t: Estimates) -> Iterator[Finding]:
    """What happens left and right of the balanced band."""
    curve = t.curve
    assert curve is not None
    low, high = t.band
    left, right = low > 0, high < curve.high * 0.99
    if not left and not right:
        yield Finding(
            "flat",
            "shape",
            f"The curve is flat: from λ = 0 to {format_lambda(curve.high)} the expected validation {t.metric} "
            f"stays within one "
            "standard error of the best.",
        )
        return
    parts = []
    kind = "bracketed" if left and right else "falling" if left else "rising"
    scored = t.strengths.dropna(subset=["train", "validation"])
    if left:
        weak = scored[(scored["lambda"] < low)]
        best = _best_row(t)
        text = f"Below λ ≈ {format_lambda(low)} the network overfits"
        if len(weak) and best is not None and math.isfinite(best["train"]):
            weakest = weak.iloc[0]
            if weakest["train"] <= best["train"]:
                text += (
                    f" (at λ = {format_lambda(weakest['lambda'])}: training {t.metric} down to "
                    f"{amount(weakest['train'], t.metric, unit=False)}, validation up to "
                    f"{amount(weakest['validation'], t.metric)})"
                )
            else:
                kind = "slow-left"
                text = (
                    f"Below λ ≈ {format_lambda(low)} validation and training {t.metric} are both higher, so "
                    f"that is not "
                    "overfitting: there λ helps the training itself"
                )
        parts.append(text)
    if right:
        strong = scored[scored["lambda"] > high]
        text = f"above λ ≈ {format_lambda(high)} it underfits"
        if len(strong):
            strongest = strong.iloc[-1]
            text += (
                f" (at λ = {format_lambda(strongest['lambda'])}: training {t.metric} "
                f"{amount(strongest['train'], t.metric, unit=False)}, validation "
                f"{amount(strongest['validation'], t.metric)})"
            )
        parts.append(text)
    sentence = "; ".join(parts)
    yield Finding(kind, "shape", sentence[0].upper() + sentence[1:] + ".")


def _gain(t: Estimates) -> Iterator[Finding]:
    gain, strength = t.gain, t.gain_lambda
    if gain is None or strength is None or t.baseline_value is None:
        yield Finding(
            "no-baseline",
            "gain",
            "λ = 0 was not run on the same folds, so whether regularization helps at all is not known.",
        )
        return
    p = f"corrected resampled t-test over {gain.folds} folds, {p_value(gain.p_value)}"
    low, high = (amount(end, t.metric, unit=False) for end in gain.interval)
    unit = "percentage points" if t.metric.unit == "%" else "nats"
    chosen = t.baseline_value - gain.mean
    change = f"{amount(t.baseline_value, t.metric, unit=False)} → {amount(chosen, t.metric)}"
    if not gain.is_measurable:
        yield Finding(
            "no-difference",
            "gain",
            f"Regularization makes no measurable difference here: validation {t.metric} {change} from λ = 0 to "
            f"λ = {format_lambda(strength)} (95 % interval of the fall {low} to {high} {unit}; {p}).",
        )
    elif gain.mean > 0:
        subject = "It" if strength == t.best_lambda else f"λ = {format_lambda(strength)}"
        yield Finding(
            "helps",
            "gain",
            f"{subject} lowers validation {t.metric} by {100 * (t.relative_gain or 0):.0f} % against λ = 0, {change} "
            f"(95 % interval of the fall {low} to {high} {unit}; {p}).",
        )
    else:
        yield Finding(
            "harms",
            "gain",
            f"Regularization harms here: even λ = {format_lambda(strength)} raises validation {t.metric}, "
            f"{change} ({p}).",
        )


def _progress(t: Estimates) -> Iterator[Finding]:
    """What is missing, where a search was cut short."""
    folds = t.record.folds
    missing = []
    baseline, best = t.row(0.0), t.row(t.best_lambda)
    if baseline is None:
        missing.append("λ = 0 was not run")
    elif baseline["folds"] < folds:
        missing.append(f"λ = 0 has {baseline['folds']:.0f} of {folds} folds")
    if t.best_lambda > 0 and not t.complete:
        run = 0 if best is None else int(best["folds"])
        best_so_far = f"λ_best = {format_lambda(t.best_lambda)}"
        text = f"{best_so_far} has {run} of {folds} folds, so its value is the curve's expectation"
        rows = t.strengths[t.strengths["complete"] & (t.strengths["lambda"] > 0)].dropna(subset=["validation"])
        if len(rows):
            full = rows.iloc[int(rows["validation"].to_numpy().argmin())]
            text += (
                f" (lowest with all folds: λ = {format_lambda(full['lambda'])}, validation {t.metric} "
                f"{amount(full['validation'], t.metric)})"
            )
        missing.append(text)
    one_se = t.row(t.one_se_lambda)
    if t.one_se_lambda > t.best_lambda and (one_se is None or one_se["folds"] < folds):
        run = 0 if one_se is None else int(one_se["folds"])
        missing.append(f"λ_1se = {format_lambda(t.one_se_lambda)} has {run} of {folds} folds")
    running = t.record.trials.loc[t.record.trials["state"] == "RUNNING", "trial"].tolist()
    if running:
        missing.append(f"{count(len(running), 'trial')} still running or cut off")
    if missing:
        yield Finding("incomplete", "caveat", f"The search is not complete: {'; '.join(missing)}.")


def _ends(t: Estimates) -> Iterator[Finding]:
    """The minimum at an end of the range, and what was done about it."""
    curve = t.curve
    assert curve is not None
    asked = t.record.settings.get("lambda_range")
    widened = asked is not None and (curve.low < asked[0] * 0.99 or curve.high > asked[1] * 1.01)
    done = ""
    if asked is not None and widened:
        before, after = ("–".join(map(format_lambda, ends)) for ends in (asked, (curve.low, curve.high)))
        done = f"the range was widened from {before} to {after}, "
    at_high = curve.best_lambda >= curve.high / EDGE
    at_low = 0 < curve.best_lambda <= curve.low * EDGE
    if at_high and t.band[0] > 0:
        yield Finding(
            "high-end",
            "caveat",
            f"The best λ lies at the upper end of the range ({done}{'and ' if done else ''}"
            f"up to {format_lambda(curve.high)} the metric still falls): search with a higher --lambda-range.",
        )
    elif at_low and t.gain is not None and t.gain.is_measurable:
        yield Finding(
            "low-end",
            "caveat",
            f"The best λ lies at the lower end of the range ({done}"
            f"{'and ' if done else ''}from {format_lambda(curve.low)} up the metric rises): search with a lower "
            "--lambda-range.",
        )
    elif done:
        yield Finding("widened", "note", f"The best λ lay at an end of the range, so {done}and it is inside now.")


def _network(t: Estimates) -> Iterator[Finding]:
    """Whether something other than λ would help more."""
    guess, baseline, best = t.guess, t.row(0.0), _best_row(t)
    if baseline is not None and math.isfinite(baseline["train"]) and not (t.gain and t.gain.is_measurable):
        high_training = baseline["train"] >= 0.15 * (guess if guess else baseline["validation"] / 0.3)
        if high_training and baseline["gap"] <= 0.15 * baseline["validation"]:
            yield Finding(
                "underfits-at-zero",
                "caveat",
                f"The network still underfits at λ = 0: training {t.metric} "
                f"{amount(baseline['train'], t.metric)}, only {amount(baseline['gap'], t.metric)} below "
                "validation. A larger network or longer training will help more than λ.",
            )
            return
    if guess is None or best is None or not math.isfinite(best["train"]):
        return
    scored = t.strengths.dropna(subset=["train", "validation"])
    learns = scored[guess - scored["validation"] >= 0.5 * (guess - t.best_value)]
    lost = learns["gap"] / (guess - learns["train"])
    if len(learns) and bool((lost >= LOST).all()):
        share = best["gap"] / (guess - best["train"])
        yield Finding(
            "overfits-everywhere",
            "caveat",
            f"It overfits at every λ that still learns: even at λ_best, {100 * share:.0f} % of what training gained "
            "over guessing does not carry over to new images. More data or augmentation will help more than λ.",
        )


def _divergence(t: Estimates) -> Iterator[Finding]:
    broken = t.strengths[t.strengths["diverged"] > 0]
    if not len(broken):
        return
    fits = int(broken["diverged"].sum())
    low, high = float(broken["lambda"].min()), float(broken["lambda"].max())
    fine = t.strengths[t.strengths["diverged"] == 0]["lambda"]
    where = (
        f"at λ = {format_lambda(low)}" if low == high else f"between λ = {format_lambda(low)} and {format_lambda(high)}"
    )
    if low > 0 and low > fine.max():
        where = f"from λ = {format_lambda(low)} up"
    text = f"Training diverged {where} ({count(fits, 'fit')}, counted as the worst score seen)"
    if low <= t.best_lambda:
        yield Finding("diverged", "caveat", f"{text}: weaker penalties diverge too, so the learning rate is too high.")
    else:
        yield Finding("diverged", "note", f"{text}: too strong for this learning rate.")


def _metrics(t: Estimates) -> Iterator[Finding]:
    other = t.other_best_lambda
    if other is None or t.curve is None:
        return
    low, high = min(t.band[0], t.interval[0]), max(t.band[1], t.interval[1], t.one_se_lambda)
    if low <= other <= high:
        return
    name = "error" if t.metric.name == "loss" else "loss"
    side = "stronger" if other > t.best_lambda else "weaker"
    yield Finding(
        "metrics-disagree",
        "caveat",
        f"By validation {name} another λ is best: {format_lambda(other)}, {side} than "
        f"{format_lambda(t.best_lambda)} by {t.metric}. "
        "Loss also judges how sure the predictions are, error only which class comes first: choose by what you need "
        "(--metric).",
    )


def _normalization(t: Estimates) -> Iterator[Finding]:
    if t.record.trainer.get("normalization"):
        yield Finding(
            "normalization",
            "caveat",
            "This network has normalization layers, where λ acts mostly through the effective learning rate: the "
            "U-shape is not simply under- and overfitting, and the best λ moves with the learning rate.",
        )


def _folds(t: Estimates) -> Iterator[Finding]:
    alike = [s for s in t.indistinguishable if s != t.best_lambda]
    if alike:
        yield Finding(
            "indistinguishable",
            "note",
            f"Of the strengths with all folds, the paired test cannot tell {listed(alike)} from λ_best at 5 %; with "
            f"{t.record.folds} folds that is weak evidence that they are equal.",
        )
    if t.gain is not None and t.best_lambda > 0:
        yield Finding(
            "selection",
            "note",
            "λ_best was chosen on the folds that score it, so its value and gain are slightly flattered; the test "
            "images played no part in the choice.",
        )


def _audit(t: Estimates) -> Iterator[Finding]:
    """Whether strengths that were pruned, and finished after all to see, were worse indeed."""
    trials = t.record.trials
    audited = t.strengths["lambda"].isin(trials.loc[trials["audit"] & (trials["state"] == "COMPLETE"), "lambda"])
    whole = t.strengths["complete"]
    finished, others = t.strengths[audited & whole], t.strengths[~audited & whole]
    if len(finished) and len(others):
        wrong = int((finished["validation"] < others["validation"].min()).sum())
        yield Finding(
            "audit",
            "note",
            f"Audit: of {count(len(finished), 'pruned strength')} finished after all, {wrong or 'none'} turned out "
            "better than the best that was not pruned.",
        )


def _best_row(t: Estimates) -> pd.Series[float] | None:
    """The row of λ_best or, where that was not run, of the λ that the gain is told of."""
    row = t.row(t.best_lambda)
    return t.row(t.gain_lambda) if row is None and t.gain_lambda is not None else row


def _learned_nothing(t: Estimates) -> bool:
    """Whether no λ predicts better than guessing."""
    guess = t.guess
    if guess is None:
        return False
    margin = max(0.02 * guess, 2 * t.corrected_standard_error if math.isfinite(t.corrected_standard_error) else 0.0)
    lowest = float(np.nanmin([t.best_value, *t.strengths.loc[t.strengths["complete"], "validation"].dropna()]))
    return lowest >= guess - margin


def _nothing_learned(t: Estimates) -> Iterator[Finding]:
    guess = t.guess
    assert guess is not None
    yield Finding(
        "nothing-learned",
        "answer",
        f"No λ helps: at none does the network predict new images better than guessing (validation {t.metric} "
        f"{amount(t.best_value, t.metric, unit=False)} at best, {amount(guess, t.metric)} by guessing).",
    )
    fitted = t.strengths.dropna(subset=["train"])
    if len(fitted) and fitted["train"].min() < 0.5 * guess:
        memorized = fitted.iloc[int(fitted["train"].to_numpy().argmin())]
        yield Finding(
            "memorized",
            "shape",
            f"It does memorize the training images (training {t.metric} {amount(memorized['train'], t.metric)} at "
            f"λ = {format_lambda(memorized['lambda'])}), but nothing of that carries over: check that the "
            f"labels belong to the "
            "images.",
        )
    else:
        yield Finding(
            "not-trained",
            "shape",
            "It does not fit the training images either: check learning rate, epochs and network before λ.",
        )
