"""When a trial's folds ended: in which order a study came to know what it knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from optuna.trial import FrozenTrial, TrialState

from l2tune.records.fold_record import FoldRecord
from l2tune.records.keys import fold_of


def fold_ends(trial: FrozenTrial, records: Mapping[int, FoldRecord], reported: Sequence[int] = ()) -> dict[int, float]:
    """Fold → when it ended, in seconds since 1970, as its record or the trial's times tell.

    Older records, and objectives of a user's own, tell only when the trial began and ended. Its time is then shared out
    among its folds in proportion to their seconds, in the order in which they were stored: right for one worker, and
    near for several. Folds that were taken over ended when the trial began. Empty where no time is known.

    Args:
        records: The trial's own, by fold.
        reported: Folds of a trial without records, in their order.
    """
    began, over = trial.datetime_start, trial.datetime_complete
    stored = {fold: record.ended for fold, record in records.items() if record.ended is not None}
    if began is None:
        return stored
    start = began.timestamp()
    folds = [fold for key in trial.user_attrs if (fold := fold_of(key)) is not None]
    taken_over = [fold for fold in folds if records[fold].reused_from is not None]
    trained = [fold for fold in folds if fold not in taken_over] if records else list(reported)
    seconds = [records[fold].seconds if fold in records else 0.0 for fold in trained]
    known = sum(seconds)
    span = known if over is None else max(0.0, over.timestamp() - start)
    if trial.state == TrialState.FAIL and known:  # given up: when, tells only when that was noticed
        span = min(span, known)
    shares = seconds if known else [1.0] * len(trained)
    whole = sum(shares) or 1.0
    ends = {fold: start + span * part / whole for fold, part in zip(trained, accumulate(shares), strict=True)}
    return dict.fromkeys(taken_over, start) | ends | stored
