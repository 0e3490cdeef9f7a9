"""`l2tune compare`."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from l2tune.commands.flags import Trackers, with_settings
from l2tune.comparison_settings import build_comparison

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from l2tune.search.comparison import Side
    from l2tune.trackers.tracker import Tracker


@with_settings
def compare_command(
    file: Annotated[str | None, Parameter(help="A TOML file of settings; flags override it")] = None,
    /,
    *,
    penalties: Annotated[
        tuple[str, ...] | None,
        Parameter(
            help="Forms to compare, two or more, with commas between them: l2, l2-loss, l2-decoupled, l1, elastic "
            "(default: l2,l1)",
            consume_multiple=True,
            negative=(),
        ),
    ] = None,
    restart: Annotated[
        bool, Parameter(help="Delete the comparison's studies first, and start over", negative=())
    ] = False,
    quiet: Annotated[bool, Parameter(help="Print the verdict only", negative=())] = False,
    tracker: Trackers = (),
    **given: Any,
) -> None:
    """Search the best λ for several forms of the penalty, and show them side by side in compare.html.

    One study for each form, NAME-FORM, on the same folds, seeds and batches; λ = 0 is trained once for all. In the end
    each form is trained on all training images at its λ_best and λ_1se. `--study` names the comparison, `--out` its
    folder; `--trials` and `--timeout` are of each form. Running it again goes on with the same comparison. Examples:

        l2tune compare --penalties l2,l1
        l2tune compare studies/l1_or_l2_digits.toml
        l2tune compare --optimizer adam --penalties l2,l2-decoupled
    """
    forms = None if penalties is None else ",".join(word.strip(",") for word in penalties)
    settings = build_comparison(given, forms, file, flags=True)

    from l2tune.commands.results import check_folder, print_comparison, write_comparison_results
    from l2tune.search.comparison import assemble_parts, open_sides, run_comparison

    check_folder(settings.out)
    parts = assemble_parts(settings)

    from l2tune.analysis.estimates import Estimates
    from l2tune.commands.interrupts import lasting_interrupts, status_of, told_signal
    from l2tune.commands.progress import Progress
    from l2tune.commands.searching import FAILED_STATUS, search_shown
    from l2tune.errors import SearchAborted
    from l2tune.records.observations import observations
    from l2tune.records.tables import read_study
    from l2tune.report.publisher import DashboardPublisher
    from l2tune.search.audit import audit_line
    from l2tune.search.optuna_samplers import EPOCH_PRUNING_RISK
    from l2tune.search.storage import STORAGE_ERRORS, open_storage, reason

    trainer = next(iter(parts.objectives.values())).trainer
    progress = Progress(settings.first, trainer, quiet=quiet)
    trackers: list[Tracker] = []
    if tracker:
        from l2tune.trackers.named import named_trackers

        trackers = named_trackers(tracker, say=partial(progress.say, always=True))
    patience = settings.first.search.storage_patience
    storage = open_storage(settings.first.storage, patience=patience, say=progress.say)
    sides = open_sides(storage, settings, parts, restart=restart, say=progress.say)
    for note in parts.notes:
        progress.say(note)
    if settings.first.search.pruner in ("median", "hyperband", "halving"):
        progress.say(EPOCH_PRUNING_RISK)
    status = failed = 0

    with lasting_interrupts() as raise_if_interrupted:

        def search(side: Side) -> None:
            """Search one form, and end the comparison where that does not end well."""
            nonlocal status, failed
            part = f"{side.form} ({settings.penalties.index(side.form) + 1} of {len(sides)})"
            own = Progress(side.objective.settings, side.objective.trainer, quiet=quiet, part=part)
            publisher = DashboardPublisher(side.study)

            def on_ended(trial: FrozenTrial) -> None:
                for one in trackers:
                    one(side.study, trial)

            status = search_shown(side.study, side.objective, own, publisher, raise_if_interrupted, on_ended=on_ended)
            for one in trackers:
                one.finish(side.study)
            if status > 128:
                raise KeyboardInterrupt
            if status == FAILED_STATUS:
                failed, status = status, 0
            if status:
                raise SearchAborted("the search had to give up")
            if settings.first.search.audit:
                own.say(audit_line(side.study))
            if len(observations(side.study).cost):
                publisher.finish(Estimates.from_record(read_study(side.study)))

        try:
            run_comparison(storage, settings.name, sides, search=search, say=progress.say)
        except KeyboardInterrupt as error:
            if not status:  # while final networks were trained
                progress.say(told_signal(error))
                status = status_of(error)
        except SearchAborted as error:
            if not status:
                progress.say(str(error), always=True)
            status = 1
    try:
        comparison = write_comparison_results(storage, settings.name, settings.out)
    except STORAGE_ERRORS as error:
        if status == 1:  # it was said why
            sys.exit(status)
        raise SearchAborted(f"the storage cannot be read ({reason(error)}), so there is no page") from error
    print_comparison(comparison, settings.out)
    sys.exit(status or failed)
