"""The answer: which λ to use, and how sure that is; or why none can be named."""

from __future__ import annotations

import math
from collections.abc import Iterator

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.finding import Finding
from l2tune.analysis.gain import proof
from l2tune.analysis.naming import Naming, is_ours
from l2tune.analysis.wording import SAME, amount, amounts, count, paste, unit_of_value

MEMORIZED = 0.5
"""Share of the cost of guessing below which the training data are learned by heart, where nothing carries over."""


def answer(t: Estimates, names: Naming) -> Iterator[Finding]:
    """Which λ to use."""
    if t.best_lambda == 0:
        yield _baseline_best(t, names)
        return
    proven = proof(t)
    best = f"{'' if names.folds(t.best_lambda) else 'about '}{names.own(t.best_lambda) or names.equal(t.best_lambda)}"
    written = f": {paste(t.record, t.best_lambda)}" if names.own(t.best_lambda) is None else ""
    rest = f"{written} ({_how_sure(t, names)})."
    if proven == "worse" and t.gain_lambda == t.best_lambda:
        text = f"No clear answer yet: on the folds of both, λ = 0 scores better than the curve's best, {best}{rest}"
        yield Finding("disputed", "answer", text)
    elif proven == "worse":
        text = (
            f"No clear answer yet: by the curve the best is {best}{rest.removesuffix('.')}, but on the folds of both, "
            f"λ = 0 scores measurably better than {names.both(t.gain_lambda or 0.0)}, the best that was run."
        )
        yield Finding("disputed", "answer", text)
    elif proven == "equal":
        by = "by the curve the best is" if t.gain and t.gain.mean <= 0 else "the best is"
        yield Finding("best-of-equals", "answer", f"No λ is measurably better than none; {by} {best}{rest}")
    elif proven == "too few folds":
        folds = count(t.gain.folds if t.gain else 0, "fold")
        yield Finding("unproven", "answer", f"Use {best}, though {folds} cannot prove any λ better than none{rest}")
    else:
        yield Finding("best", "answer", f"Use {best}{rest}")


def all_diverged(t: Estimates, names: Naming) -> Finding:
    """No fit has a finite score."""
    strengths = t.strengths["lambda"]
    where = names.span(float(strengths.min()), float(strengths.max()))
    advice = "Lower the learning rate, then search again" if is_ours(t) else "Look at the training before λ"
    text = f"Every fit diverged, at {count(len(strengths), 'strength')} ({where}). {advice}."
    return Finding("all-diverged", "answer", text)


def only_baseline(t: Estimates) -> Finding:
    """No penalty has been tried yet."""
    value = amount(t.best_value, t.metric)
    text = f"Only λ = 0 has been run so far: validation {t.metric} {value}. No λ can be named yet."
    return Finding("only-baseline", "answer", text)


def has_learned(t: Estimates) -> bool:
    """Whether some λ predicts better than guessing, as far as that is known."""
    if t.guess is None:
        return True
    return lowest_cost(t) < t.metric.cost(t.guess) - _margin(t)


def lowest_cost(t: Estimates) -> float:
    """Of λ_best and of all strengths with all folds."""
    whole = t.strengths.loc[t.strengths["complete"], "validation"].dropna()
    return min(t.metric.cost(float(value)) for value in (t.best_value, *whole))


def nothing_learned(t: Estimates, names: Naming) -> Iterator[Finding]:
    """No λ predicts better than guessing, or so little better that it may be luck."""
    metric, guess = t.metric, t.guess
    assert guess is not None
    best, guessed = amounts([metric.score(lowest_cost(t)), guess], metric)
    values = f"validation {metric} {best} at best, {guessed}{unit_of_value(metric)} by guessing"
    lucky = lowest_cost(t) < metric.cost(guess) - _least_margin(t)
    if lucky:
        text = (
            "No λ can be named yet: at none is held-out data predicted measurably better than by guessing "
            f"({values}, which may be the luck of {count(t.record.folds, 'fold')})."
        )
    else:
        text = f"No λ makes it useful: at none is held-out data predicted clearly better than by guessing ({values})."
    yield Finding("nothing-learned", "answer", text)
    fitted = t.strengths.dropna(subset=["train"])
    if not len(fitted):
        yield Finding("not-trained", "shape", "Check the training before λ: what it does on its own data is not known.")
        return
    costs = metric.cost(fitted["train"].to_numpy(float))
    row, cost = fitted.iloc[int(costs.argmin())], float(costs.min())
    guess_cost = metric.cost(guess)
    learned = cost < MEMORIZED * guess_cost if metric.kind != "real" else cost < guess_cost - 10 * _margin(t)
    if learned and cost < guess_cost:
        carried = (
            "whether any of that carries over cannot be told yet: more data or folds would tell"
            if lucky
            else "nothing of that carries over: check that the labels belong to the inputs"
        )
        yield Finding(
            "memorized",
            "shape",
            f"It does learn the training data (training {metric} {amount(row['train'], metric)} at "
            f"{names.equal(row['lambda'])}), but {carried}.",
        )
    else:
        yield Finding(
            "not-trained",
            "shape",
            f"It does not fit the training data well either (training {metric} {amount(row['train'], metric)} at "
            f"best): check learning rate, epochs and {'network' if is_ours(t) else 'model'} before λ.",
        )


