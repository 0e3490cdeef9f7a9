"""What a study is about: its settings, metric, folds and range. Each question has its one answer here."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial

from l2tune.curve.observations import DEFAULT_RANGE
from l2tune.errors import UserError
from l2tune.metrics import BUILT_IN, UNDECLARED, Metric, metric_from
from l2tune.penalty.strength import L1_NAMES
from l2tune.records.keys import METRIC, PARAMETER, PARTS, PREFIX, RANGE, READABLE, SCHEMA, SCHEMA_KEY
from l2tune.records.one_reading import one_reading
from l2tune.records.parameter import DEFAULT, StrengthParameter, keep_parameter
from l2tune.settings import FUNCTION_SETTINGS, NARROWEST_RANGE, differences
from l2tune.storage_url import shown_settings
from l2tune.terminal_text import one_line

TrainedBy = Literal["l2tune", "function", "trainer", "objective"]

_FIX = "use another --study, or --restart to delete it and start over"


@one_reading()
def describe_study(
    study: optuna.Study,
    *,
    settings: Mapping[str, Any],
    identity: Mapping[str, Any],
    versions: Mapping[str, str],
    trainer: Mapping[str, Any],
    data: Mapping[str, Any],
    metric: Metric = BUILT_IN["loss"],
    parameter: StrengthParameter = DEFAULT,
) -> None:
    """Store what the study is about, or check that it is still the same.

    Args:
        identity: The part of `settings` that may not change within a study.

    Raises:
        UserError: The study was begun with another schema, other settings, another function or other data; the
            difference is named.
    """
    stored = study.user_attrs
    check_schema(study)
    if SCHEMA_KEY in stored:  # what was read before: another worker may be writing
        changed = _changes(stored, identity, trainer, data, metric)
        if changed:
            raise UserError("; ".join(changed), f"study {study.study_name!r} was begun otherwise", _FIX)
        return
    keep_parameter(study, parameter)
    study.set_user_attr(METRIC, metric.asdict())
    for name, value in zip(PARTS, (settings, versions, trainer, data), strict=True):
        study.set_user_attr(PREFIX + name, dict(value))
    study.set_user_attr(SCHEMA_KEY, SCHEMA)  # last: whoever sees it sees all


PLAN = ("trials", "timeout", "audit", "fit_timeout", "storage_patience")
"""Settings that may change from call to call, and that workers which join follow."""


def keep_plan(study: optuna.Study, settings: Mapping[str, Any]) -> None:
    """Store what this call of a search asks for where that has changed, for workers and whoever watches."""
    stored = study.user_attrs.get(PREFIX + "settings", {})
    changed = {name: settings[name] for name in PLAN if name in settings and stored.get(name) != settings[name]}
    if changed:
        study.set_user_attr(PREFIX + "settings", {**stored, **changed})


def precision_of(study: optuna.Study) -> str | None:
    """The precision that l2tune's trainer began the study in; None where that is not known."""
    found = study.user_attrs.get(PREFIX + "trainer", {}).get("precision")
    return None if found is None else str(found)


def accept_source(study: optuna.Study, source: str | None) -> bool:
    """Let a user's function go on in a study that was begun with other source of it; True where that is so.

    Whoever calls it says so: folds that are done are those of the source before.
    """
    stored = study.user_attrs.get(PREFIX + "trainer", {})
    before = stored.get("source")
    if before is None or before == source:
        return False
    study.set_user_attr(PREFIX + "trainer", {**stored, "source": source})
    return True


def check_schema(study: optuna.Study) -> None:
    """Whether this version can read the study.

    Raises:
        UserError: A later version of l2tune wrote it.
    """
    schema = study.user_attrs.get(SCHEMA_KEY, SCHEMA)
    if schema not in READABLE:
        raise UserError(
            f"was written by another version of l2tune (schema {schema}, this one reads {_listed(READABLE)})",
            f"study {study.study_name!r}",
            "read it with that version (`pip install -U l2tune`), or use another --study",
        )


def is_described(study: optuna.Study) -> bool:
    """Whether l2tune wrote the study (rather than an objective of the user's own)."""
    return SCHEMA_KEY in study.user_attrs


def part_of(study: optuna.Study, name: str) -> dict[str, Any]:
    """One of `PARTS`, as stored; empty for a study of the user's own.

    A user's function was trained with nothing but what `FUNCTION_SETTINGS` names, whatever older versions stored.
    """
    stored = shown_settings(study.user_attrs.get(PREFIX + name, {}))
    if name == "settings" and trained_by(study) in ("function", "trainer"):
        return {key: value for key, value in stored.items() if key in FUNCTION_SETTINGS}
    return stored


def stored_settings(study: optuna.Study) -> dict[str, Any]:
    """The flat settings that the study was begun with; empty for a study of the user's own."""
    return part_of(study, "settings")


def penalty_of(study: optuna.Study) -> str:
    """The form of the penalty, which a parameter called `l1` tells, too; `l2` where nothing tells."""
    name = str(study.user_attrs.get(PARAMETER, {}).get("name", "")).lower()
    return str(stored_settings(study).get("penalty", "l1" if name in L1_NAMES else "l2"))


def trained_by(study: optuna.Study) -> TrainedBy:
    """Who trained: our engines, a user's `fit` function, a user's `Trainer`, or an objective of the user's own."""
    if not is_described(study):
        return "objective"
    engine = study.user_attrs.get(PREFIX + "trainer", {}).get("engine")
    return "l2tune" if engine in ("sequential", "population") else "function" if engine == "function" else "trainer"


