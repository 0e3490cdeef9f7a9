"""`l2tune estimate`: a rough λ from one unregularized fit."""

from __future__ import annotations

import json
from typing import Annotated, Any

from cyclopts import Parameter

from l2tune.commands.flags import AsJson, with_settings
from l2tune.settings import build

_FALLING = "Validation loss was still falling when training ended: the estimate is too high, train longer (--epochs)."


@with_settings
def estimate_command(
    file: Annotated[str | None, Parameter(help="A TOML file of settings; flags override it")] = None,
    /,
    *,
    as_json: AsJson = False,
    **given: Any,
) -> None:
    """A first, rough λ in the time of one fit.

    Where validation loss is lowest during an unregularized fit, the training loss's gradient over the regularized
    weights balances the penalty's: λ ≈ ‖∇E(W)‖ / ‖∇P(W)‖ for the objective E + λP, which is ‖∇E(W)‖ / (2 ‖W‖) for L2
    (Rögnvaldsson, 1998) and ‖∇E(W)‖ / √n over n weights for L1. Nothing is stored.
    """
    settings = build(given, file, flags=True)

    from l2tune.assemble import assemble
    from l2tune.errors import UserError
    from l2tune.members import make_member
    from l2tune.objectives.guarded import Training
    from l2tune.penalty.strength import NO_WEIGHT_DECAY, format_lambda, weight_decay
    from l2tune.records.fold_record import FoldRecord

    assembled = assemble(settings)
    trainer, highest = assembled.trainer, assembled.problem.lambda_max
    member = make_member(settings.search.seed, 0.0, 0)
    with Training([member], settings.search.fit_timeout, told=True, on_stuck=None).guarded():
        history = [scores for epoch in trainer.start([member]) for scores in epoch]
    record = FoldRecord.of(history)
    estimate = record.first_estimates.get(settings.penalty.form)
    if record.diverged or estimate is None:
        raise UserError("the unregularized fit diverged", "estimate", "lower --lr, or run `l2tune search`")
    lowest = min(history, key=lambda scores: scores.val_loss).epoch
    falling = lowest == len(history)
    decays = settings.penalty.form not in NO_WEIGHT_DECAY
    if as_json:
        told = {
            "lambda": estimate,
            "weight_decay": weight_decay(estimate) if decays else None,
            "lambda_max": highest,
            "lowest_epoch": lowest,
            "epochs": len(history),
            "still_falling": falling,
            "seconds": record.seconds,
        }
        print(json.dumps(told, indent=2, allow_nan=False))
        return
    decay = f" (weight decay ≈ {format_lambda(weight_decay(estimate))} on the penalized weights)" if decays else ""
    print(
        f"λ ≈ {format_lambda(estimate)}{decay}, from one fit of one fold in {record.seconds:.0f} s.\n"
        + (f"From λ_max = {format_lambda(highest)} on all penalized weights are zero.\n" if highest else "")
        + (f"{_FALLING}\n" if falling else "")
        + "This is rough: expect it within a factor of ten of the best λ, seldom closer than two. "
        "`l2tune search` finds the best λ and how sure it is."
    )
