"""`l2tune search`."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from l2tune.commands.flags import Trackers, number, with_settings
from l2tune.errors import UserError
from l2tune.search.placement import MOST_WORKERS
from l2tune.settings import build
from l2tune.storage_url import without_password

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from l2tune.trackers.tracker import Tracker


@with_settings
def search_command(
    file: Annotated[str | None, Parameter(help="A TOML file of settings; flags override it")] = None,
    /,
    *,
    restart: Annotated[
        bool, Parameter(help="Delete the study of this name first, and start over", negative=())
    ] = False,
    quiet: Annotated[bool, Parameter(help="Print the verdict only", negative=())] = False,
    workers: Annotated[
        str | None,
        Parameter(
            help="Processes that train side by side: a number, or auto for one a GPU, else one a core; 0 leaves it to "
            "`l2tune worker` (default: this process alone)"
        ),
    ] = None,
    ray: Annotated[
        str | None,
        Parameter(
            help="Let the workers train on a Ray cluster: HOST:PORT, auto (the one that runs here, else one is "
            "started), or local (one is started)"
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float | None, Parameter(help="With --ray: 1, or a part of a GPU (default: a CPU each)", converter=number)
    ] = None,
    tracker: Trackers = (),
    **given: Any,
) -> None:
    """Search the best λ by cross-validation; write results.json, trials.csv, curve.csv and report.html.

    A bare `l2tune search` searches λ for SimpleCNN on real handwritten digits. Running it again goes on with the same
    study. Examples:

        l2tune search studies/simple_cnn_mnist.toml --epochs 5
        l2tune search --data photos/ --image-size 64 --model mypackage.nets:build --trials 40

    Exit status: 0; 1 if it had to give up; 2 for bad input; 3 if some trials failed; 130 after Ctrl-C.
    """
    settings = build(given, file, flags=True)
    count = _worker_count(workers)
    if ray is None and gpus_per_worker is not None:
        raise UserError("is for workers on a Ray cluster", "--gpus-per-worker", "add --ray auto")

    from l2tune.assemble import assemble
    from l2tune.commands.results import check_folder, print_verdict, write_results

    check_folder(settings.out)
    plan = None
    if ray is not None:
        from l2tune.commands.ray_worker import plan_ray

        plan = plan_ray(settings, ray, None if workers is None else count, gpus_per_worker)
    assembled = assemble(settings)

    from l2tune.commands.interrupts import lasting_interrupts
    from l2tune.commands.progress import Progress
    from l2tune.commands.searching import coordinate_shown, search_shown
    from l2tune.errors import SearchAborted
    from l2tune.objectives.cross_validation import CrossValidationObjective
    from l2tune.records.comparison import is_comparison
    from l2tune.records.study import keep_plan
    from l2tune.report.publisher import DashboardPublisher
    from l2tune.search.audit import audit_line
    from l2tune.search.optuna_samplers import EPOCH_PRUNING_RISK
    from l2tune.search.storage import (
        STORAGE_ERRORS,
        delete_study,
        load_study,
        open_storage,
        open_study,
        reason,
        study_exists,
    )

    progress = Progress(settings, assembled.trainer, quiet=quiet)
    trackers: list[Tracker] = []
    if tracker:  # their analysis is not needed before the first epoch
        from l2tune.trackers.named import named_trackers

        trackers = named_trackers(tracker, say=partial(progress.say, always=True))
    storage = open_storage(settings.storage, patience=settings.search.storage_patience, say=progress.say)
    objective = CrossValidationObjective.from_settings(settings, assembled.trainer, assembled.data, assembled)
    if restart and study_exists(storage, settings.study):
        trials = len(load_study(storage, settings.study).trials)
        progress.say(
            f"deleting study {settings.study!r} with its {trials} trials from {without_password(settings.storage)}"
        )
        delete_study(storage, settings.study)
    if is_comparison(storage, settings.study):
        raise UserError("is the name of a comparison", f"study {settings.study!r}", "use another --study")
    study = open_study(storage, settings)
    objective.describe(study)
    keep_plan(study, settings.flat())
    for note in assembled.problem.data.notes:
        progress.say(note)
    progress.say(objective.engine)
    if settings.search.pruner in ("median", "hyperband", "halving"):
        progress.say(EPOCH_PRUNING_RISK)

    publisher = DashboardPublisher(study)

    def on_ended(trial: FrozenTrial) -> None:
        for one in trackers:
            one(study, trial)

    with lasting_interrupts() as raise_if_interrupted:
        if count == 1 and plan is None:
            status = search_shown(study, objective, progress, publisher, raise_if_interrupted, on_ended=on_ended)
        else:
            on_ray = partial(plan.crew, assembled.problem.data) if plan else None
            status = coordinate_shown(
                study, objective, count, progress, publisher, raise_if_interrupted, on_ray, on_ended=on_ended
            )
    try:
        if settings.search.audit:
            progress.say(audit_line(study))
        tradeoff = write_results(study, settings.out)
        if tradeoff is not None:
            progress.say(publisher.finish(tradeoff, settings.out))
        for one in trackers:
            one.finish(study)
    except STORAGE_ERRORS as error:
        if status == 1:  # it was said why
            sys.exit(status)
        raise SearchAborted(f"the storage cannot be read ({reason(error)}), so there is no report") from error
    print_verdict(tradeoff, settings.out)
    sys.exit(status)


def _worker_count(workers: str | None) -> int | None:
    """How many workers; None for as many as the machine has room for.

    Raises:
        UserError: It is neither a number nor `auto`.
    """
    if workers is None:
        return 1
    if workers == "auto":
        return None
    if not (workers.isascii() and workers.isdecimal() and int(workers) <= MOST_WORKERS):
        raise UserError(f"{workers!r} is no number of workers", "--workers", f"give auto, or 0 to {MOST_WORKERS}")
    return int(workers)