def metric_of(study: optuna.Study) -> Metric:
    """What the study chooses λ by.

    A study of the user's own tells its direction, and perhaps a name; its numbers may be of any kind.
    """
    if METRIC in study.user_attrs:
        return metric_from(study.user_attrs[METRIC])
    if is_described(study):  # schema 1 knew loss and error only, and took a user's loss for a cross-entropy
        name = study.user_attrs[PREFIX + "settings"].get("metric", "loss")
        return UNDECLARED if name == "loss" and trained_by(study) == "function" else BUILT_IN[name]
    names = study.metric_names
    maximize = len(study.directions) == 1 and study.direction == optuna.study.StudyDirection.MAXIMIZE
    name = one_line(names[0]) if names and len(names) == 1 else ""
    return Metric(name or ("score" if maximize else "value"), maximize=maximize)


def check_direction(study: optuna.Study, metric: Metric) -> None:
    """Whether the study's direction is the metric's.

    Raises:
        UserError: They disagree.
    """
    maximizes = study.direction == optuna.study.StudyDirection.MAXIMIZE
    if maximizes != metric.maximize:
        wanted = "maximize" if metric.maximize else "minimize"
        better = "more" if metric.maximize else "less"
        raise UserError(
            f"it {'maximizes' if maximizes else 'minimizes'}, but of the metric {metric.name!r} {better} is better",
            f"study {study.study_name!r}",
            f"create it with direction={wanted!r}, or name the metric that is meant",
        )


def fold_count(study: optuna.Study) -> int | None:
    """How many folds (k × repeats) the study has, if it tells."""
    folds = study.user_attrs.get(PREFIX + "trainer", {}).get("folds")
    return None if folds is None else int(folds)


def asked_range(study: optuna.Study) -> tuple[float, float] | None:
    """The range of λ that the study was begun with, if it tells."""
    asked = stored_settings(study).get("lambda_range")
    return (float(asked[0]), float(asked[1])) if asked else None


def search_range(
    study: optuna.Study, parameter: StrengthParameter, trials: Iterable[FrozenTrial] | None = None
) -> tuple[float, float]:
    """The range of λ to search now: as widened, else as asked for, else what trials could draw, else the default.

    It ends at λ_max, where L1 or the elastic net has one: all weights are zero from there on.
    """
    stored = study.user_attrs.get(RANGE) or asked_range(study)
    if stored:
        low, high = float(stored[0]), float(stored[1])
        highest = lambda_max_of(study)
        return low, high if highest is None or highest < low * NARROWEST_RANGE else min(high, highest)
    drawn = [
        ends
        for trial in (study.get_trials(deepcopy=False) if trials is None else trials)
        if parameter.name in trial.distributions and (ends := parameter.range(trial.distributions[parameter.name]))
    ]
    if not drawn:
        return DEFAULT_RANGE
    low, high = min(a for a, _ in drawn), max(b for _, b in drawn)
    return low, high if high > low else 10 * low


def lambda_max_of(study: optuna.Study) -> float | None:
    """Strength from which on all penalized weights are zero; None where there is none, or nothing tells."""
    found = study.user_attrs.get(PREFIX + "trainer", {}).get("lambda_max")
    return None if found is None else float(found)


def widen_range(study: optuna.Study, low: float, high: float) -> None:
    """Store a wider range of λ for all workers of the study."""
    study.set_user_attr(RANGE, [low, high])


def may_widen(study: optuna.Study) -> bool:
    """Whether the study's maker lets the range be widened; never where nothing tells the range asked for."""
    return asked_range(study) is not None and bool(stored_settings(study).get("extend_range", True))


def name_objectives(study: optuna.Study, names: Sequence[str]) -> None:
    """Name what the study minimizes or maximizes, for the dashboard, unless its maker has."""
    if study.metric_names is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(names))


def _changes(
    stored: Mapping[str, Any],
    identity: Mapping[str, Any],
    trainer: Mapping[str, Any],
    data: Mapping[str, Any],
    metric: Metric,
) -> list[str]:
    """How the study differs from what is asked for now, a phrase each."""
    before, now = (
        f"the function {side.get('function')}" if side.get("engine") == "function" else "l2tune's own trainer"
        for side in (stored[PREFIX + "trainer"], trainer)
    )
    if before != now:
        return [f"{before} trained, now {now} does"]
    source = stored[PREFIX + "trainer"].get("source")
    if source is not None and source != trainer.get("source"):
        return [f"the source of {now} has changed"]
    splits = stored[PREFIX + "trainer"].get("splits"), trainer.get("splits")
    if splits[0] != splits[1] and stored[PREFIX + "trainer"].get("folds") == trainer.get("folds"):
        return ["the splits into folds are others (a splitter that shuffles needs random_state=)"]
    settings = stored[PREFIX + "settings"]
    changed = differences({k: v for k, v in settings.items() if k in identity}, identity)
    folds = stored[PREFIX + "trainer"].get("folds"), trainer.get("folds")
    if not changed and None not in folds and folds[0] != folds[1]:  # the settings know no single fold
        changed = [f"folds was {folds[0]}, now {folds[1]}"]
    if not changed and (stored[PREFIX + "trainer"].get("steps"), trainer.get("steps")) == ("fold", "epoch"):
        changed = ["a trial's steps were folds, now they would be epochs, which the pruner would compare with them"]
    if not changed and METRIC in stored and metric_from(stored[METRIC]) != metric:
        changed = [f"the metric was {metric_from(stored[METRIC])}, now {metric}"]
    old, new = stored[PREFIX + "data"], data
    if not changed and old.get("fingerprint") != new.get("fingerprint"):
        first, second = ((side.get("fingerprint") or "none")[:8] for side in (old, new))
        changed = [
            f"the images are others (fingerprint {first} was of {old.get('images')}, "
            f"{second} is of {new.get('images')})"
        ]
    return changed


def _listed(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))
