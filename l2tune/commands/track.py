"""`l2tune track`: a study's fits and its verdict, to where a user keeps those of other experiments."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from l2tune.commands.flags import OwnParameter, OwnScale, Trackers


def track_command(
    study: Annotated[str, Parameter(help="Name of the study, or of a comparison")],
    /,
    *,
    tracker: Trackers = (),
    storage: Annotated[str, Parameter(help="Storage of the search", env_var="L2TUNE_STORAGE")] = "sqlite:///l2tune.db",
    parameter: OwnParameter = None,
    scale: OwnScale = None,
) -> None:
    """Log a study to TensorBoard, MLflow or Weights & Biases, from its storage alone: what is there is not sent again.

    A run for each fit, with λ, fold, hyperparameters and learning curves, and one for the study with the verdict.
    `l2tune search --tracker …` does the same while it searches. Weights & Biases are written to offline, unless
    $WANDB_MODE says otherwise. Examples:

        l2tune track digits --tracker tensorboard
        l2tune track digits --tracker mlflow=http://localhost:5000 --tracker wandb=my-project
    """
    from l2tune.errors import UserError
    from l2tune.records.comparison import comparison_studies, is_comparison
    from l2tune.search.storage import load_study, open_storage
    from l2tune.terminal_text import printable
    from l2tune.trackers.named import named_trackers

    if not tracker:
        raise UserError("is missing", "--tracker", "give tensorboard, mlflow or wandb")
    opened = open_storage(storage, must_exist=True)
    studies = (
        list(comparison_studies(opened, study).values())
        if is_comparison(opened, study)
        else [load_study(opened, study)]
    )
    for one in named_trackers(tracker, parameter=parameter, scale=scale):
        for found in studies:
            fits = one.track(found)
            print(printable(f"{found.study_name}: {fits} fit{'' if fits == 1 else 's'} to {one.name}"))
        one.close()
