"""A comparison in a terminal: a stand-in that prints the verdict, until more is there."""

from __future__ import annotations

from l2tune.analysis.comparison import Comparison
from l2tune.analysis.comparison_findings import comparison_verdict


def render_terminal(comparison: Comparison) -> str:
    """The verdict as text."""
    return comparison_verdict(comparison) + "\n"
