"""The door to a comparison: forms of the penalty searched on the same folds, and what they tell side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from l2tune.analysis.comparison import Comparison as Estimated
from l2tune.analysis.comparison_findings import comparison_findings
from l2tune.analysis.estimates import Estimates
from l2tune.analysis.finding import Finding
from l2tune.analysis.findings import in_brief
from l2tune.errors import UserError
from l2tune.records.comparison import comparison_names, comparison_studies, membership
from l2tune.records.tables import read_study

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

    from l2tune.trackers.tracker import Tracker


@dataclass(frozen=True, eq=False)
class Comparison(Estimated):
    """What a comparison found: its `table` and `pairs`, the verdict in words, and the page.

    Of a comparison that was run, finished or not:

        comparison = Comparison.from_storage("sqlite:///l2tune.db", "digits-compare")
        print(comparison.verdict)
        comparison.report("runs/digits-compare")
    """

    @classmethod
    def from_storage(cls, storage: str | BaseStorage, name: str) -> Self:
        """Analyse a comparison from what its studies store.

        Args:
            storage: As `l2tune compare --storage` takes it, or Optuna's.
            name: Of the comparison.

        Raises:
            UserError: There is no such comparison, or nothing of it has been scored yet.
        """
        from l2tune.search.storage import open_storage

        opened = open_storage(storage, must_exist=True) if isinstance(storage, str) else storage
        studies = comparison_studies(opened, name)
        if not studies:
            known = ", ".join(map(repr, dict.fromkeys(comparison_names(opened).values())))
            raise UserError(
                "no such comparison in this storage", repr(name), f"it holds {known or 'none'}; run `l2tune compare`"
            )
        records = {form: read_study(study) for form, study in studies.items()}
        wanted = dict.fromkeys(
            form for study in studies.values() if (own := membership(study)) for form in own.penalties
        )
        scored = {form: record for form, record in records.items() if len(record.observations.cost)}
        return cls(name, {form: Estimates.from_record(record) for form, record in scored.items()}, tuple(wanted))

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """All that is worth telling, the most important first."""
        return tuple(comparison_findings(self))

    @cached_property
    def verdict(self) -> str:
        """Two to four sentences for people."""
        return in_brief(self.findings)

    def report(self, folder: str | Path) -> list[Path]:
        """Write `compare.html`, `compare.json` and `compare.csv`.

        Returns:
            Their paths.

        Raises:
            OSError: A file cannot be written; the old one is left.
        """
        from l2tune.report.comparison_files import write_comparison

        return write_comparison(self, Path(folder))


def compare(
    data: Any = "digits",
    model: Any = "simple_cnn",
    penalties: Sequence[str] | str | None = None,
    *,
    storage: str | BaseStorage | None = None,
    study: str | None = None,
    tracker: str | Tracker | Sequence[str | Tracker] | None = None,
    **settings: Any,
) -> Comparison:
    """Search the best λ for several forms of the penalty on the same folds, and lay them side by side.

    λ = 0 is trained once for all forms; in the end each is trained on all training images at its λ_best and λ_1se.

        comparison = compare("digits", penalties=("l2", "l1"), epochs=20)
        print(comparison.verdict)
        comparison.table

    Args:
        data: A source name as `--data` takes it, an `ImageData`, or `(images, labels)` arrays or tensors.
        model: A model name as `--model` takes it, or a factory called with the input shape (C, H, W) and the classes.
        penalties: Two or more forms, by default L2 and L1.
        storage: Where to keep the studies, NAME-FORM each, so that the same call goes on with them; in memory by
            default.
        study: Name of the comparison.
        tracker: Where to log a run for each fit, and one for each form's study: `tensorboard`, `mlflow` or `wandb`,
            `NAME=PLACE`, a `TensorBoardTracker(…)` or the like, or several of these.
        settings: Any other setting by its flat name: `epochs`, `optimizer`, `lambda_range`, … `trials` and `timeout`
            are of each form.

    Raises:
        UserError: Bad settings or data, a study that was begun with others, or a tracker cannot be had.
        SearchAborted: A search had to give up.
    """
    import optuna

    from l2tune.assemble import named
    from l2tune.comparison_settings import build_comparison
    from l2tune.search.comparison import Side, assemble_parts, open_sides, run_comparison
    from l2tune.search.runner import run_as_asked
    from l2tune.search.storage import open_storage
    from l2tune.trackers.named import as_trackers

    images, factory, names = named(data, model)
    url = {"storage": storage} if isinstance(storage, str) else {}
    asked = build_comparison(names | {"study": study} | url | settings, penalties)
    parts = assemble_parts(asked, images, factory)
    trackers = as_trackers(tracker, "tracker")
    if storage is None:
        opened: BaseStorage = optuna.storages.InMemoryStorage()
    else:
        patience = asked.first.search.storage_patience
        opened = open_storage(storage, patience=patience) if isinstance(storage, str) else storage
    sides = open_sides(opened, asked, parts)

    def search(side: Side) -> None:
        def on_trial(trial: FrozenTrial) -> None:
            for one in trackers:
                one(side.study, trial)

        try:
            run_as_asked(side.study, side.objective, on_trial=on_trial)
        finally:
            for one in trackers:
                one.finish(side.study)

    run_comparison(opened, asked.name, sides, search=search)
    return Comparison.from_storage(opened, asked.name)
