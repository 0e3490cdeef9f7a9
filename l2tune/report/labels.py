"""How a report writes a study's own words and numbers: names that are not ours, metrics, λ and the user's own number.

Names of studies, metrics, parameters, scores, layers and functions come from a user or from a storage that anybody may
have written to. Each output has its own signs that mean something, so each has its own escape here.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterable

from l2tune.analysis.wording import amounts
from l2tune.metrics import BUILT_IN, CLASSIFICATION, Metric
from l2tune.penalty.strength import format_lambda, weight_decay
from l2tune.records.parameter import StrengthParameter
from l2tune.records.tables import StudyRecord
from l2tune.terminal_text import one_line

UNKNOWN = "–"

_TOLD_APART = 9
"""Digits from which two values count as one: what differs less is rounding."""

_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|<(?=[\w/!?])|&(?=[\w#])|(?<![^\W_])_|_(?![^\W_])")
"""Signs that mean something within a line of Markdown, and where they do."""

_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=\w)(?=@)", re.IGNORECASE)
"""Where an address can be parted: the dashboard makes links even of those whose signs are escaped."""

_JOINER = "\u2060"
"""Word joiner: not seen, and no part of an address."""


def for_html(text: object) -> str:
    """Text for a page: no markup, on one line, nothing that steers."""
    return html.escape(one_line(str(text)))


def for_plotly(text: object) -> str:
    """Text for a figure: plotly knows some HTML, entities, and `%{…}` in hover texts."""
    return html.escape(one_line(str(text)), quote=False).replace("%{", "&#37;{")


def for_markdown(text: object) -> str:
    """Text for a note: no markup, HTML, formulas or links."""
    return _ADDRESS.sub(_JOINER, _MARKDOWN.sub(r"\\\g<0>", one_line(str(text))))


def metric_name(metric: Metric) -> str:
    """The metric's name, as the field says it where it is ours."""
    named = {"loss": "cross-entropy", "error": "error rate"} if metric == BUILT_IN.get(metric.name) else {}
    return named.get(metric.name, metric.name)


def metric_title(metric: Metric, *, direction: bool = False) -> str:
    """`cross-entropy (nats)`, `accuracy (%, higher is better)`: of a table's head.

    Args:
        direction: Say so where more is better.
    """
    told = [metric.unit] if metric.unit else []
    told += ["higher is better"] if direction and metric.maximize else []
    return metric_name(metric) + (f" ({', '.join(told)})" if told else "")


def other_score(record: StudyRecord, name: str) -> tuple[str, Metric]:
    """What another score than the study's metric is called, and how it is written.

    Its unit is known only where a trainer of ours measured it: a function may call anything `loss`.
    """
    if name == record.metric.name:
        return metric_title(record.metric), record.metric
    if name in CLASSIFICATION and record.trained_by in ("l2tune", "trainer"):
        return metric_title(BUILT_IN[name]), BUILT_IN[name]
    return name, Metric("score")


def strength_name(parameter: StrengthParameter) -> str:
    """`λ`, with the parameter's name where a study has another one for the very same number."""
    same = parameter.scale.name == "lambda" and parameter.name != "lambda"
    return f"λ ({parameter.name})" if same else "λ"


def own_name(parameter: StrengthParameter) -> str:
    """What the number beside λ is: the study's own parameter, or weight decay where that is λ itself.

    It is λ once more where there is neither: `has_own` tells.
    """
    if not has_own(parameter):
        return "λ"
    return "weight decay" if parameter.scale.name == "lambda" else parameter.name


def has_own(parameter: StrengthParameter) -> bool:
    """Whether there is a number beside λ; no weight decay does what L1 and the elastic net do."""
    return parameter.decays or parameter.scale.name != "lambda"


def own_number(parameter: StrengthParameter, strength: float) -> float:
    """The number beside λ; infinite for C at λ = 0."""
    scale = parameter.scale
    return weight_decay(strength) if scale.name == "lambda" and parameter.decays else scale.from_lambda(strength)


def own_written(parameter: StrengthParameter, strength: float) -> str:
    """The number beside λ, in three digits."""
    return _own(parameter)(own_number(parameter, strength), 3)


def own_range(parameter: StrengthParameter, low: float, high: float) -> str:
    """`12.6 to 158`: the numbers beside λ of a range of λ, the lower one first."""
    first, second = sorted(own_number(parameter, end) for end in (low, high))
    return " to ".join(_own(parameter)(end, 3) for end in (first, second))


def strengths_column(strengths: Iterable[float]) -> list[str]:
    """λs, with as many digits as it takes to tell different ones apart."""
    return _told_apart(strengths, _exponential)


def own_column(parameter: StrengthParameter, strengths: Iterable[float]) -> list[str]:
    """The numbers beside λ, with as many digits as it takes to tell different ones apart."""
    return _told_apart([own_number(parameter, float(strength)) for strength in strengths], _own(parameter))


def scores_column(scores: Iterable[float], metric: Metric, errors: Iterable[float] = ()) -> list[str]:
    """Scores, without their unit, with as many digits as it takes to tell different ones apart; – where not known.

    Args:
        errors: Their standard errors.
    """
    scores = list(scores)
    known = [float(f"{score:.{_TOLD_APART}g}") for score in scores if math.isfinite(score)]
    written = iter(amounts(known, metric))
    column = [next(written) if math.isfinite(score) else UNKNOWN for score in scores]
    for row, error in enumerate(errors):
        if column[row] != UNKNOWN and math.isfinite(error):
            column[row] += f" ± {100 * error if metric.unit == '%' else error:.2g}"
    return column


def _told_apart(values: Iterable[float], written: Callable[[float, int], str]) -> list[str]:
    whole = [float(f"{value:.{_TOLD_APART - 1}e}") for value in values]
    different = len({value for value in whole if not math.isnan(value)}) + any(map(math.isnan, whole))
    for digits in range(3, _TOLD_APART + 1):
        texts = [written(value, digits) for value in whole]
        if len(set(texts)) == different:
            break
    return texts


def _own(parameter: StrengthParameter) -> Callable[[float, int], str]:
    """How the numbers beside λ are written: those of alpha and C as such numbers are, the others as λ is."""
    return _short if parameter.scale.name in ("alpha", "C") else _exponential


def _exponential(value: float, digits: int) -> str:
    """`3.16e-3`, as `format_lambda` has it."""
    if math.isnan(value):
        return UNKNOWN
    if value == 0 or math.isinf(value):
        return format_lambda(value)
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _short(value: float, digits: int) -> str:
    """`3.16` and `112`, but `6.32e-3`."""
    return f"{value:#.{digits}g}".removesuffix(".") if 1e-2 <= value < 1e3 else _exponential(value, digits)
