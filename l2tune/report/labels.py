"""How a report writes a study's own words and numbers: names that are not ours, metrics, λ and the user's own number.

Names of studies, metrics, parameters, scores, layers and functions come from a user or from a storage that anybody may
have written to. Each output has its own signs that mean something, so each has its own escape here.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence

from l2tune.analysis.wording import amounts
from l2tune.metrics import BUILT_IN, CLASSIFICATION, Metric
from l2tune.penalty.strength import format_lambda, weight_decay
from l2tune.records.tables import StudyRecord
from l2tune.terminal_text import one_line

UNKNOWN = "–"

_TOLD_APART = 9
"""Digits from which two values count as one: what differs less is rounding."""

_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|<(?=[\w/!?])|&(?=[\w#])|(?<![^\W_])_|_(?![^\W_])|(?<=:)/|(?<=www)\.")
"""Signs that mean something within a line of Markdown, and where they do."""


def for_html(text: object) -> str:
    """Text for a page: no markup, on one line, nothing that steers."""
    return html.escape(one_line(str(text)))


def for_plotly(text: object) -> str:
    """Text for a figure: plotly knows some HTML, entities, and `%{…}` in hover texts."""
    return html.escape(one_line(str(text)), quote=False).replace("%{", "&#37;{")


def for_markdown(text: object) -> str:
    """Text for a note: no markup, HTML, formulas or links."""
    return _MARKDOWN.sub(r"\\\g<0>", one_line(str(text)))


def metric_name(metric: Metric) -> str:
    """The metric's name, as the field says it where it is ours."""
    named = {"loss": "cross-entropy", "error": "error rate"} if metric == BUILT_IN.get(metric.name) else {}
    return named.get(metric.name, metric.name)


def metric_title(metric: Metric, *, direction: bool = False) -> str:
    """`cross-entropy (nats)`, `accuracy (%, higher is better)`: of an axis or a table's head.

    Args:
        direction: Say so where more is better.
    """
    told = [metric.unit] if metric.unit else []
    told += ["higher is better"] if direction and metric.maximize else []
    return metric_name(metric) + (f" ({', '.join(told)})" if told else "")


def metric_of_score(record: StudyRecord, name: str) -> Metric:
    """What is known of another score than the study's metric: its unit only where a trainer of ours measured it."""
    if name == record.metric.name:
        return record.metric
    known = name in CLASSIFICATION and record.trained_by in ("l2tune", "trainer")
    return BUILT_IN[name] if known else Metric(name)


def strength_name(record: StudyRecord) -> str:
    """`λ`, with the parameter's name where a study has another one for the very same number."""
    parameter = record.parameter
    return f"λ ({parameter.name})" if parameter.scale.name == "lambda" and parameter.name != "lambda" else "λ"


def own_name(record: StudyRecord) -> str:
    """What the number beside λ is: the study's own parameter, or weight decay where that is λ itself."""
    return "weight decay" if record.parameter.scale.name == "lambda" else record.parameter.name


def own_number(record: StudyRecord, strength: float) -> float:
    """The number beside λ; infinite for C at λ = 0."""
    scale = record.parameter.scale
    return weight_decay(strength) if scale.name == "lambda" else scale.from_lambda(strength)


def own_range(record: StudyRecord, low: float, high: float) -> tuple[float, float]:
    """Lower and upper end of a range of λ as numbers beside λ."""
    first, second = own_number(record, low), own_number(record, high)
    return min(first, second), max(first, second)


def written_strength(strength: float) -> str:
    """A strength on any scale, or – where there is none."""
    return UNKNOWN if math.isnan(strength) else format_lambda(strength)


def strengths_column(strengths: Sequence[float]) -> list[str]:
    """Strengths on any scale, with as many digits as it takes to tell different ones apart."""
    whole = [float(f"{s:.{_TOLD_APART}e}") for s in strengths]
    written = list(map(written_strength, whole))
    for digits in range(3, _TOLD_APART + 1):
        if len(set(written)) == len({s for s in whole if not math.isnan(s)}) + any(map(math.isnan, whole)):
            break
        written = [_scientific(s, digits) for s in whole]
    return written


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


def _scientific(strength: float, digits: int) -> str:
    if strength == 0 or not math.isfinite(strength):
        return written_strength(strength)
    mantissa, exponent = f"{strength:.{digits}e}".split("e")
    return f"{mantissa}e{int(exponent)}"
