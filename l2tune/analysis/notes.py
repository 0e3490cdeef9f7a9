"""What is told beside the verdict: which strengths are as good, how the choice was made, how pruning fared."""

from __future__ import annotations

from collections.abc import Iterator

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.finding import Finding
from l2tune.analysis.naming import Naming
from l2tune.analysis.wording import count, reach
from l2tune.penalty.strength import format_lambda

_SHOWN = 6


def folds(t: Estimates, names: Naming) -> Iterator[Finding]:
    """What the folds cannot tell."""
    alike = [strength for strength in t.indistinguishable if strength != t.best_lambda]
    if alike and t.complete:
        shown = [names.number(strength) for strength in alike[:_SHOWN]]
        more = f" and {len(alike) - _SHOWN} more" if len(alike) > _SHOWN else ""
        yield Finding(
            "indistinguishable",
            "note",
            f"Of the strengths with all folds, the paired test cannot tell λ = {', '.join(shown)}{more} from λ_best at "
            f"5 %; with {count(t.record.folds, 'fold')} that is weak evidence that they are equal.",
        )
    if t.best_lambda > 0 and t.complete:
        tested = "test_loss" in t.strengths and bool(t.strengths["test_loss"].notna().any())
        flattered = "value is" if t.gain is None else "value and gain are"
        test = "; the test images played no part in the choice" if tested else ""
        yield Finding(
            "selection",
            "note",
            f"λ_best was chosen on the folds that score it, so its {flattered} slightly flattered{test}.",
        )


def coverage(t: Estimates) -> Iterator[Finding]:
    """On how many of the parameters λ acts."""
    known, trainer = t.record.trainer.get("regularization"), t.record.trainer
    if not known:
        return
    normed = ""
    if known["directions"]:
        normed = f", {known['directions']:,} more through the magnitudes of weight_norm"
    text = f"{reach(trainer['regularized_parameters'], trainer['parameters'])}, in "
    yield Finding("reach", "note", f"{text}{count(known['tensors'], 'tensor')}{normed}.")


def all_zero(t: Estimates) -> Iterator[Finding]:
    """From which strength on nothing is left of the weights."""
    highest = t.record.trainer.get("lambda_max")
    if highest is not None:
        text = f"From λ = {format_lambda(highest)} (λ_max) on all penalized weights are zero."
        yield Finding("lambda-max", "note", text)


def audit(t: Estimates) -> Iterator[Finding]:
    """Whether strengths that were pruned, and finished after all to see, were worse indeed."""
    trials = t.record.trials
    audited = t.strengths["lambda"].isin(trials.loc[trials["audit"] & (trials["state"] == "COMPLETE"), "lambda"])
    whole = t.strengths["complete"]
    finished, rest = (
        t.metric.cost(t.strengths.loc[chosen & whole, "validation"].to_numpy(float)) for chosen in (audited, ~audited)
    )
    if len(finished) and len(rest):
        wrong = int((finished < rest.min()).sum())
        yield Finding(
            "audit",
            "note",
            f"Audit: of {count(len(finished), 'pruned strength')} finished after all, {wrong or 'none'} turned out "
            "better than the best that was not pruned.",
        )
