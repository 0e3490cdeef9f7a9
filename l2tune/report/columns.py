"""Columns of a page's tables: as many digits in each as its standard errors bear, points below one another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from l2tune.analysis.wording import unit_of_difference
from l2tune.metrics import Metric
from l2tune.report.labels import UNKNOWN

_TOLD_APART = 9
"""Significant digits from which two values count as one: what differs less is rounding."""

_WIDEST = 1e5
"""Largest over smallest number that one number of decimals can still show; beyond, numbers have exponents."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        head: With the unit.
        cells: One per row.
        after: Characters to leave free behind each cell, so that the points stand below one another; none for words.
    """

    head: str
    cells: Sequence[str]
    after: Sequence[int] = ()

    @property
    def is_numeric(self) -> bool:
        """Whether it holds numbers rather than words."""
        return bool(self.after)


def words(head: str, cells: Iterable[str]) -> Column:
    """A column of words."""
    return Column(head, tuple(cells))


def numbers(head: str, cells: Iterable[str]) -> Column:
    """A column of numbers that are written already.

    >>> numbers("C", ["0.10", "12.5", "∞"]).after
    (0, 1, 3)
    """
    texts = tuple(cells)
    behind = [_behind(text) for text in texts]
    widest = max((own for own in behind if own is not None), default=0)
    return Column(head, texts, tuple(0 if own is None else widest - own for own in behind))


def rounded(head: str, values: Iterable[float], errors: Iterable[float] = (), *, apart: bool = False) -> list[Column]:
    """Numbers with one number of decimals, and their standard errors in a column behind them; – where not known.

    >>> [column.cells for column in rounded("loss", [0.06826, 2.302, -1.9e-5], [0.0071, 0.01, math.nan])]
    [('0.0683', '2.3020', '0.0000'), ('0.0071', '0.0100', '–')]

    Args:
        errors: Of each value; their median has two digits.
        apart: As many more digits as it takes to tell different values apart.
    """
    values, errors = [float(value) for value in values], [float(error) for error in errors]
    written = _format(values, errors, apart=apart)
    columns = [numbers(head, map(written, values))]
    if any(math.isfinite(error) for error in errors):
        columns.append(numbers("± SE", map(written, errors)))
    return columns


def scores(
    head: str, values: Iterable[float], metric: Metric, errors: Iterable[float] = (), *, apart: bool = True
) -> list[Column]:
    """Scores of a metric, percentages as such; the unit is the head's to tell."""
    factor = 100.0 if metric.unit == "%" else 1.0
    return rounded(head, [factor * v for v in values], [factor * e for e in errors], apart=apart)


def differences(head: str, values: Iterable[float], metric: Metric, errors: Iterable[float] = ()) -> list[Column]:
    """Differences of a metric's costs, with their unit in the head."""
    unit = unit_of_difference(metric).strip()
    return scores(f"{head} ({unit})" if unit else head, values, metric, errors, apart=False)


class _format:
    """How a column's numbers are written."""

    def __init__(self, values: Sequence[float], errors: Sequence[float], *, apart: bool) -> None:
        known = [abs(value) for value in values if math.isfinite(value) and value != 0]
        bears = [error for error in errors if math.isfinite(error) and error > 0]
        self._exponent = bool(known) and (min(values) > 0 or not bears) and max(known) > _WIDEST * min(known)
        self._exponent |= bool(known) and not 1e-6 < max(known) < 1e9
        self._digits = 2
        if not self._exponent and known:
            whole = not bears and all(value == int(value) for value in known)
            digits = 1 - _magnitude(median(bears)) if bears else 0 if whole else 2 - _magnitude(median(known))
            self._digits = min(max(digits, 0), _TOLD_APART)
        most = (
            self._digits + _TOLD_APART
            if not known
            else _TOLD_APART - 1 - (0 if self._exponent else _magnitude(max(known)))
        )
        different = len({f"{value:.{_TOLD_APART - 1}e}" for value in known})
        while apart and self._digits < most and len({self(value) for value in known}) < different:
            self._digits += 1

    def __call__(self, value: float) -> str:
        if not math.isfinite(value):
            return UNKNOWN if math.isnan(value) else "∞" if value > 0 else "−∞"
        if self._exponent:
            if value == 0:
                return "0"
            mantissa, exponent = f"{value:.{self._digits}e}".split("e")
            return f"{mantissa}e{int(exponent)}"
        text = f"{value:,.{self._digits}f}"
        return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text  # no −0.0000


def _behind(text: str) -> int | None:
    """Characters from the point on, or behind the last digit where there is none; None for a word among numbers."""
    if len(text) > 1 and not any(sign.isdigit() for sign in text):
        return None
    return len(text) - len(text.partition(".")[0].partition("e")[0])


def _magnitude(value: float) -> int:
    return math.floor(math.log10(value))