def _baseline_best(t: Estimates, names: Naming) -> Finding:
    own = names.own(0.0)
    zero = ("weight_decay=0" if t.record.decays else "no penalty") if own is None else own
    about = "" if t.complete else "about "
    rows = t.strengths[t.strengths["complete"] & (t.strengths["lambda"] > 0)]
    costs = t.metric.cost(rows["validation"].to_numpy(float))
    positive = t.strengths[t.strengths["lambda"] > 0]
    if proof(t) == "better" and t.gain_lambda is not None:
        other = names.both(t.gain_lambda)
        text = (
            f"No clear answer yet: on the folds of both, {other} scores measurably better than λ = 0 ({zero}), the "
            "curve's best"
        )
        return Finding("disputed", "answer", f"{text}.")
    best = t.metric.cost(t.best_value)
    if len(costs) and costs.min() < best and not math.isclose(costs.min(), best, rel_tol=SAME):
        row = rows.iloc[int(costs.argmin())]
        value, other = amounts([t.best_value, row["validation"]], t.metric)
        unit = unit_of_value(t.metric)
        text = (
            f"By the curve no λ of the range beats λ = 0 ({zero}): validation {t.metric} {about}{value}{unit} without "
            f"regularization; {other}{unit} at {names.equal(row['lambda'])} is within the luck of the folds"
        )
    elif len(positive) and bool((positive["diverged"] >= positive["folds"]).all()):
        text = (
            f"Use λ = 0 ({zero}), for every fit with a penalty diverged: validation {t.metric} "
            f"{about}{amount(t.best_value, t.metric)} without regularization"
        )
    else:
        text = (
            f"No λ of the range beats λ = 0 ({zero}): validation {t.metric} {about}{amount(t.best_value, t.metric)} "
            "without regularization"
        )
    strongest = _strongest(t, names)
    return Finding("baseline-best", "answer", f"{text}{f'; {strongest}' if strongest else ''}.")


def _how_sure(t: Estimates, names: Naming) -> str:
    """What stands in brackets behind λ_best."""
    low, high = t.interval
    parts = [] if names.own(t.best_lambda) is None else [names.equal(t.best_lambda)]
    parts += [] if names.folds(t.best_lambda) else ["by the curve, not run"]
    parts += [names.lacks(t.best_lambda)] if names.diverged(t.best_lambda) else []
    outside = "" if low <= t.best_lambda <= high else ", beside which it is the best of those run"
    parts.append(f"95 % credible interval of the best: {names.both_spans(low, high)}{outside}")
    strongest = _strongest(t, names)
    return "; ".join([*parts, strongest] if strongest else parts)


def _strongest(t: Estimates, names: Naming) -> str:
    """λ_1se, in words; empty where it is λ = 0, or where fits of it diverged: that is not as good."""
    one_se = t.one_se_lambda
    if one_se == t.best_lambda:
        return "λ_1se is the same" if one_se > 0 else ""
    if names.diverged(one_se):
        return ""
    inverse = ", the smallest" if t.record.parameter.scale.name == "C" else ""
    run = "" if names.folds(one_se) else "about "
    lacks = names.lacks(one_se)
    by = " (by the curve, not run)" if not names.folds(one_se) else f" ({lacks.removeprefix('has ')})" if lacks else ""
    return f"the strongest that is as good{inverse}: {run}{names.both(one_se)}{by}"


def _margin(t: Estimates) -> float:
    """By how much a cost must be below that of guessing."""
    error = 2 * t.corrected_standard_error if math.isfinite(t.corrected_standard_error) else 0.0
    return max(_least_margin(t), error)


def _least_margin(t: Estimates) -> float:
    """The same, were there no luck."""
    guess = t.metric.cost(t.guess) if t.guess is not None else 0.0
    return 0.02 * guess if t.metric.kind != "real" else 0.0
